//! How the events of an answer are printed: text to stdout as it comes, everything else to stderr.

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;

use crayon_answer::{AnswerError, By, Event, Note, Outcome, Plan};
use crayon_engine::Finish;

use super::paper::Paper;
use crate::failure::Result;
use crate::output::Output;
use crate::progress::Counting;
use crate::spelling::spell;
use crate::{interrupt, show};

/// An answer that is being printed.
pub(crate) struct Shown<'o> {
    output: &'o Output,
    /// Whether only the outcome is printed, by others.
    silent: bool,
    /// Drawn while there is nothing to print yet.
    waiting: Option<Counting>,
    /// Whether text was printed: from then on nothing is drawn into its line.
    begun: bool,
    failed: Option<io::Error>,
    /// Whether a server's text comes as it is written.
    live: bool,
    /// Where somebody reads the answer at a terminal.
    paper: Option<Paper>,
}

impl<'o> Shown<'o> {
    /// Prints the text of an answer as it comes, unless `silent`.
    pub(crate) fn new(silent: bool, output: &'o Output) -> Shown<'o> {
        let paper = (!silent && io::stdout().is_terminal()).then(|| {
            let size = console::Term::stdout().size_checked();
            Paper::new(size.map_or(0, |(_, columns)| usize::from(columns)), output.colours_results())
        });
        // A cut answer can be taken back in words at a terminal; a pipe, and somebody who wants no notes, get it when it is
        // whole.
        let live = paper.is_some() && output.notes();
        Shown { output, silent, waiting: None, begun: false, failed: None, live, paper }
    }

    /// Whether a server's text may come as it is written.
    pub(crate) fn live(&self) -> bool {
        self.live
    }

    /// The device begins to read.
    pub(crate) fn reading(&mut self) {
        self.waiting = Some(Counting::new("reading", "tokens", self.output));
    }

    /// Prints an event. Ctrl-C and a closed stdout stop the answer.
    pub(crate) fn event(&mut self, event: Event) -> ControlFlow<()> {
        match event {
            Event::Reading(fed) => {
                let bar = self.waiting.get_or_insert_with(|| Counting::new("reading", "tokens", self.output));
                bar.at(fed.done, fed.total);
            }
            Event::Text(text) if !self.silent => {
                (self.waiting, self.begun) = (None, true);
                let text = match &mut self.paper {
                    Some(paper) => paper.write(&harmless(&text)),
                    None => text,
                };
                self.failed = self.output.piece(&text).err();
            }
            Event::Discard if self.live => {
                let rest = self.rest();
                self.failed = self.output.piece(&format!("{rest}\n")).err();
                self.begun = false;
            }
            Event::Note(told) => {
                self.waiting = None;
                note(&told, self.output);
            }
            Event::HeldBack | Event::Waiting if !self.begun => {
                self.waiting.get_or_insert_with(|| Counting::new("waiting for the answer", "", self.output));
            }
            Event::Read => self.waiting = None,
            Event::Text(_) | Event::Token(_) | Event::Discard | Event::HeldBack | Event::Waiting => {}
        }
        if self.failed.is_some() { ControlFlow::Break(()) } else { interrupt::flow() }
    }

    /// What a terminal still has to get of what was written.
    fn rest(&mut self) -> String {
        self.paper.as_mut().map_or_else(String::new, Paper::end)
    }

    /// The outcome, unless the text could not be printed.
    pub(crate) fn end(mut self, outcome: Result<Outcome, AnswerError>) -> Result<Outcome> {
        self.waiting = None;
        let rest = self.rest();
        if !rest.is_empty() && self.failed.is_none() {
            self.failed = self.output.piece(&rest).err();
        }
        match self.failed {
            Some(error) => Err(error.into()),
            None => Ok(outcome?),
        }
    }
}

/// Says what is worth knowing before an answer.
pub(crate) fn notes(plan: &Plan, output: &Output) {
    plan.notes.iter().for_each(|told| note(told, output));
}

/// Says one thing worth knowing.
pub(crate) fn note(told: &Note, output: &Output) {
    let text = spell(&told.phrase());
    match told {
        Note::Cached(_) => output.detail(&text),
        _ => output.note(&text),
    }
}

/// Says what the reader of an answer should know about its end, and who gave it where that is not the device as always.
/// `always` says what a pot did even where it did nothing for this answer.
pub(crate) fn explain(outcome: &Outcome, always: bool, output: &Output) {
    let reason = &outcome.decision.reason;
    let written = match &outcome.by {
        By::Server(answer) => {
            output.note(&format!("answered by {} on the server: {reason}", answer.model));
            if answer.finish == "length" {
                output.note("the server stopped at the longest answer allowed");
            }
            return;
        }
        By::Device(written) => written,
    };
    output.detail(&format!("answered on the device: {reason}"));
    match written.answer.finish {
        Finish::Length => {
            let tokens = show::counted(written.answer.tokens.len(), "token");
            output.note(&format!("stopped after {tokens} (--max-tokens)"));
        }
        Finish::Full => output.note("stopped: the model's context is full"),
        Finish::End if written.answer.text.trim().is_empty() => {
            output.note("the model ended its answer at once");
        }
        Finish::End | Finish::Stop | Finish::Cancelled => {}
    }
    if let Some(told) = &outcome.note {
        note(told, output);
    }
    let Some(distilled) = written.distilled.as_ref().filter(|distilled| always || distilled.now > 0) else {
        return;
    };
    output.note(&format!(
        "read {} tokens through a pot of {} entries ({}, {}): {} kept, {} distilled away in {}",
        show::count(distilled.read),
        show::count(distilled.entries),
        distilled.policy,
        show::bytes(distilled.bytes as u64),
        show::count(distilled.kept),
        show::count(distilled.read - distilled.kept),
        show::counted(distilled.steps, "step"),
    ));
}

/// Text for a terminal: nothing in it may move the cursor or change the colours.
fn harmless(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_cannot_steer_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb\r\n\tc\u{9b}1m漢"), "a[2Jb\n\tc1m漢");
    }
}
