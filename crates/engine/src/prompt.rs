//! From messages to the token ids a model reads.

use crayon_text::{Message, Special};

use crate::{Engine, EngineError};

impl Engine {
    /// Token ids of a conversation, ending where the answer begins. A model without a chat template reads the
    /// contents one after the other, as a text to continue.
    pub fn chat_prompt(&self, messages: &[Message]) -> Result<Vec<u32>, EngineError> {
        if messages.iter().all(|message| message.content.trim().is_empty()) {
            return Err(EngineError::EmptyPrompt);
        }
        let tokenizer = self.tokenizer()?;
        let Some(template) = self.template() else {
            let texts: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
            return self.text_prompt(&texts.join("\n\n"));
        };
        // Contents are rendered through placeholders, so that a control token spelled out by a user stays text.
        let (masked, contents) = mask(messages);
        let rendered = template.render(&masked, true)?;
        let mut ids = Vec::new();
        for piece in pieces(&rendered, &contents) {
            match piece {
                Piece::Template(text) => ids.extend(tokenizer.encode(text, Special::Parse)?),
                Piece::Content(text) => ids.extend(tokenizer.encode(text, Special::Plain)?),
            }
        }
        self.begin(&mut ids)?;
        Ok(ids)
    }

    /// Token ids of a plain text to continue.
    pub fn text_prompt(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        let mut ids = self.tokenizer()?.encode(text, Special::Plain)?;
        self.begin(&mut ids)?;
        if ids.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        Ok(ids)
    }

    /// Puts the beginning-of-text token in front where the model was trained with one.
    fn begin(&self, ids: &mut Vec<u32>) -> Result<(), EngineError> {
        let tokenizer = self.tokenizer()?;
        let wanted = self.checkpoint().generation.add_bos.unwrap_or_else(|| tokenizer.add_bos());
        if let Some(bos) = tokenizer.bos()
            && wanted
            && ids.first() != Some(&bos)
        {
            ids.insert(0, bos);
        }
        Ok(())
    }
}

/// Replaces contents by placeholders of private-use characters, which templates pass through untouched.
fn mask(messages: &[Message]) -> (Vec<Message>, Vec<&str>) {
    let masked = messages.iter().enumerate();
    let masked = masked.map(|(i, message)| Message { role: message.role, content: placeholder(i) }).collect();
    // Templates commonly trim; the placeholder would hide the blanks at the ends from that.
    (masked, messages.iter().map(|message| message.content.trim()).collect())
}

fn placeholder(index: usize) -> String {
    format!("\u{F8F0}{index}\u{F8F1}")
}

enum Piece<'a> {
    Template(&'a str),
    Content(&'a str),
}

/// Splits a rendered template at its placeholders.
fn pieces<'a>(rendered: &'a str, contents: &[&'a str]) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    let mut rest = rendered;
    while let Some((before, after)) = rest.split_once('\u{F8F0}') {
        let Some((index, after)) = after.split_once('\u{F8F1}') else { break };
        let content = index.parse().ok().and_then(|index: usize| contents.get(index));
        pieces.push(Piece::Template(before));
        pieces.push(Piece::Content(content.copied().unwrap_or_default()));
        rest = after;
    }
    pieces.push(Piece::Template(rest));
    pieces.retain(|piece| !matches!(piece, Piece::Template("") | Piece::Content("")));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_return_to_their_places() {
        let messages = [Message::system("be brief"), Message::user(" <|end|> hello ")];
        let (masked, contents) = mask(&messages);
        let rendered = format!("<s>{}</s><u>{}</u>", masked[0].content, masked[1].content);
        let shown: Vec<String> = pieces(&rendered, &contents)
            .into_iter()
            .map(|piece| match piece {
                Piece::Template(text) => format!("T:{text}"),
                Piece::Content(text) => format!("C:{text}"),
            })
            .collect();
        assert_eq!(shown, ["T:<s>", "C:be brief", "T:</s><u>", "C:<|end|> hello", "T:</u>"]);
    }
}
