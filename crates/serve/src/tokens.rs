//! Texts as token ids and back.

use crayon_answer::{Input, Request};
use crayon_engine::{Engine, EngineError};
use serde_json::{Value, json};

use crate::fields::{Fields, wrong};
use crate::messages::read_messages;
use crate::refusal::Refusal;
use crate::shared::Shared;

/// `/tokenize`: the ids of `content` (or `prompt`), as they are or behind the token that begins a text (`add_special`), or of
/// `messages` as the model reads them. `with_pieces` adds the text of each.
pub(crate) fn tokenize(shared: &Shared, body: &[u8]) -> Result<Value, Refusal> {
    let mut fields = Fields::parse(body)?;
    let hosted = shared.model(fields.text("model")?.as_deref())?;
    let text = match fields.text("content")? {
        Some(text) => Some(text),
        None => fields.text("prompt")?,
    };
    let (special, pieces) = (fields.flag("add_special")?, fields.flag("with_pieces")?);
    let messages = fields.value("messages");
    fields.finish()?;
    let engine = &hosted.engine;
    let ids = match (text, messages) {
        (Some(_), Some(_)) | (None, None) => return Err(wrong("content", "given, or else messages")),
        (Some(text), None) => plain(engine, &text, special)?,
        (None, Some(messages)) => {
            let request = Request::new(Input::Chat(read_messages(messages)?));
            request.prompt(engine).map_err(|error| Refusal::of(error.into(), "messages"))?
        }
    };
    let tokens: Vec<Value> = match pieces {
        false => ids.iter().map(|id| json!(id)).collect(),
        true => {
            let tokenizer = engine.tokenizer()?;
            ids.iter().map(|id| json!({"id": id, "piece": tokenizer.decode(&[*id])})).collect()
        }
    };
    Ok(json!({"tokens": tokens, "count": ids.len(), "max_model_len": engine.spec().context}))
}

fn plain(engine: &Engine, text: &str, special: bool) -> Result<Vec<u32>, Refusal> {
    let mut ids = match engine.text_prompt(text) {
        Ok(ids) => ids,
        Err(EngineError::EmptyPrompt) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let tokenizer = engine.tokenizer()?;
    // A text that spells the token out itself keeps it.
    let spelled =
        tokenizer.bos().and_then(|bos| tokenizer.text(bos)).is_some_and(|bos| text.starts_with(&bos));
    let added = tokenizer.add_bos() && ids.first() == tokenizer.bos().as_ref() && !spelled;
    if added && !special {
        ids.remove(0);
    }
    Ok(ids)
}

/// `/detokenize`: the text of `tokens`.
pub(crate) fn detokenize(shared: &Shared, body: &[u8]) -> Result<Value, Refusal> {
    let mut fields = Fields::parse(body)?;
    let hosted = shared.model(fields.text("model")?.as_deref())?;
    let ids: Option<Vec<u32>> = fields.value("tokens").and_then(|list| serde_json::from_value(list).ok());
    fields.finish()?;
    let tokenizer = hosted.engine.tokenizer()?;
    let known = |ids: &Vec<u32>| ids.iter().all(|id| (*id as usize) < tokenizer.len());
    let Some(ids) = ids.filter(known) else { return Err(wrong("tokens", "a list of the model's token ids")) };
    let text = tokenizer.decode(&ids);
    Ok(json!({"content": text, "prompt": text}))
}
