//! One conversation: the tokens read so far, their keys and values, and the logits that follow them.

use std::ops::ControlFlow;
use std::sync::Arc;

use crayon_model::{Adapter, FullMemory, KvMemory, Scratch, Step, Want};

use crate::{Engine, EngineError};

/// Rows of one prefill pass: enough to read weights seldom, few enough that buffers stay small beside the weights, that
/// progress is reported and that a stop comes soon.
const PREFILL_ROWS: usize = 256;

/// A conversation with a model.
pub struct Session<'e> {
    engine: &'e Engine,
    memory: FullMemory,
    tokens: Vec<u32>,
    logits: Vec<f32>,
    scratch: Scratch,
    adapter: Option<Arc<dyn Adapter>>,
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
    pub(crate) fn new(engine: &'e Engine, memory: FullMemory) -> Session<'e> {
        Session {
            engine,
            memory,
            tokens: Vec::new(),
            logits: Vec::new(),
            scratch: Scratch::new(),
            adapter: None,
        }
    }

    /// Answers through `adapter` from now on. What was read with another adapter is forgotten.
    pub fn set_adapter(&mut self, adapter: Option<Arc<dyn Adapter>>) {
        self.rewind(0);
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

    /// Tokens this session can hold.
    pub fn capacity(&self) -> usize {
        self.memory.capacity()
    }

    /// Logits after the last token, `[vocab]`; empty before anything was read.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// Bytes taken by keys and values.
    pub fn kv_bytes(&self) -> usize {
        self.memory.bytes()
    }

    /// Forgets everything after the first `len` tokens.
    pub fn rewind(&mut self, len: usize) {
        self.memory.truncate(len);
        self.tokens.truncate(len);
        self.logits.clear();
    }

    /// Makes `prompt` the whole text of this session, reading only what it does not share with what was read
    /// before. Returns the number of tokens read anew.
    pub fn set_text(
        &mut self,
        prompt: &[u32],
        watch: &mut dyn FnMut(Fed) -> ControlFlow<()>,
    ) -> Result<usize, EngineError> {
        let shared = self.tokens.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        // The last token is read again, because its logits are wanted.
        let kept = shared.min(prompt.len().saturating_sub(1));
        self.rewind(kept);
        self.feed(&prompt[kept..], watch)?;
        Ok(prompt.len() - kept)
    }

    /// Reads `tokens`. `watch` is told after every pass and may stop the reading; what was read until then stays.
    pub fn feed(
        &mut self,
        tokens: &[u32],
        watch: &mut dyn FnMut(Fed) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        let needed = self.tokens.len() + tokens.len();
        if needed > self.memory.capacity() {
            let context = self.memory.capacity();
            return Err(EngineError::TooLong { tokens: needed, prompt: needed, answer: 0, context });
        }
        let mut done = 0;
        for chunk in tokens.chunks(PREFILL_ROWS) {
            let last = done + chunk.len() == tokens.len();
            self.pass(chunk, if last { Want::Last } else { Want::Nothing })?;
            done += chunk.len();
            if watch(Fed { done, total: tokens.len() }).is_break() {
                return Err(EngineError::Cancelled);
            }
        }
        Ok(())
    }

    /// Reads `tokens` and returns the logits of each, `[tokens, vocab]`.
    pub fn feed_all(&mut self, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
        let mut all = Vec::with_capacity(tokens.len() * self.engine.spec().vocab);
        for chunk in tokens.chunks(PREFILL_ROWS) {
            self.pass(chunk, Want::All)?;
            all.extend_from_slice(&self.logits);
        }
        let vocab = self.engine.spec().vocab;
        self.logits.drain(..self.logits.len().saturating_sub(vocab));
        Ok(all)
    }

    fn pass(&mut self, tokens: &[u32], want: Want) -> Result<(), EngineError> {
        let memory: &mut dyn KvMemory = &mut self.memory;
        let mut step = Step::new(tokens, memory);
        step.adapter = self.adapter.as_deref();
        let decoder = self.engine.decoder();
        let logits = decoder.forward(self.engine.pool(), &mut [step], want, &mut self.scratch)?;
        if logits.iter().any(|logit| !logit.is_finite()) {
            return Err(self.engine.not_finite());
        }
        self.logits.clear();
        self.logits.extend_from_slice(logits);
        self.tokens.extend_from_slice(tokens);
        Ok(())
    }
}
