//! The instruction-set variants side by side, and the choice among them.
//!
//! A variant is a table of functions. The portable one is the plain twin that says what each function computes;
//! a vector variant must agree with it (bit for bit where its documentation says so) and may only be called when
//! the processor has what it needs. Adding one is a folder in `products` with a table, a file in `attention` and an entry
//! in [`ALL`].

use std::sync::OnceLock;

use crate::activations::Panels;
use crate::attention::{self, Head};
use crate::products::{self, Tile};
use crate::{Format, Rounding, quants};

/// Rounds a row as asked: its codes go to the slice, its scale and zero point come back.
pub(crate) type QuantizeAs = fn(Rounding, &[f32], &mut [i8]) -> (f32, i32);

/// What one instruction set offers.
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    /// Whether this processor can run it.
    pub(crate) available: fn() -> bool,
    /// [`crate::dequantize`]; whole blocks, checked by the caller. The same bits in every variant.
    pub(crate) dequantize: fn(Format, &[u8], &mut [f32]),
    /// Quantises one row of activations in blocks of 32. The same bits in every variant.
    pub(crate) quantize_small: fn(&[f32], crate::activations::CodesMut<'_>),
    /// The same in blocks of 256.
    pub(crate) quantize_large: fn(&[f32], crate::activations::CodesMut<'_>),
    /// The same with one scale for the row; the scale and the sum of the codes.
    pub(crate) quantize_whole: fn(&[f32], &mut [i8]) -> (f32, i32),
    /// The same as a [`Rounding`] says.
    pub(crate) quantize_as: QuantizeAs,
    /// How products of several rows want the activations laid out besides.
    pub(crate) panels: Panels,
    /// Whether products with bfloat16 weights want them in three parts.
    pub(crate) parts: bool,
    /// Whether products of several rows in f32 want them by lanes.
    pub(crate) lanes: bool,
    /// Weight rows that its products take together at most: tasks are whole multiples of it.
    pub(crate) rows: usize,
    /// Some rows of one product. With quantised weights in `Mode::Fast` the same bits in every variant.
    pub(crate) product: fn(&Tile<'_>),
    /// Products with weights laid out before, where it has such. The bits of `product` in `Mode::Fast`.
    pub(crate) packed: Option<crate::packed::Multiply>,
    /// A block of [`crate::accumulate`].
    pub(crate) accumulate: fn(&crate::accumulate::Block<'_>),
    /// One head of attention.
    pub(crate) attend: fn(&mut Head<'_, '_>),
    /// `x * sigmoid(x)` in place.
    pub(crate) silu: fn(&mut [f32]),
    /// GELU by tanh, in place.
    pub(crate) gelu_tanh: fn(&mut [f32]),
    /// `x * sigmoid(1.702 x)` in place.
    pub(crate) quick_gelu: fn(&mut [f32]),
    /// `exp(x - shift)` in place; the sum, accumulated in eight lanes.
    pub(crate) exp_sum: fn(&mut [f32], f32) -> f32,
    /// Multiplies bytes as fast as it can for a while; how many operations that were.
    pub(crate) peak_int8: fn() -> u64,
    /// The same with f32.
    pub(crate) peak_f32: fn() -> u64,
    /// What `product` does for a format, in words.
    pub(crate) describe: fn(Format) -> &'static str,
}

/// The plain twin.
pub(crate) static PORTABLE: Variant = Variant {
    name: "portable",
    available: || true,
    dequantize: |format, bytes, out| quants::dequantize_portable(format, bytes, out),
    quantize_small: |row, codes| crate::activations::quantize_row::<32, 32>(row, codes),
    quantize_large: |row, codes| crate::activations::quantize_row::<256, 16>(row, codes),
    quantize_whole: |row, codes| crate::activations::whole::quantize_row(row, codes),
    quantize_as: |rounding, row, codes| rounding.quantize(row, codes),
    panels: Panels::None,
    parts: false,
    lanes: false,
    rows: 16,
    product: products::portable::product,
    packed: None,
    accumulate: crate::accumulate::portable,
    attend: attention::portable::attend,
    silu: crate::ops::portable::silu,
    gelu_tanh: crate::ops::portable::gelu_tanh,
    quick_gelu: crate::ops::portable::quick_gelu,
    exp_sum: crate::ops::portable::exp_sum,
    peak_int8: crate::limits::portable_int8,
    peak_f32: crate::limits::portable_f32,
    describe: |_| "portable loops",
};

/// Every variant compiled in, best first.
pub(crate) static ALL: &[&Variant] = &[
    #[cfg(target_arch = "x86_64")]
    &crate::products::amx::VARIANT,
    #[cfg(target_arch = "x86_64")]
    &crate::products::avx512::VARIANT,
    #[cfg(target_arch = "x86_64")]
    &crate::products::avx2::VARIANT,
    #[cfg(target_arch = "aarch64")]
    &crate::products::neon::I8MM,
    #[cfg(target_arch = "aarch64")]
    &crate::products::neon::DOTPROD,
    &PORTABLE,
];

/// The variant in use: the one that the environment variable `CRAYON_KERNELS` names, if it is available, or the first
/// available one that is chosen by default.
pub(crate) fn chosen() -> &'static Variant {
    static CHOSEN: OnceLock<&'static Variant> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let wanted = std::env::var("CRAYON_KERNELS").ok();
        // Availability last: to ask for AMX is to ask the system for larger signal stacks.
        let named = wanted.and_then(|name| ALL.iter().find(|v| v.name == name && (v.available)()));
        named.or_else(|| ALL.iter().find(|v| (v.available)())).unwrap_or(&&PORTABLE)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn better_variants_stand_on_those_below() {
        let available = |name: &str| ALL.iter().any(|v| v.name == name && (v.available)());
        assert!(available("portable"));
        // Each of these falls through to the next one for what it does not do better.
        for (better, below) in [("amx", "avx512"), ("avx512", "avx2"), ("i8mm", "dotprod")] {
            assert!(!available(better) || available(below), "{better} without {below}");
        }
        if std::env::var_os("CRAYON_KERNELS").is_none() {
            let best = ALL.iter().find(|v| (v.available)()).map(|v| v.name);
            assert_eq!(Some(chosen().name), best);
        }
    }
}
