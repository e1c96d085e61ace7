//! What to keep when the pot is full: one policy a file, all behind [`Policy`].

mod episodic;
mod h2o;
mod infinipot;
mod keydiff;
mod kvzip;
mod sirllm;
mod snapkv;
mod streaming;
mod tova;
mod truncate;

use crate::PotOptions;
use crate::slab::Slab;

/// Decides what a head keeps. The one required method gives every entry a number; the largest stay.
pub trait Policy: Send + Sync {
    /// Scores the entries of one head, `[entries]` in the order of the text. Sinks, pinned and most recent entries
    /// stay whatever their score.
    fn score(&self, head: &Head<'_>, scores: &mut [f32]);

    /// What has to be watched while reading, so that [`score`](Self::score) can look at it.
    fn needs(&self) -> Needs {
        Needs::default()
    }
}

/// What a policy looks at beside keys and places.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Needs {
    /// `-ln p` of each token: costs the output layer for every token read.
    pub novelty: bool,
    /// Which attention is collected in [`Head::attention`].
    pub attention: Attention,
    /// Whether attention is averaged over all heads of a layer, so that they keep the same tokens.
    pub shared: bool,
    /// Whether layers get room by their sensitivity instead of equally ([`crate::budget`]).
    pub budgets: bool,
}

/// Whose attention on the entries is collected. Query heads that share a KV head are averaged.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Attention {
    /// Nobody's.
    #[default]
    None,
    /// Of the catalyst prompt, summed over its tokens.
    Catalyst,
    /// Of the text read since the last distillation, repeated: the largest over its tokens, carried on.
    Repeat,
    /// Of the segment nearest to the middle of each episode, repeated: the largest over the episodes.
    Medoids,
    /// Of every token when it was read, summed and carried on.
    Every,
    /// Of the last so many tokens read, averaged.
    Last(usize),
}

/// The entries of one head, as a policy sees them.
pub struct Head<'a> {
    /// Layer.
    pub layer: usize,
    /// Key-value head.
    pub kv_head: usize,
    /// Entries this head may keep, those that stay anyway included.
    pub keep: usize,
    /// Places of the tokens in the whole text, ascending.
    pub origins: &'a [u32],
    /// `-ln p` of each token, where [`Needs::novelty`] asked for it.
    pub novelty: &'a [f32],
    /// What [`Needs::attention`] asked for.
    pub attention: &'a [f32],
    pub(crate) slab: &'a Slab,
}

impl Head<'_> {
    /// Copies the key of entry `slot`, rotated to its present position, to `out` `[head_dim]`.
    pub fn key(&self, slot: usize, out: &mut [f32]) {
        self.slab.key(self.layer, self.kv_head, slot, out);
    }

    /// Width of a head.
    pub fn head_dim(&self) -> usize {
        self.slab.head_dim()
    }
}

/// A policy users can name.
pub struct Named {
    /// What `--policy` calls it.
    pub name: &'static str,
    /// One line about it.
    pub summary: &'static str,
    make: fn(&PotOptions) -> Box<dyn Policy>,
}

impl Named {
    /// The policy, as `options` want it.
    pub fn make(&self, options: &PotOptions) -> Box<dyn Policy> {
        (self.make)(options)
    }
}

/// Every policy that forgets, InfiniPot first. Keeping everything needs none: that is a pot without a policy.
pub static POLICIES: [Named; 10] = [
    Named {
        name: "infinipot",
        summary: "what a prompt about the future attends to, and what the past did not predict",
        make: |options| Box::new(infinipot::InfiniPot { novelty: options.novelty, smooth: options.smooth }),
    },
    Named {
        name: "truncate",
        summary: "the beginning and the end of the text",
        make: |_| Box::new(truncate::Truncate),
    },
    Named {
        name: "streaming",
        summary: "the first few tokens and the last ones",
        make: |_| Box::new(streaming::Streaming),
    },
    Named {
        name: "h2o",
        summary: "what got most attention so far, and the last tokens",
        make: |_| Box::new(h2o::H2o),
    },
    Named { name: "tova", summary: "what the last token attends to", make: |_| Box::new(tova::Tova) },
    Named {
        name: "snapkv",
        summary: "what the last 64 tokens attend to, smoothed",
        make: |_| Box::new(snapkv::SnapKv),
    },
    Named { name: "keydiff", summary: "keys unlike the average key", make: |_| Box::new(keydiff::KeyDiff) },
    Named { name: "sirllm", summary: "tokens the past did not predict", make: |_| Box::new(sirllm::SirLlm) },
    Named { name: "kvzip", summary: "what is needed to repeat the text", make: |_| Box::new(kvzip::KvZip) },
    Named {
        name: "episodic",
        summary: "what the middle of each episode attends to, with layers sized by sensitivity",
        make: |_| Box::new(episodic::Episodic),
    },
];

/// The policy called `name`.
pub fn named(name: &str) -> Option<&'static Named> {
    POLICIES.iter().find(|policy| policy.name == name)
}

/// Averages each value of `votes` over `width` neighbours, itself in the middle: what stands beside something important
/// is needed to say it. Places beyond the ends count as zero.
fn smooth(votes: &[f32], width: usize, out: &mut [f32]) {
    let width = width.max(1);
    let (before, after) = ((width - 1) / 2, width / 2);
    for (slot, out) in out.iter_mut().enumerate() {
        let near = &votes[slot.saturating_sub(before)..votes.len().min(slot.saturating_add(after + 1))];
        *out = near.iter().sum::<f32>() / width as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_shares_a_vote_among_neighbours() {
        let votes = [0.0, 0.0, 6.0, 0.0, 0.0, 3.0];
        let with = |width| {
            let mut out = [9.0; 6];
            smooth(&votes, width, &mut out);
            out
        };
        assert_eq!(with(1), votes);
        assert_eq!(with(0), votes);
        assert_eq!(with(3), [0.0, 2.0, 2.0, 2.0, 1.0, 1.0]);
        assert_eq!(with(2), [0.0, 3.0, 3.0, 0.0, 1.5, 1.5]);
        let wide = with(usize::MAX);
        assert!(wide.iter().all(|share| *share == wide[0]));
    }
}
