//! Forms through `llguidance`.

use std::sync::{Arc, Mutex, PoisonError};

use crayon_engine::{Allowed, Constraint, Engine, Grammar};
use crayon_text::Tokenizer;
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory, TokenParser};
use serde_json::{Map, Value, json};

use crate::{Form, GuideError, LARGEST};

/// The tokens of a model, as forms are matched with them.
pub struct Guide {
    factory: ParserFactory,
}

impl Guide {
    /// Of the model of `engine`. Takes a moment where the vocabulary is large.
    ///
    /// # Errors
    /// When it has no tokenizer, or no token that ends an answer.
    pub fn new(engine: &Engine) -> Result<Guide, GuideError> {
        let (tokenizer, ends) = (engine.tokenizer()?, engine.end_tokens());
        let Some(&end) = ends.first() else {
            return Err(GuideError::Form("the model has no token that ends an answer".to_owned()));
        };
        let words: Vec<Vec<u8>> = (0..tokenizer.len() as u32).map(|id| word(tokenizer, &ends, id)).collect();
        let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, end), &words);
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new_simple(&env).map_err(|error| wrong(&error))?;
        factory.quiet();
        Ok(Guide { factory })
    }

    /// The grammar of `form`.
    ///
    /// # Errors
    /// When the form cannot be used.
    pub fn grammar(&self, form: &Form) -> Result<Arc<dyn Grammar>, GuideError> {
        let bytes = match form {
            Form::Object => 0,
            Form::Schema(schema) => schema.to_string().len(),
            Form::Regex(text) | Form::Lark(text) => text.len(),
        };
        if bytes > LARGEST {
            return Err(GuideError::Large { bytes });
        }
        let grammar = match form {
            Form::Object => TopLevelGrammar::from_json_schema(compact(&json!({"type": "object"}))),
            Form::Schema(schema) => TopLevelGrammar::from_json_schema(compact(schema)),
            Form::Regex(text) => TopLevelGrammar::from_regex(text),
            Form::Lark(text) => TopLevelGrammar::from_lark(text.clone()),
        };
        let parser = self.factory.create_parser(grammar).map_err(|error| wrong(&error))?;
        Ok(Arc::new(Compiled(Mutex::new(parser))))
    }
}

fn wrong(error: &impl std::fmt::Display) -> GuideError {
    GuideError::Form(error.to_string())
}

/// A token as forms see it: its bytes, or behind a mark that no text has where it is not text.
fn word(tokenizer: &Tokenizer, ends: &[u32], id: u32) -> Vec<u8> {
    if tokenizer.is_special(id) || ends.contains(&id) {
        let name = tokenizer.text(id).unwrap_or_else(|| format!("<{id}>"));
        return [&[TokTrie::SPECIAL_TOKEN_MARKER], name.as_bytes()].concat();
    }
    tokenizer.bytes(id).unwrap_or_default().into_owned()
}

/// The same schema, of which answers have no blanks but one behind each comma and colon: small models get lost in blanks.
fn compact(schema: &Value) -> Value {
    let mut schema = match schema {
        Value::Object(map) => map.clone(),
        // `true` and `false` are schemas, too.
        other => Map::from_iter([("allOf".to_owned(), json!([other]))]),
    };
    schema.insert("x-guidance".to_owned(), json!({"whitespace_flexible": false}));
    Value::Object(schema)
}

/// A form that answers can begin to follow.
struct Compiled(Mutex<TokenParser>);

impl Grammar for Compiled {
    fn begin(&self) -> Box<dyn Constraint> {
        // Whoever panicked while it was copied changed nothing.
        let parser = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Box::new(Following { matcher: Matcher::new(Ok(parser.deep_clone())) })
    }
}

/// An answer that follows a form.
struct Following {
    matcher: Matcher,
}

impl Constraint for Following {
    fn allowed(&mut self) -> Result<Allowed, String> {
        if self.matcher.is_stopped() {
            return match self.matcher.get_error() {
                Some(error) => Err(error),
                None => Ok(Allowed::End),
            };
        }
        let mask = self.matcher.compute_mask().map_err(|error| error.to_string())?;
        let end = self.matcher.is_accepting().map_err(|error| error.to_string())?;
        Ok(Allowed::Tokens { mask: mask.as_slice().to_vec(), end })
    }

    fn take(&mut self, id: u32) -> Result<(), String> {
        self.matcher.consume_token(id).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use crayon_engine::{Constrained, Finish, GenerateOptions, ModelSource, Sampling, Settings};

    use super::*;

    fn engine() -> Engine {
        Engine::open(&ModelSource::embedded("mini").unwrap(), &Settings::default()).unwrap()
    }

    fn answers(engine: &Engine, form: &Form, temperature: f32) -> (String, Finish) {
        let grammar = Guide::new(engine).unwrap().grammar(form).unwrap();
        let prompt = engine.text_prompt("Describe a cat in JSON:").unwrap();
        let mut session = engine.session(prompt.len() + 200).unwrap();
        session.feed(&prompt, &mut |_| ControlFlow::Continue(())).unwrap();
        let options = GenerateOptions {
            sampling: Sampling { temperature, seed: 5, ..Sampling::default() },
            max_tokens: 200,
            grammar: Some(Constrained(grammar)),
            raw: true,
            ..GenerateOptions::default()
        };
        let answer = session.generate(&options, &mut |_| ControlFlow::Continue(())).unwrap();
        (answer.text, answer.finish)
    }

    #[test]
    fn an_answer_fits_its_schema_whatever_is_drawn() {
        let engine = engine();
        let schema = json!({
            "type": "object",
            "properties": {
                "animal": {"enum": ["cat", "dog"]},
                "legs": {"type": "integer", "minimum": 0, "maximum": 8},
                "name": {"type": "string", "maxLength": 8},
            },
            "required": ["animal", "legs", "name"],
            "additionalProperties": false,
        });
        for temperature in [0.0, 1.5] {
            let (text, finish) = answers(&engine, &Form::Schema(schema.clone()), temperature);
            let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            assert_eq!(finish, Finish::End, "{text}");
            assert!(["cat", "dog"].contains(&value["animal"].as_str().unwrap()), "{text}");
            assert!(
                value["legs"].as_u64().unwrap() <= 8 && value["name"].as_str().unwrap().chars().count() <= 8
            );
            assert_eq!(value.as_object().unwrap().len(), 3);
        }
    }

    #[test]
    fn expressions_and_grammars_are_followed() {
        let engine = engine();
        let (text, finish) = answers(&engine, &Form::Regex("[0-9]{3}-[a-c]{2}".to_owned()), 1.0);
        assert!(finish == Finish::End && text.len() == 6 && text.as_bytes()[3] == b'-', "{text}");
        let (text, _) = answers(&engine, &Form::Lark("start: \"yes\" | \"no\"".to_owned()), 0.0);
        assert!(["yes", "no"].contains(&text.as_str()), "{text}");
    }

    #[test]
    fn what_is_no_form_is_refused() {
        let guide = Guide::new(&engine()).unwrap();
        for form in [
            Form::Schema(json!({"type": "elephant"})),
            Form::Regex("(".to_owned()),
            Form::Lark("start: nothing_of_this_name".to_owned()),
        ] {
            assert!(matches!(guide.grammar(&form), Err(GuideError::Form(_))), "{form:?}");
        }
        let large = Form::Regex("a".repeat(LARGEST + 1));
        assert!(matches!(guide.grammar(&large), Err(GuideError::Large { .. })));
    }
}
