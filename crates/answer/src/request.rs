//! What is asked for.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use crayon_engine::adapters::Demonstration;
use crayon_engine::{
    Constrained, Engine, EngineError, KeyWeights, Sampling, SamplingOverrides, begun, turns,
};
use crayon_hybrid::Question;
use crayon_text::{Message, Role, with_documents};

use crate::memory::MemoryRequest;
use crate::plan::common;

/// What the answer follows.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A conversation; its last message is the question.
    Chat(Vec<Message>),
    /// A plain text to go on with. Its control tokens are read as such.
    Text(String),
}

/// A request for one answer. What is `None` or empty is left to the model's makers, or to the usual.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What the answer follows.
    pub input: Input,
    /// Examples shown as turns behind the instructions and in front of the conversation, on the device alone: a server is not told
    /// them.
    pub demonstrations: Vec<Demonstration>,
    /// Texts in front of the question that are never distilled away.
    pub pinned: Vec<String>,
    /// Texts in front of the question, behind those that are pinned.
    pub documents: Vec<String>,
    /// How tokens are drawn.
    pub sampling: SamplingOverrides,
    /// Fixes what is drawn.
    pub seed: Option<u64>,
    /// Longest answer in tokens.
    pub max_tokens: Option<usize>,
    /// The answer ends before any of these.
    pub stop: Vec<String>,
    /// So many of the likeliest tokens are told with each token of the answer.
    pub likeliest: usize,
    /// The form of the answer, where it is given; only the device follows it.
    pub grammar: Option<Constrained>,
    /// Functions that the answer may call: objects with `name`, and `description` and `parameters` where they have them.
    pub functions: Vec<serde_json::Value>,
    /// The memory it is read through.
    pub memory: MemoryRequest,
    /// Whether what was read of the documents is kept for other questions about them.
    pub cache: bool,
    /// How much words of the question count: bytes of it, and a weight of 0 or more. All others have 1.
    pub weights: Vec<(Range<usize>, f32)>,
}

impl Request {
    /// A request for an answer to `input` with everything else as usual.
    pub fn new(input: Input) -> Request {
        Request {
            input,
            demonstrations: Vec::new(),
            pinned: Vec::new(),
            documents: Vec::new(),
            sampling: SamplingOverrides::default(),
            seed: None,
            max_tokens: None,
            stop: Vec::new(),
            likeliest: 0,
            grammar: None,
            functions: Vec::new(),
            memory: MemoryRequest::default(),
            cache: false,
            weights: Vec::new(),
        }
    }

    /// A request for an answer to one question.
    pub fn asking(question: impl Into<String>) -> Request {
        Request::new(Input::Chat(vec![Message::new(Role::User, question)]))
    }

    /// The question: the last message, or the text to go on with.
    pub fn query(&self) -> &str {
        match &self.input {
            Input::Text(text) => text,
            Input::Chat(messages) => last_of_user(messages).map_or("", |message| message.content.as_str()),
        }
    }

    /// Whether the answer's beginning is given: a last message of the model's own.
    pub fn is_begun(&self) -> bool {
        matches!(&self.input, Input::Chat(messages) if begun(messages).is_some())
    }

    /// Whether documents and pinned texts have a question to stand in front of, where there are any.
    pub(crate) fn has_place_for_texts(&self) -> bool {
        match &self.input {
            Input::Text(_) => true,
            Input::Chat(messages) => {
                self.pinned.is_empty() && self.documents.is_empty() || last_of_user(messages).is_some()
            }
        }
    }

    /// What a server would be asked; `None` for a text to go on with, which a server of conversations does not take.
    pub fn question(&self) -> Option<Question> {
        let Input::Chat(_) = &self.input else { return None };
        Some(Question {
            messages: with_documents(&self.texts(true), &self.asked(self.query())),
            max_tokens: self.max_tokens,
            temperature: self.sampling.temperature,
            top_p: self.sampling.top_p,
            presence_penalty: self.sampling.presence_penalty,
            frequency_penalty: self.sampling.frequency_penalty,
            seed: self.seed,
            stop: self.stop.clone(),
        })
    }

    /// Token ids of the whole prompt as the device reads it.
    ///
    /// # Errors
    /// When it is empty, or the model has no tokenizer.
    pub fn prompt(&self, engine: &Engine) -> Result<Vec<u32>, EngineError> {
        self.tokens(engine, self.query(), true)
    }

    /// Token ids of the whole prompt, with `query` in the place of the question, and with or without the documents.
    pub(crate) fn tokens(
        &self,
        engine: &Engine,
        query: &str,
        documents: bool,
    ) -> Result<Vec<u32>, EngineError> {
        match &self.input {
            Input::Text(_) => {
                let mut parts = self.texts(documents);
                parts.push(query);
                engine.text_prompt(&parts.join("\n\n"))
            }
            Input::Chat(_) => {
                let mut messages = self.asked(query);
                let instructions = messages.iter().take_while(|message| message.role == Role::System).count();
                messages.splice(instructions..instructions, turns(&self.demonstrations));
                engine.function_prompt(&self.texts(documents), &messages, &self.functions)
            }
        }
    }

    /// The weights of the question's words by places of `prompt`, this request's own.
    ///
    /// # Errors
    /// As [`Request::prompt`].
    pub(crate) fn key_weights(&self, engine: &Engine, prompt: &[u32]) -> Result<KeyWeights, EngineError> {
        let query = self.query();
        // Where the prompt goes another way than one whose question ends there.
        let end_of = |question: &str| -> Result<u32, EngineError> {
            Ok(common(prompt, &self.tokens(engine, question, true)?) as u32)
        };
        let mut places = Vec::new();
        for (range, weight) in &self.weights {
            let start = match query[..range.start].trim_end() {
                "" => end_of("?")?,
                before => end_of(before)?,
            };
            // Behind the last word the prompt would go on alike.
            let end = match query[range.end..].trim() {
                "" => end_of(&format!("{query} x"))?,
                _ => end_of(&query[..range.end])?,
            };
            places.push((start..end, *weight));
        }
        Ok(KeyWeights::new(places))
    }

    /// Pinned texts, with or without the documents behind them.
    fn texts(&self, documents: bool) -> Vec<&str> {
        let documents = if documents { self.documents.as_slice() } else { &[] };
        self.pinned.iter().chain(documents).map(String::as_str).collect()
    }

    /// The conversation with `query` in the place of the question.
    fn asked(&self, query: &str) -> Vec<Message> {
        let Input::Chat(messages) = &self.input else { return Vec::new() };
        let mut messages = messages.clone();
        if let Some(message) = messages.iter_mut().rfind(|message| message.role == Role::User) {
            query.clone_into(&mut message.content);
        }
        messages
    }

    /// How tokens are drawn: as asked for, else as the model's makers suggest, else plain and repeatable.
    ///
    /// # Errors
    /// When a setting is out of range.
    pub fn sampling(&self, engine: &Engine) -> Result<Sampling, EngineError> {
        let mut wanted = self.sampling.clone();
        if self.grammar.is_some() {
            // A form repeats itself: quotes, commas, braces.
            wanted.repetition_penalty = wanted.repetition_penalty.or(Some(1.0));
        }
        let mut sampling = wanted.or_suggested(&engine.checkpoint().generation);
        match self.seed {
            Some(seed) => sampling.seed = seed,
            // Without chance there is nothing to vary.
            None if sampling.temperature > 0.0 => sampling.seed = any_seed(),
            None => {}
        }
        sampling.check()?;
        Ok(sampling)
    }
}

fn last_of_user(messages: &[Message]) -> Option<&Message> {
    messages.iter().rfind(|message| message.role == Role::User)
}

/// A seed nobody chose. Six digits, because it is shown so that the answer can be had again.
fn any_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(since.subsec_nanos() ^ std::process::id().rotate_left(16)) % 1_000_000
}

#[cfg(test)]
mod tests {
    use crayon_engine::{ModelSource, Settings};

    use super::*;

    #[test]
    fn documents_come_before_the_question_with_blank_lines_between() {
        let ask = |pinned: &[&str], documents: &[&str]| Request {
            pinned: pinned.iter().map(|&text| text.to_owned()).collect(),
            documents: documents.iter().map(|&text| text.to_owned()).collect(),
            ..Request::new(Input::Chat(vec![
                Message::new(Role::System, "be short"),
                Message::new(Role::User, "which?"),
            ]))
        };
        let whole = ask(&["zero"], &["one", "two"]);
        assert_eq!(whole.question().unwrap().messages[1].content, "zero\n\none\n\ntwo\n\nwhich?");
        assert_eq!((whole.texts(false), &*whole.asked("?")[1].content), (vec!["zero"], "?"));
        assert_eq!(ask(&[], &[]).question().unwrap().messages[1].content, "which?");
        assert_eq!(whole.query(), "which?");
        assert!(Request::new(Input::Text("on".to_owned())).question().is_none());
    }

    #[test]
    fn demonstrations_stand_behind_the_instructions_and_stay_here() {
        let engine = Engine::open(&ModelSource::embedded("mini").unwrap(), &Settings::default()).unwrap();
        let talk = |turns: &[(Role, &str)]| {
            Input::Chat(turns.iter().map(|(role, text)| Message::new(*role, *text)).collect())
        };
        let (rule, question) = ((Role::System, "be short"), (Role::User, "which?"));
        let (asked, told) = ((Role::User, "one?"), (Role::Assistant, "1"));
        let demonstrations = vec![Demonstration { prompt: "one?".to_owned(), answer: "1".to_owned() }];
        let request = Request { demonstrations, ..Request::new(talk(&[rule, question])) };
        let spelled = Request::new(talk(&[rule, asked, told, question]));
        assert_eq!(request.prompt(&engine).unwrap(), spelled.prompt(&engine).unwrap());
        assert_eq!(request.question(), Request::new(talk(&[rule, question])).question());
    }
}
