//! What a model answers through, and what that was made for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crayon_engine::adapters::{
    AdapterError, Catalogue, Demonstration, Example, Scope, add_noise, fingerprint,
};
use crayon_engine::{Adapter, Engine, EngineError, Scored};

use crate::{AnswerError, Input, Note, Plan, Request};

/// What is asked of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BlendRequest {
    /// Of the weights; the pool's own when `None`.
    pub temperature: Option<f32>,
    /// Standard deviation of the noise on the scores, and the seed of it.
    pub noise: Option<(f32, u64)>,
    /// Whether the scores go to a server, which gets them rounded.
    pub sent: bool,
    /// Whether examples that fit nothing are blended for all the same.
    pub force: bool,
}

/// What examples ask of a pool.
#[derive(Clone, Debug)]
pub struct Blend {
    /// How the examples compare with the keys.
    pub scored: Scored,
    /// What is blended by, and what a server gets: `[adapters]`.
    pub sent: Vec<f32>,
    /// Whether the examples are near to something the pool learned.
    pub fits: bool,
    /// Whether the examples' answers are likelier through it than without, where that was judged.
    pub judged: Option<bool>,
    /// Weights of the adapters; what they lack to 1 is the model as it is: `[adapters]`.
    pub weights: Vec<f32>,
    /// Time for reading the examples.
    pub embedding: Duration,
    /// What the adapter is for.
    pub scope: Scope,
    names: Vec<String>,
    force: bool,
}

impl Blend {
    /// Compares `examples` with the keys of a pool.
    ///
    /// # Errors
    /// When an example cannot be read, or the model has no tokenizer.
    pub fn score(
        engine: &Engine,
        catalogue: &Catalogue,
        examples: impl Iterator<Item = Result<Example, AdapterError>>,
        request: &BlendRequest,
    ) -> Result<Blend, AnswerError> {
        let started = Instant::now();
        let scored = engine.score(&catalogue.keys, examples)?;
        let embedding = started.elapsed();
        let mut sent = scored.scores.clone();
        if let Some((noise, seed)) = request.noise {
            add_noise(&mut sent, noise, seed);
        }
        if request.sent {
            sent.iter_mut().for_each(|score| *score = crayon_hybrid::rounded(*score));
        }
        Ok(Blend {
            weights: catalogue.keys.weights(&sent, request.temperature.unwrap_or(catalogue.temperature)),
            fits: scored.fits(&catalogue.keys),
            judged: None,
            scope: Scope::of_examples(scored.queries.clone(), engine.general()?),
            names: catalogue.members.iter().map(|member| member.name.clone()).collect(),
            force: request.force,
            scored,
            sent,
            embedding,
        })
    }

    /// Whether answers come through it: examples that fit nothing leave the model alone, unless their answers say otherwise.
    pub fn used(&self) -> bool {
        self.force || self.judged.unwrap_or(self.fits)
    }

    /// What the person should know about examples that are unlike anything the pool learned.
    pub fn note(&self) -> Option<Note> {
        let Scored { examples, outside, .. } = self.scored;
        if self.judged.is_some() {
            return None;
        }
        match self.fits {
            false => Some(Note::NothingFits(self.force)),
            true if outside > 0 && examples > 1 => Some(Note::SomeOutside(outside, examples)),
            true => None,
        }
    }
}

/// What one query is answered through.
pub struct Through<'a> {
    /// How likely it belongs to what the model is customized for, 0 to 1, where that is known.
    pub scope: Option<f32>,
    /// The adapter, if one acts beside the engine's own.
    pub adapter: Option<Arc<dyn Adapter>>,
    /// The examples that stand in the prompt.
    pub demonstrations: &'a [Demonstration],
    /// Whether it lies outside, so that the model alone answers.
    pub outside: bool,
}

/// What a model answers through, and what that was made for. The default is the model alone.
#[derive(Default)]
pub struct Customization {
    /// Adapters and their weights; empty for the model alone.
    weights: Vec<(String, f32)>,
    scopes: Vec<Scope>,
    fits: Option<bool>,
    adapter: Option<Arc<dyn Adapter>>,
    /// Examples that stand in the prompt instead of an adapter.
    demonstrations: Vec<Demonstration>,
    /// Whether every request is answered through the adapter, wherever it lies.
    always: bool,
    /// The model itself, where adapters were merged into the one that answers, which changes what its first layer asks.
    alone: Option<Engine>,
}

impl Customization {
    /// Adapters that were made before, each with its weight, and what they were made for where that is known. `adapter` is
    /// their sum, if the engine does not answer through it already. Where one of them has no scope they act always.
    pub fn of_adapters(
        weights: Vec<(String, f32)>,
        scopes: Vec<Scope>,
        adapter: Option<Arc<dyn Adapter>>,
    ) -> Customization {
        let always = scopes.len() < weights.len();
        Customization { weights, scopes, adapter, always, ..Customization::default() }
    }

    /// A blend for examples, answered through as `adapter`. Where it is not used there is none, and the scope remains.
    pub fn blended(blend: &Blend, adapter: Option<Arc<dyn Adapter>>) -> Customization {
        let names = blend.names.iter().cloned();
        Customization {
            weights: names.zip(blend.weights.iter().copied()).filter(|_| blend.used()).collect(),
            scopes: vec![blend.scope.clone()],
            fits: Some(blend.fits),
            adapter,
            always: blend.force,
            ..Customization::default()
        }
    }

    /// What the examples' own answers speak for: an adapter, of the pool's adapters under these weights where they are known,
    /// demonstrations, or neither of them.
    pub fn judged(
        blend: &mut Blend,
        adapter: Option<Arc<dyn Adapter>>,
        weights: Option<Vec<f32>>,
        demonstrations: Vec<Demonstration>,
    ) -> Customization {
        blend.judged = Some(adapter.is_some());
        blend.weights = weights.unwrap_or_else(|| std::mem::take(&mut blend.weights));
        Customization { demonstrations, ..Customization::blended(blend, adapter) }
    }

    /// Demonstrations in the prompt, and what they are for where that is known.
    pub fn of_demonstrations(demonstrations: Vec<Demonstration>, scope: Option<Scope>) -> Customization {
        let always = scope.is_none();
        Customization {
            demonstrations,
            scopes: scope.into_iter().collect(),
            always,
            ..Customization::default()
        }
    }

    /// What was found before and kept: an adapter, of a pool's adapters under these weights where they are known, or
    /// demonstrations, and what they are for; they act always where that is not known.
    pub fn kept(
        weights: Vec<(String, f32)>,
        scope: Option<Scope>,
        adapter: Option<Arc<dyn Adapter>>,
        demonstrations: Vec<Demonstration>,
        fits: Option<bool>,
    ) -> Customization {
        let (always, scopes) = (scope.is_none(), scope.into_iter().collect());
        Customization { weights, scopes, fits, adapter, demonstrations, always, alone: None }
    }

    /// The same, acting on every request.
    pub fn always(mut self) -> Customization {
        self.always = true;
        self
    }

    /// The same, with queries made by `alone` instead of the model that answers.
    pub fn with_queries_of(mut self, alone: Engine) -> Customization {
        self.alone = Some(alone);
        self
    }

    /// Plans `request` by `plan` with what answers it: the adapter or the demonstrations where its question lies inside what they were
    /// made for, neither of them elsewhere. With it comes the question's [`scope`](Self::scope).
    ///
    /// # Errors
    /// As `plan` and [`scope`](Self::scope).
    pub fn plan<E: From<EngineError>>(
        &self,
        engine: &Engine,
        request: &Request,
        plan: impl FnOnce(&Request) -> Result<Plan, E>,
    ) -> Result<(Plan, Option<f32>), E> {
        let Through { scope, adapter, demonstrations, outside } = self.through(engine, request.query())?;
        // A text to go on with has no turns.
        let text = matches!(request.input, Input::Text(_)) && !demonstrations.is_empty();
        let mut planned = match demonstrations.is_empty() || text {
            true => plan(request)?,
            false => plan(&Request { demonstrations: demonstrations.to_vec(), ..request.clone() })?,
        };
        (planned.adapter, planned.outside) = (adapter, outside);
        if outside {
            planned.notes.push(Note::Outside);
        } else if text {
            planned.notes.push(Note::NoTurns);
        }
        Ok((planned, scope))
    }

    /// What `query` is answered through.
    ///
    /// # Errors
    /// As [`scope`](Self::scope).
    pub fn through(&self, engine: &Engine, query: &str) -> Result<Through<'_>, EngineError> {
        let (scope, acts) = self.look(engine, query)?;
        Ok(Through {
            scope,
            adapter: self.adapter.clone().filter(|_| acts),
            demonstrations: if acts { &self.demonstrations } else { &[] },
            outside: !acts,
        })
    }

    /// How likely a query belongs to what the adapter was made for rather than elsewhere, 0 to 1; `None` where that is not known.
    ///
    /// # Errors
    /// When the model has no tokenizer, or a tensor cannot be read.
    pub fn scope(&self, engine: &Engine, query: &str) -> Result<Option<f32>, EngineError> {
        Ok(self.look(engine, query)?.0)
    }

    /// The scope of a query, and whether the adapter acts on it.
    fn look(&self, engine: &Engine, query: &str) -> Result<(Option<f32>, bool), EngineError> {
        if self.scopes.is_empty() {
            return Ok((None, true));
        }
        let engine = self.alone.as_ref().unwrap_or(engine);
        let (query, general) = (engine.query(query)?, engine.general()?);
        let scopes = self.scopes.iter().map(|scope| (scope.of(&query, general), scope));
        let scopes: Vec<(f32, &Scope)> = scopes.collect();
        // A query belongs where it belongs to one of them. What is not used or is part of the weights cannot be left out.
        let lasting = self.adapter.is_none() && self.demonstrations.is_empty();
        let acts = self.always || lasting || scopes.iter().any(|(of, scope)| scope.acts(*of));
        Ok((scopes.into_iter().map(|(of, _)| of).max_by(f32::total_cmp), acts))
    }

    /// Whether questions that lie inside are answered through something else than the model alone: an adapter, also one that
    /// is part of the weights, or examples in the prompt.
    pub fn acts(&self, engine: &Engine) -> bool {
        let adapted = self.adapter.is_some() || engine.adapter().is_some() || !self.weights.is_empty();
        adapted || !self.demonstrations.is_empty()
    }

    /// Text that differs between customizations; `None` for the model alone. An adapter in a file and the same blend made at
    /// once have the same, examples in the prompt and what leaves the model as it is have others.
    pub fn fingerprint(&self, engine: &Engine) -> Option<String> {
        let mut scopes: Vec<String> = self.scopes.iter().map(Scope::fingerprint).collect();
        if !self.demonstrations.is_empty() {
            scopes.push(fingerprint(&self.demonstrations));
        }
        if !scopes.is_empty() && !self.acts(engine) {
            scopes.push("alone".to_owned());
        }
        match scopes.as_slice() {
            [] => self.adapter.as_ref().or(engine.adapter()).map(|adapter| adapter.fingerprint()),
            [scope] => Some(scope.clone()),
            // Its beginning names a file, which must not be that of the first of them.
            parts => Some(crayon_hybrid::digest(parts.join("+").as_bytes())),
        }
    }

    /// The examples that stand in the prompt; empty for none.
    pub fn demonstrations(&self) -> &[Demonstration] {
        &self.demonstrations
    }

    /// Adapters and their weights; empty for the model alone.
    pub fn weights(&self) -> &[(String, f32)] {
        &self.weights
    }

    /// Whether the examples are near to something the pool learned, where there are any.
    pub fn fits(&self) -> Option<bool> {
        self.fits
    }

    /// What is answered through, where it is not the engine's own adapter.
    pub fn adapter(&self) -> Option<&Arc<dyn Adapter>> {
        self.adapter.as_ref()
    }
}
