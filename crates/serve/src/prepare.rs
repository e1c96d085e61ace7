//! From a request to work for the model: token ids, settings of the answer, shape of the memory. Everything that can
//! be wrong with a request is found here, before it waits.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use crayon_engine::{Engine, Message, Options, PotOptions, Role, Sampling, stays};

use crate::Limits;
use crate::refusal::Refusal;
use crate::request::{Asked, Input};

/// Against the loops that small models fall into; `crayon ask` has the same.
const REPETITION_PENALTY: f32 = 1.1;

/// What the worker does.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) prompt: Vec<u32>,
    pub(crate) options: Options,
    /// A memory of fixed size, with what must stay in it.
    pub(crate) pot: Option<(PotOptions, Vec<Range<u32>>)>,
}

/// Makes work of a request.
pub(crate) fn prepare(engine: &Engine, limits: &Limits, asked: &Asked) -> Result<Work, Refusal> {
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
    let options = Options { sampling, max_tokens, stop: asked.stop.clone(), ignore_end: false };
    let pot = match asked.pot {
        None => None,
        Some(entries) => Some(pot(engine, entries, &prompt, &asked.input)?),
    };
    Ok(Work { prompt, options, pot })
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

/// What is not asked for comes from the model's makers, or is plain and repeatable, as with `crayon ask`.
fn sampling(engine: &Engine, asked: &Asked) -> Sampling {
    let (suggested, plain) = (&engine.checkpoint().generation, Sampling::default());
    let usual = match suggested.sample {
        Some(false) => Some(0.0),
        _ => suggested.temperature,
    };
    let temperature = asked.temperature.or(usual).unwrap_or(plain.temperature);
    Sampling {
        temperature,
        top_k: asked.top_k.or(suggested.top_k).unwrap_or(plain.top_k),
        top_p: asked.top_p.or(suggested.top_p).unwrap_or(plain.top_p),
        min_p: asked.min_p.or(suggested.min_p).unwrap_or(plain.min_p),
        repetition_penalty: asked
            .repetition_penalty
            .or(suggested.repetition_penalty)
            .unwrap_or(REPETITION_PENALTY),
        presence_penalty: asked.presence_penalty.unwrap_or(plain.presence_penalty),
        seed: asked.seed.unwrap_or_else(any_seed),
    }
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
