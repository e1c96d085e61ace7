//! Keys and values as numbers of one type, addressed by slot.

use crayon_kernels::{KvSlice, ops};
use half::f16;
use serde::{Deserialize, Serialize};

/// Storage type of keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KvStorage {
    /// Exact.
    F32,
    /// Half the memory; rounding of 2^-11.
    F16,
    /// A quarter of the memory: keys with one scale for each pair of channels of a head, values with one scale for
    /// each slot.
    I8,
}

impl KvStorage {
    /// All of them, the exact one first.
    pub const ALL: [KvStorage; 3] = [KvStorage::F32, KvStorage::F16, KvStorage::I8];

    /// What options call it.
    pub const fn name(self) -> &'static str {
        match self {
            KvStorage::F32 => "f32",
            KvStorage::F16 => "f16",
            KvStorage::I8 => "i8",
        }
    }

    /// Bytes of the keys and values of one slot of one head.
    pub const fn slot_bytes(self, head_dim: usize) -> usize {
        match self {
            KvStorage::F32 => 8 * head_dim,
            KvStorage::F16 => 4 * head_dim,
            // and the scale of the values
            KvStorage::I8 => 2 * head_dim + 4,
        }
    }
}

/// Keys and values of all heads, `[head, slot, dim]` where `head` counts layers times KV heads and heads may differ
/// in slots.
pub(crate) enum Numbers {
    F32 { keys: Vec<f32>, values: Vec<f32> },
    F16 { keys: Vec<f16>, values: Vec<f16> },
    I8(Bytes),
}

/// The 8-bit form.
///
/// A rotation turns a pair of channels without changing its length. A key's scale therefore belongs to a pair and
/// covers the longest pair seen: keys that move to new positions never leave their range.
pub(crate) struct Bytes {
    keys: Vec<i8>,
    /// `[head, dim]`; both channels of a pair hold the same number.
    key_scales: Vec<f32>,
    values: Vec<i8>,
    /// `[head, slot]`.
    value_scales: Vec<f32>,
}

/// How rotated channels pair up: within the first `dims`, `(i, i + dims / 2)` or `(2 i, 2 i + 1)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pairing {
    pub(crate) dims: usize,
    pub(crate) interleaved: bool,
}

impl Pairing {
    /// The channel that shares a rotation with `channel`.
    fn partner(self, channel: usize) -> usize {
        match (channel < self.dims, self.interleaved) {
            (false, _) => channel,
            (true, true) => channel ^ 1,
            (true, false) => (channel + self.dims / 2) % self.dims,
        }
    }
}

/// New scales leave this much room, so that a slightly longer key does not make all others be rounded again.
const HEADROOM: f32 = 1.25;

/// Where the slots of one head lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Counts layers times KV heads.
    pub(crate) head: usize,
    /// First slot in the whole store.
    pub(crate) first: usize,
    /// Slots in use.
    pub(crate) filled: usize,
}

impl Numbers {
    pub(crate) fn new(kind: KvStorage, heads: usize, slots: usize, dim: usize) -> Numbers {
        let values = slots * dim;
        match kind {
            KvStorage::F32 => Numbers::F32 { keys: vec![0.0; values], values: vec![0.0; values] },
            KvStorage::F16 => Numbers::F16 { keys: vec![f16::ZERO; values], values: vec![f16::ZERO; values] },
            KvStorage::I8 => Numbers::I8(Bytes {
                keys: vec![0; values],
                key_scales: vec![0.0; heads * dim],
                values: vec![0; values],
                value_scales: vec![0.0; slots],
            }),
        }
    }

    pub(crate) fn kind(&self) -> KvStorage {
        match self {
            Numbers::F32 { .. } => KvStorage::F32,
            Numbers::F16 { .. } => KvStorage::F16,
            Numbers::I8(_) => KvStorage::I8,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            Numbers::F32 { keys, .. } => keys.len() * 8,
            Numbers::F16 { keys, .. } => keys.len() * 4,
            Numbers::I8(b) => b.keys.len() * 2 + (b.key_scales.len() + b.value_scales.len()) * 4,
        }
    }

    /// Scales of an empty store: what was held before leaves no trace.
    pub(crate) fn forget_scales(&mut self) {
        if let Numbers::I8(bytes) = self {
            bytes.key_scales.fill(0.0);
        }
    }

    /// Writes one key and one value into the slot after `place.filled`.
    pub(crate) fn push(&mut self, place: Place, key: &[f32], value: &[f32], pairing: Pairing) {
        let dim = key.len();
        let slot = place.first + place.filled;
        let at = slot * dim..(slot + 1) * dim;
        match self {
            Numbers::F32 { keys, values } => {
                keys[at.clone()].copy_from_slice(key);
                values[at].copy_from_slice(value);
            }
            Numbers::F16 { keys, values } => {
                to_f16(key, &mut keys[at.clone()]);
                to_f16(value, &mut values[at]);
            }
            Numbers::I8(bytes) => {
                bytes.widen(place, key, pairing);
                bytes.set_key(place.head, slot, key);
                let scale = value.iter().fold(0.0f32, |most, v| most.max(v.abs())) / 127.0;
                bytes.value_scales[slot] = scale;
                quantize(value, |_| scale, &mut bytes.values[at]);
            }
        }
    }

    /// The key in `slot` of the whole store.
    pub(crate) fn key(&self, head: usize, slot: usize, out: &mut [f32]) {
        let dim = out.len();
        let at = slot * dim..(slot + 1) * dim;
        match self {
            Numbers::F32 { keys, .. } => out.copy_from_slice(&keys[at]),
            Numbers::F16 { keys, .. } => {
                for (out, key) in out.iter_mut().zip(&keys[at]) {
                    *out = key.to_f32();
                }
            }
            Numbers::I8(bytes) => {
                let scales = &bytes.key_scales[head * dim..(head + 1) * dim];
                for ((out, key), scale) in out.iter_mut().zip(&bytes.keys[at]).zip(scales) {
                    *out = f32::from(*key) * scale;
                }
            }
        }
    }

    /// Moves keys and values of slot `from` to slot `to` of the same head and turns the key by the angles of `cos`
    /// and `sin`, `[dims / 2]`; without angles the bits stay.
    pub(crate) fn relocate(
        &mut self,
        head: usize,
        from: usize,
        to: usize,
        dim: usize,
        turn: Option<(&[f32], &[f32], Pairing)>,
        key: &mut [f32],
    ) {
        let source = from * dim..(from + 1) * dim;
        if from != to {
            match self {
                Numbers::F32 { keys, values } => {
                    keys.copy_within(source.clone(), to * dim);
                    values.copy_within(source, to * dim);
                }
                Numbers::F16 { keys, values } => {
                    keys.copy_within(source.clone(), to * dim);
                    values.copy_within(source, to * dim);
                }
                Numbers::I8(bytes) => {
                    bytes.keys.copy_within(source.clone(), to * dim);
                    bytes.values.copy_within(source, to * dim);
                    bytes.value_scales[to] = bytes.value_scales[from];
                }
            }
        }
        let Some((cos, sin, pairing)) = turn else { return };
        self.key(head, to, key);
        ops::rope(&mut key[..pairing.dims], cos, sin, pairing.interleaved);
        let at = to * dim..(to + 1) * dim;
        match self {
            Numbers::F32 { keys, .. } => keys[at].copy_from_slice(key),
            Numbers::F16 { keys, .. } => to_f16(key, &mut keys[at]),
            Numbers::I8(bytes) => bytes.set_key(head, to, key),
        }
    }

    /// Keys and values of `slots` slots of a head.
    pub(crate) fn slices(&self, place: Place, dim: usize) -> (KvSlice<'_>, KvSlice<'_>) {
        let at = place.first * dim..(place.first + place.filled) * dim;
        match self {
            Numbers::F32 { keys, values } => (KvSlice::F32(&keys[at.clone()]), KvSlice::F32(&values[at])),
            Numbers::F16 { keys, values } => (KvSlice::F16(&keys[at.clone()]), KvSlice::F16(&values[at])),
            Numbers::I8(bytes) => (
                KvSlice::I8Channels {
                    values: &bytes.keys[at.clone()],
                    scales: &bytes.key_scales[place.head * dim..(place.head + 1) * dim],
                },
                KvSlice::I8Slots {
                    values: &bytes.values[at],
                    scales: &bytes.value_scales[place.first..place.first + place.filled],
                },
            ),
        }
    }

    /// Appends the bytes of a head's slots to `out`, for a file.
    pub(crate) fn save(&self, place: Place, dim: usize, out: &mut Vec<u8>) {
        let at = place.first * dim..(place.first + place.filled) * dim;
        match self {
            Numbers::F32 { keys, values } => {
                keys[at.clone()].iter().chain(&values[at]).for_each(|v| out.extend(v.to_le_bytes()));
            }
            Numbers::F16 { keys, values } => {
                keys[at.clone()].iter().chain(&values[at]).for_each(|v| out.extend(v.to_le_bytes()));
            }
            Numbers::I8(b) => {
                let scales = &b.key_scales[place.head * dim..(place.head + 1) * dim];
                let slots = &b.value_scales[place.first..place.first + place.filled];
                scales.iter().chain(slots).for_each(|v| out.extend(v.to_le_bytes()));
                b.keys[at.clone()].iter().chain(&b.values[at]).for_each(|v| out.extend(v.to_le_bytes()));
            }
        }
    }

    /// Reads what [`save`](Self::save) wrote for the same place; `None` when `bytes` are too few.
    pub(crate) fn load(&mut self, place: Place, dim: usize, bytes: &mut &[u8]) -> Option<()> {
        let at = place.first * dim..(place.first + place.filled) * dim;
        match self {
            Numbers::F32 { keys, values } => {
                floats(&mut keys[at.clone()], bytes)?;
                floats(&mut values[at], bytes)
            }
            Numbers::F16 { keys, values } => {
                for part in [&mut keys[at.clone()], &mut values[at]] {
                    for value in part {
                        *value = f16::from_le_bytes(take(bytes)?);
                    }
                }
                Some(())
            }
            Numbers::I8(b) => {
                floats(&mut b.key_scales[place.head * dim..(place.head + 1) * dim], bytes)?;
                floats(&mut b.value_scales[place.first..place.first + place.filled], bytes)?;
                for part in [&mut b.keys[at.clone()], &mut b.values[at]] {
                    for value in part {
                        *value = i8::from_le_bytes(take(bytes)?);
                    }
                }
                Some(())
            }
        }
    }
}

impl Bytes {
    /// Makes the scales of `place` cover `key`; what was stored is rounded anew where a scale grows.
    fn widen(&mut self, place: Place, key: &[f32], pairing: Pairing) {
        let dim = key.len();
        let scales = &mut self.key_scales[place.head * dim..(place.head + 1) * dim];
        for channel in 0..dim {
            let partner = pairing.partner(channel);
            let length =
                if partner == channel { key[channel].abs() } else { key[channel].hypot(key[partner]) };
            let (old, least) = (scales[channel], length / 127.0);
            if least > old {
                let new = least * HEADROOM;
                scales[channel] = new;
                for slot in place.first..place.first + place.filled {
                    let stored = &mut self.keys[slot * dim + channel];
                    *stored = (f32::from(*stored) * old / new).round() as i8;
                }
            }
        }
    }

    fn set_key(&mut self, head: usize, slot: usize, key: &[f32]) {
        let dim = key.len();
        let scales = &self.key_scales[head * dim..(head + 1) * dim];
        quantize(key, |channel| scales[channel], &mut self.keys[slot * dim..(slot + 1) * dim]);
    }
}

fn quantize(from: &[f32], scale: impl Fn(usize) -> f32, to: &mut [i8]) {
    for (channel, (to, from)) in to.iter_mut().zip(from).enumerate() {
        let scale = scale(channel);
        *to = if scale > 0.0 { (from / scale).round().clamp(-127.0, 127.0) as i8 } else { 0 };
    }
}

fn to_f16(from: &[f32], to: &mut [f16]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = f16::from_f32(*from);
    }
}

pub(crate) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

pub(crate) fn floats(to: &mut [f32], bytes: &mut &[u8]) -> Option<()> {
    for value in to {
        *value = f32::from_le_bytes(take(bytes)?);
    }
    Some(())
}
