//! Scales per channel in closed form.

use crayon_formats::spec::Spec;
use crayon_model::Place;

/// What a place holds before its scales.
#[derive(Clone, Debug)]
pub struct Magnitudes {
    /// Largest magnitude of every channel of the activation, one for each scale.
    pub activations: Vec<f32>,
    /// Largest magnitude of the weights that meet it.
    pub weights: Vec<f32>,
}

impl Magnitudes {
    /// From the channels' extremes and the weights `[out, in]` of the layers that read the place.
    pub fn new(spec: &Spec, place: Place, low: &[f32], high: &[f32], readers: &[&[f32]]) -> Magnitudes {
        let scales = place.scales(spec);
        let (mut activations, mut weights) = (vec![0.0f32; scales], vec![0.0f32; scales]);
        for (channel, (low, high)) in low.iter().zip(high).enumerate() {
            let own = &mut activations[place.scale_of(spec, channel)];
            *own = own.max(low.abs()).max(high.abs());
        }
        for weight in readers {
            for row in weight.chunks_exact(low.len()) {
                for (channel, value) in row.iter().enumerate() {
                    let own = &mut weights[place.scale_of(spec, channel)];
                    *own = own.max(value.abs());
                }
            }
        }
        Magnitudes { activations, weights }
    }

    /// Logarithms of the scales of cross-layer equalisation (arXiv 1906.04721, equation 11): what stands before a place, whose largest
    /// magnitudes are `before`, and the weights behind it get the same range in every channel.
    pub fn equal(&self, before: &[f32]) -> Vec<f32> {
        let pairs = before.iter().zip(&self.weights);
        pairs
            .map(|(before, behind)| {
                let log = 0.5 * (behind.ln() - before.ln());
                if *before > 0.0 && *behind > 0.0 && log.is_finite() { log } else { 0.0 }
            })
            .collect()
    }

    /// Logarithms of SmoothQuant's scales (arXiv 2211.10438, equation 4): activations are divided by
    /// `max|x|^alpha / max|w|^(1 - alpha)`. Channels where nothing was seen keep a scale of 1. The mean logarithm is taken off:
    /// it changes nothing of what is rounded.
    pub fn smooth(&self, alpha: f32) -> Vec<f32> {
        let pairs = self.activations.iter().zip(&self.weights);
        let mut logs: Vec<Option<f32>> = pairs
            .map(|(x, w)| {
                let log = (1.0 - alpha) * w.ln() - alpha * x.ln();
                (*x > 0.0 && *w > 0.0 && log.is_finite()).then_some(log)
            })
            .collect();
        let known: Vec<f32> = logs.iter().flatten().copied().collect();
        let mean = known.iter().sum::<f32>() / known.len().max(1) as f32;
        logs.iter_mut().map(|log| log.map_or(0.0, |log| log - mean)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outliers_are_divided_and_silent_channels_left() {
        let magnitudes = Magnitudes { activations: vec![1.0, 100.0, 0.0], weights: vec![1.0, 1.0, 1.0] };
        let logs = magnitudes.smooth(0.5);
        // Half of the hundredfold goes over: a tenth.
        assert!((logs[0] - logs[1] - 10f32.ln()).abs() < 1e-5);
        assert_eq!(logs[2], 0.0);
        assert!((magnitudes.equal(&[4.0, 1.0, 0.0])[0] - 0.5f32.ln()).abs() < 1e-6);
        assert!(magnitudes.smooth(0.0).iter().all(|log| log.abs() < 1e-6));
    }
}
