//! Frames: a conversation as plain text, for models that were never taught a format of chats.

use crate::chat::{Message, Role};

/// A way to write a conversation down so that what follows is an answer.
///
/// System texts and documents stand in front as they are, then turn after turn with a blank line between, each under its
/// label. The last label is the answer's.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is called.
    pub name: &'static str,
    /// What a turn looks like, in one line.
    pub summary: &'static str,
    /// What stands in front of a conversation without a system text.
    opening: &'static str,
    /// The label of what the person says.
    question: &'static str,
    /// What stands between the two parts of a turn.
    inner: &'static str,
    /// The label of what the model says.
    answer: &'static str,
    /// What stands between that label and the answer: a space or nothing.
    lead: &'static str,
    /// Texts that begin another turn, and so end an answer.
    stops: &'static [&'static str],
}

/// All frames, the usual one first.
pub static FRAMES: &[Frame] = &[
    Frame {
        name: "qa",
        summary: "Question: … Answer: …",
        opening: "",
        question: "Question: ",
        inner: "\n",
        answer: "Answer:",
        lead: " ",
        stops: &["\nQuestion:", "\nAnswer:"],
    },
    Frame {
        name: "dialogue",
        summary: "User: … Assistant: …",
        opening: "",
        question: "User: ",
        inner: "\n",
        answer: "Assistant:",
        lead: " ",
        stops: &["\nUser:", "\nAssistant:"],
    },
    Frame {
        name: "alpaca",
        summary: "### Instruction: … ### Response: …",
        opening: "Below is an instruction that describes a task. Write a response that appropriately completes the request.",
        question: "### Instruction:\n",
        inner: "\n\n",
        answer: "### Response:\n",
        lead: "",
        stops: &["\n### Instruction:", "\n### Response:"],
    },
    Frame {
        name: "plain",
        summary: "one text after the other, to go on with",
        opening: "",
        question: "",
        inner: "",
        answer: "",
        lead: " ",
        stops: &[],
    },
];

impl Frame {
    /// The frame called `name`.
    pub fn named(name: &str) -> Option<&'static Frame> {
        FRAMES.iter().find(|frame| frame.name == name)
    }

    /// Whether turns have labels, so that it shows where an answer ends.
    pub fn has_turns(&self) -> bool {
        !self.answer.is_empty()
    }

    /// Texts that end an answer, because they begin another turn.
    pub fn stops(&self) -> &'static [&'static str] {
        self.stops
    }

    /// The conversation up to where the answer begins, with `documents` in front of its last question.
    pub fn render(&self, documents: &[&str], messages: &[Message]) -> String {
        const BLANK_LINE: &str = "\n\n";
        let mut text = String::new();
        let mut push = |between: &str, parts: &[&str]| {
            if !text.is_empty() {
                text.push_str(between);
            }
            text.extend(parts.iter().copied());
        };
        if !self.opening.is_empty() && messages.iter().all(|message| message.role != Role::System) {
            push(BLANK_LINE, &[self.opening]);
        }
        let last = messages.iter().rposition(|message| message.role == Role::User).unwrap_or(messages.len());
        // What was asked and is not yet answered.
        let mut asked: Option<&str> = None;
        for (at, message) in messages.iter().enumerate() {
            let content = self.content(&message.content);
            if at == last {
                documents.iter().for_each(|document| push(BLANK_LINE, &[document]));
            }
            match (message.role, asked) {
                (Role::System, _) => push(BLANK_LINE, &[content]),
                (Role::User | Role::Tool, _) => push(BLANK_LINE, &[self.question, content]),
                (Role::Assistant, Some(asked)) => {
                    push(self.inner, &[self.answer, self.lead(asked), content]);
                }
                (Role::Assistant, None) => push(BLANK_LINE, &[self.answer, self.lead(""), content]),
            }
            asked = (message.role == Role::User).then_some(content);
        }
        if asked.is_some() {
            push(self.inner, &[self.answer]);
        }
        text
    }

    /// What stands in front of an answer to `asked`: a space or nothing.
    pub fn lead(&self, asked: &str) -> &'static str {
        let given = !self.has_turns() && (asked.is_empty() || asked.ends_with(char::is_whitespace));
        if given { "" } else { self.lead }
    }

    /// A message as it stands in the frame: blanks around it would keep it from its labels.
    pub fn content<'t>(&self, text: &'t str) -> &'t str {
        if self.has_turns() { text.trim() } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(name: &str, documents: &[&str], talk: &[(Role, &str)]) -> String {
        let messages: Vec<Message> = talk.iter().map(|(role, text)| Message::new(*role, *text)).collect();
        Frame::named(name).unwrap().render(documents, &messages)
    }

    const TALK: [(Role, &str); 4] =
        [(Role::System, "Be brief."), (Role::User, "one? "), (Role::Assistant, " 1"), (Role::User, "two?")];

    #[test]
    fn turns_have_labels_and_documents_stand_before_the_last_question() {
        assert_eq!(rendered("qa", &[], &TALK[1..2]), "Question: one?\nAnswer:");
        assert_eq!(
            rendered("qa", &["First.", "Second."], &TALK),
            "Be brief.\n\nQuestion: one?\nAnswer: 1\n\nFirst.\n\nSecond.\n\nQuestion: two?\nAnswer:"
        );
        assert_eq!(
            rendered("dialogue", &[], &TALK[1..]),
            "User: one?\nAssistant: 1\n\nUser: two?\nAssistant:"
        );
        assert_eq!(
            rendered("alpaca", &[], &TALK),
            "Be brief.\n\n### Instruction:\none?\n\n### Response:\n1\n\n### Instruction:\ntwo?\n\n### Response:\n"
        );
        assert!(rendered("alpaca", &[], &TALK[1..]).starts_with("Below is an instruction"));
    }

    #[test]
    fn plain_puts_contents_one_after_the_other_as_they_are() {
        assert_eq!(rendered("plain", &["First."], &TALK[3..]), "First.\n\ntwo?");
        assert_eq!(rendered("plain", &[], &TALK[1..]), "one?  1\n\ntwo?");
        assert_eq!(rendered("plain", &[], &[(Role::User, "say"), (Role::Assistant, "it")]), "say it");
    }

    #[test]
    fn every_frame_takes_any_order_of_turns() {
        let roles = [Role::System, Role::User, Role::Assistant];
        for frame in FRAMES {
            for (a, b, c) in (0..27).map(|i| (roles[i % 3], roles[i / 3 % 3], roles[i / 9])) {
                let text = rendered(frame.name, &["d"], &[(a, "x"), (b, "y"), (c, "z")]);
                let places = ["x", "y", "z"].map(|part| text.rfind(part).unwrap());
                assert!(places.is_sorted(), "{text:?}");
                assert_eq!(text.ends_with(frame.answer), c == Role::User || !frame.has_turns());
            }
        }
    }

    #[test]
    fn what_begins_another_turn_ends_an_answer() {
        for frame in FRAMES.iter().filter(|frame| frame.has_turns()) {
            let text = frame.render(&[], &TALK.map(|(role, text)| Message::new(role, text)));
            assert!(frame.stops().iter().all(|stop| text.contains(stop)), "{}", frame.name);
        }
        assert!(Frame::named("plain").unwrap().stops().is_empty());
        assert_eq!(Frame::named("other"), None);
    }
}
