//! Going back in a conversation: another answer to the last message, another message in its place, or neither.

use super::{Chat, Step};
use crate::failure::{Result, mistake};
use crate::output::Output;
use crate::show;

impl Chat<'_> {
    /// Another answer to the last message.
    pub(super) fn retry(&mut self, output: &Output) -> Result<Step> {
        let question = self.question("/retry answers the last message again")?;
        if self.request.sampling(self.engine)?.temperature == 0.0 {
            output.aside("at temperature 0 the answer is the same each time; /temperature 0.7 draws another");
        }
        self.answer_instead(&question, output)?;
        Ok(Step::Next)
    }

    /// Answers the last message again with a memory that was read for it: what an earlier question left out may be what it asks for.
    pub(super) fn reread(&mut self, output: &Output) -> Result<Step> {
        let question = self.question("/reread answers the last message again")?;
        if self.session.pot().distillations() == 0 {
            return Err(mistake("the whole conversation is in memory", "/retry draws another answer"));
        }
        self.anew = true;
        let answered = self.answer_instead(&question, output);
        self.anew = false;
        answered?;
        Ok(Step::Next)
    }

    /// Answers `text` in place of the last message; without a text, has somebody edit it.
    pub(super) fn edit(&mut self, text: &str, output: &Output) -> Result<Step> {
        let question = self.question("/edit changes the last message")?;
        match text {
            "" => Ok(Step::Edit(question)),
            text => {
                self.answer_instead(text, output)?;
                Ok(Step::Next)
            }
        }
    }

    /// Forgets the last message and its answer.
    pub(super) fn undo(&mut self, output: &Output) -> Result<Step> {
        let question = self.question("/undo takes back the last message and its answer")?;
        self.conversation.take_back_turn();
        self.last = None;
        let beginning: String = question.chars().take(40).collect();
        let more = if beginning.len() < question.len() { "…" } else { "" };
        output.aside(&format!("taken back: {beginning}{more}"));
        Ok(Step::Next)
    }

    /// Tokens of the conversation, and those there is room for.
    pub(super) fn tokens(&self, output: &Output) {
        let held = self.session.tokens().len();
        let room = match self.session.pot().limit() {
            Some(limit) => format!("of {}", show::count(limit)),
            None => "read; what outgrows the pot is distilled".to_owned(),
        };
        output.aside(&format!("{} tokens {room}", show::count(held)));
    }

    /// The last question and answer become this question and its answer, or stay where there is none.
    pub(super) fn answer_instead(&mut self, question: &str, output: &Output) -> Result {
        let before = self.conversation.clone();
        self.conversation.take_back_turn();
        let answered = self.answer(question, output);
        if answered.is_err() {
            self.conversation = before;
        }
        answered
    }

    fn question(&self, what: &str) -> Result<String> {
        let question = self.conversation.last_question().map(str::to_owned);
        question.ok_or_else(|| mistake("there is no message yet", what))
    }
}
