//! From the bytes of a picture file to red, green and blue as a person sees them: turned upright, on white.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits, RgbImage};

use crate::VisionError;
#[cfg(feature = "heic")]
use crate::heic;

/// Most pixels of a picture that is decoded.
pub const MOST_PIXELS: u64 = 300_000_000;
/// Most bytes that decoding may take.
const MOST_BYTES: u64 = 3 << 30;

/// The kinds of pictures that are read, for messages.
pub const KINDS: &str = if cfg!(feature = "heic") {
    "JPEG, PNG, WebP, GIF, BMP, TIFF and HEIC"
} else {
    "JPEG, PNG, WebP, GIF, BMP and TIFF"
};

/// Whether a file is HEIC, and this program reads it.
pub fn is_heic(file: &[u8]) -> bool {
    #[cfg(feature = "heic")]
    return heic::is(file);
    #[cfg(not(feature = "heic"))]
    {
        let _ = file;
        false
    }
}

/// Decodes a picture file of any kind this program reads. Of an animation it is the first frame.
///
/// # Errors
/// When the file is none, is damaged, or has more than [`MOST_PIXELS`].
pub fn decode(file: &[u8]) -> Result<RgbImage, VisionError> {
    #[cfg(feature = "heic")]
    if heic::is(file) {
        return heic::decode(file);
    }
    read(file, |decoder| Ok(on_white(DynamicImage::from_decoder(decoder)?)))
}

/// The same for a picture whose shorter edge will become `edge`: a JPEG of many times that size is decoded at a half, a
/// quarter or an eighth of it, which leaves at least twice as many pixels along each edge as are needed.
///
/// # Errors
/// As [`decode`].
pub fn decode_for(file: &[u8], edge: usize) -> Result<RgbImage, VisionError> {
    #[cfg(feature = "heic")]
    if heic::is(file) {
        return heic::decode(file);
    }
    read(file, |decoder| match scaled_jpeg(file, edge) {
        Some(picture) => Ok(picture),
        None => Ok(on_white(DynamicImage::from_decoder(decoder)?)),
    })
}

/// Checks a file, has `pixels` decode it, and turns the picture upright.
fn read(
    file: &[u8],
    pixels: impl FnOnce(Box<dyn ImageDecoder + '_>) -> Result<RgbImage, image::ImageError>,
) -> Result<RgbImage, VisionError> {
    let fail = |error: image::ImageError| VisionError::Picture(error.to_string());
    let mut reader = ImageReader::new(Cursor::new(file))
        .with_guessed_format()
        .map_err(|error| VisionError::Picture(error.to_string()))?;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    let mut decoder = Box::new(reader.into_decoder().map_err(fail)?);
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(VisionError::TooLarge { width, height, most: MOST_PIXELS });
    }
    // A picture whose notes cannot be read is a picture still.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::ImageRgb8(pixels(decoder).map_err(fail)?);
    picture.apply_orientation(orientation);
    Ok(picture.into_rgb8())
}

/// A JPEG of more than twice the pixels needed along each edge, by the transform of fewer coefficients. `None` where that
/// gains nothing, and for what only the other decoder reads or complains about.
fn scaled_jpeg(file: &[u8], edge: usize) -> Option<RgbImage> {
    if !file.starts_with(&[0xff, 0xd8]) {
        return None;
    }
    let mut decoder = jpeg_decoder::Decoder::new(file);
    decoder.read_info().ok()?;
    let info = decoder.info()?;
    if !matches!(info.pixel_format, jpeg_decoder::PixelFormat::RGB24 | jpeg_decoder::PixelFormat::L8) {
        return None;
    }
    let short = usize::from(info.width.min(info.height));
    let factor = [8, 4, 2].into_iter().find(|factor| short / factor >= 2 * edge)?;
    let (width, height) = decoder.scale(info.width / factor as u16, info.height / factor as u16).ok()?;
    let pixels = decoder.decode().ok()?;
    let (width, height) = (u32::from(width), u32::from(height));
    match info.pixel_format {
        jpeg_decoder::PixelFormat::L8 => {
            Some(DynamicImage::ImageLuma8(image::GrayImage::from_raw(width, height, pixels)?).into_rgb8())
        }
        _ => RgbImage::from_raw(width, height, pixels),
    }
}

/// Width and height of a picture file as they are stored, before it is turned upright; those of a HEIC file are upright. Reads no pixels.
///
/// # Errors
/// When the file is not a picture.
pub fn dimensions(file: &[u8]) -> Result<(u32, u32), VisionError> {
    #[cfg(feature = "heic")]
    if heic::is(file) {
        return heic::dimensions(file);
    }
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
