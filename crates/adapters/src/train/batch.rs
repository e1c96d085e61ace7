//! Examples side by side: token ids padded at the end, and which predictions count.

use candle_core::{Device, Result as Candle, Tensor};

use super::Sample;

/// A step's input. Shapes: tokens and targets `[batch, rows]` (u32), weights `[batch, rows]`, shares `[batch, adapters]`.
pub(super) struct Batch {
    pub(super) tokens: Tensor,
    pub(super) targets: Tensor,
    /// 1 where the target is a token of the answer.
    pub(super) weights: Tensor,
    pub(super) shares: Tensor,
}

impl Batch {
    /// Pads `samples` to the longest. What stands behind an answer is seen by nothing that counts, because attention looks
    /// back only.
    pub(super) fn new(samples: &[(&Sample, Vec<f32>)], device: &Device) -> Candle<Batch> {
        let length = |sample: &Sample| sample.prompt.len() + sample.answer.len();
        let rows = samples.iter().map(|(sample, _)| length(sample)).max().unwrap_or(1).max(2) - 1;
        let (mut tokens, mut targets, mut weights, mut shares) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (sample, own) in samples {
            let text: Vec<u32> = sample.prompt.iter().chain(&sample.answer).copied().collect();
            let at = |i: usize| text.get(i).copied().unwrap_or(0);
            for row in 0..rows {
                tokens.push(at(row));
                targets.push(at(row + 1));
                let is_answer = (sample.prompt.len()..text.len()).contains(&(row + 1));
                weights.push(f32::from(u8::from(is_answer)));
            }
            shares.extend_from_slice(own);
        }
        let (count, adapters) = (samples.len(), samples.first().map_or(0, |(_, own)| own.len()));
        Ok(Batch {
            tokens: Tensor::from_vec(tokens, (count, rows), device)?,
            targets: Tensor::from_vec(targets, (count, rows), device)?,
            weights: Tensor::from_vec(weights, (count, rows), device)?,
            shares: Tensor::from_vec(shares, (count, adapters), device)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_count() {
        let sample = |prompt: &[u32], answer: &[u32]| Sample {
            prompt: prompt.to_vec(),
            answer: answer.to_vec(),
            query: Vec::new(),
            task: String::new(),
        };
        let (long, short) = (sample(&[1, 2, 3], &[4, 5]), sample(&[6], &[7]));
        let batch = Batch::new(&[(&long, vec![1.0, 0.0]), (&short, vec![0.5, 0.5])], &Device::Cpu).unwrap();
        assert_eq!(batch.tokens.to_vec2::<u32>().unwrap(), [[1, 2, 3, 4], [6, 7, 0, 0]]);
        assert_eq!(batch.targets.to_vec2::<u32>().unwrap(), [[2, 3, 4, 5], [7, 0, 0, 0]]);
        assert_eq!(batch.weights.to_vec2::<f32>().unwrap(), [[0.0, 0.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0]]);
        assert_eq!(batch.shares.to_vec2::<f32>().unwrap(), [[1.0, 0.0], [0.5, 0.5]]);
    }
}
