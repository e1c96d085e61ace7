//! From messages to the token ids a model reads.

use crayon_text::{Message, Special};

use crate::{Engine, EngineError};

impl Engine {
    /// Token ids of a conversation, ending where the answer begins. A model without a chat template reads the
    /// contents one after the other, as a text to continue. Control tokens spelled out in a message stay text.
    pub fn chat_prompt(&self, messages: &[Message]) -> Result<Vec<u32>, EngineError> {
        if messages.iter().all(|message| message.content.trim().is_empty()) {
            return Err(EngineError::EmptyPrompt);
        }
        match self.template() {
            Some(template) => Ok(template.encode(self.tokenizer()?, messages, true)?),
            None => {
                let texts: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
                self.plain_prompt(&texts.join("\n\n"), Special::Plain)
            }
        }
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
