//! Tokens that `tokenizer_config.json` adds to a tokenizer's own file, or says more about: they are cut out of texts whole,
//! as transformers does with those of `added_tokens_decoder`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::cutter::Swallow;
use crate::error::{Result, TextError};
use crate::vocab::Kind;

/// One added token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Added {
    #[serde(default)]
    pub(crate) id: u32,
    pub(crate) content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    /// What is not said follows from `special`.
    normalized: Option<bool>,
    #[serde(default)]
    special: bool,
}

/// What a token of this file is called in the errors.
const FORMAT: &str = "tokenizer_config.json";

impl Added {
    /// The tokens under `added_tokens_decoder`, by id.
    pub(crate) fn of(config: &Value) -> Result<Vec<Added>> {
        const KEY: &str = "added_tokens_decoder";
        let bad = |what: String| TextError::malformed(FORMAT, format!("{KEY}: {what}"));
        let Some(decoder) = config.get(KEY).filter(|value| !value.is_null()) else { return Ok(Vec::new()) };
        let map = decoder.as_object().ok_or_else(|| bad("should be an object".to_owned()))?;
        let mut tokens = Vec::with_capacity(map.len());
        for (id, token) in map {
            let mut token = Added::deserialize(token).map_err(|e| bad(format!("token {id:?}: {e}")))?;
            token.id = id.parse().map_err(|_| bad(format!("{id:?} is not a token id")))?;
            if token.content.is_empty() {
                return Err(bad(format!("token {id} is empty")));
            }
            tokens.push(token);
        }
        tokens.sort_by_key(|token| token.id);
        Ok(tokens)
    }

    /// A control token that only its name in `tokenizer_config.json` tells from text.
    pub(crate) fn control(id: u32, content: &str) -> Added {
        let content = content.to_owned();
        Added {
            id,
            content,
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: None,
            special: true,
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        if self.special { Kind::Control } else { Kind::UserDefined }
    }

    /// Ids and texts, for [`crate::json::dense`].
    pub(crate) fn entry(&self) -> (Cow<'_, str>, u32) {
        (Cow::Borrowed(&self.content), self.id)
    }

    /// White space it swallows, if any.
    pub(crate) fn swallow(&self) -> Option<(u32, Swallow)> {
        (self.lstrip || self.rstrip).then_some((self.id, Swallow { left: self.lstrip, right: self.rstrip }))
    }

    fn is_normalized(&self) -> bool {
        self.normalized.unwrap_or(!self.special)
    }

    fn same(&self, other: &Added) -> bool {
        let normalized = Some(self.is_normalized());
        Added { normalized, ..self.clone() }
            == Added { normalized: Some(other.is_normalized()), ..other.clone() }
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id, "content": self.content, "single_word": self.single_word, "lstrip": self.lstrip,
            "rstrip": self.rstrip, "normalized": self.is_normalized(), "special": self.special,
        })
    }
}

/// A tokenizer.json whose `added_tokens` are `own`, with `others` among them; those win.
pub(crate) fn with_added<'a>(json: &'a [u8], own: &[Added], others: &[Added]) -> Result<Cow<'a, [u8]>> {
    if others.iter().all(|token| own.iter().any(|known| known.same(token))) {
        return Ok(Cow::Borrowed(json));
    }
    let kept = own
        .iter()
        .filter(|known| others.iter().all(|token| token.id != known.id && token.content != known.content));
    let mut all: Vec<&Added> = kept.chain(others).collect();
    all.sort_by_key(|token| token.id);
    let bad = |e: serde_json::Error| TextError::malformed(crate::json::FORMAT, e.to_string());
    let mut file: Value = serde_json::from_slice(json).map_err(bad)?;
    file["added_tokens"] = all.into_iter().map(Added::json).collect();
    Ok(Cow::Owned(serde_json::to_vec(&file).map_err(bad)?))
}

/// Special tokens by the names a `tokenizer_config.json` gives them: `pad_token`, `image_token` and the like.
pub(crate) fn named(config: &Value) -> Vec<(String, String)> {
    let Some(map) = config.as_object() else { return Vec::new() };
    let text = |value: &Value| value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned);
    let extra = ["extra_special_tokens", "model_specific_special_tokens"];
    let extra = extra.iter().filter_map(|key| map.get(*key)?.as_object()).flatten();
    let all = map.iter().filter(|(key, _)| key.ends_with("_token")).chain(extra);
    all.filter_map(|(key, value)| Some((key.clone(), text(value)?))).collect()
}
