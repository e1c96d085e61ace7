//! From a picture of any size to the pixels a tower takes.

use crayon_formats::clip::{Fit, Preprocess, Resample};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

use crate::VisionError;

/// A picture as a tower takes it: a square of red, green and blue bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// Edge of the square.
    pub size: usize,
    /// `[size, size, 3]`, row by row from the top left.
    pub rgb: Vec<u8>,
}

/// A picture more elongated than this is cut before it is resized rather than after, whatever memory the rest would take.
const ELONGATED: u32 = 8;

impl Pixels {
    /// Brings `picture` to a square of `size`, as transformers' image processors do.
    pub(crate) fn fit(
        picture: &RgbImage,
        preprocess: &Preprocess,
        size: usize,
    ) -> Result<Pixels, VisionError> {
        let (width, height) = picture.dimensions();
        if width == 0 || height == 0 {
            return Err(VisionError::Picture("it has no pixels".to_owned()));
        }
        let filter = match preprocess.resample {
            // The cubic with a = -1/2.
            Resample::Bicubic => FilterType::CatmullRom,
            Resample::Bilinear => FilterType::Bilinear,
            Resample::Lanczos => FilterType::Lanczos3,
        };
        let side = size as u32;
        let rgb = match preprocess.fit {
            Fit::Squash => resize(picture, [side, side], None, filter)?,
            Fit::Crop { edge } => {
                let (edge, short, long) = (edge as u64, width.min(height), width.max(height));
                let stretched = u64::from(long) * edge / u64::from(short);
                let target = if width < height { [edge, stretched] } else { [stretched, edge] };
                let offset = target.map(|target| target.saturating_sub(size as u64) / 2);
                if long / short >= ELONGATED {
                    let scale = [f64::from(width) / target[0] as f64, f64::from(height) / target[1] as f64];
                    let window =
                        [0, 1].map(|axis| (offset[axis] as f64 * scale[axis], size as f64 * scale[axis]));
                    resize(picture, [side, side], Some(window), filter)?
                } else {
                    let target = target.map(|target| target as u32);
                    let whole = resize(picture, target, None, filter)?;
                    cut(&whole, target[0] as usize, offset.map(|offset| offset as usize), size)
                }
            }
        };
        Ok(Pixels { size, rgb })
    }
}

/// Resizes `picture`, or the part of it that begins at a place and has a length along each axis.
fn resize(
    picture: &RgbImage,
    [width, height]: [u32; 2],
    window: Option<[(f64, f64); 2]>,
    filter: FilterType,
) -> Result<Vec<u8>, VisionError> {
    if picture.dimensions() == (width, height) && window.is_none() {
        return Ok(picture.as_raw().clone());
    }
    // Along the lines first, then across them, as Pillow and torchvision do: what lies between is rounded to bytes.
    let [along, across] =
        window.unwrap_or([(0.0, f64::from(picture.width())), (0.0, f64::from(picture.height()))]);
    let source = [picture.width(), picture.height()];
    let all = (0.0, f64::from(picture.height()));
    let lines = pass(picture.as_raw(), source, [width, source[1]], [along, all], filter)?;
    pass(&lines, [width, source[1]], [width, height], [(0.0, f64::from(width)), across], filter)
}

/// Resizes the part of `rgb` that begins at a place and has a length along each axis.
fn pass(
    rgb: &[u8],
    [from_width, from_height]: [u32; 2],
    [width, height]: [u32; 2],
    [(left, part_width), (top, part_height)]: [(f64, f64); 2],
    filter: FilterType,
) -> Result<Vec<u8>, VisionError> {
    let fail = |what: String| VisionError::Picture(what);
    let source = ImageRef::new(from_width, from_height, rgb, PixelType::U8x3)
        .map_err(|error| fail(error.to_string()))?;
    let mut out = Image::new(width, height, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).crop(
        left,
        top,
        part_width,
        part_height,
    );
    Resizer::new().resize(&source, &mut out, &options).map_err(|error| fail(error.to_string()))?;
    Ok(out.into_vec())
}

/// A square of `size` out of a picture `width` pixels wide.
fn cut(rgb: &[u8], width: usize, [left, top]: [usize; 2], size: usize) -> Vec<u8> {
    let lines = rgb.chunks_exact(width * 3).skip(top).take(size);
    lines.flat_map(|line| &line[left * 3..(left + size) * 3]).copied().collect()
}
