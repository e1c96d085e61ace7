//! From the bytes of a picture file to red, green and blue as a person sees them: turned upright, on white.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder as _, ImageReader, Limits, RgbImage};

use crate::VisionError;

/// Most pixels of a picture that is decoded.
pub const MOST_PIXELS: u64 = 300_000_000;
/// Most bytes that decoding may take.
const MOST_BYTES: u64 = 3 << 30;

/// Decodes a picture file of any kind this program reads. Of an animation it is the first frame.
///
/// # Errors
/// When the file is none, is damaged, or has more than [`MOST_PIXELS`].
pub fn decode(file: &[u8]) -> Result<RgbImage, VisionError> {
    let fail = |error: image::ImageError| VisionError::Picture(error.to_string());
    let mut reader = ImageReader::new(Cursor::new(file))
        .with_guessed_format()
        .map_err(|error| VisionError::Picture(error.to_string()))?;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(fail)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(VisionError::TooLarge { width, height, most: MOST_PIXELS });
    }
    // A picture whose notes cannot be read is a picture still.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(fail)?;
    picture.apply_orientation(orientation);
    Ok(on_white(picture))
}

/// Width and height of a picture file as they are stored, before it is turned upright. Reads no pixels.
///
/// # Errors
/// When the file is no picture.
pub fn dimensions(file: &[u8]) -> Result<(u32, u32), VisionError> {
    let fail = |error: &dyn std::fmt::Display| VisionError::Picture(error.to_string());
    let reader = ImageReader::new(Cursor::new(file)).with_guessed_format().map_err(|error| fail(&error))?;
    reader.into_dimensions().map_err(|error| fail(&error))
}

/// The picture in 8 bits, what is transparent showing white.
pub(crate) fn on_white(picture: DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let picture = picture.into_rgba8();
    let (width, height) = picture.dimensions();
    let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
    for pixel in picture.pixels() {
        let [colours @ .., alpha] = pixel.0;
        let alpha = u32::from(alpha);
        rgb.extend(
            colours.map(|colour| ((u32::from(colour) * alpha + 255 * (255 - alpha) + 127) / 255) as u8),
        );
    }
    RgbImage::from_raw(width, height, rgb).unwrap_or_default()
}
