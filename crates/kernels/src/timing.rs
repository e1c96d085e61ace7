//! How long a product takes in every variant that this processor can run.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::products::{Product, matmul_with};
use crate::{Activations, Matrix, Mode, Threads, variant};

/// One variant's time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timed {
    /// Its name.
    pub variant: &'static str,
    /// Whether it is the one in use.
    pub chosen: bool,
    /// What it does with weights of this format, in words.
    pub kernel: &'static str,
    /// The shortest time of a product, activations quantised, in seconds.
    pub seconds: f64,
}

/// Times `x W^T` with `m` rows of made-up activations in every available variant, best variant first. Each product runs
/// for about `each`, and at least twice.
pub fn time(pool: &Threads, weight: Matrix<'_>, m: usize, each: Duration) -> Vec<Timed> {
    let values: Vec<f32> = (0..m * weight.cols).map(|i| ((i * 7919) % 1000) as f32 * 0.002 - 1.0).collect();
    let mut x = Activations::new();
    let mut out = vec![0.0; m * weight.rows];
    let chosen = variant::chosen().name;
    let mut time = |variant: &'static variant::Variant| {
        let (start, mut seconds, mut runs) = (Instant::now(), f64::INFINITY, 0);
        while runs < 2 || start.elapsed() < each {
            let run = Instant::now();
            x.set_with(pool, &values, m, weight.cols);
            x.prepare_for(variant, pool, [weight.format].into_iter(), Mode::Fast);
            matmul_with(variant, pool, &x, &mut [Product { weight, out: &mut out }], Mode::Fast);
            black_box(&out);
            // The first run also takes memory.
            if runs > 0 {
                seconds = seconds.min(run.elapsed().as_secs_f64());
            }
            runs += 1;
        }
        let kernel = (variant.describe)(weight.format);
        Timed { variant: variant.name, chosen: variant.name == chosen, kernel, seconds }
    };
    variant::ALL.iter().filter(|variant| (variant.available)()).map(|variant| time(variant)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Format, quantize_rows};

    #[test]
    fn every_available_variant_has_a_time_and_one_is_in_use() {
        let mut bytes = Vec::new();
        quantize_rows(Format::Q8_0, 64, &vec![0.5; 64 * 48], &mut bytes);
        let weight = Matrix::new(Format::Q8_0, 48, 64, &bytes).unwrap();
        let timed = time(&Threads::new(2), weight, 5, Duration::ZERO);
        assert!(timed.iter().all(|timed| timed.seconds.is_finite() && timed.seconds > 0.0));
        assert_eq!(timed.iter().filter(|timed| timed.chosen).count(), 1);
        assert_eq!(timed.last().map(|timed| timed.variant), Some("portable"));
    }
}
