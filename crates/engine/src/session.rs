//! One conversation: the tokens read so far, their keys and values, and the logits that follow them.

use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crayon_model::{Adapter, Scratch, Step};
use crayon_pot::{KeyWeights, Network, Owner, Pot, PotError, Reading};

use crate::{Engine, EngineError, batch};

/// A conversation with a model.
pub struct Session<'e> {
    engine: &'e Engine,
    pub(crate) pot: Pot,
    pub(crate) tokens: Vec<u32>,
    pub(crate) logits: Vec<f32>,
    pub(crate) pins: Vec<Range<u32>>,
    scratch: Scratch,
    adapter: Option<Arc<dyn Adapter>>,
    reading: Option<Unread>,
    /// What is thought to follow the token that is read next.
    guess: Vec<u32>,
    /// Tokens that were read as a guess, the next one first: in the pot, and not yet part of the text. The last logits are those after each
    /// of them, and those in front of these are the text's.
    ahead: VecDeque<u32>,
}

/// What a session is reading.
struct Unread {
    reading: Reading,
    /// Its first tokens that were read before and have to be read once more.
    again: usize,
}

/// Progress of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed {
    /// Tokens read of this call.
    pub done: usize,
    /// Tokens of this call.
    pub total: usize,
}

impl<'e> Session<'e> {
    pub(crate) fn new(engine: &'e Engine, pot: Pot) -> Session<'e> {
        Session {
            engine,
            pot,
            tokens: Vec::new(),
            logits: Vec::new(),
            pins: Vec::new(),
            scratch: Scratch::new(),
            adapter: engine.adapter().cloned(),
            reading: None,
            guess: Vec::new(),
            ahead: VecDeque::new(),
        }
    }

    /// Answers through `adapter` from now on. What was read with another adapter is forgotten.
    pub fn set_adapter(&mut self, adapter: Option<Arc<dyn Adapter>>) {
        let same = match (&self.adapter, &adapter) {
            (None, None) => true,
            (Some(now), Some(next)) => Arc::ptr_eq(now, next) || now.fingerprint() == next.fingerprint(),
            _ => false,
        };
        if same {
            return;
        }
        self.forget();
        self.adapter = adapter;
    }

    /// The model.
    pub fn engine(&self) -> &'e Engine {
        self.engine
    }

    /// Everything read and written so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Tokens this session can hold; `None` when a pot makes room again and again.
    pub fn limit(&self) -> Option<usize> {
        self.pot.limit()
    }

    /// Logits after the last token, `[vocab]`; empty before anything was read.
    pub fn logits(&self) -> &[f32] {
        let row = self.engine.spec().vocab.min(self.logits.len());
        let start = self.logits.len() - row * (self.ahead.len() + 1);
        &self.logits[start..start + row]
    }

    /// The key-value memory: what is kept of what was read.
    pub fn pot(&self) -> &Pot {
        &self.pot
    }

    /// Bytes taken by keys and values.
    pub fn kv_bytes(&self) -> usize {
        self.pot.slab().bytes()
    }

    /// Bytes it takes with everything beside its keys and values, but for buffers of passes.
    pub fn bytes(&self) -> usize {
        let entries = self.pot.options().map(|options| options.entries);
        self.engine.session_bytes(entries.or(self.limit()).unwrap_or(0), entries.is_some())
    }

    /// About the bytes of the buffers of its passes, where it makes them alone.
    pub fn scratch_for(engine: &Engine) -> usize {
        batch::scratch_alone(engine)
    }

    /// Whose keys and values these are.
    pub(crate) fn owner(&self) -> Owner {
        self.engine.owner(self.adapter.as_ref().map(|adapter| adapter.fingerprint()))
    }

    /// Forgets everything read; what is pinned stays so.
    pub fn forget(&mut self) {
        self.reading = None;
        self.ahead.clear();
        self.pot.clear();
        self.tokens.clear();
        self.logits.clear();
    }

    /// Forgets everything after the first `len` tokens. A text that was distilled beyond that place is forgotten whole.
    pub fn rewind(&mut self, len: usize) {
        self.take_back();
        if len >= self.tokens.len() {
            return;
        }
        self.reading = None;
        if !self.pot.rewind(len) {
            return self.forget();
        }
        self.tokens.truncate(len);
        self.logits.clear();
    }

    /// Makes the tokens at these places stay in the memory, instead of those pinned before.
    ///
    /// # Errors
    /// When the pot is too small for them.
    pub fn pin(&mut self, places: Vec<Range<u32>>) -> Result<(), EngineError> {
        self.pot.pin(self.engine.spec(), places.clone())?;
        self.pins = places;
        Ok(())
    }

    /// Makes words of the text count more, or less, in every attention, instead of those that did before: weights by places of the text.
    /// What was read from the first such place on is forgotten.
    pub fn weigh(&mut self, weights: KeyWeights) {
        self.take_back();
        self.pot.weigh(weights);
        if self.pot.tokens_read() < self.tokens.len() {
            self.reading = None;
            self.tokens.truncate(self.pot.tokens_read());
            self.logits.clear();
        }
    }

    /// Lets `catalyst` say what matters when the memory is distilled: token ids, for example of the question.
    ///
    /// # Errors
    /// When the pot is too small for it.
    pub fn set_catalyst(&mut self, catalyst: Vec<u32>) -> Result<(), EngineError> {
        Ok(self.pot.set_catalyst(self.engine.spec(), catalyst)?)
    }

    /// `ln p` of `tokens` after what was read; they leave no trace. A pot too full for them is distilled first.
    ///
    /// # Errors
    /// When nothing was read, a session without a pot is full, or the network fails.
    pub fn likelihood(&mut self, tokens: &[u32]) -> Result<f32, EngineError> {
        self.take_back();
        if self.logits.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        let mut network = Network {
            decoder: self.engine.decoder(),
            pool: self.engine.threads(),
            adapter: self.adapter.as_deref(),
            scratch: &mut self.scratch,
        };
        self.pot.likelihood(&mut network, tokens, &self.logits).map_err(|error| self.engine.pot_error(error))
    }

    /// Makes `prompt` the whole text of this session, reading only what it does not share with what was read
    /// before. Returns the number of tokens read anew.
    pub fn set_text(
        &mut self,
        prompt: &[u32],
        watch: &mut dyn FnMut(Fed) -> ControlFlow<()>,
    ) -> Result<usize, EngineError> {
        let read = self.begin_text(prompt)?;
        self.read_out(watch)?;
        Ok(read)
    }

    /// Begins what [`set_text`](Self::set_text) does; passes are still to be run ([`pass`](Self::pass), [`Batch`](crate::Batch)).
    ///
    /// # Errors
    /// When the session is too small for it.
    pub fn begin_text(&mut self, prompt: &[u32]) -> Result<usize, EngineError> {
        if !self.pot.expect(prompt.len()) {
            self.forget();
        }
        let shared = self.tokens.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        // The last token is read again, because its logits are wanted.
        self.rewind(shared.min(prompt.len().saturating_sub(1)));
        let kept = self.tokens.len();
        self.begin(&prompt[kept..], prompt.len(), false)?;
        Ok(prompt.len() - kept)
    }

    /// Reads `tokens`. `watch` is told after every pass and may stop the reading; what was read until then stays.
    pub fn feed(
        &mut self,
        tokens: &[u32],
        watch: &mut dyn FnMut(Fed) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        self.read(tokens, self.tokens.len() + tokens.len(), None, watch)
    }

    /// Reads `tokens` and appends `-ln p` of each to `surprise`, but for the first token of a text.
    pub fn feed_scored(
        &mut self,
        tokens: &[u32],
        surprise: &mut Vec<f32>,
        watch: &mut dyn FnMut(Fed) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        self.read(tokens, self.tokens.len() + tokens.len(), Some(surprise), watch)
    }

    /// Reads `tokens` of a text that is known to have `length` tokens in all.
    pub(crate) fn read(
        &mut self,
        tokens: &[u32],
        length: usize,
        surprise: Option<&mut Vec<f32>>,
        watch: &mut dyn FnMut(Fed) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        self.begin(tokens, length, surprise.is_some())?;
        let result = self.read_out(watch);
        if let (Some(surprise), Some(unread)) = (surprise, &self.reading) {
            let known = unread.again.saturating_sub(1);
            surprise.extend(unread.reading.surprise().iter().skip(known));
        }
        result
    }

    /// Makes `tokens` of a text of `length` tokens in all what this session reads next; what was read so far comes first once more where
    /// that length asks for it.
    pub(crate) fn begin(&mut self, tokens: &[u32], length: usize, scored: bool) -> Result<(), EngineError> {
        self.take_back();
        let needed = self.tokens.len() + tokens.len();
        if let Some(context) = self.limit().filter(|limit| needed > *limit) {
            return Err(EngineError::TooLong { tokens: needed, prompt: needed, answer: 0, context });
        }
        let mut known = Vec::new();
        if !self.pot.expect(length) {
            known.clone_from(&self.tokens);
            self.forget();
            self.pot.expect(length);
        }
        let again = known.len();
        known.extend_from_slice(tokens);
        let reading = if scored { Reading::scored(known) } else { Reading::new(known) };
        self.reading = Some(Unread { reading, again });
        Ok(())
    }

    /// Makes `token` the next one of the text. Where it was guessed and read already, the logits after it are at hand; else what was guessed
    /// is taken back and the token is to be read, and in the same pass `guess`, which is thought to follow it.
    pub(crate) fn go_on(&mut self, token: u32, guess: &[u32]) -> Result<(), EngineError> {
        if self.ahead.front() == Some(&token) {
            self.ahead.pop_front();
            self.tokens.push(token);
            return Ok(());
        }
        self.begin(&[token], self.tokens.len() + 1, false)?;
        self.guess.clear();
        self.guess.extend_from_slice(&guess[..guess.len().min(self.pot.may_guess())]);
        Ok(())
    }

    /// Forgets what was read as a guess.
    pub(crate) fn take_back(&mut self) {
        self.guess.clear();
        let row = self.logits().len();
        if self.logits.len() > row {
            // Buffers of one row are what a session is reckoned with.
            let start = self.logits.len() - row * (self.ahead.len() + 1);
            self.logits.copy_within(start..start + row, 0);
            self.logits.truncate(row);
            self.logits.shrink_to_fit();
        }
        if !self.ahead.is_empty() {
            self.ahead.clear();
            self.pot.rewind(self.tokens.len());
        }
    }

    /// Reads all of it. `watch` is told after every pass and may stop the reading; what was read until then stays.
    pub(crate) fn read_out(
        &mut self,
        watch: &mut dyn FnMut(Fed) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        let mut last = self.fed();
        while self.unread() > 0 {
            self.pass()?;
            let now = self.fed();
            if let Some(fed) = now.filter(|_| now != last)
                && watch(fed).is_break()
            {
                self.leave();
                return Err(EngineError::Cancelled);
            }
            last = now;
        }
        Ok(())
    }

    /// One pass over what is still to be read.
    ///
    /// # Errors
    /// When the pot is too small for what is pinned, or the network fails.
    pub fn pass(&mut self) -> Result<(), EngineError> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let result = batch::alone(self, &mut scratch);
        self.scratch = scratch;
        result
    }

    /// Gives up what is still to be read; what was read stays.
    pub fn leave(&mut self) {
        self.pot.leave();
        self.reading = None;
    }

    /// How far the reading is; `None` before anything was to be read.
    pub fn fed(&self) -> Option<Fed> {
        let Unread { reading, again } = self.reading.as_ref()?;
        Some(Fed { done: reading.done().saturating_sub(*again), total: reading.tokens().len() - again })
    }

    /// Tokens still to be read.
    pub fn unread(&self) -> usize {
        self.reading.as_ref().map_or(0, |unread| unread.reading.left())
    }

    /// What the network is to run next for this session, `most` tokens of the text at most, and what is guessed to follow where it `may`;
    /// `None` when all is read.
    pub(crate) fn next_step(&mut self, most: usize, may: bool) -> Result<Option<Step<'_>>, EngineError> {
        let Some(unread) = &mut self.reading else { return Ok(None) };
        let guess = std::mem::take(&mut self.guess);
        if may && let (false, &[token]) = (guess.is_empty(), unread.reading.tokens()) {
            unread.reading = Reading::guessing(token, guess);
        }
        let decoder = self.engine.decoder();
        match self.pot.next_step(&mut unread.reading, decoder, &self.logits, most) {
            Ok(Some(Step { tokens, memory, tap, want, .. })) => {
                Ok(Some(Step { tokens, memory, adapter: self.adapter.as_deref(), tap, want }))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(self.engine.pot_error(error)),
        }
    }

    /// Takes what came of that step, the `at`th of the pass that `scratch` was used for.
    pub(crate) fn absorb(&mut self, scratch: &mut Scratch, at: usize) -> Result<(), EngineError> {
        let Some(unread) = &mut self.reading else { return Ok(()) };
        let mut network =
            Network { decoder: self.engine.decoder(), pool: self.engine.threads(), adapter: None, scratch };
        let before = unread.reading.done();
        let result = self.pot.absorb(&mut unread.reading, &mut network, at, &mut self.logits);
        self.tokens.extend_from_slice(&unread.reading.tokens()[before..unread.reading.done()]);
        self.ahead.extend(unread.reading.guess());
        result.map_err(|error| self.engine.pot_error(error))
    }

    /// Reads `tokens` and returns the logits of each, `[tokens, vocab]`. Not for sessions with a pot.
    pub fn feed_all(&mut self, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
        self.take_back();
        let length = self.tokens.len() + tokens.len();
        if !self.pot.expect(length) {
            let known = self.tokens.clone();
            self.forget();
            self.read(&known, length, None, &mut |_| ControlFlow::Continue(()))?;
        }
        let mut network = Network {
            decoder: self.engine.decoder(),
            pool: self.engine.threads(),
            adapter: self.adapter.as_deref(),
            scratch: &mut self.scratch,
        };
        let all = self.pot.read_all(&mut network, tokens).map_err(|error| self.engine.pot_error(error))?;
        self.tokens.extend_from_slice(tokens);
        self.logits.clear();
        self.logits.extend_from_slice(&all[all.len().saturating_sub(self.engine.spec().vocab)..]);
        Ok(all)
    }
}

impl Engine {
    /// An error of the memory, with the broken tensor where the weights are to blame.
    fn pot_error(&self, error: PotError) -> EngineError {
        match error {
            PotError::NotFinite => self.not_finite(),
            error => error.into(),
        }
    }
}
