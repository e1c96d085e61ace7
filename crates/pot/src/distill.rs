//! One distillation: collect the evidence, score every head, keep, move together.

use std::ops::Range;

use crayon_model::{Decoder, ScoreTap};

use crate::policy::{Attention, Head, Needs, Policy};
use crate::watch::{Reduce, Watch};
use crate::{PotOptions, Slab, episodes, select};

/// A policy with its shape and what it has gathered.
pub(crate) struct Distiller {
    pub(crate) policy: Box<dyn Policy>,
    pub(crate) needs: Needs,
    pub(crate) options: PotOptions,
    /// Entries each layer keeps.
    pub(crate) keeps: Vec<usize>,
    /// Slots left free while reading, for the prompts below.
    pub(crate) reserve: usize,
    pub(crate) watch: Option<Watch>,
    /// Tokens read since the last distillation.
    pub(crate) chunk: Vec<u32>,
    /// Whether the catalyst was read along with the last token.
    pub(crate) asked: bool,
    pub(crate) medoids: Medoids,
}

/// Token ids of the segment in the middle of each episode.
pub(crate) type Medoids = Vec<Vec<u32>>;

impl Distiller {
    /// What the network is to read before the choice, each text by itself and forgotten again: prompts of the policy that attend to
    /// everything held. None where one was read along, or the policy asks nothing.
    pub(crate) fn questions(&mut self, decoder: &Decoder, slab: &Slab) -> Vec<Vec<u32>> {
        if std::mem::take(&mut self.asked) {
            return Vec::new();
        }
        let (prompts, reduce): (Vec<&[u32]>, Reduce) = match self.needs.attention {
            Attention::Catalyst => (vec![&self.options.catalyst], Reduce::Sum),
            Attention::Repeat => (self.chunk.chunks(self.reserve).collect(), Reduce::Max),
            Attention::Medoids => {
                self.medoids = episodes::medoids(decoder, &self.medoids, &self.chunk, self.reserve);
                (self.medoids.iter().map(Vec::as_slice).collect(), Reduce::Max)
            }
            Attention::None | Attention::Every | Attention::Last(_) => return Vec::new(),
        };
        if let Some(watch) = &mut self.watch {
            watch.clear(reduce);
            watch.look_from(0);
        }
        // A catalyst set while the pot was nearly full may find less room than it wants.
        match slab.room().min(slab.most_rows()) {
            0 => Vec::new(),
            room => prompts.iter().flat_map(|prompt| prompt.chunks(room)).map(<[u32]>::to_vec).collect(),
        }
    }

    /// What sees the attention of a pass.
    pub(crate) fn tap(&self) -> Option<&dyn ScoreTap> {
        self.watch.as_ref().map(|watch| watch as &dyn ScoreTap)
    }

    /// Scores every head and keeps the best part.
    pub(crate) fn keep(&mut self, slab: &mut Slab, pinned: &[Range<u32>], first: bool) {
        if first && self.needs.novelty {
            // Nothing could predict the first token of the text.
            let first = slab.lasting().next().unwrap_or(0);
            let most = slab.novelty(first, 0).iter().copied().fold(0.0, f32::max);
            slab.first_novelty(most, 0);
        }
        let end = slab.lasting().map(|layer| self.keeps[layer].min(slab.len(layer))).max().unwrap_or(0);
        let mut kept_by_layer = Vec::with_capacity(self.keeps.len());
        for layer in 0..self.keeps.len() {
            if let Some(sliding) = slab.sliding(layer) {
                let held = slab.len(layer);
                // No more than the others, whose positions they share.
                let stay = held.min(sliding.keep).min(self.keeps[layer]).min(end);
                let kept: Vec<usize> = (held - stay..held).collect();
                for kv_head in 0..slab.kv_heads() {
                    slab.compact(layer, kv_head, &kept, end);
                }
                kept_by_layer.push(kept.len());
                continue;
            }
            let keep = self.keeps[layer];
            for kv_head in 0..slab.kv_heads() {
                let attention = self.evidence(slab, layer, kv_head);
                let origins = slab.origins(layer, kv_head);
                let head = Head {
                    layer,
                    kv_head,
                    keep,
                    origins,
                    novelty: slab.novelty(layer, kv_head),
                    attention: &attention,
                    slab,
                };
                let mut scores = vec![0.0; origins.len()];
                self.policy.score(&head, &mut scores);
                let kept = select::kept(&mut scores, self.forced(origins, pinned), keep);
                slab.compact(layer, kv_head, &kept, end);
            }
            kept_by_layer.push(keep.min(slab.len(layer)));
        }
        slab.settle(&kept_by_layer, end);
        self.chunk.clear();
        if let Some(watch) = &mut self.watch {
            watch.clear(Reduce::Sum);
        }
    }

    /// Slots that stay whatever their score.
    fn forced(&self, origins: &[u32], pinned: &[Range<u32>]) -> impl Iterator<Item = usize> {
        let sinks = u32::try_from(self.options.sinks).unwrap_or(u32::MAX);
        let recent = origins.len() - self.options.recent.min(origins.len());
        origins.iter().enumerate().filter_map(move |(slot, origin)| {
            let stays =
                *origin < sinks || slot >= recent || pinned.iter().any(|place| place.contains(origin));
            stays.then_some(slot)
        })
    }

    /// The attention the policy asked for on the entries of a head; what is carried on is stored with them.
    fn evidence(&mut self, slab: &mut Slab, layer: usize, kv_head: usize) -> Vec<f32> {
        let mut found = vec![0.0; slab.len(layer)];
        let Some(watch) = &mut self.watch else { return found };
        match self.needs.shared {
            true => watch.read_layer(layer, &mut found),
            false => watch.read(layer, kv_head, &mut found),
        }
        let carried = slab.carried_mut(layer, kv_head);
        match self.needs.attention {
            Attention::Every => carried.iter_mut().zip(&found).for_each(|(sum, new)| *sum += new),
            Attention::Repeat => {
                carried.iter_mut().zip(&found).for_each(|(most, new)| *most = most.max(*new))
            }
            _ => return found,
        }
        carried.to_vec()
    }
}
