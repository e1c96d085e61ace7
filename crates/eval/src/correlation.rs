//! Whether two lists of numbers come in the same order.

/// Spearman's rank correlation; ties have the mean of their ranks. None where one side is constant.
pub(crate) fn spearman(xs: &[f64], ys: &[f64]) -> Option<f64> {
    let centred = |values: &[f64]| -> Vec<f64> {
        let rank = |value: &f64| {
            let below = values.iter().filter(|other| *other < value).count() as f64;
            let equal = values.iter().filter(|other| *other == value).count() as f64;
            below + (equal - 1.0) / 2.0 - (values.len() as f64 - 1.0) / 2.0
        };
        values.iter().map(rank).collect()
    };
    let (a, b) = (centred(xs), centred(ys));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let lengths = (dot(&a, &a) * dot(&b, &b)).sqrt();
    (lengths > 0.0).then(|| dot(&a, &b) / lengths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spearman_knows_order_ties_and_constants() {
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[0.1, 0.5, 7.0]), Some(1.0));
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]), Some(-1.0));
        assert_eq!(spearman(&[1.0, 2.0], &[4.0, 4.0]), None);
        let tied = spearman(&[1.0, 2.0, 3.0, 4.0], &[1.0, 1.0, 2.0, 3.0]).unwrap();
        assert!((tied - 0.9487).abs() < 1e-4, "{tied}");
    }
}
