//! Which entries of a head stay.

/// Indices of the `count` largest values, in no order; of equal values the earlier ones.
pub(crate) fn largest(values: &[f32], count: usize) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..values.len()).collect();
    if count < indices.len() {
        let before = |a: &usize, b: &usize| values[*b].total_cmp(&values[*a]).then(a.cmp(b));
        indices.select_nth_unstable_by(count, before);
        indices.truncate(count);
    }
    indices
}

/// The `keep` slots that stay, ascending: all of `forced`, then those with the largest scores.
pub(crate) fn kept(scores: &mut [f32], forced: impl Iterator<Item = usize>, keep: usize) -> Vec<usize> {
    for slot in forced {
        scores[slot] = f32::INFINITY;
    }
    let mut kept = largest(scores, keep);
    kept.sort_unstable();
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ties_go_to_the_earlier_entry() {
        assert_eq!(kept(&mut [1.0, 2.0, 1.0, 1.0], std::iter::empty(), 3), [0, 1, 2]);
        assert_eq!(kept(&mut [1.0, 2.0, 1.0, 1.0], [3].into_iter(), 2), [1, 3]);
        assert_eq!(kept(&mut [0.0; 3], std::iter::empty(), 9), [0, 1, 2]);
    }

    proptest! {
        #[test]
        fn kept_slots_are_sorted_unique_and_the_best(
            mut scores in prop::collection::vec(-5.0f32..5.0, 1..60),
            forced in prop::collection::vec(0usize..60, 0..5),
            keep in 5usize..40,
        ) {
            let forced: Vec<usize> = forced.into_iter().filter(|slot| *slot < scores.len()).collect();
            let plain = scores.clone();
            let found = kept(&mut scores, forced.iter().copied(), keep);
            prop_assert_eq!(found.len(), keep.min(plain.len()));
            prop_assert!(found.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(forced.iter().all(|slot| found.contains(slot)));
            let least = found.iter().filter(|s| !forced.contains(s)).map(|&s| plain[s]).fold(f32::MAX, f32::min);
            for slot in (0..plain.len()).filter(|slot| !found.contains(slot)) {
                prop_assert!(plain[slot] <= least);
            }
        }
    }
}
