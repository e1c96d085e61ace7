//! Reading a text of any length into fixed memory: fill, score, keep, go on.
//!
//! [`Pot::read`] is the loop of continual context distillation (InfiniPot, arXiv 2410.01518, section 3.1). A pot
//! without a policy keeps everything and refuses what does not fit.

use std::ops::{ControlFlow, Range};

use crayon_formats::spec::{Positions, Spec};
use crayon_kernels::Threads;
use crayon_model::{Adapter, Decoder, Scratch, Step, Want};

use crate::distill::{Distiller, Medoids};
use crate::policy::{Attention, Needs, Policy};
use crate::watch::{Reduce, Watch};
use crate::{KvStorage, PotError, PotOptions, Slab, named};

/// A network at work: what a pot needs to read.
pub struct Network<'a> {
    /// The network.
    pub decoder: &'a Decoder,
    /// Its threads.
    pub pool: &'a Threads,
    /// Added to its linear layers.
    pub adapter: Option<&'a dyn Adapter>,
    /// Buffers of passes.
    pub scratch: &'a mut Scratch,
}

/// Keys and values of one text, in memory that does not grow.
pub struct Pot {
    pub(crate) slab: Slab,
    pub(crate) distiller: Option<Distiller>,
    pub(crate) distillations: usize,
    /// Tokens read when the last distillation happened: what came after can be taken back.
    pub(crate) settled: usize,
    pub(crate) pinned: Vec<Range<u32>>,
    /// Novelty of the token that comes next, where a pass could tell but keeps no logits.
    foreseen: Option<f32>,
}

/// Tokens of one pass.
struct Pass<'a> {
    tokens: &'a [u32],
    /// Tokens that fit before the next distillation.
    room: usize,
    /// The token after them, if it is known.
    next: Option<u32>,
}

impl Pot {
    /// A pot that keeps every token and refuses more than `capacity`.
    pub fn full(spec: &Spec, capacity: usize, storage: KvStorage) -> Pot {
        let mut slab = Slab::plain(spec, capacity, storage);
        // How long a text is going to be is not known yet; room for it says nothing.
        slab.expect(0);
        Pot { slab, distiller: None, distillations: 0, settled: 0, pinned: Vec::new(), foreseen: None }
    }

    /// A pot that forgets by a policy. `pinned` tokens are going to be pinned; `budgets`, one weight for each layer,
    /// sizes the layers for policies that want it.
    ///
    /// # Errors
    /// As [`PotOptions::check`].
    pub fn new(
        spec: &Spec,
        options: PotOptions,
        pinned: usize,
        budgets: Option<&[f32]>,
    ) -> Result<Pot, PotError> {
        let keep = options.check(spec, pinned)?;
        // `check` knows the policy.
        let policy =
            named(&options.policy).ok_or_else(|| PotError::Policy { name: options.policy.clone() })?;
        let policy = policy.make(&options);
        let needs = policy.needs();
        let floor = options.sinks + options.recent + pinned + 1;
        let keeps = match budgets.filter(|_| needs.budgets) {
            Some(weights) => crate::budget::shares(weights, keep, floor.max(keep / 2)),
            None => vec![keep; spec.layers],
        };
        let chunk = options.entries - keep;
        let slab = Slab::with_layers(spec, keeps.iter().map(|keep| keep + chunk).collect(), options.storage);
        let watched = needs.attention != Attention::None;
        let watch = watched.then(|| Watch::new(&slab, spec.heads));
        let reserve = options.reserve(needs.attention);
        let distiller = Distiller {
            policy,
            needs,
            options,
            keeps,
            reserve,
            watch,
            chunk: Vec::new(),
            asked: false,
            medoids: Medoids::default(),
        };
        Ok(Pot {
            slab,
            distiller: Some(distiller),
            distillations: 0,
            settled: 0,
            pinned: Vec::new(),
            foreseen: None,
        })
    }

    /// What is held.
    pub fn slab(&self) -> &Slab {
        &self.slab
    }

    /// Its shape and policy; `None` for a pot that keeps everything.
    pub fn options(&self) -> Option<&PotOptions> {
        self.distiller.as_ref().map(|distiller| &distiller.options)
    }

    /// Tokens read so far.
    pub fn tokens_read(&self) -> usize {
        self.slab.read()
    }

    /// Mean number of entries of a head.
    pub fn kept(&self) -> usize {
        self.slab.kept()
    }

    /// Mean number of entries of a head that come from the first `tokens` tokens of the text.
    pub fn kept_of(&self, tokens: usize) -> usize {
        if self.distillations == 0 {
            return self.tokens_read().min(tokens);
        }
        let (layers, heads) = (self.slab.layers(), self.slab.kv_heads());
        let of = |layer, head| self.slab.origins(layer, head).partition_point(|&at| (at as usize) < tokens);
        let places = (0..layers).flat_map(|layer| (0..heads).map(move |head| (layer, head)));
        let all: usize = places.map(|(layer, head)| of(layer, head)).sum();
        all / (layers * heads).max(1)
    }

    /// How often the pot was distilled.
    pub fn distillations(&self) -> usize {
        self.distillations
    }

    /// Tokens a pot without policy holds at most; with one there is no end.
    pub fn limit(&self) -> Option<usize> {
        match self.distiller {
            Some(_) => None,
            None => Some(self.slab.capacity(0)),
        }
    }

    /// Tokens that can be read before the pot is distilled or, without a policy, full.
    pub fn room(&self) -> usize {
        self.slab.room().saturating_sub(self.distiller.as_ref().map_or(0, |distiller| distiller.reserve))
    }

    /// Prepares for a text of `tokens` tokens in all, of which those read so far are the beginning. False when they have
    /// to be read again from an empty pot: networks with longrope scaling read a text beyond their original context with
    /// other frequencies than a shorter one, from its first token on. A distilled text stays as it is.
    pub fn expect(&mut self, tokens: usize) -> bool {
        if self.distillations > 0 {
            return true;
        }
        let fits = self.distiller.is_none() || tokens <= self.tokens_read() + self.room();
        // What does not fit is going to fill the pot to its end, and never more.
        self.slab.expect(if fits { tokens } else { self.slab.longest() })
    }

    /// The same for the first tokens of a text of which nothing was said.
    fn begin(&mut self, tokens: usize) {
        if self.slab.is_empty() && self.slab.length() < tokens {
            self.expect(tokens);
        }
    }

    /// Makes the tokens at these places of the text stay in every head, instead of those pinned before.
    ///
    /// # Errors
    /// When the pot is too small for them.
    pub fn pin(&mut self, spec: &Spec, places: Vec<Range<u32>>) -> Result<(), PotError> {
        if let Some(distiller) = &mut self.distiller {
            let sinks = distiller.options.sinks as u32;
            let pinned: u32 =
                places.iter().map(|place| place.end - place.start.max(sinks).min(place.end)).sum();
            let keep = distiller.options.check(spec, pinned as usize)?;
            let uniform = distiller.keeps.windows(2).all(|pair| pair[0] == pair[1]);
            let least = distiller.options.forced(pinned as usize) + 1;
            for own in &mut distiller.keeps {
                *own = (*own).max(if uniform { keep } else { least });
            }
        }
        self.pinned = places;
        self.check_room()
    }

    /// Whether a distillation leaves room to read on in every layer.
    fn check_room(&self) -> Result<(), PotError> {
        let Some(distiller) = &self.distiller else { return Ok(()) };
        let tight = |(layer, keep): (usize, &usize)| keep + distiller.reserve >= self.slab.capacity(layer);
        if distiller.keeps.iter().enumerate().any(tight) {
            let pinned: usize = self.pinned.iter().map(|place| place.len()).sum();
            let forced = distiller.options.forced(pinned);
            return Err(distiller.options.too_small(forced, distiller.needs.attention));
        }
        Ok(())
    }

    /// Takes the catalyst prompt from here on, for example the user's question.
    ///
    /// # Errors
    /// When the pot is too small for it.
    pub fn set_catalyst(&mut self, spec: &Spec, catalyst: Vec<u32>) -> Result<(), PotError> {
        if let Some(distiller) = &mut self.distiller {
            let options = PotOptions { catalyst, ..distiller.options.clone() };
            options.check(spec, 0)?;
            distiller.reserve = options.reserve(distiller.needs.attention);
            distiller.options = options;
            distiller.asked = false;
            return self.check_room();
        }
        Ok(())
    }

    /// Forgets everything after the first `len` tokens and says whether that was possible: a distilled text can only
    /// be taken back as far as its last distillation.
    pub fn rewind(&mut self, len: usize) -> bool {
        let read = self.tokens_read();
        if len >= read {
            return true;
        }
        if len == 0 {
            self.clear();
            return true;
        }
        if len < self.settled {
            return false;
        }
        self.slab.pop(read - len);
        self.foreseen = None;
        if let Some(distiller) = &mut self.distiller {
            distiller.asked = false;
            distiller.chunk.truncate(len - self.settled);
            let first = self.slab.kept();
            if let Some(watch) = &mut distiller.watch {
                watch.forget_from(first);
            }
        }
        true
    }

    /// Forgets everything read; what is pinned stays so.
    pub fn clear(&mut self) {
        self.slab.clear();
        (self.distillations, self.settled, self.foreseen) = (0, 0, None);
        if let Some(distiller) = &mut self.distiller {
            distiller.chunk.clear();
            distiller.asked = false;
            distiller.medoids = Medoids::default();
            if let Some(watch) = &mut distiller.watch {
                watch.clear(Reduce::Sum);
            }
        }
    }

    /// Reads `tokens`, distilling as often as the pot is full. `logits` holds those after the token before, if any,
    /// and then those after the last one. `surprise` receives `-ln p` of every token but the first of a text. `watch`
    /// is told after each pass how many tokens were read and may end the reading; returns how many were. Of a text that
    /// is read in several calls, [`expect`](Self::expect) is to be told the length before each.
    ///
    /// # Errors
    /// When a pot without policy is full, a token is unknown, or the network computes something that is no number.
    pub fn read(
        &mut self,
        network: &mut Network<'_>,
        tokens: &[u32],
        logits: &mut Vec<f32>,
        mut surprise: Option<&mut Vec<f32>>,
        watch: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<usize, PotError> {
        if self.tokens_read() + tokens.len() > u32::MAX as usize {
            return Err(PotError::TextTooLong);
        }
        let vocab = network.decoder.spec().vocab;
        if let Some(&id) = tokens.iter().find(|id| **id as usize >= vocab) {
            return Err(crayon_model::ModelError::Token { id, vocab }.into());
        }
        self.begin(tokens.len());
        let mut done = 0;
        while done < tokens.len() {
            let room = self.room();
            // Nothing is read of a text that does not fit.
            if self.distiller.is_none() && tokens.len() - done > room {
                let (needed, capacity) = (self.tokens_read() + tokens.len() - done, self.slab.capacity(0));
                return Err(crayon_model::ModelError::MemoryFull { needed, capacity }.into());
            }
            if room == 0 {
                self.check_room()?;
                self.distill(network)?;
                continue;
            }
            // Passes of like size, so that the last is not a small one.
            let left = room.min(tokens.len() - done);
            let rows = left.div_ceil(left.div_ceil(network.decoder.pass_rows()));
            let chunk = &tokens[done..done + rows];
            done += rows;
            let pass = Pass { tokens: chunk, room, next: tokens.get(done).copied() };
            self.pass(network, &pass, logits, surprise.as_deref_mut())?;
            if watch(done).is_break() {
                // What comes next need not be what was foreseen.
                self.foreseen = None;
                break;
            }
        }
        Ok(done)
    }

    /// Reads `tokens` and returns the logits after each, `[tokens, vocab]`. Only for pots without a policy.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_all(&mut self, network: &mut Network<'_>, tokens: &[u32]) -> Result<Vec<f32>, PotError> {
        assert!(self.distiller.is_none(), "a pot with a policy reads with `read`");
        self.begin(tokens.len());
        let mut all = Vec::with_capacity(tokens.len() * network.decoder.spec().vocab);
        for chunk in tokens.chunks(network.decoder.pass_rows()) {
            let mut step = Step::new(chunk, &mut self.slab);
            step.adapter = network.adapter;
            let rows = network.decoder.forward(network.pool, &mut [step], Want::All, network.scratch)?;
            all.extend_from_slice(rows);
        }
        if all.iter().any(|logit| !logit.is_finite()) {
            return Err(PotError::NotFinite);
        }
        Ok(all)
    }

    fn pass(
        &mut self,
        network: &mut Network<'_>,
        pass: &Pass<'_>,
        logits: &mut Vec<f32>,
        surprise: Option<&mut Vec<f32>>,
    ) -> Result<(), PotError> {
        let tokens = pass.tokens;
        let began = self.slab.is_empty();
        let needs = self.distiller.as_ref().map_or(Needs::default(), |distiller| distiller.needs);
        let scored = needs.novelty || surprise.is_some();
        let mut novelty = Vec::with_capacity(if scored { tokens.len() } else { 0 });
        if scored {
            novelty.push(match self.foreseen.take() {
                Some(novelty) => novelty,
                None if began || logits.is_empty() => f32::NAN,
                None => -log_likelihood(logits, tokens[0]),
            });
        }
        // When the pot is about to be distilled the catalyst reads along: a pass of its own would be a small one.
        let asking =
            pass.next.is_some() && tokens.len() == pass.room && needs.attention == Attention::Catalyst;
        let mut rows = Vec::new();
        if let Some(distiller) = self.distiller.as_ref().filter(|_| asking) {
            rows = [tokens, &distiller.options.catalyst].concat();
        }
        let mut step = Step::new(if asking { &rows } else { tokens }, &mut self.slab);
        step.adapter = network.adapter;
        if let Some(Distiller { watch: Some(watch), .. }) = &mut self.distiller {
            let from = match needs.attention {
                Attention::Every => Some(0),
                // The last tokens before the pot is full: `room` says how far away that is.
                Attention::Last(count) => {
                    Some(pass.room.saturating_sub(count)).filter(|row| *row < tokens.len())
                }
                Attention::Catalyst if asking => {
                    watch.clear(Reduce::Sum);
                    Some(tokens.len())
                }
                _ => None,
            };
            if let Some(from) = from {
                watch.look_from(from);
                step.tap = Some(watch);
            }
        }
        let wanted = !asking && (pass.next.is_none() || scored);
        let want = if wanted { Want::Last } else { Want::Nothing };
        let found = network.decoder.forward(network.pool, &mut [step], want, network.scratch)?;
        logits.clear();
        logits.extend_from_slice(found);
        if logits.iter().any(|logit| !logit.is_finite()) {
            return Err(PotError::NotFinite);
        }
        if asking {
            self.slab.pop(rows.len() - tokens.len());
        }
        if scored {
            let foreseen = pass.next.filter(|_| asking);
            let targets: Vec<u32> = tokens[1..].iter().copied().chain(foreseen).collect();
            let mut rest = vec![0.0; targets.len()];
            network.decoder.log_likelihoods(network.pool, &targets, &mut rest, network.scratch);
            if rest.iter().any(|value| value.is_nan()) {
                return Err(PotError::NotFinite);
            }
            novelty.extend(rest.iter().map(|value| -value));
            if foreseen.is_some() {
                self.foreseen = novelty.pop();
            }
            if let Some(surprise) = surprise {
                surprise.extend(novelty.iter().skip(usize::from(began)));
            }
            if novelty[0].is_nan() {
                novelty[0] = 0.0;
            }
            self.slab.set_novelty(&novelty);
        }
        if let Some(distiller) = &mut self.distiller {
            distiller.chunk.extend_from_slice(tokens);
            distiller.asked = asking;
        }
        Ok(())
    }

    /// `ln p` of `tokens` after what was read, whose last logits are `logits`. They leave no trace; a pot too full for
    /// them is distilled first.
    ///
    /// # Errors
    /// When a pot without policy is full, a token is unknown, or the network computes something that is no number.
    pub fn likelihood(
        &mut self,
        network: &mut Network<'_>,
        tokens: &[u32],
        logits: &[f32],
    ) -> Result<f32, PotError> {
        let Some(first) = tokens.first() else { return Ok(0.0) };
        if self.slab.room() < tokens.len() && self.distiller.is_some() {
            self.watch_last(network)?;
            self.distill(network)?;
        }
        let mut step = Step::new(tokens, &mut self.slab);
        step.adapter = network.adapter;
        network.decoder.forward(network.pool, &mut [step], Want::Nothing, network.scratch)?;
        let mut rest = vec![0.0; tokens.len() - 1];
        network.decoder.log_likelihoods(network.pool, &tokens[1..], &mut rest, network.scratch);
        self.slab.pop(tokens.len());
        let sum = log_likelihood(logits, *first) + rest.iter().sum::<f32>();
        if sum.is_nan() { Err(PotError::NotFinite) } else { Ok(sum) }
    }

    /// Before a distillation that comes early: policies that listen to the last tokens hear them all, read once more.
    fn watch_last(&mut self, network: &mut Network<'_>) -> Result<(), PotError> {
        let Some(Distiller { needs, watch: Some(watch), chunk, .. }) = &mut self.distiller else {
            return Ok(());
        };
        let Attention::Last(count) = needs.attention else { return Ok(()) };
        let last = &chunk[chunk.len() - count.min(chunk.len())..];
        if last.is_empty() {
            return Ok(());
        }
        self.slab.pop(last.len());
        watch.clear(Reduce::Sum);
        watch.look_from(0);
        let mut step = Step::new(last, &mut self.slab);
        step.adapter = network.adapter;
        step.tap = Some(watch);
        network.decoder.forward(network.pool, &mut [step], Want::Nothing, network.scratch)?;
        Ok(())
    }

    fn distill(&mut self, network: &mut Network<'_>) -> Result<(), PotError> {
        let Some(distiller) = &mut self.distiller else { return Ok(()) };
        distiller.distill(network, &mut self.slab, &self.pinned, self.distillations == 0)?;
        self.distillations += 1;
        self.settled = self.slab.read();
        Ok(())
    }
}

/// Whether this network's context can be distilled: its positions can be moved.
pub fn distillable(spec: &Spec) -> bool {
    spec.positions != Positions::Learned
}

/// `ln p(token)` under a row of logits.
fn log_likelihood(logits: &[f32], token: u32) -> f32 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - most).exp()).sum();
    logits.get(token as usize).map_or(f32::NEG_INFINITY, |logit| logit - most - sum.ln() as f32)
}

const _: () = {
    const fn assert_send<T: Send + Sync>() {}
    assert_send::<Box<dyn Policy>>();
};
