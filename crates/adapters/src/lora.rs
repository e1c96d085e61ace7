//! A LoRA adapter (arXiv 2106.09685) in memory, independent of how its base is stored.

use std::collections::BTreeMap;

use crayon_formats::spec::{Positions, RopeLayout, Spec};
use crayon_formats::{Checkpoint, Tensor};
use crayon_model::{LowRank, LowRankPair, ModelError, Projection, Site};

use crate::AdapterError;

/// `scale * B A` for any set of linear layers.
///
/// Rows of B for queries and keys stand in the order of Hugging Face files (rotary pairs are halves of a head),
/// whatever the base's file does; [`Lora::attach`] reorders them.
#[derive(Clone, Debug, Default)]
pub struct Lora {
    /// The pairs by place.
    pub pairs: BTreeMap<Site, LowRankPair>,
    /// Fingerprint of the model it was made beside, where known.
    pub base: Option<String>,
    /// Name of that model, for messages.
    pub base_name: Option<String>,
    /// Modules of the file that adapt what reads pictures or sounds, by their full names. They are left out: texts do not
    /// pass through them.
    pub left_out: Vec<String>,
}

impl Lora {
    /// The largest rank of its pairs.
    pub fn rank(&self) -> usize {
        self.pairs.values().map(|pair| pair.rank).max().unwrap_or(0)
    }

    /// Values in all factors.
    pub fn parameters(&self) -> usize {
        self.pairs.values().map(|pair| pair.a.len() + pair.b.len()).sum()
    }

    /// Whether it may be used beside the model with this fingerprint. Adapters trained elsewhere carry none; their
    /// shapes decide.
    ///
    /// # Errors
    /// When it was made beside another one; `what` names the adapter in the message.
    pub fn check_base(&self, what: &str, fingerprint: &str, name: &str) -> Result<(), AdapterError> {
        match &self.base {
            Some(base) if base != fingerprint => {
                let short = |text: &str| text.chars().take(12).collect::<String>();
                let made_for = match &self.base_name {
                    Some(made_for) => format!("{made_for}, fingerprint {}", short(base)),
                    None => format!("fingerprint {}", short(base)),
                };
                let base = format!("{name}, fingerprint {}", short(fingerprint));
                Err(AdapterError::OtherBase { what: what.to_owned(), made_for, base })
            }
            _ => Ok(()),
        }
    }

    /// Makes it fit a network as its file stores the rows of q and k. The factors move, they are not copied.
    ///
    /// # Errors
    /// When a place does not exist in the network or has another shape; the error names it.
    pub fn attach(self, spec: &Spec) -> Result<LowRank, AdapterError> {
        let mut adapter = LowRank::default();
        for (site, mut pair) in self.pairs {
            check(spec, site, &pair)?;
            if let Some(order) = stored_order(spec, site.projection) {
                pair.b = reorder(&pair.b, pair.rank, &order);
            }
            adapter.insert(spec, site, pair)?;
        }
        Ok(adapter)
    }

    /// The model with this adapter added into its weights: `W + scale * B A`. Adapted weights become f32.
    ///
    /// # Errors
    /// As [`Lora::attach`].
    pub fn merge(&self, checkpoint: &Checkpoint) -> Result<Checkpoint, AdapterError> {
        let spec = &checkpoint.spec;
        let mut merged = Vec::with_capacity(self.pairs.len());
        for (&site, pair) in &self.pairs {
            check(spec, site, pair)?;
            let name = format!("{site}.weight");
            let weight = checkpoint.tensor(&name)?;
            let (mut values, cols) = (weight.to_f32(), weight.cols());
            let order = stored_order(spec, site.projection);
            for (row, out) in values.chunks_exact_mut(cols).enumerate() {
                let from = order.as_ref().map_or(row, |order| order[row]);
                for (k, a) in pair.a.chunks_exact(cols).enumerate() {
                    let factor = pair.scale * pair.b[from * pair.rank + k];
                    for (out, a) in out.iter_mut().zip(a) {
                        *out += factor * a;
                    }
                }
            }
            merged.push(Tensor::from_f32(&name, weight.shape, &values));
        }
        Ok(checkpoint.clone().with_tensors(merged)?)
    }
}

/// Whether the network has this place, with this shape.
fn check(spec: &Spec, site: Site, pair: &LowRankPair) -> Result<(), AdapterError> {
    let fail = |reason: String| Err(ModelError::Adapter { site: site.to_string(), reason }.into());
    if site.layer >= spec.layers {
        return fail(format!("the network has {} layers", spec.layers));
    }
    if !site.projection.exists(spec) {
        return fail("the network's MLP has no gate".to_owned());
    }
    let (input, output) = site.projection.size(spec);
    if pair.rank == 0 || pair.a.len() != pair.rank * input || pair.b.len() != output * pair.rank {
        let (a, b) = (pair.a.len() / pair.rank.max(1), pair.b.len() / pair.rank.max(1));
        return fail(format!(
            "it is made for {a} values in and {b} out, the network has {input} and {output}"
        ));
    }
    Ok(())
}

/// For each row of q or k as the file stores it, the row in the order of halves; `None` where they agree.
pub(crate) fn stored_order(spec: &Spec, projection: Projection) -> Option<Vec<usize>> {
    let Positions::Rope(rope) = &spec.positions else { return None };
    let heads = match projection {
        Projection::Q => spec.heads,
        Projection::K => spec.kv_heads,
        _ => return None,
    };
    if rope.layout == RopeLayout::Half {
        return None;
    }
    let (dim, half) = (spec.head_dim, rope.dims / 2);
    let from = |row: usize| {
        let (head, i) = (row / dim, row % dim);
        let within = match i {
            i if i >= rope.dims => i,
            i if i % 2 == 0 => i / 2,
            i => half + i / 2,
        };
        head * dim + within
    };
    Some((0..heads * dim).map(from).collect())
}

/// Rows of `width` values: row `i` of the result is row `order[i]` of `values`.
pub(crate) fn reorder(values: &[f32], width: usize, order: &[usize]) -> Vec<f32> {
    order.iter().flat_map(|&row| &values[row * width..(row + 1) * width]).copied().collect()
}
