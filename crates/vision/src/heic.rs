//! HEIC files (ISO/IEC 23008-12), as phones write them: still pictures of HEVC in a HEIF container. Decoded by the crate `heic-rs`, which is
//! written in Rust alone and has no unsafe code.

use heic_rs::{DecodeOptions, Error, PixelLayout, probe};
use image::{DynamicImage, RgbImage, RgbaImage};

use crate::VisionError;
use crate::decode::{MOST_PIXELS, on_white};

/// Kinds of a HEIF file whose pictures are HEVC, or may be.
const BRANDS: [&[u8; 4]; 8] = [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"];

/// Whether a file begins like one.
pub(crate) fn is(file: &[u8]) -> bool {
    file.get(4..8) == Some(b"ftyp") && BRANDS.iter().any(|brand| file.get(8..12) == Some(&brand[..]))
}

/// The picture, upright as the container says; EXIF's own orientation does not count beside that.
pub(crate) fn decode(file: &[u8]) -> Result<RgbImage, VisionError> {
    if !whole(file) {
        return Err(VisionError::Picture("the file ends too early".to_owned()));
    }
    let (width, height) = dimensions(file)?;
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(VisionError::TooLarge { width, height, most: MOST_PIXELS });
    }
    let options =
        DecodeOptions { max_pixels: Some(MOST_PIXELS), threads: Some(1), ..DecodeOptions::default() };
    let picture =
        heic_rs::decode(file, &options.with_layout(PixelLayout::Rgba8)).map_err(|error| broken(&error))?;
    let pixels = RgbaImage::from_raw(picture.width, picture.height, picture.data);
    let pixels = pixels.ok_or_else(|| VisionError::Picture("its size does not fit its pixels".to_owned()))?;
    Ok(on_white(DynamicImage::ImageRgba8(pixels)))
}

/// Whether the boxes of the file (ISO/IEC 14496-12, section 4.2) end where it does: the decoder fills in for pixels that are missing.
fn whole(mut file: &[u8]) -> bool {
    while !file.is_empty() {
        let number = |from: usize, to: usize| {
            let bytes = file.get(from..to)?;
            Some(bytes.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte)))
        };
        let size = match number(0, 4) {
            // To the end of the file.
            Some(0) => return true,
            Some(1) => number(8, 16),
            size => size,
        };
        let rest = size.filter(|size| *size >= 8).and_then(|size| usize::try_from(size).ok());
        match rest.and_then(|size| file.get(size..)) {
            Some(rest) => file = rest,
            None => return false,
        }
    }
    true
}

/// Width and height, upright.
pub(crate) fn dimensions(file: &[u8]) -> Result<(u32, u32), VisionError> {
    let info = probe(file).map_err(|error| broken(&error))?;
    Ok((info.width, info.height))
}

fn broken(error: &Error) -> VisionError {
    VisionError::Picture(error.to_string())
}
