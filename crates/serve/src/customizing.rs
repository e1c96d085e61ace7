//! `/v1/customizations`: examples in, a model of one's own out, under a name that requests then ask for.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{Response, StatusCode, Uri};
use crayon_answer::{Blend, BlendRequest};
use crayon_customize::{Climbed, Effort, Given, MOST, Members, Request as Ladder, Rung, SEED, Tried, climb};
use crayon_engine::adapters::{Example, Form, Lora, Scope, peft};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use url::form_urlencoded;

use crate::body::read_body;
use crate::extensions::read_examples;
use crate::fields::{Fields, wrong};
use crate::hosted::Hosted;
use crate::http::on_the_side;
use crate::models::Entry;
use crate::people::{People, StoreError, Stored};
use crate::person::{Extra, Person, PersonScope, TriedRow, short_print};
use crate::refusal::{Refusal, spell};
use crate::registry::{OfferedPool, is_name};
use crate::shared::{Shared, now};

/// People whose examples are judged and learned from at once.
pub(crate) const AT_ONCE: usize = 1;
/// Seconds that learning may take where nobody says.
const BUDGET: f64 = 60.0;
/// Letters of a name.
const LONGEST_NAME: usize = 64;
/// People listed at once, and at most.
const LISTED: usize = 1000;

/// What is asked for.
struct Asked {
    name: Option<String>,
    model: Option<String>,
    what: What,
    pool: Option<String>,
    replace: bool,
}

enum What {
    Examples { examples: Vec<Example>, effort: Effort, budget: Duration },
    Weights(Vec<f32>),
}

impl Asked {
    fn parse(body: &[u8]) -> Result<Asked, Refusal> {
        let mut fields = Fields::parse(body)?;
        let name = fields.text("name")?;
        if name.as_deref().is_some_and(|name| !is_name(name) || name.len() > LONGEST_NAME) {
            let expected = format!("at most {LONGEST_NAME} letters, digits, -, _ and .");
            return Err(wrong("name", &expected));
        }
        let effort = match fields.text("effort")? {
            None => Effort::Instant,
            Some(name) => {
                Effort::from_name(&name).ok_or_else(|| wrong("effort", "instant, fit, train or auto"))?
            }
        };
        let budget = fields.number("budget", 0.0, 86_400.0)?;
        let weights = match fields.value("weights") {
            None => None,
            Some(list) => {
                let weights: Option<Vec<f32>> = serde_json::from_value(list).ok();
                let finite = |weights: &Vec<f32>| weights.iter().all(|weight| weight.is_finite());
                Some(weights.filter(finite).ok_or_else(|| wrong("weights", "a list of numbers"))?)
            }
        };
        let examples = read_examples(fields.value("examples"))?;
        let asked = Asked {
            name,
            model: fields.text("model")?,
            pool: fields.text("pool")?,
            replace: fields.flag("replace")?,
            what: match weights {
                Some(_) if !examples.is_empty() => {
                    return Err(wrong("weights", "left out where examples are given"));
                }
                Some(weights) => What::Weights(weights),
                None if examples.is_empty() => return Err(wrong("examples", "given, or else weights")),
                None => {
                    let budget = budget.map_or(BUDGET, f64::from);
                    What::Examples { examples, effort, budget: Duration::from_secs_f64(budget) }
                }
            },
        };
        fields.finish()?;
        Ok(asked)
    }
}

/// Reads a body for those who try what is read and what is refused.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read(body: &[u8]) {
    drop(Asked::parse(body));
}

/// Tells that nobody waits any more.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(crate) async fn create(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response<Body>, Refusal> {
    let limits = &shared.options.limits;
    let body = read_body(limits, request, limits.body).await?;
    let asked = Asked::parse(&body)?;
    let hosted = block_in_place(|| shared.model(asked.model.as_deref()))?;
    if let Some(name) = &asked.name
        && !asked.replace
        && shared.people.find(&hosted.name, name)?.is_some()
    {
        return Err(taken(name));
    }
    let Ok(_place) = shared.customizing.acquire().await else { return Err(Refusal::stopping()) };
    let gone = Arc::new(AtomicBool::new(false));
    let _waiting = Waiting(gone.clone());
    let owner = shared.clone();
    on_the_side(move || make(&owner.people, &hosted, asked, &gone)).await
}

pub(crate) async fn list(State(shared): State<Arc<Shared>>, uri: Uri) -> Result<Response<Body>, Refusal> {
    let wanted = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let wanted: HashMap<String, String> = wanted.into_owned().collect();
    let most = match wanted.get("limit") {
        None => LISTED,
        Some(limit) => match limit.parse() {
            Ok(limit @ 1..=LISTED) => limit,
            _ => return Err(wrong("limit", &format!("a whole number from 1 to {LISTED}"))),
        },
    };
    on_the_side(move || {
        let after = wanted.get("after").map(|id| split(&shared, id));
        let after = after.as_ref().map(|(model, id)| (model.as_str(), id.as_str()));
        let (people, more) = shared.people.list(after, most)?;
        let data: Vec<Value> = people.iter().map(|person| shown(&shared, person)).collect();
        Ok(json!({"object": "list", "data": data, "has_more": more}))
    })
    .await
}

pub(crate) async fn one(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Result<Response<Body>, Refusal> {
    on_the_side(move || {
        let (model, id) = split(&shared, &id);
        let found = shared.people.find(&model, &id)?.ok_or_else(|| nobody(&id))?;
        Ok(shown(&shared, &found.person))
    })
    .await
}

pub(crate) async fn delete(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Result<Response<Body>, Refusal> {
    on_the_side(move || {
        let (model, id) = split(&shared, &id);
        match shared.people.forget(&model, &id)? {
            true => Ok(json!({"id": id, "object": "customization.deleted", "deleted": true})),
            false => Err(nobody(&id)),
        }
    })
    .await
}

/// The model and the person of `mini:anna`, or of `anna` beside the first model.
fn split(shared: &Shared, id: &str) -> (String, String) {
    let first = shared.models.entries().first().map_or("", |first| first.name.as_str());
    let (model, id) = id.rsplit_once(':').unwrap_or((first, id));
    (model.to_owned(), id.to_owned())
}

fn shown(shared: &Shared, person: &Person) -> Value {
    // A list opens no model.
    let hosted = shared.models.find(Some(&person.model)).ok().and_then(Entry::hosted);
    let pool = hosted.and_then(|hosted| {
        let names = hosted.registry.pools.iter().find(|pool| Some(short_print(&pool.digest)) == person.pool);
        names.map(OfferedPool::names)
    });
    let names = pool.unwrap_or_default();
    person.shown(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

fn nobody(id: &str) -> Refusal {
    let message = format!("nobody is called {id:?} here");
    Refusal::new(StatusCode::NOT_FOUND, message).code("customization_not_found")
}

fn taken(name: &str) -> Refusal {
    let message = format!("somebody is called {name:?} already; \"replace\": true takes their place");
    Refusal::new(StatusCode::CONFLICT, message).at("name").code("name_taken")
}

/// Finds what the examples are worth, or takes the weights, and keeps it.
fn make(people: &People, hosted: &Hosted, asked: Asked, gone: &AtomicBool) -> Result<Value, Refusal> {
    let Asked { name, pool: pool_name, replace, what, .. } = asked;
    let pool = match hosted.registry.pool(pool_name.as_deref()) {
        Err(_) if hosted.registry.pools.is_empty() && pool_name.is_none() => None,
        found => Some(found?),
    };
    let id = name.unwrap_or_else(nameless);
    let mut stored = match (what, pool) {
        (What::Weights(weights), Some(pool)) => {
            let there = pool.pool.members.len();
            if weights.len() != there {
                let expected = format!("{there} numbers, one for each adapter of {:?}", pool.name);
                return Err(wrong("weights", &expected));
            }
            let person = person(hosted, &id, Some(pool));
            Stored { person: Person { weights: Some(weights), ..person }, scope: None, extra: None }
        }
        (What::Weights(_), None) => {
            return Err(Refusal::invalid("there is no pool here whose adapters could be mixed").at("weights"));
        }
        (What::Examples { examples, effort, budget }, pool) => {
            judged(hosted, &id, pool, &examples, effort, budget, gone)?
        }
    };
    let extra = stored.extra.as_ref().map_or(0, |extra| extra.to_bytes().len());
    let scope = stored.scope.as_ref().map_or(0, |scope| scope.to_bytes().len());
    stored.person.has_extra = stored.extra.is_some();
    stored.person.bytes = stored.person.to_bytes().len() + scope + extra;
    if people.keep(&stored, replace)? {
        return Err(taken(&id));
    }
    let names = pool.map(OfferedPool::names).unwrap_or_default();
    Ok(stored.person.shown(&names.iter().map(String::as_str).collect::<Vec<_>>()))
}

/// Somebody of whom nothing is known yet.
fn person(hosted: &Hosted, id: &str, pool: Option<&OfferedPool>) -> Person {
    Person {
        id: id.to_owned(),
        model: hosted.name.clone(),
        base: short_print(&hosted.engine.checkpoint().fingerprint()),
        pool: pool.map(|pool| short_print(&pool.digest)),
        chosen: None,
        fits: None,
        tried: Vec::new(),
        weights: None,
        created: now(),
        bytes: 0,
        has_extra: false,
        notes: Vec::new(),
    }
}

/// What the examples' own answers speak for.
fn judged(
    hosted: &Hosted,
    id: &str,
    pool: Option<&OfferedPool>,
    examples: &[Example],
    effort: Effort,
    budget: Duration,
    gone: &AtomicBool,
) -> Result<Stored, Refusal> {
    let engine = &*hosted.engine;
    if examples.len() > MOST {
        return Err(wrong("examples", &format!("at most {MOST}")));
    }
    let given = Given::new(engine, examples).map_err(Refusal::of_customization)?;
    let mut notes: Vec<String> = given.notes.iter().map(|note| spell(&note.phrase())).collect();
    let blend = match pool {
        None => None,
        Some(pool) => {
            let lines = examples.iter().cloned().map(Ok);
            let blend = Blend::score(engine, &pool.catalogue, lines, &BlendRequest::default())?;
            let made = pool.pool.blend(&blend.sent, pool.pool.temperature, Form::Exact, engine.threads());
            let lora = made.map_err(|error| Refusal::invalid(error.to_string()))?.lora;
            Some((blend, lora))
        }
    };
    let loras: Vec<&Lora> =
        pool.map_or(Vec::new(), |pool| pool.pool.members.iter().map(|member| &member.lora).collect());
    let members = blend.as_ref().map(|(blend, _)| Members { loras: &loras, weights: &blend.weights });
    let ladder = Ladder {
        blend: blend.as_ref().map(|(_, lora)| lora),
        members,
        effort,
        budget,
        seed: SEED,
        folder: None,
    };
    let climbed = climb(engine, &given, &ladder, &mut |_| match gone.load(Ordering::Relaxed) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    });
    if gone.load(Ordering::Relaxed) {
        return Err(Refusal::stopping());
    }
    let climbed = climbed.map_err(Refusal::of_customization)?;
    notes.extend(climbed.notes.iter().map(|note| spell(&note.phrase())));
    let fits = blend.as_ref().map(|(blend, _)| blend.fits);
    let used = blend.as_ref().is_some_and(|(blend, _)| blend.used());
    let Climbed { tried, mut chosen, lora, demonstrations, mut weights, .. } = climbed;
    if let Some((blend, _)) = blend.as_ref().filter(|_| tried.is_empty() && used) {
        // Without answers nothing judges, and nearness counts.
        (chosen, weights) = (Rung::Blend, Some(blend.weights.clone()));
    }
    let extra = match (&weights, lora) {
        (None, Some(mut lora)) => {
            lora.base = Some(engine.checkpoint().fingerprint());
            lora.base_name = Some(engine.name().to_owned());
            let file = peft::to_bytes(&lora, engine.spec());
            Some(Extra::Adapter(file.map_err(|error| Refusal::invalid(error.to_string()))?))
        }
        _ if !demonstrations.is_empty() => Some(Extra::Demonstrations(demonstrations)),
        _ => None,
    };
    let scope = match &blend {
        _ if weights.is_none() && extra.is_none() => None,
        Some((blend, _)) => Some(blend.scope.clone()),
        None => Some(engine.scope(examples.iter().map(|example| example.prompt.as_str()))?),
    };
    let scope = scope.map(|scope: Scope| PersonScope::new(&scope, engine)).transpose()?;
    let tried = tried.iter().map(row).collect();
    let chosen = Some(chosen.name().to_owned());
    let person = Person { chosen, fits, tried, weights, notes, ..person(hosted, id, pool) };
    Ok(Stored { person, scope, extra })
}

fn row(tried: &Tried) -> TriedRow {
    TriedRow {
        name: tried.rung.name().to_owned(),
        right: tried.right(),
        of: tried.of(),
        loss: tried.loss() as f32,
        seconds: tried.seconds as f32,
    }
}

/// A name for somebody who gave none.
fn nameless() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("p-{:x}-{:x}{count:x}", now(), std::process::id())
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).code("store_failed")
    }
}
