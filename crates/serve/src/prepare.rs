//! From a request to work for the model: token ids, settings of the answer, shape of the memory. Everything that can
//! be wrong with a request is found here, before it waits.

use std::ops::Range;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crayon_engine::adapters::{Example, Scope, weights};
use crayon_engine::{
    Adapter, Engine, EngineError, GenerateOptions, Message, PotOptions, Role, Sampling, SamplingOverrides,
    stays,
};

use crate::Limits;
use crate::offers::{Shelf, Shelved};
use crate::refusal::Refusal;
use crate::request::{Asked, Input};

/// What the worker does.
#[derive(Clone)]
pub(crate) struct Work {
    pub(crate) prompt: Vec<u32>,
    pub(crate) options: GenerateOptions,
    /// A memory of fixed size, with what must stay in it.
    pub(crate) pot: Option<(PotOptions, Vec<Range<u32>>)>,
    /// What is answered through instead of the model's own adapter.
    pub(crate) adapter: Option<Arc<dyn Adapter>>,
}

/// How a request is customised.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Custom {
    /// Adapters and their weights.
    pub(crate) weights: Vec<(String, f32)>,
    /// Whether the answer comes through them.
    pub(crate) used: bool,
    /// Whether the examples are near to something the pool learned, where there are any.
    pub(crate) fits: Option<bool>,
    /// Cosine between the query and what the adapter was customised for, where known.
    pub(crate) scope: Option<f32>,
}

/// Makes work of a request, and says how it is customised.
pub(crate) fn prepare(
    engine: &Engine,
    shelf: &Shelf,
    limits: &Limits,
    asked: &Asked,
) -> Result<(Work, Custom), Refusal> {
    let (prompt, field) = match &asked.input {
        Input::Chat(messages) => (engine.chat_prompt(messages)?, "messages"),
        Input::Text(text) => (engine.text_prompt(text)?, "prompt"),
    };
    if prompt.len() > limits.prompt {
        let (len, most) = (prompt.len(), limits.prompt);
        let message = format!("the prompt has {len} tokens, more than the {most} this server reads");
        return Err(Refusal::invalid(message).at(field).code("context_length_exceeded"));
    }
    if let Some(wanted) = asked.max_tokens.filter(|wanted| *wanted > limits.answer) {
        let message = format!("{wanted} tokens are more than the {} this server writes", limits.answer);
        return Err(Refusal::invalid(message).at("max_tokens").code("invalid_value"));
    }
    let max_tokens = match asked.pot {
        Some(_) => asked.max_tokens.unwrap_or(limits.answer),
        None => room(engine.spec().context, prompt.len(), asked.max_tokens, limits.answer)
            .map_err(|refusal| refusal.at(field))?,
    };
    let sampling = sampling(engine, asked);
    sampling.check()?;
    let options = GenerateOptions { sampling, max_tokens, stop: asked.stop.clone(), ignore_end: false };
    let pot = match asked.pot {
        None => None,
        Some(entries) => Some(pot(engine, entries, &prompt, &asked.input)?),
    };
    let (adapter, custom) = customised(engine, shelf, asked)?;
    Ok((Work { prompt, options, pot, adapter }, custom))
}

/// The adapter of a request, by name or blended for its examples.
fn customised(
    engine: &Engine,
    shelf: &Shelf,
    asked: &Asked,
) -> Result<(Option<Arc<dyn Adapter>>, Custom), Refusal> {
    let query = || -> Result<Vec<f32>, EngineError> {
        let text = match &asked.input {
            Input::Text(text) => text.as_str(),
            Input::Chat(messages) => messages
                .iter()
                .rfind(|message| message.role == Role::User)
                .map_or("", |message| message.content.as_str()),
        };
        engine.query(text)
    };
    if !asked.adapter.is_empty() {
        let chosen = shelf.blend(&asked.adapter)?;
        let scope = match chosen.scopes.is_empty() {
            true => None,
            false => Scope::nearest(chosen.scopes, &query()?),
        };
        let custom = Custom { weights: asked.adapter.clone(), used: true, fits: None, scope };
        return Ok((Some(Arc::new(chosen.weighted)), custom));
    }
    if asked.examples.is_empty() {
        return Ok((None, Custom::default()));
    }
    let Shelved { pool, stack, .. } = shelf.pool(asked.pool.as_deref())?;
    let examples =
        asked.examples.iter().enumerate().map(|(at, prompt)| {
            Ok(Example { prompt: prompt.clone(), answer: None, task: None, line: at + 1 })
        });
    let scored = engine.score(&pool.keys, examples)?;
    let weights = weights(&scored.scores, pool.temperature);
    let fits = pool.keys.fits(&scored.scores);
    let scope = Scope { query: scored.query, mean: pool.keys.mean.clone() }.of(&query()?);
    let names = pool.members.iter().map(|member| member.name.clone());
    let custom = Custom {
        weights: names.zip(weights.iter().copied()).collect(),
        used: fits,
        fits: Some(fits),
        scope: Some(scope),
    };
    // Examples that fit nothing leave the model alone, as in `crayon ask`.
    let adapter = match fits {
        true => {
            let weighted = stack.weigh(&weights).map_err(|error| Refusal::invalid(error.to_string()))?;
            Some(Arc::new(weighted) as Arc<dyn Adapter>)
        }
        false => None,
    };
    Ok((adapter, custom))
}

/// Tokens an answer may have in a window of `context`.
fn room(context: usize, prompt: usize, wanted: Option<usize>, most: usize) -> Result<usize, Refusal> {
    let left = context.saturating_sub(prompt);
    match wanted {
        Some(wanted) if wanted <= left => Ok(wanted),
        None if left > 0 => Ok(left.min(most)),
        _ => {
            let answer = wanted.unwrap_or(1);
            let message = format!(
                "{prompt} tokens of the prompt and {answer} for the answer do not fit the model's window of {context}; \
                 the field \"pot\" (entries) reads any length in fixed memory"
            );
            Err(Refusal::invalid(message).code("context_length_exceeded"))
        }
    }
}

/// What is not asked for is as with `crayon ask`, but the seed.
fn sampling(engine: &Engine, asked: &Asked) -> Sampling {
    let wish = SamplingOverrides {
        temperature: asked.temperature,
        top_k: asked.top_k,
        top_p: asked.top_p,
        min_p: asked.min_p,
        repetition_penalty: asked.repetition_penalty,
        presence_penalty: asked.presence_penalty,
    };
    let seed = asked.seed.unwrap_or_else(any_seed);
    Sampling { seed, ..wish.or_suggested(&engine.checkpoint().generation) }
}

fn any_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos() as u64
}

/// A memory of `entries` in which the instructions and the last message stay, if they fit; else what frames them.
fn pot(
    engine: &Engine,
    entries: usize,
    prompt: &[u32],
    input: &Input,
) -> Result<(PotOptions, Vec<Range<u32>>), Refusal> {
    let options = engine.pot_options(entries).map_err(Refusal::from)?;
    let pins = match input {
        Input::Text(_) => Vec::new(),
        Input::Chat(messages) => pins(engine, &options, prompt, messages)?,
    };
    let pinned = pins.iter().map(|place| place.len()).sum();
    options
        .check(engine.spec(), pinned)
        .map_err(|error| Refusal::from(crayon_engine::EngineError::from(error)).at("pot"))?;
    Ok((options, pins))
}

fn pins(
    engine: &Engine,
    options: &PotOptions,
    prompt: &[u32],
    messages: &[Message],
) -> Result<Vec<Range<u32>>, Refusal> {
    let with_last = |rest: &[Message]| {
        let mut other = rest.to_vec();
        other.push(Message::new(Role::User, "?"));
        engine.chat_prompt(&other)
    };
    let system: Vec<Message> = messages.iter().filter(|m| m.role == Role::System).cloned().collect();
    let [head, tail] = stays(prompt, &with_last(&system)?);
    let before = &messages[..messages.len().saturating_sub(1)];
    let [others, _] = stays(prompt, &with_last(before)?);
    let last = others.end.max(head.end)..prompt.len() as u32;
    if options.check(engine.spec(), head.len() + last.len()).is_ok() {
        return Ok(vec![head, last]);
    }
    Ok(vec![head, tail])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_gets_what_was_asked_for_or_what_fits() {
        assert_eq!(room(100, 60, Some(40), 500), Ok(40));
        assert_eq!(room(100, 60, None, 500), Ok(40));
        assert_eq!(room(100, 60, None, 30), Ok(30));
        assert_eq!(room(100, 60, Some(41), 500).unwrap_err().code, Some("context_length_exceeded"));
        assert!(room(100, 100, None, 500).is_err());
        assert!(room(100, 9000, Some(1), 500).is_err());
    }
}
