//! From a body to answers: whole, or as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Response};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use crayon_answer::AnswerError;
use futures_util::stream;
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::block_in_place;

use crate::answered::{Answered, News, Told, answered};
use crate::body::{object, read_body};
use crate::refusal::Refusal;
use crate::reply::{IGNORED_FIELDS, Kind, Reply};
use crate::request::ApiRequest;
use crate::shared::{Asked, Peer, Shared};
use crate::tools::{Tools, no_call};

/// How often a stream without news shows that it is alive.
pub(crate) const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

pub(crate) async fn chat(
    State(shared): State<Arc<Shared>>,
    peer: Extension<Peer>,
    request: Request,
) -> Result<Response<Body>, Refusal> {
    answer(shared, peer.0, request, Kind::Chat).await
}

pub(crate) async fn completion(
    State(shared): State<Arc<Shared>>,
    peer: Extension<Peer>,
    request: Request,
) -> Result<Response<Body>, Refusal> {
    answer(shared, peer.0, request, Kind::Completion).await
}

async fn answer(
    shared: Arc<Shared>,
    peer: Peer,
    request: Request,
    kind: Kind,
) -> Result<Response<Body>, Refusal> {
    let limits = &shared.options.limits;
    let body = read_body(limits, request, limits.body).await?;
    let mut asked = match kind {
        Kind::Chat => ApiRequest::chat(&body)?,
        Kind::Completion => ApiRequest::completion(&body)?,
    };
    drop(body);
    // Models are opened, schemas and vocabularies read: connections of this thread are another's meanwhile.
    let whom = block_in_place(|| {
        let whom = shared.asked(&asked.model)?;
        asked.constrain(&whom.hosted)?;
        Ok::<_, Refusal>(whom)
    })?;
    let reply = Reply::new(kind, &whom.name());
    let (asked, whom) = (Arc::new(asked), Arc::new(whom));
    let mut streaming = Streaming {
        news: begin(&shared, &whom, peer, &asked),
        parts: (0..asked.answers()).map(|number| Part::new(asked.echoed(number))).collect(),
        n: asked.n,
        tools: asked.tools.clone(),
        usage: asked.usage,
        reply,
        ready: VecDeque::new(),
        over: false,
    };
    let response = match asked.stream {
        true => {
            // A stream begins when it is clear that there is a place for it.
            streaming.hear().await?;
            streaming.response()
        }
        false => object(&streaming.whole().await?),
    };
    Ok(told_ignored(response, &asked.ignored))
}

/// `response` with the names of the fields that changed nothing.
pub(crate) fn told_ignored(mut response: Response<Body>, ignored: &[&str]) -> Response<Body> {
    if let Ok(names) = HeaderValue::try_from(ignored.join(", "))
        && !ignored.is_empty()
    {
        response.headers_mut().insert(HeaderName::from_static(IGNORED_FIELDS), names);
    }
    response
}

/// Has all answers of `asked` made, and gives what is told about each under its number.
pub(crate) fn begin(
    shared: &Arc<Shared>,
    whom: &Arc<Asked>,
    peer: Peer,
    asked: &Arc<ApiRequest>,
) -> UnboundedReceiver<(usize, News)> {
    let (tell, news) = unbounded_channel();
    for number in 0..asked.answers() {
        let client = format!("{} {}", peer.0, asked.user);
        let (shared, whom, asked, tell) = (shared.clone(), whom.clone(), asked.clone(), tell.clone());
        // It waits for the model, for a server, for the person who reads: other connections go on meanwhile.
        tokio::task::spawn_blocking(move || {
            let request = asked.one(number);
            let ended = catch_unwind(AssertUnwindSafe(|| {
                let hear = |news| tell.send((number, news)).is_ok();
                answered(&shared, &whom, client, (&asked, &request), &hear)
            }));
            let ended = ended.unwrap_or_else(|_| Err(AnswerError::Crashed.into()));
            // Whoever asked may have gone.
            let _ = tell.send((number, News::Ended(Box::new(ended))));
        });
    }
    news
}

/// One of several answers, as far as it has come.
struct Part {
    /// What it begins with.
    echoed: String,
    /// Text that may become a call of a function.
    held: String,
    /// Tokens whose text has not come yet.
    tokens: Vec<Told>,
    /// Bytes of the tokens before these.
    before: usize,
    ended: Option<Answered>,
}

impl Part {
    fn new(echoed: String) -> Part {
        Part { before: echoed.len(), echoed, held: String::new(), tokens: Vec::new(), ended: None }
    }
}

/// Answers in the making. When the client goes this is dropped, and the channel with it.
struct Streaming {
    reply: Reply,
    news: UnboundedReceiver<(usize, News)>,
    parts: Vec<Part>,
    /// Answers for each prompt.
    n: usize,
    /// Functions that may be called.
    tools: Option<Tools>,
    /// Whether the numbers of tokens are told at the end.
    usage: bool,
    /// Events to be sent.
    ready: VecDeque<Value>,
    over: bool,
}

impl Streaming {
    /// Waits for news and makes events of them.
    async fn hear(&mut self) -> Result<(), Refusal> {
        let Some((number, news)) = self.news.recv().await else { return Err(Refusal::stopping()) };
        let (usage, alone) = (self.usage, self.parts.len() == 1);
        let part = &mut self.parts[number];
        match news {
            News::Waiting => {}
            News::Token(told) => part.tokens.push(told),
            News::Text(text) => {
                let text = match self.tools {
                    None => text,
                    Some(_) => {
                        part.held.push_str(&text);
                        let free = no_call(&part.held);
                        let rest = part.held.split_off(free);
                        std::mem::replace(&mut part.held, rest)
                    }
                };
                if text.is_empty() {
                    return Ok(());
                }
                let tokens = std::mem::take(&mut part.tokens);
                self.ready.push_back(self.reply.piece(number, &text, &tokens, part.before, usage));
                part.before += tokens.iter().map(|told| told.token.bytes.len()).sum::<usize>();
            }
            News::Ended(ended) => {
                let ended = (*ended)?;
                let called = self.tools.as_ref().and_then(|tools| tools.calls(ended.outcome.text()));
                let mut held = std::mem::take(&mut part.held);
                if called.is_some() {
                    held.clear();
                }
                if !part.tokens.is_empty() || !held.is_empty() {
                    // Also tokens without a text of their own, such as those of a stop string.
                    let tokens = std::mem::take(&mut part.tokens);
                    self.ready.push_back(self.reply.piece(number, &held, &tokens, part.before, usage));
                }
                if let Some((_, calls)) = &called {
                    self.ready.push_back(self.reply.called(number, calls, usage));
                }
                self.ready.push_back(self.reply.last(number, &ended, called.is_some(), alone, usage));
                part.ended = Some(ended);
                self.over = self.parts.iter().all(|part| part.ended.is_some());
            }
        }
        Ok(())
    }

    /// Everything that was answered, once it has ended.
    fn answered(&mut self) -> Vec<Answered> {
        self.parts.iter_mut().filter_map(|part| part.ended.take()).collect()
    }

    /// All answers in one object.
    async fn whole(mut self) -> Result<Value, Refusal> {
        while !self.over {
            self.hear().await?;
            self.ready.clear();
        }
        let echoed: Vec<String> = self.parts.iter().map(|part| part.echoed.clone()).collect();
        let answered = self.answered();
        Ok(self.reply.whole(&answered, &echoed, self.n, self.tools.as_ref()))
    }

    /// Server-sent events until all answers end.
    fn response(mut self) -> Response<Body> {
        for (number, part) in self.parts.iter().enumerate().rev() {
            if !part.echoed.is_empty() {
                self.ready.push_front(self.reply.piece(number, &part.echoed, &[], 0, self.usage));
            }
            if let Some(first) = self.reply.first(number, self.usage) {
                self.ready.push_front(first);
            }
        }
        let events = stream::unfold(Some(self), |streaming| async move {
            let mut streaming = streaming?;
            loop {
                if let Some(value) = streaming.ready.pop_front() {
                    return Some((event(value.to_string()), Some(streaming)));
                }
                if streaming.over {
                    let answered = streaming.answered();
                    if streaming.usage && !answered.is_empty() {
                        streaming.usage = false;
                        let usage = streaming.reply.usage(&answered, streaming.n);
                        return Some((event(usage.to_string()), Some(streaming)));
                    }
                    return Some((event("[DONE]".to_owned()), None));
                }
                if let Err(refusal) = streaming.hear().await {
                    return Some((event(refusal.object().to_string()), None));
                }
            }
        });
        Sse::new(events)
            .keep_alive(KeepAlive::new().interval(SIGN_OF_LIFE).text("still here"))
            .into_response()
    }
}

fn event(data: String) -> Result<Event, Infallible> {
    Ok(Event::default().data(data))
}
