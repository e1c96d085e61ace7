//! How a picture becomes the input of a tower: `preprocessor_config.json` of transformers, `preprocess_cfg` of OpenCLIP.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::huggingface::json::Object;

/// From a picture of any size to the tower's pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocess {
    /// How the picture is brought to the tower's size.
    pub fit: Fit,
    /// How pixels are mixed on the way.
    pub resample: Resample,
    /// Subtracted from each colour, after it was brought to 0 … 1.
    pub mean: [f32; 3],
    /// Each colour is divided by it afterwards.
    pub std: [f32; 3],
}

/// How a picture is brought to a square.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// The shorter edge becomes `edge`, and the middle is cut out (CLIP).
    Crop {
        /// In pixels.
        edge: usize,
    },
    /// Both edges become the tower's size, whatever that does to the proportions (SigLIP).
    Squash,
}

/// How pixels are mixed when the size changes. All of them average over what a new pixel covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resample {
    /// The cubic with a = -1/2.
    Bicubic,
    /// The triangle.
    Bilinear,
    /// Lanczos over three pixels.
    Lanczos,
}

/// Mean and deviation of CLIP's training pictures.
pub(crate) const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
pub(crate) const CLIP_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

impl Preprocess {
    /// What CLIP's models come with.
    pub(crate) fn clip(size: usize) -> Preprocess {
        let fit = Fit::Crop { edge: size };
        Preprocess { fit, resample: Resample::Bicubic, mean: CLIP_MEAN, std: CLIP_STD }
    }

    /// What SigLIP's models come with.
    pub(crate) fn siglip() -> Preprocess {
        Preprocess { fit: Fit::Squash, resample: Resample::Bicubic, mean: [0.5; 3], std: [0.5; 3] }
    }

    /// What `config` changes of these.
    pub(crate) fn with_transformers(mut self, config: Object<'_>, size: usize) -> Result<Preprocess> {
        for key in ["do_resize", "do_rescale", "do_normalize"] {
            if config.bool(key)? == Some(false) {
                return Err(Error::key(config.file, key, "is false, which is not supported"));
            }
        }
        let wrong = |key: &str, what: String| Error::key(config.file, key, what);
        match config.get("size") {
            None => {}
            Some(Value::Number(_)) => {
                if let Some(edge) = config.usize("size")? {
                    self.fit = Fit::Crop { edge };
                }
            }
            Some(_) => {
                let object = config.object("size")?.ok_or_else(|| config.missing("size"))?;
                self.fit =
                    match (object.usize("shortest_edge")?, object.usize("height")?, object.usize("width")?) {
                        (Some(edge), _, _) => Fit::Crop { edge },
                        (None, Some(height), Some(width)) if height == width && width == size => Fit::Squash,
                        _ => {
                            let what = format!("should be a shortest edge, or a height and width of {size}");
                            return Err(wrong("size", what));
                        }
                    };
            }
        }
        if let Fit::Crop { edge } = self.fit {
            let crop = match config.get("crop_size") {
                Some(Value::Object(_)) => {
                    let object = config.object("crop_size")?.ok_or_else(|| config.missing("crop_size"))?;
                    object.usize("height")?
                }
                _ => config.usize("crop_size")?,
            };
            let crop = match config.bool("do_center_crop")? {
                Some(false) => {
                    return Err(wrong(
                        "do_center_crop",
                        "is false, and pictures of any shape do not fit".to_owned(),
                    ));
                }
                _ => crop.unwrap_or(size),
            };
            if crop != size || edge < size || edge > 1 << 13 {
                let what = format!("cuts {crop} out of {edge} pixels, but the tower takes {size}");
                return Err(wrong("crop_size", what));
            }
        }
        if let Some(resample) = config.usize("resample")? {
            self.resample = match resample {
                1 => Resample::Lanczos,
                2 => Resample::Bilinear,
                3 => Resample::Bicubic,
                other => return Err(wrong("resample", format!("{other} is not supported"))),
            };
        }
        if let Some(factor) = config.f32("rescale_factor")?
            && (factor * 255.0 - 1.0).abs() > 1e-3
        {
            return Err(wrong("rescale_factor", format!("{factor} is not 1/255")));
        }
        self.with_colours(config, "image_mean", "image_std")
    }

    /// The same for OpenCLIP's `preprocess_cfg`.
    pub(crate) fn with_open_clip(mut self, config: Object<'_>) -> Result<Preprocess> {
        match config.str("interpolation")? {
            Some("bilinear") => self.resample = Resample::Bilinear,
            Some("bicubic") | None => {}
            Some(other) => {
                let what = format!("`{}` is not supported", crate::error::shown(other));
                return Err(Error::key(config.file, "interpolation", what));
            }
        }
        match config.str("resize_mode")? {
            Some("squash") => self.fit = Fit::Squash,
            Some("shortest") | None => {}
            Some(other) => {
                let what = format!("`{}` is not supported", crate::error::shown(other));
                return Err(Error::key(config.file, "resize_mode", what));
            }
        }
        self.with_colours(config, "mean", "std")
    }

    fn with_colours(mut self, config: Object<'_>, mean: &str, std: &str) -> Result<Preprocess> {
        for (key, place) in [(mean, &mut self.mean), (std, &mut self.std)] {
            if let Some(values) = config.f32s(key)? {
                let usable = |v: &f32| v.is_finite() && (key == mean || *v > 0.0);
                *place = <[f32; 3]>::try_from(values)
                    .ok()
                    .filter(|values| values.iter().all(usable))
                    .ok_or_else(|| Error::key(config.file, key, "should be three numbers"))?;
            }
        }
        Ok(self)
    }
}
