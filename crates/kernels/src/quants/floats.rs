//! The float formats: little-endian f32, f16 and bf16.

use half::{bf16, f16};

#[inline(always)]
pub(crate) fn read_f32(bytes: &[u8], out: &mut [f32]) {
    for (value, bytes) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *value = f32::from_le_bytes(*bytes);
    }
}

#[inline(always)]
pub(crate) fn read_f16(bytes: &[u8], out: &mut [f32]) {
    for (value, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *value = f16::from_le_bytes(*bytes).to_f32_const();
    }
}

#[inline(always)]
pub(crate) fn read_bf16(bytes: &[u8], out: &mut [f32]) {
    for (value, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *value = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
    }
}

pub(super) fn write_f32(values: &[f32], out: &mut Vec<u8>) {
    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

pub(super) fn write_f16(values: &[f32], out: &mut Vec<u8>) {
    out.extend(values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()));
}

pub(super) fn write_bf16(values: &[f32], out: &mut Vec<u8>) {
    out.extend(values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()));
}
