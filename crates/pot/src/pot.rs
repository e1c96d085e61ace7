//! Memory that reads a text of any length: what it holds, what is pinned, how it is taken back, how it is distilled.
//! `reading` has the loop. A pot without a policy keeps everything and refuses what does not fit.

use std::ops::Range;

use crayon_formats::spec::{Positions, Spec};
use crayon_kernels::Threads;
use crayon_model::{Adapter, Decoder, Scratch, Step, Summed, Want};

use crate::distill::{Distiller, Medoids};
use crate::options::most_entries;
use crate::policy::{Attention, Policy};
use crate::watch::{Reduce, Watch};
use crate::{KeyWeights, KvStorage, PotError, PotOptions, Slab, named};

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

impl Network<'_> {
    /// A pass over one step, through the adapter.
    ///
    /// # Errors
    /// When the memory is full or a token unknown.
    pub(crate) fn run(&mut self, step: Step<'_>) -> Result<(), PotError> {
        let Step { tokens, memory, tap, want, .. } = step;
        let step = Step { tokens, memory, adapter: self.adapter, tap, want };
        self.decoder.forward(self.pool, &mut [step], self.scratch)?;
        Ok(())
    }
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
    pub(crate) foreseen: Option<f32>,
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
        let sliding = crate::sliding::layers(spec, options.entries);
        let mut keeps = vec![keep; spec.layers];
        if let Some(weights) = budgets.filter(|_| needs.budgets) {
            let lasting: Vec<usize> = (0..spec.layers).filter(|layer| sliding[*layer].is_none()).collect();
            let weights: Vec<f32> = lasting.iter().map(|layer| weights[*layer]).collect();
            let shares = crate::budget::shares(&weights, keep, floor.max(keep / 2));
            for (layer, share) in lasting.into_iter().zip(shares) {
                keeps[layer] = share;
            }
        }
        let chunk = options.entries - keep;
        let capacity = keeps.iter().map(|keep| keep + chunk).collect();
        let slab = Slab::with_layers(spec, capacity, sliding, options.storage);
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

    /// Bytes of a pot of `entries` and of everything beside its keys and values; without `policy` of one that keeps everything.
    pub fn bytes_for(spec: &Spec, entries: usize, storage: KvStorage, policy: bool) -> usize {
        match policy {
            true => {
                let lasting =
                    crate::sliding::layers(spec, entries).iter().filter(|layer| layer.is_none()).count();
                let watched = lasting * spec.heads * entries * size_of::<f32>();
                Slab::bytes_for(spec, entries, storage) + watched
            }
            false => Slab::plain_bytes(spec, entries, storage),
        }
    }

    /// Entries of such a pot that takes `bytes` at most.
    pub fn entries_within(spec: &Spec, bytes: usize, storage: KvStorage, policy: bool) -> usize {
        most_entries(spec, |entries| Pot::bytes_for(spec, entries, storage, policy) <= bytes)
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

    /// Mean number of entries of a head, of the layers that hold the past.
    pub fn kept(&self) -> usize {
        self.slab.kept()
    }

    /// The same for entries that come from the first `tokens` tokens of the text.
    pub fn kept_of(&self, tokens: usize) -> usize {
        if self.distillations == 0 {
            return self.tokens_read().min(tokens);
        }
        let (layers, heads) = (self.slab.lasting().count(), self.slab.kv_heads());
        let of = |layer, head| self.slab.origins(layer, head).partition_point(|&at| (at as usize) < tokens);
        let places = self.slab.lasting().flat_map(|layer| (0..heads).map(move |head| (layer, head)));
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

    /// How many tokens may be read as a guess behind the next one, so that taking them back leaves no trace: none where something is
    /// distilled or keys are rounded by those that came before, or where a longer text is read with other frequencies.
    pub fn may_guess(&self) -> usize {
        let traceless = self.distiller.is_none() && self.slab.storage() != KvStorage::I8;
        if traceless { self.slab.room_alike().saturating_sub(1) } else { 0 }
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
    pub(crate) fn begin(&mut self, tokens: usize) {
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
            let lasting: Vec<usize> = self.slab.lasting().collect();
            let uniform = lasting.windows(2).all(|pair| distiller.keeps[pair[0]] == distiller.keeps[pair[1]]);
            let least = distiller.options.forced(pinned as usize) + 1;
            for layer in lasting {
                let own = &mut distiller.keeps[layer];
                *own = (*own).max(if uniform { keep } else { least });
            }
        }
        self.pinned = places;
        self.check_room()
    }

    /// Gives keys weights by the places of their tokens in the text, instead of those they had. What was read from the first place with
    /// a weight on is forgotten.
    pub fn weigh(&mut self, weights: KeyWeights) {
        if weights == *self.slab.weights() {
            return;
        }
        let first = [weights.first(), self.slab.weights().first()].into_iter().flatten().min();
        if !self.rewind(first.map_or(0, |first| first as usize)) {
            self.clear();
        }
        self.slab.weigh(weights);
    }

    /// Whether a distillation leaves room to read on in every layer.
    pub(crate) fn check_room(&self) -> Result<(), PotError> {
        let Some(distiller) = &self.distiller else { return Ok(()) };
        let tight = |layer: usize| distiller.keeps[layer] + distiller.reserve >= self.slab.capacity(layer);
        if self.slab.lasting().any(tight) {
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
    /// be taken back as far as its last distillation, and layers with a sliding window by some hundred tokens.
    pub fn rewind(&mut self, len: usize) -> bool {
        let read = self.tokens_read();
        if len >= read {
            return true;
        }
        if len == 0 {
            self.clear();
            return true;
        }
        if len < self.settled || !self.slab.can_pop(read - len) {
            return false;
        }
        self.slab.pop(read - len);
        self.foreseen = None;
        if let Some(distiller) = &mut self.distiller {
            distiller.asked = false;
            distiller.chunk.truncate(len - self.settled);
            if let Some(watch) = &mut distiller.watch {
                watch.forget_beyond(&self.slab);
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

    /// Reads `tokens` and returns the logits after each, `[tokens, vocab]`. Only for pots without a policy.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_all(&mut self, network: &mut Network<'_>, tokens: &[u32]) -> Result<Vec<f32>, PotError> {
        assert!(self.distiller.is_none(), "a pot with a policy reads with `read`");
        self.begin(tokens.len());
        let mut all = Vec::with_capacity(tokens.len() * network.decoder.spec().vocab);
        for chunk in tokens.chunks(network.decoder.pass_rows()) {
            let step = Step::new(chunk, &mut self.slab).wanting(Want::All);
            network.run(step)?;
            all.extend_from_slice(network.scratch.logits(0));
        }
        if all.iter().any(|logit| !logit.is_finite()) {
            return Err(PotError::NotFinite);
        }
        Ok(all)
    }

    /// `ln p` of `tokens` after what was read, whose last logits are `logits`. They leave no trace; a pot too full for
    /// them is distilled first.
    ///
    /// # Errors
    /// When a pot without policy is full, a token is unknown, or the network computes something that is not finite.
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
        network.run(Step::new(tokens, &mut self.slab).wanting(Want::Nothing))?;
        let mut rest = vec![0.0; tokens.len() - 1];
        let Network { decoder, pool, scratch, .. } = network;
        decoder.log_likelihoods(pool, 0, &tokens[1..], Summed::All, &mut rest, scratch);
        self.slab.pop(tokens.len());
        let sum = Summed::All.log_likelihood(logits, *first) + rest.iter().sum::<f32>();
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
        let mut step = Step::new(last, &mut self.slab).wanting(Want::Nothing);
        step.tap = Some(watch);
        network.run(step)
    }

    /// What the network is to read before [`keep`](Self::keep), as [`Distiller::questions`] has it.
    pub(crate) fn questions(&mut self, decoder: &Decoder) -> Vec<Vec<u32>> {
        let slab = &self.slab;
        self.distiller.as_mut().map_or_else(Vec::new, |distiller| distiller.questions(decoder, slab))
    }

    /// The step of a question of the policy, which is to be forgotten again.
    pub(crate) fn question<'p>(&'p mut self, prompt: &'p [u32]) -> Step<'p> {
        self.slab.text_ends(self.slab.read() as u32);
        let mut step = Step::new(prompt, &mut self.slab).wanting(Want::Nothing);
        step.tap = self.distiller.as_ref().and_then(Distiller::tap);
        step
    }

    /// Keeps the best part of what is held.
    pub(crate) fn keep(&mut self) {
        let Some(distiller) = &mut self.distiller else { return };
        distiller.keep(&mut self.slab, &self.pinned, self.distillations == 0);
        self.distillations += 1;
        self.settled = self.slab.read();
    }

    fn distill(&mut self, network: &mut Network<'_>) -> Result<(), PotError> {
        for prompt in self.questions(network.decoder) {
            network.run(self.question(&prompt))?;
            self.slab.pop(prompt.len());
        }
        self.keep();
        Ok(())
    }
}

/// Whether this network's context can be distilled: its positions can be moved.
pub fn distillable(spec: &Spec) -> bool {
    spec.positions != Positions::Learned
}

const _: () = {
    const fn assert_send<T: Send + Sync>() {}
    assert_send::<Box<dyn Policy>>();
};
