//! Block layouts against blocks worked out by hand, and what quantising loses.

use proptest::prelude::*;

use super::*;
use crate::products::tests::noise;

/// f16 bits of a few numbers.
const ONE: [u8; 2] = [0x00, 0x3c];
const TWO: [u8; 2] = [0x00, 0x40];
const HALF: [u8; 2] = [0x00, 0x38];
const MINUS_THREE: [u8; 2] = [0x00, 0xc2];

fn read(format: Format, bytes: &[u8], n: usize) -> Vec<f32> {
    let mut plain = vec![f32::NAN; n];
    dequantize_portable(format, bytes, &mut plain);
    for variant in variant::ALL.iter().filter(|v| (v.available)()) {
        let mut out = vec![f32::NAN; n];
        (variant.dequantize)(format, bytes, &mut out);
        assert_eq!(bits(&out), bits(&plain), "{} {format}", variant.name);
    }
    plain
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn floats_by_hand() {
    assert_eq!(read(Format::F32, &[0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0], 2), [1.0, -2.5]);
    let eleven: Vec<u8> = [ONE, TWO, HALF, MINUS_THREE].concat().repeat(3);
    let values = [1.0, 2.0, 0.5, -3.0].repeat(3);
    assert_eq!(read(Format::F16, &eleven, 12), values);
    assert_eq!(read(Format::BF16, &[0x80, 0x3f, 0x20, 0xc0], 2), [1.0, -2.5]);
    // The smallest subnormal f16 and infinity.
    assert_eq!(read(Format::F16, &[1, 0, 0, 0x7c], 2), [2f32.powi(-24), f32::INFINITY]);
}

#[test]
fn q8_0_by_hand() {
    let mut block = HALF.to_vec();
    block.extend((0..32u8).map(|i| i.wrapping_sub(16)));
    let values = read(Format::Q8_0, &block, 32);
    assert!(values.iter().enumerate().all(|(i, v)| *v == (i as f32 - 16.0) * 0.5));
}

#[test]
fn four_bit_blocks_by_hand() {
    // Byte i: low nibble i, high nibble 15 - i.
    let nibbles: Vec<u8> = (0..16).map(|i| i | (15 - i) << 4).collect();
    let values = read(Format::Q4_0, &[&TWO[..], &nibbles].concat(), 32);
    let (low, high) = values.split_at(16);
    assert!(low.iter().enumerate().all(|(i, v)| *v == (i as f32 - 8.0) * 2.0));
    assert!(high.iter().enumerate().all(|(i, v)| *v == (7.0 - i as f32) * 2.0));
    let values = read(Format::Q4_1, &[&TWO[..], &MINUS_THREE, &nibbles].concat(), 32);
    assert_eq!((values[0], values[5], values[16], values[31]), (-3.0, 7.0, 27.0, -3.0));
}

#[test]
fn five_bit_blocks_by_hand() {
    let nibbles: Vec<u8> = (0..16).map(|i| i | (15 - i) << 4).collect();
    // High bits of values 0, 17 and 31.
    let high = (1u32 | 1 << 17 | 1 << 31).to_le_bytes();
    let values = read(Format::Q5_0, &[&ONE[..], &high, &nibbles].concat(), 32);
    // Codes 16, 1, then 15, 14 + 16 and 0 + 16, all less 16.
    assert_eq!((values[0], values[1], values[16], values[17], values[31]), (0.0, -15.0, -1.0, 14.0, 0.0));
    let values = read(Format::Q5_1, &[&ONE[..], &MINUS_THREE, &high, &nibbles].concat(), 32);
    assert_eq!((values[0], values[1], values[16], values[17], values[31]), (13.0, -2.0, 12.0, 27.0, 13.0));
}

#[test]
fn per_channel_rows_by_hand() {
    let scale = 0.5f32.to_le_bytes();
    let row = [&scale[..], &[1, 0xff, 0x80, 127, 0]].concat();
    assert_eq!(read(Format::W8A8, &row, 5), [0.5, -0.5, -64.0, 63.5, 0.0]);

    // Steps of 2 and 3 from -10 and 5, 64 values in 32 bytes: byte i holds i % 16 and 15 - i % 16. Then 3 in 3.
    let mut row = scale.to_vec();
    row.extend([2, 3, 0xf6, 5]);
    row.extend((0..32u8).map(|i| (i % 16) | (15 - i % 16) << 4));
    row.extend([1, 9, 0xf8, 7, 0x8f, 0x80, 0x88]);
    let values = read(Format::W4A8, &row, 67);
    assert!((0..32).all(|i| values[i] == (2.0 * (i % 16) as f32 - 10.0) * 0.5), "{values:?}");
    assert!((0..32).all(|i| values[32 + i] == (50.0 - 3.0 * (i % 16) as f32) * 0.5), "{values:?}");
    assert_eq!(values[64..], [3.5, -4.0, 0.0]);

    // The last group may have high nibbles too.
    let values: Vec<f32> = (0..37).map(|i| (127 - 8 * (i % 16)) as f32).collect();
    let mut again = Vec::new();
    quantize(Format::W4A8, &values, &mut again);
    assert_eq!(again.len(), 4 + 36);
    let back = read(Format::W4A8, &again, 37);
    assert!(values.iter().zip(back).all(|(a, b)| (a - b).abs() <= 7.0), "{values:?}");
    assert_eq!(again[8 + 5] >> 4, 0, "there is no value");
}

#[test]
fn rows_of_a_matrix_have_their_own_scales() {
    for format in Format::ALL {
        let (rows, cols) = (3, 256);
        let values: Vec<f32> = noise(5, rows * cols)
            .iter()
            .enumerate()
            .map(|(i, v)| v * 10f32.powi((i / cols) as i32))
            .collect();
        let (mut all, mut single) = (Vec::new(), Vec::new());
        quantize_rows(format, cols, &values, &mut all);
        values.chunks(cols).for_each(|row| quantize(format, row, &mut single));
        assert_eq!(all, single, "{format}");
        let mut back = vec![0.0; rows * cols];
        dequantize_rows(format, cols, &all, &mut back);
        for (row, back) in all.chunks(all.len() / rows).zip(back.chunks(cols)) {
            assert_eq!(bits(&read(format, row, cols)), bits(back), "{format}");
        }
    }
}

/// Factors 1, 2, 3, 4, 33, 50, 63, 16 and minimums 5, 6, 7, 8, 40, 0, 63, 31 in twelve bytes.
fn packed_factors() -> [u8; 12] {
    let factors = [1u8, 2, 3, 4, 33, 50, 63, 16];
    let minimums = [5u8, 6, 7, 8, 40, 0, 63, 31];
    let mut packed = [0; 12];
    for i in 0..4 {
        packed[i] = factors[i] | factors[i + 4] >> 4 << 6;
        packed[i + 4] = minimums[i] | minimums[i + 4] >> 4 << 6;
        packed[i + 8] = factors[i + 4] & 15 | (minimums[i + 4] & 15) << 4;
    }
    packed
}

#[test]
fn q4_k_by_hand() {
    // Sub-block 0 is code 3, sub-block 1 code 10, and so on by pairs.
    let mut block = [&HALF[..], &TWO, &packed_factors()].concat();
    for pair in 0..4u8 {
        block.extend([(3 + pair) | (10 + pair) << 4; 32]);
    }
    let values = read(Format::Q4K, &block, 256);
    let expected = |factor: f32, code: f32, minimum: f32| 0.5 * factor * code - 2.0 * minimum;
    assert_eq!(values[0], expected(1.0, 3.0, 5.0));
    assert_eq!(values[63], expected(2.0, 10.0, 6.0));
    assert_eq!(values[64], expected(3.0, 4.0, 7.0));
    assert_eq!(values[128], expected(33.0, 5.0, 40.0));
    assert_eq!(values[160], expected(50.0, 12.0, 0.0));
    assert_eq!(values[192], expected(63.0, 6.0, 63.0));
    assert_eq!(values[255], expected(16.0, 13.0, 31.0));
}

#[test]
fn q5_k_by_hand() {
    let mut block = [&HALF[..], &TWO, &packed_factors()].concat();
    // Value 0 of every sub-block has its high bit, value 31 only in sub-block 7, the others none.
    let mut high = [0u8; 32];
    high[0] = 0xff;
    high[31] = 0x80;
    block.extend(high);
    for pair in 0..4u8 {
        block.extend([(3 + pair) | (10 + pair) << 4; 32]);
    }
    let values = read(Format::Q5K, &block, 256);
    let expected = |factor: f32, code: f32, minimum: f32| 0.5 * factor * code - 2.0 * minimum;
    assert_eq!(values[0], expected(1.0, 19.0, 5.0));
    assert_eq!(values[1], expected(1.0, 3.0, 5.0));
    assert_eq!(values[32], expected(2.0, 26.0, 6.0));
    assert_eq!(values[128], expected(33.0, 21.0, 40.0));
    assert_eq!(values[223], expected(63.0, 6.0, 63.0));
    assert_eq!(values[255], expected(16.0, 29.0, 31.0));
}

#[test]
fn q6_k_by_hand() {
    let mut block = vec![0u8; 210];
    block[..64].fill(0x21);
    block[64..128].fill(0x43);
    // Pairs 0, 1, 2, 3 for the four quarters of the first half; all 3 in the second.
    block[128..160].fill(0b11_10_01_00);
    block[160..192].fill(0xff);
    for (i, factor) in block[192..208].iter_mut().enumerate() {
        *factor = (i as i8 - 8).cast_unsigned();
    }
    block[208..].copy_from_slice(&HALF);
    let values = read(Format::Q6K, &block, 256);
    let expected = |factor: i32, code: i32| 0.5 * factor as f32 * (code - 32) as f32;
    assert_eq!(values[0], expected(-8, 1));
    assert_eq!(values[16], expected(-7, 1));
    assert_eq!(values[32], expected(-6, 16 + 1));
    assert_eq!(values[64], expected(-4, 32 + 2));
    assert_eq!(values[127], expected(-1, 48 + 2));
    assert_eq!(values[128], expected(0, 48 + 3));
    assert_eq!(values[175], expected(2, 48 + 3));
    assert_eq!(values[255], expected(7, 48 + 4));
}

/// Root-mean-square error over root-mean-square value, after a round trip.
fn loss(format: Format, values: &[f32]) -> f64 {
    let mut bytes = Vec::new();
    quantize(format, values, &mut bytes);
    let back = read(format, &bytes, values.len());
    let square = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>();
    let error = square(&mut values.iter().zip(&back).map(|(a, b)| f64::from(a - b)));
    (error / square(&mut values.iter().map(|v| f64::from(*v)))).sqrt()
}

/// Sums of twelve uniform numbers: near enough to a normal distribution, which weights resemble.
fn bell(n: usize) -> Vec<f32> {
    noise(77, n * 12).chunks(12).map(|c| c.iter().map(|v| v.clamp(-1.0, 1.0)).sum::<f32>() / 100.0).collect()
}

#[test]
fn round_trips_lose_no_more_than_their_bits() {
    let values = bell(256 * 64);
    for (format, bound) in [
        (Format::F32, 0.0),
        (Format::F16, 0.000_4),
        (Format::BF16, 0.003),
        (Format::Q8_0, 0.006),
        (Format::Q6K, 0.018),
        (Format::Q5K, 0.036),
        (Format::Q5_0, 0.042),
        (Format::Q5_1, 0.036),
        (Format::Q4K, 0.075),
        (Format::Q4_0, 0.085),
        (Format::Q4_1, 0.075),
        // One scale for 16,384 values.
        (Format::W8A8, 0.011),
        (Format::W4A8, 0.08),
    ] {
        let loss = loss(format, &values);
        assert!(loss <= bound, "{format}: {loss}");
    }
}

#[test]
fn searching_beats_plain_rounding() {
    // Four bits from the range alone: step = range / 15, the way to do without a search.
    let values = bell(256 * 64);
    let (mut error, mut square) = (0.0, 0.0);
    for block in values.chunks(32) {
        let low = block.iter().copied().fold(0.0f32, f32::min);
        let high = block.iter().copied().fold(low, f32::max);
        let step = (high - low) / 15.0;
        for v in block {
            error += f64::from(((v - low) / step).round() * step + low - v).powi(2);
            square += f64::from(*v).powi(2);
        }
    }
    let plain = (error / square).sqrt();
    let found = loss(Format::Q4K, &values);
    assert!(found < plain * 0.99, "{found} against {plain}");
}

#[test]
fn odd_blocks_survive() {
    for format in Format::ALL {
        for values in [vec![0.0; 256], vec![1e-9; 256], vec![-0.25; 256], vec![3.0; 256]] {
            let loss = loss(format, &values);
            assert!(values[0] == 0.0 || values[0] == 1e-9 || loss < 0.01, "{format} {}: {loss}", values[0]);
            assert!(loss.is_nan() == (values[0] == 0.0));
            let mut bytes = Vec::new();
            quantize(format, &values, &mut bytes);
            assert!(read(format, &bytes, 256).iter().all(|v| v.abs() <= 4.0), "{format}");
        }
        for poison in [f32::NAN, f32::INFINITY] {
            let mut values = vec![1.0; 256];
            values[100] = poison;
            let mut bytes = Vec::new();
            quantize(format, &values, &mut bytes);
            let back = read(format, &bytes, 256);
            assert!(!back[100].is_finite(), "{format} {poison}");
            assert!(
                format.block_len() == 256
                    || format.is_per_channel()
                    || back[0] == 1.0
                    || (back[0] - 1.0).abs() < 0.1,
                "{format}"
            );
        }
    }
}

proptest! {
    #[test]
    fn every_value_comes_back_within_a_step(seed in 0u64..10_000, scale in 1e-3f32..1e3, which in 0..Format::ALL.len()) {
        let format = Format::ALL[which];
        let values: Vec<f32> = noise(seed, 256).iter().map(|v| v * scale).collect();
        let mut bytes = vec![];
        quantize(format, &values, &mut bytes);
        prop_assert_eq!(Some(bytes.len()), format.row_bytes(256));
        let mut again = vec![];
        quantize(format, &values, &mut again);
        prop_assert_eq!(&bytes, &again);
        let back = read(format, &bytes, 256);
        // Of the block's largest value; a search may trade the edges of the range for its middle.
        let bound = match format {
            Format::F32 => 0.0,
            Format::F16 | Format::BF16 => 0.004,
            Format::Q8_0 => 0.005,
            Format::Q6K => 0.06,
            Format::Q5_0 | Format::Q5_1 | Format::Q5K => 0.12,
            Format::Q4_0 | Format::Q4_1 | Format::Q4K => 0.2,
            Format::W8A8 => 0.005,
            // Of the row's largest value.
            Format::W4A8 => 0.2,
        };
        let size = if format.is_per_channel() { 256 } else { 32 };
        for (values, back) in values.chunks(size).zip(back.chunks(size)) {
            let most = values.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            for (a, b) in values.iter().zip(back) {
                prop_assert!((a - b).abs() <= bound * most, "{}: {} became {}, block of {}", format, a, b, most);
            }
        }
    }

    #[test]
    fn any_bytes_read_alike(which in 0..Format::ALL.len(), bytes in proptest::collection::vec(any::<u8>(), 440), offset in 0usize..7) {
        let format = Format::ALL[which];
        // Whole blocks, or the longest row.
        let fits = |values: &usize| format.row_bytes(*values).is_some_and(|size| size <= bytes.len() - offset);
        let values = (0..1000).rev().find(fits).unwrap();
        let bytes = &bytes[offset..offset + format.row_bytes(values).unwrap()];
        let mut plain = vec![0.0; values];
        dequantize_portable(format, bytes, &mut plain);
        for variant in variant::ALL.iter().filter(|v| (v.available)()) {
            let mut out = vec![0.0; plain.len()];
            (variant.dequantize)(format, bytes, &mut out);
            for (a, b) in out.iter().zip(&plain) {
                prop_assert!(a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()), "{} {}: {} {}", variant.name, format, a, b);
            }
        }
    }
}
