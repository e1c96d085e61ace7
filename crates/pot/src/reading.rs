//! Reading a text of any length into fixed memory: fill, score, keep, go on.
//!
//! This is the loop of continual context distillation (InfiniPot, arXiv 2410.01518, section 3.1), a pass of the network at a time:
//! [`Pot::next_step`] says what the network is to run next, tokens of the text or a question of the policy, and
//! [`Pot::absorb`] takes what came of it. Whoever runs the passes may put steps of other sequences into them; [`Pot::read`] runs them
//! alone.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use crayon_kernels::Threads;
use crayon_model::{Decoder, ModelError, Step, Summed, Want};

use crate::PotError;
use crate::distill::Distiller;
use crate::policy::{Attention, Needs};
use crate::pot::{Network, Pot};
use crate::watch::Reduce;

/// Tokens on their way into a pot.
#[derive(Debug)]
pub struct Reading {
    tokens: Vec<u32>,
    /// What is thought to follow the last token, to be read in the same pass.
    guess: Vec<u32>,
    done: usize,
    /// `-ln p` of every token but the first of a text, where it is asked for.
    surprise: Option<Vec<f32>>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The next pass is still to be chosen.
    Choosing,
    /// Tokens of the text.
    Tokens(Chunk),
    /// Prompts of the policy before a distillation, the first one next.
    Questions(std::vec::IntoIter<Vec<u32>>),
}

/// The next tokens of a text, as many as a pass takes.
#[derive(Debug)]
struct Chunk {
    len: usize,
    /// The tokens and the catalyst behind them: before a distillation it reads along, because a pass of its own would be a small one.
    asking: Option<Vec<u32>>,
    /// The tokens and what is guessed to follow them.
    guessing: Option<Vec<u32>>,
    /// Whether the policy looks at the attention of some rows.
    watched: bool,
    /// Novelty of the chunk's first token, where novelty or surprise is wanted.
    novelty: Option<f32>,
    /// Whether the text begins with it.
    begins: bool,
    want: Want,
}

impl Reading {
    /// All of `tokens`.
    pub fn new(tokens: Vec<u32>) -> Reading {
        Reading { tokens, guess: Vec::new(), done: 0, surprise: None, stage: Stage::Choosing }
    }

    /// `token`, and behind it in the same pass what is thought to follow: at most as much as [`Pot::may_guess`] allows. The guess stays
    /// in the pot, which counts it as read, until it is taken back by [`Pot::rewind`].
    pub fn guessing(token: u32, guess: Vec<u32>) -> Reading {
        Reading { guess, ..Reading::new(vec![token]) }
    }

    /// The same, and how surprising each token was.
    pub fn scored(tokens: Vec<u32>) -> Reading {
        Reading { surprise: Some(Vec::new()), ..Reading::new(tokens) }
    }

    /// Tokens to read.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// What is thought to follow them.
    pub fn guess(&self) -> &[u32] {
        &self.guess
    }

    /// Tokens still to be read.
    pub fn left(&self) -> usize {
        self.tokens.len() - self.done
    }

    /// Tokens of them that were read.
    pub fn done(&self) -> usize {
        self.done
    }

    /// `-ln p` of the tokens read, but of the first of a text; empty unless it was asked for.
    pub fn surprise(&self) -> &[f32] {
        self.surprise.as_deref().unwrap_or_default()
    }
}

impl Pot {
    /// Reads `tokens`, distilling as often as the pot is full. `logits` holds those after the token before, if any,
    /// and then those after the last one. `surprise` receives `-ln p` of every token but the first of a text. `watch`
    /// is told after each pass how many tokens were read and may end the reading; returns how many were. Of a text that
    /// is read in several calls, [`expect`](Self::expect) is to be told the length before each.
    ///
    /// # Errors
    /// When a pot without policy is full, a token is unknown, or the network computes something that is not finite.
    pub fn read(
        &mut self,
        network: &mut Network<'_>,
        tokens: &[u32],
        logits: &mut Vec<f32>,
        surprise: Option<&mut Vec<f32>>,
        watch: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<usize, PotError> {
        let tokens = tokens.to_vec();
        let mut reading = if surprise.is_some() { Reading::scored(tokens) } else { Reading::new(tokens) };
        let most = network.decoder.pass_rows();
        while let Some(step) = self.next_step(&mut reading, network.decoder, logits, most)? {
            network.run(step)?;
            let before = reading.done;
            self.absorb(&mut reading, network, 0, logits)?;
            if reading.done > before && watch(reading.done).is_break() {
                self.leave();
                break;
            }
        }
        if let Some(surprise) = surprise {
            surprise.extend_from_slice(reading.surprise());
        }
        Ok(reading.done)
    }

    /// What the network is to run next, in passes of at most `most` rows of the text; `None` when all is read. `logits` are those after
    /// the token before. Where the pot is full and the policy asks nothing, it is distilled here.
    ///
    /// # Errors
    /// When a pot without policy is full, a token is unknown, or the pot is too small for what is pinned.
    pub fn next_step<'p>(
        &'p mut self,
        reading: &'p mut Reading,
        decoder: &Decoder,
        logits: &[f32],
        most: usize,
    ) -> Result<Option<Step<'p>>, PotError> {
        if !self.choose(reading, decoder, logits, most)? {
            return Ok(None);
        }
        Ok(match &reading.stage {
            Stage::Choosing => None,
            Stage::Questions(prompts) => prompts.as_slice().first().map(|prompt| self.question(prompt)),
            Stage::Tokens(chunk) => {
                let own = &reading.tokens[reading.done..reading.done + chunk.len];
                let rows = chunk.asking.as_deref().or(chunk.guessing.as_deref()).unwrap_or(own);
                self.slab.text_ends((self.slab.read() + own.len()) as u32);
                let mut step = Step::new(rows, &mut self.slab).wanting(chunk.want);
                step.tap = self.distiller.as_ref().filter(|_| chunk.watched).and_then(Distiller::tap);
                Some(step)
            }
        })
    }

    /// Takes what came of the step that [`next_step`](Self::next_step) gave, step `at` of a pass of `network`. `logits` become those after
    /// the last token read, and empty where the pass made none; with a guess those after the token in front of it and after each guessed one.
    ///
    /// # Errors
    /// When the network computes something that is not finite.
    pub fn absorb(
        &mut self,
        reading: &mut Reading,
        network: &mut Network<'_>,
        at: usize,
        logits: &mut Vec<f32>,
    ) -> Result<(), PotError> {
        match std::mem::replace(&mut reading.stage, Stage::Choosing) {
            Stage::Choosing => Ok(()),
            Stage::Questions(mut prompts) => {
                self.slab.pop(prompts.next().map_or(0, |prompt| prompt.len()));
                reading.stage = Stage::Questions(prompts);
                Ok(())
            }
            Stage::Tokens(chunk) => self.absorb_tokens(reading, chunk, network, at, logits),
        }
    }

    /// Whoever reads stops before the end of the text: what comes next need not be what was foreseen.
    pub fn leave(&mut self) {
        self.foreseen = None;
    }

    /// Goes on to the next stage that needs a pass; false when there is none.
    fn choose(
        &mut self,
        reading: &mut Reading,
        decoder: &Decoder,
        logits: &[f32],
        most: usize,
    ) -> Result<bool, PotError> {
        if reading.done == 0 && matches!(reading.stage, Stage::Choosing) {
            self.check(reading, decoder)?;
        }
        loop {
            match &reading.stage {
                Stage::Tokens(_) => return Ok(true),
                Stage::Questions(prompts) if prompts.len() > 0 => return Ok(true),
                Stage::Questions(_) => {
                    self.keep();
                    reading.stage = Stage::Choosing;
                }
                Stage::Choosing => {
                    let left = reading.tokens.len() - reading.done;
                    if left == 0 {
                        return Ok(false);
                    }
                    let room = self.room();
                    // Nothing is read of a text that does not fit.
                    if self.distiller.is_none() && left > room {
                        let (needed, capacity) = (self.tokens_read() + left, self.slab.capacity(0));
                        return Err(ModelError::MemoryFull { needed, capacity }.into());
                    }
                    reading.stage = if room == 0 {
                        self.check_room()?;
                        Stage::Questions(self.questions(decoder).into_iter())
                    } else {
                        Stage::Tokens(self.chunk(reading, room, logits, most))
                    };
                }
            }
        }
    }

    fn check(&mut self, reading: &Reading, decoder: &Decoder) -> Result<(), PotError> {
        let (tokens, vocab) = (&reading.tokens, decoder.spec().vocab);
        if self.tokens_read() + tokens.len() > u32::MAX as usize {
            return Err(PotError::TextTooLong);
        }
        if let Some(&id) = tokens.iter().find(|id| **id as usize >= vocab) {
            return Err(ModelError::Token { id, vocab }.into());
        }
        self.begin(tokens.len());
        Ok(())
    }

    /// The tokens of the next pass, where `room` fit before the next distillation.
    fn chunk(&mut self, reading: &Reading, room: usize, logits: &[f32], most: usize) -> Chunk {
        let most = most.min(self.slab.most_rows());
        // Passes of like size, so that the last is not a small one.
        let left = room.min(reading.tokens.len() - reading.done);
        let len = left.div_ceil(left.div_ceil(most));
        let tokens = &reading.tokens[reading.done..reading.done + len];
        let last = reading.done + len == reading.tokens.len();
        let begins = self.slab.is_empty();
        let needs = self.distiller.as_ref().map_or(Needs::default(), |distiller| distiller.needs);
        let scored = needs.novelty || reading.surprise.is_some();
        let summed = self.summed(reading);
        let novelty = scored.then(|| match self.foreseen.take() {
            Some(novelty) => novelty,
            None if begins || logits.is_empty() => f32::NAN,
            None => -summed.log_likelihood(logits, tokens[0]),
        });
        let with_catalyst =
            self.distiller.as_ref().map_or(len, |distiller| len + distiller.options.catalyst.len());
        let asks = !last
            && len == room
            && needs.attention == Attention::Catalyst
            && with_catalyst <= self.slab.most_rows();
        let mut chunk =
            Chunk { len, asking: None, guessing: None, watched: false, novelty, begins, want: Want::Nothing };
        if let Some(distiller) = &mut self.distiller {
            chunk.asking = asks.then(|| [tokens, &distiller.options.catalyst].concat());
            if let Some(watch) = &mut distiller.watch {
                let from = match needs.attention {
                    Attention::Every => Some(0),
                    // The last tokens before the pot is full: `room` says how far away that is.
                    Attention::Last(count) => Some(room.saturating_sub(count)).filter(|row| *row < len),
                    Attention::Catalyst if asks => {
                        watch.clear(Reduce::Sum);
                        Some(len)
                    }
                    _ => None,
                };
                if let Some(from) = from {
                    watch.look_from(from);
                    chunk.watched = true;
                }
            }
        }
        if last {
            chunk.want = Want::Last;
        }
        if last && !reading.guess.is_empty() {
            chunk.guessing = Some([tokens, &reading.guess].concat());
            chunk.want = Want::All;
        }
        chunk
    }

    /// What the softmax of a token's novelty is summed over. Whoever asks for the surprise of a text gets the exact one.
    fn summed(&self, reading: &Reading) -> Summed {
        match &self.distiller {
            Some(distiller) if reading.surprise.is_none() => distiller.options.summed(),
            _ => Summed::All,
        }
    }

    fn absorb_tokens(
        &mut self,
        reading: &mut Reading,
        chunk: Chunk,
        network: &mut Network<'_>,
        at: usize,
        logits: &mut Vec<f32>,
    ) -> Result<(), PotError> {
        let (first, end) = (reading.done, reading.done + chunk.len);
        reading.done = end;
        let tokens = &reading.tokens[first..end];
        if !take(network.pool, network.scratch.logits(at), logits) {
            return Err(PotError::NotFinite);
        }
        if let Some(rows) = &chunk.asking {
            self.slab.pop(rows.len() - tokens.len());
        }
        if let Some(novelty) = chunk.novelty {
            let foreseen = reading.tokens.get(end).copied();
            let targets: Vec<u32> = tokens[1..].iter().copied().chain(foreseen).collect();
            let mut rest = vec![0.0; targets.len()];
            let summed = self.summed(reading);
            let Network { decoder, pool, scratch, .. } = network;
            decoder.log_likelihoods(pool, at, &targets, summed, &mut rest, scratch);
            if rest.iter().any(|value| value.is_nan()) {
                return Err(PotError::NotFinite);
            }
            let mut novelty: Vec<f32> =
                std::iter::once(novelty).chain(rest.iter().map(|value| -value)).collect();
            if foreseen.is_some() {
                self.foreseen = novelty.pop();
            }
            if let Some(surprise) = &mut reading.surprise {
                surprise.extend(novelty.iter().skip(usize::from(chunk.begins)));
            }
            if novelty[0].is_nan() {
                novelty[0] = 0.0;
            }
            self.slab.set_novelty(&novelty);
        }
        if let Some(distiller) = &mut self.distiller {
            distiller.chunk.extend_from_slice(tokens);
            distiller.asked = chunk.asking.is_some();
        }
        Ok(())
    }
}

/// Copies logits, and says whether all of them are finite.
fn take(threads: &Threads, from: &[f32], logits: &mut Vec<f32>) -> bool {
    /// Of a large vocabulary every thread takes some.
    const SOME: usize = 1 << 15;
    let finite = AtomicBool::new(true);
    logits.resize(from.len(), 0.0);
    threads.for_each_chunk(logits, SOME, |i, to| {
        to.copy_from_slice(&from[i * SOME..][..to.len()]);
        // Without a branch for each.
        if !to.iter().fold(true, |all, logit| all & logit.is_finite()) {
            finite.store(false, Ordering::Relaxed);
        }
    });
    finite.into_inner()
}
