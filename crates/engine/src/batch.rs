//! Passes of the network over several sessions at once, so that the weights are read once for all of them.
//!
//! A pass has the next token of every session that writes, and one chunk of one session that reads: those who read take turns, who comes
//! anew before the others, and nobody's stream waits longer than a chunk takes. Distilling is reading, too. How a text is cut into chunks does not depend on the
//! company, so that no answer does.

use crayon_model::{Scratch, Step};
use crayon_pot::distillable;

use crate::{Engine, EngineError, Session, guess};

/// The most tokens of a text that a pass reads beside others. Twice as many would be read a tenth faster, and stall streams twice as long.
const CHUNK: usize = 128;

/// Rows with logits of a pass with guesses.
const GUESSED: usize = guess::MOST + 1;

/// Sessions of one model that go on together.
pub struct Batch<'e> {
    engine: &'e Engine,
    scratch: Scratch,
    /// Counts passes, so that those who read take turns.
    turn: usize,
    /// Whether the last chunk was a newcomer's, out of turn. The next one is not, so that newcomers hold nobody up for ever.
    favoured: bool,
}

impl<'e> Batch<'e> {
    /// No passes yet.
    pub fn new(engine: &'e Engine) -> Batch<'e> {
        Batch { engine, scratch: Scratch::new(), turn: 0, favoured: false }
    }

    /// About the bytes of the buffers of passes over `sessions` at once.
    pub fn scratch_for(engine: &Engine, sessions: usize) -> usize {
        let decoder = engine.decoder();
        let rows = CHUNK.min(decoder.pass_rows()) + sessions;
        decoder.scratch_bytes(rows, sessions.max(GUESSED), distillable(engine.spec()))
            + guessed_logits(engine)
    }

    /// Bytes of the buffers that all of them share.
    pub fn scratch_bytes(&self) -> usize {
        self.scratch.bytes()
    }

    /// One pass over the sessions that have something to read. Says of each, in the same order, whether it failed.
    pub fn step(&mut self, sessions: &mut [&mut Session<'e>]) -> Vec<Result<(), EngineError>> {
        let reading = |session: &Session<'_>| session.unread() > 1;
        let readers: Vec<usize> = (0..sessions.len()).filter(|&at| reading(sessions[at])).collect();
        let begins = |at: &usize| sessions[*at].fed().is_some_and(|fed| fed.done == 0);
        let newcomer = readers.iter().copied().find(begins).filter(|_| !self.favoured);
        let reader = newcomer.or_else(|| {
            self.turn = self.turn.wrapping_add(1);
            readers.get(self.turn % readers.len().max(1)).copied()
        });
        self.favoured = newcomer.is_some();
        let most = CHUNK.min(self.engine.decoder().pass_rows());
        let mut of: Vec<usize> = (0..sessions.len()).collect();
        of.retain(|&at| sessions[at].unread() == 1 || reader == Some(at));
        // In company the rows that guesses take are worth more to the others.
        let guess = of.len() == 1;
        pass(self.engine, &mut self.scratch, sessions, &of, most, guess)
    }
}

/// Bytes of the logits that a session has beside its own after a pass with guesses.
fn guessed_logits(engine: &Engine) -> usize {
    guess::MOST * engine.spec().vocab * size_of::<f32>()
}

/// About the bytes of the buffers of a session alone.
pub(crate) fn scratch_alone(engine: &Engine) -> usize {
    let decoder = engine.decoder();
    decoder.scratch_bytes(decoder.pass_rows(), GUESSED, distillable(engine.spec())) + guessed_logits(engine)
}

/// A pass over the one session, of as many rows as are worth it.
pub(crate) fn alone(session: &mut Session<'_>, scratch: &mut Scratch) -> Result<(), EngineError> {
    let engine = session.engine();
    let most = engine.decoder().pass_rows();
    pass(engine, scratch, &mut [session], &[0], most, true).pop().unwrap_or(Ok(()))
}

/// A pass over the sessions `of`, in ascending order; what is guessed to follow is read where it `may` be.
fn pass<'e>(
    engine: &'e Engine,
    scratch: &mut Scratch,
    sessions: &mut [&mut Session<'e>],
    of: &[usize],
    most: usize,
    may: bool,
) -> Vec<Result<(), EngineError>> {
    let mut results: Vec<Result<(), EngineError>> = sessions.iter().map(|_| Ok(())).collect();
    let mut steps: Vec<Step<'_>> = Vec::with_capacity(of.len());
    let mut taken = Vec::with_capacity(of.len());
    for (at, session) in sessions.iter_mut().enumerate().filter(|(at, _)| of.contains(at)) {
        match session.next_step(most, may) {
            Ok(Some(step)) => {
                steps.push(step);
                taken.push(at);
            }
            Ok(None) => {}
            Err(error) => results[at] = Err(error),
        }
    }
    if steps.is_empty() {
        return results;
    }
    let ran = engine.decoder().forward(engine.threads(), &mut steps, scratch).map(|_| ());
    drop(steps);
    match ran {
        Ok(()) => {
            for (step, &at) in taken.iter().enumerate() {
                results[at] = sessions[at].absorb(scratch, step);
            }
        }
        Err(error) => match taken[..] {
            [at] => results[at] = Err(error.into()),
            // Nothing has changed yet: each alone, so that it fails only for whom it has to.
            _ => {
                for at in taken {
                    results[at] = alone(sessions[at], scratch);
                }
            }
        },
    }
    results
}
