//! Made-up weights, straight in their storage format: random quants under fixed scales.
//!
//! Values spread like those of a trained network (a standard deviation near 0.02), so nothing overflows, and
//! making them costs little more than writing them. Layouts of blocks are ggml's (`ggml-common.h`).

use crayon_adapters::Random;
use crayon_formats::Format;

/// Fills `out`, rows of `cols` values in `format`, with random weights.
pub(super) fn fill(format: Format, cols: usize, random: &mut Random, out: &mut [u8]) {
    for chunk in out.chunks_mut(8) {
        let word = random.bits().to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
    match format {
        // Keep sign and mantissa, pin the exponent: magnitudes from 2^-6 to 2^-5.
        Format::F32 => out.as_chunks_mut::<4>().0.iter_mut().for_each(|value| {
            *value = (u32::from_le_bytes(*value) & 0x807F_FFFF | 121 << 23).to_le_bytes();
        }),
        Format::F16 => out.as_chunks_mut::<2>().0.iter_mut().for_each(|value| {
            *value = (u16::from_le_bytes(*value) & 0x83FF | 9 << 10).to_le_bytes();
        }),
        Format::BF16 => out.as_chunks_mut::<2>().0.iter_mut().for_each(|value| {
            *value = (u16::from_le_bytes(*value) & 0x807F | 121 << 7).to_le_bytes();
        }),
        Format::W8A8 | Format::W4A8 => {
            // Codes from -128 to 127, and from -60 to 60 in steps of 8.
            let scale: f32 = if format == Format::W8A8 { 0.02 / 74.0 } else { 0.02 / 36.9 };
            let row = format.row_bytes(cols).unwrap_or(out.len()).max(1);
            for row in out.chunks_exact_mut(row) {
                let (own, codes) = row.split_at_mut(4);
                own.copy_from_slice(&scale.to_le_bytes());
                if format == Format::W4A8 {
                    // 32 bytes behind the steps and the low ends of a group's halves.
                    for group in codes.chunks_mut(36) {
                        let head = [8, 8, (-60i8).cast_unsigned(), (-60i8).cast_unsigned()];
                        group.iter_mut().zip(head).for_each(|(byte, head)| *byte = head);
                    }
                }
            }
        }
        _ => {
            for block in out.chunks_exact_mut(format.block_bytes()) {
                for &(at, scale) in scales(format) {
                    block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
                }
            }
        }
    }
}

/// Where a block keeps its f16 scales, and the bits they get: quants of standard deviation s under `0.02 / s`,
/// minimums so that the mean is near 0.
fn scales(format: Format) -> &'static [(usize, u16)] {
    match format {
        Format::F32 | Format::F16 | Format::BF16 | Format::W8A8 | Format::W4A8 => &[],
        // -128 to 127: 0.02 / 74.
        Format::Q8_0 => &[(0, 0x0C6E)],
        // -8 to 7: 0.02 / 4.6.
        Format::Q4_0 => &[(0, 0x1C74)],
        // 0 to 15 and a minimum of -7.5 scales.
        Format::Q4_1 => &[(0, 0x1C74), (2, 0xA82D)],
        // -16 to 15: 0.02 / 9.2.
        Format::Q5_0 => &[(0, 0x1874)],
        Format::Q5_1 => &[(0, 0x1874), (2, 0xA850)],
        // Quants under 6-bit scales, both random: 0.02 / 258, minimums 7.5 times that.
        Format::Q4K => &[(0, 0x0515), (2, 0x10C4)],
        Format::Q5K => &[(0, 0x027E), (2, 0x10D3)],
        // Quants under signed 8-bit scales: 0.02 / 1370.
        Format::Q6K => &[(208, 0x00F5)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_spread_like_weights() {
        for format in Format::ALL {
            let values = 1 << 16;
            let cols = 256;
            let mut bytes = vec![0u8; values / cols * format.row_bytes(cols).unwrap()];
            fill(format, cols, &mut Random::seeded(1), &mut bytes);
            let mut out = vec![0f32; values];
            crayon_kernels::dequantize_rows(format, cols, &bytes, &mut out);
            let mean = out.iter().map(|v| f64::from(*v)).sum::<f64>() / values as f64;
            let square = out.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / values as f64;
            let deviation = (square - mean * mean).sqrt();
            assert!((0.015..0.03).contains(&deviation), "{format}: deviation {deviation}");
            assert!(mean.abs() < 0.004, "{format}: mean {mean}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let bytes = |seed| {
            let mut bytes = vec![0u8; 340];
            fill(Format::Q8_0, 320, &mut Random::seeded(seed), &mut bytes);
            bytes
        };
        assert_eq!(bytes(3), bytes(3));
        assert_ne!(bytes(3), bytes(4));
    }
}
