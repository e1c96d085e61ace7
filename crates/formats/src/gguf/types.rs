//! Numbers of tensor types: ggml's, and two of this project's own for the per-channel formats.
//!
//! Those two lie far outside ggml's range, so that programs without them refuse the file by its table instead of reading
//! something else. As little-endian bytes they spell the formats' names.

use crayon_kernels::Format;

const W8A8: u32 = u32::from_le_bytes(*b"w8a8");
const W4A8: u32 = u32::from_le_bytes(*b"w4g8");
/// W4A8 as it was before its rows had groups.
const W4A8_ROWS: u32 = u32::from_le_bytes(*b"w4a8");

/// Every type number in use, with its name; the readable ones carry a format.
const TYPES: &[(u32, &str, Option<Format>)] = &[
    (0, "F32", Some(Format::F32)),
    (1, "F16", Some(Format::F16)),
    (2, "Q4_0", Some(Format::Q4_0)),
    (3, "Q4_1", Some(Format::Q4_1)),
    (6, "Q5_0", Some(Format::Q5_0)),
    (7, "Q5_1", Some(Format::Q5_1)),
    (8, "Q8_0", Some(Format::Q8_0)),
    (9, "Q8_1", None),
    (10, "Q2_K", None),
    (11, "Q3_K", None),
    (12, "Q4_K", Some(Format::Q4K)),
    (13, "Q5_K", Some(Format::Q5K)),
    (14, "Q6_K", Some(Format::Q6K)),
    (15, "Q8_K", None),
    (16, "IQ2_XXS", None),
    (17, "IQ2_XS", None),
    (18, "IQ3_XXS", None),
    (19, "IQ1_S", None),
    (20, "IQ4_NL", None),
    (21, "IQ3_S", None),
    (22, "IQ2_S", None),
    (23, "IQ4_XS", None),
    (24, "I8", None),
    (25, "I16", None),
    (26, "I32", None),
    (27, "I64", None),
    (28, "F64", None),
    (29, "IQ1_M", None),
    (30, "BF16", Some(Format::BF16)),
    (34, "TQ1_0", None),
    (35, "TQ2_0", None),
    (39, "MXFP4", None),
    (W8A8, "W8A8", Some(Format::W8A8)),
    (W4A8, "W4A8", Some(Format::W4A8)),
    (W4A8_ROWS, "W4A8 of an earlier version, to be made anew", None),
];

/// The format of a type number, if it is one this project computes with.
pub fn format_of(number: u32) -> Option<Format> {
    TYPES.iter().find(|entry| entry.0 == number).and_then(|entry| entry.2)
}

/// The name of a type number, if known.
pub fn type_name(number: u32) -> Option<&'static str> {
    TYPES.iter().find(|entry| entry.0 == number).map(|entry| entry.1)
}

/// The type number of a format.
pub fn type_number(format: Format) -> u32 {
    match format {
        Format::F32 => 0,
        Format::F16 => 1,
        Format::Q4_0 => 2,
        Format::Q4_1 => 3,
        Format::Q5_0 => 6,
        Format::Q5_1 => 7,
        Format::Q8_0 => 8,
        Format::Q4K => 12,
        Format::Q5K => 13,
        Format::Q6K => 14,
        Format::BF16 => 30,
        Format::W8A8 => W8A8,
        Format::W4A8 => W4A8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_formats_are_inverse() {
        for format in Format::ALL {
            assert_eq!(format_of(type_number(format)), Some(format));
            assert!(
                type_name(type_number(format)).is_some_and(|name| name.eq_ignore_ascii_case(format.name()))
            );
        }
        assert_eq!(format_of(10), None);
        assert_eq!(type_name(10), Some("Q2_K"));
        assert_eq!(type_name(4), None);
        assert_eq!(format_of(W4A8_ROWS), None);
        assert!(type_name(W4A8_ROWS).is_some_and(|name| name.contains("to be made anew")));
    }
}
