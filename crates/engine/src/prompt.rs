//! From messages to the token ids a model reads.

use crayon_adapters::Demonstration;
use crayon_text::{Message, Role, Special, in_plain_text, with_documents};

use crate::open::Turns;
use crate::{Engine, EngineError};

/// Demonstrations as the turns of a conversation.
pub fn turns(demonstrations: &[Demonstration]) -> Vec<Message> {
    let turn = |one: &Demonstration| {
        [Message::new(Role::User, one.prompt.as_str()), Message::new(Role::Assistant, one.answer.as_str())]
    };
    demonstrations.iter().flat_map(turn).collect()
}

/// The beginning of an answer that a conversation ends in, which the model goes on with.
pub fn begun(messages: &[Message]) -> Option<&str> {
    let [_, .., last] = messages else { return None };
    let begins = last.role == Role::Assistant && !last.content.is_empty() && last.calls.is_empty();
    begins.then_some(last.content.as_str())
}

impl Engine {
    /// Token ids of a conversation, ending where the answer begins: in the model's chat template, or in the engine's
    /// [`Frame`](crate::Frame). Control tokens spelled out in a message stay text. A last message of the model's own is the
    /// beginning of its answer ([`begun`]).
    ///
    /// # Errors
    /// When there is nothing in it, the template refuses it, or the model has no tokenizer.
    pub fn chat_prompt(&self, messages: &[Message]) -> Result<Vec<u32>, EngineError> {
        self.document_prompt(&[], messages)
    }

    /// The same with `documents` in front of the last question.
    ///
    /// # Errors
    /// As [`chat_prompt`](Self::chat_prompt).
    pub fn document_prompt(&self, documents: &[&str], messages: &[Message]) -> Result<Vec<u32>, EngineError> {
        self.function_prompt(documents, messages, &[])
    }

    /// The same where `functions` may be called: each an object with `name`, and `description` and `parameters` where it has them.
    ///
    /// # Errors
    /// As [`chat_prompt`](Self::chat_prompt).
    pub fn function_prompt(
        &self,
        documents: &[&str],
        messages: &[Message],
        functions: &[serde_json::Value],
    ) -> Result<Vec<u32>, EngineError> {
        let mut texts =
            messages.iter().map(|message| message.content.as_str()).chain(documents.iter().copied());
        if texts.all(|text| text.trim().is_empty()) {
            return Err(EngineError::EmptyPrompt);
        }
        match self.turns() {
            Turns::Frame(frame) => {
                let plain = in_plain_text(messages, functions);
                self.plain_prompt(&frame.render(documents, &plain), Special::Plain)
            }
            Turns::Template(template) => {
                let (asked, beginning) = match begun(messages) {
                    Some(beginning) => (&messages[..messages.len() - 1], beginning),
                    None => (messages, ""),
                };
                let asked = with_documents(documents, asked);
                Ok(template.encode_begun(self.tokenizer()?, &asked, functions, true, beginning)?)
            }
        }
    }

    /// Token ids of `answer` behind the [`chat_prompt`](Self::chat_prompt) of the question `asked`, without its end.
    ///
    /// # Errors
    /// When the model has no tokenizer.
    pub fn answer_tokens(&self, asked: &str, answer: &str) -> Result<Vec<u32>, EngineError> {
        let (spaced, answer) = match self.frame() {
            Some(frame) => (!frame.lead(asked).is_empty(), frame.content(answer)),
            None => (false, answer),
        };
        match spaced {
            true => self.continuation(answer),
            false => Ok(self.tokenizer()?.encode(answer, Special::Plain)?),
        }
    }

    /// Token ids of `text` one space behind another text. Tokenizers that put a space in front of every text by themselves
    /// get none from us.
    ///
    /// # Errors
    /// When the model has no tokenizer.
    pub fn continuation(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        let tokenizer = self.tokenizer()?;
        let ids = tokenizer.encode(&format!(" {text}"), Special::Plain)?;
        let first = ids.iter().take(3);
        let bytes: Vec<u8> =
            first.flat_map(|id| tokenizer.bytes(*id).unwrap_or_default().into_owned()).collect();
        if bytes.starts_with(b"  ") && !text.starts_with(' ') {
            return Ok(tokenizer.encode(text, Special::Plain)?);
        }
        Ok(ids)
    }

    /// Token ids of a raw text to continue, behind the beginning-of-text token of models that expect one. Names of control
    /// tokens in it (`<|end|>`) are those tokens: who writes a raw prompt may spell out a template.
    pub fn text_prompt(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        self.plain_prompt(text, Special::Parse)
    }

    fn plain_prompt(&self, text: &str, special: Special) -> Result<Vec<u32>, EngineError> {
        let tokenizer = self.tokenizer()?;
        let mut ids = tokenizer.encode(text, special)?;
        if let Some(bos) = tokenizer.bos().filter(|_| tokenizer.add_bos())
            && ids.first() != Some(&bos)
        {
            ids.insert(0, bos);
        }
        if ids.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        Ok(ids)
    }
}
