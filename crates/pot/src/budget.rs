//! How much room each layer needs: layers whose keys suffer from a forgotten past get more (EpiCache, arXiv
//! 2509.17396, section on layer budgets).

use std::ops::ControlFlow;

use crate::{KvStorage, Network, Pot, PotError};

/// Sensitivity of each layer, `1 - mean cosine` between the keys of the second half of `probe` when the whole first
/// half is in memory and when only its beginning and end are.
///
/// # Errors
/// When the network fails.
pub fn sensitivity(network: &mut Network<'_>, probe: &[u32]) -> Result<Vec<f32>, PotError> {
    let spec = network.decoder.spec().clone();
    let half = probe.len() / 2;
    let second = probe.len() - half;
    let mut whole = Pot::full(&spec, probe.len(), KvStorage::F32);
    let mut block = Pot::full(&spec, probe.len(), KvStorage::F32);
    let (mut logits, go_on) = (Vec::new(), &mut |_| ControlFlow::Continue(()));
    whole.read(network, probe, &mut logits, None, go_on)?;
    block.read(network, &probe[..half], &mut logits, None, go_on)?;
    // A few of the first and an eighth of the last tokens stay.
    let kept: Vec<usize> = (0..half).filter(|slot| *slot < 4 || slot + half / 8 >= half).collect();
    let heads = |pot: &Pot| {
        (0..pot.slab.layers())
            .flat_map({
                let kv_heads = pot.slab.kv_heads();
                move |layer| (0..kv_heads).map(move |kv_head| (layer, kv_head))
            })
            .collect::<Vec<_>>()
    };
    for (layer, kv_head) in heads(&block) {
        block.slab.compact(layer, kv_head, &kept, kept.len());
    }
    block.slab.settle(&vec![kept.len(); spec.layers], kept.len());
    block.read(network, &probe[half..], &mut logits, None, go_on)?;
    // Both second halves to the same positions, so that only what the keys say differs.
    let mut sums = vec![0.0f64; spec.layers];
    let end = kept.len() + second;
    let late: Vec<usize> = (half..probe.len()).collect();
    let (mut a, mut b) = (vec![0.0; spec.head_dim], vec![0.0; spec.head_dim]);
    for (layer, kv_head) in heads(&whole) {
        whole.slab.compact(layer, kv_head, &late, end);
        for slot in 0..second {
            whole.slab.key(layer, kv_head, slot, &mut a);
            block.slab.key(layer, kv_head, kept.len() + slot, &mut b);
            sums[layer] += f64::from(cosine(&a, &b));
        }
    }
    let count = (second * spec.kv_heads) as f64;
    Ok(sums.into_iter().map(|sum| (1.0 - sum / count).max(0.0) as f32).collect())
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f32::MIN_POSITIVE)
}

/// Entries of each layer, `keep` on average and at least `floor`, the rest by `weights`.
pub(crate) fn shares(weights: &[f32], keep: usize, floor: usize) -> Vec<usize> {
    let floor = floor.min(keep);
    let free = (keep - floor) * weights.len();
    let total: f32 = weights.iter().sum();
    if total <= 0.0 {
        return vec![keep; weights.len()];
    }
    let mut shares: Vec<usize> =
        weights.iter().map(|weight| floor + (weight / total * free as f32).floor() as usize).collect();
    // What rounding left over goes to the first layers, one each.
    let left = (keep * weights.len()).saturating_sub(shares.iter().sum());
    for share in shares.iter_mut().take(left) {
        *share += 1;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_keep_the_mean_and_the_floor() {
        let found = shares(&[0.1, 0.3, 0.0], 100, 40);
        assert_eq!(found.iter().sum::<usize>(), 300);
        assert!(found[1] > found[0] && found[0] > found[2] && found[2] >= 40, "{found:?}");
        assert_eq!(shares(&[0.0, 0.0], 10, 5), [10, 10]);
    }
}
