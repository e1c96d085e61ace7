//! Texts and pictures embedded a second, from pixels and from files.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crayon_adapters::Random;
use crayon_engine::EngineError;
use crayon_formats::clip::{self as formats, ClipCheckpoint};
use crayon_formats::{Tensor, safetensors};
use crayon_vision::{Clip, Options, Pixels, WeightedTokens};
use serde::Serialize;

use super::memory::{forget_peak, peak_mb, resident_mb};
use crate::{EvalError, Progress};

/// A model with made-up weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClipShape {
    /// Its name.
    pub name: &'static str,
    config: &'static str,
}

/// The shapes there are.
pub const CLIP_SHAPES: [ClipShape; 3] = [
    // transformers' defaults.
    ClipShape { name: "vit-b-32", config: r#"{"model_type": "clip"}"# },
    ClipShape { name: "vit-b-16", config: r#"{"model_type": "clip", "vision_config": {"patch_size": 16}}"# },
    ClipShape {
        name: "siglip-b-16",
        config: r#"{"model_type": "siglip", "text_config": {"vocab_size": 32000}}"#,
    },
];

/// What is measured.
#[derive(Clone, Debug)]
pub struct ClipBenchOptions {
    /// Pictures of a run.
    pub pictures: usize,
    /// Texts of a run.
    pub texts: usize,
    /// Tokens of a text, start and end among them.
    pub tokens: usize,
    /// Timed runs; the medians are told.
    pub runs: usize,
    /// Picture files that are decoded and embedded, too.
    pub files: Vec<PathBuf>,
    /// How the model runs.
    pub options: Options,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct ClipBench {
    /// Path or name.
    pub model: String,
    /// Number type of the weights, where it was chosen.
    pub weights: Option<&'static str>,
    /// Threads.
    pub threads: usize,
    /// Pictures of a run, embedded together.
    pub pictures: usize,
    /// Texts of a run, embedded together.
    pub texts: usize,
    /// Tokens of a text, start and end among them.
    pub tokens: usize,
    /// Timed runs.
    pub runs: usize,
    /// Pictures a second, from pixels.
    pub pictures_s: f64,
    /// Texts a second, of `tokens` tokens.
    pub texts_s: f64,
    /// Texts a second that fill the context.
    pub full_texts_s: f64,
    /// Milliseconds of one picture alone.
    pub picture_ms: f64,
    /// Milliseconds of one text alone.
    pub text_ms: f64,
    /// Files.
    pub files: Option<FilesBench>,
    /// How near embeddings are to those of the model's own numbers in f32: the least cosine of pictures and of texts.
    pub cosine: Option<[f64; 2]>,
    /// Opening, in milliseconds.
    pub open_ms: f64,
    /// Most memory while embedding, in 10^6 bytes, the mapped file included.
    pub peak_rss_mb: Option<f64>,
    /// What the model takes once it was used, in 10^6 bytes.
    pub resident_mb: Option<f64>,
}

/// Pictures from files.
#[derive(Clone, Debug, Serialize)]
pub struct FilesBench {
    /// Files.
    pub files: usize,
    /// Their pixels together, in millions.
    pub megapixels: f64,
    /// Files a second brought to the tower's pixels, on all threads.
    pub decoded_s: f64,
    /// Files a second brought to embeddings.
    pub embedded_s: f64,
}

/// A folder with a model of a shape, removed when this value is dropped.
#[derive(Debug)]
pub struct MadeUpClip {
    folder: PathBuf,
}

impl ClipShape {
    /// The shape called `name`.
    pub fn from_name(name: &str) -> Option<ClipShape> {
        CLIP_SHAPES.into_iter().find(|shape| shape.name == name)
    }
}

impl MadeUpClip {
    /// Writes a model of `shape` in f32 into a folder of its own under `parent`. The same arguments give the same bytes.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(parent: &Path, shape: ClipShape) -> Result<MadeUpClip, EvalError> {
        let folder = parent.join(format!("crayon-{}-{}", shape.name, std::process::id()));
        let made = MadeUpClip { folder };
        let io = |path: &Path| {
            let file = path.display().to_string();
            move |source| EvalError::Io { file, action: "write", source }
        };
        std::fs::create_dir_all(&made.folder).map_err(io(&made.folder))?;
        // Byte pairs without a merge: texts are made up, too.
        for (name, content) in
            [("config.json", shape.config), ("bpe_simple_vocab_16e6.txt", "#version: 0.2\n")]
        {
            let path = made.folder.join(name);
            std::fs::write(&path, content).map_err(io(&path))?;
        }
        let spec = formats::spec_from_config(shape.name, shape.config.as_bytes())?;
        let mut random = Random::seeded(1);
        let mut tensors = Vec::new();
        for (name, stored) in formats::stored_tensors(&spec) {
            let count = stored.iter().product::<usize>();
            let inputs = stored.iter().skip(1).product::<usize>().max(1);
            let values: Vec<f32> = match stored.len() {
                1 if name.contains("norm") && name.ends_with("weight") => vec![1.0; count],
                1 => vec![0.01; count],
                // Uniform of the deviation that keeps the size of what goes through.
                _ => {
                    let width = (12.0 / inputs as f64).sqrt();
                    (0..count).map(|_| ((random.uniform() - 0.5) * width) as f32).collect()
                }
            };
            tensors.push(Tensor::from_f32(&name, stored, &values));
        }
        let path = made.folder.join("model.safetensors");
        safetensors::write(&path, &tensors, &Default::default())?;
        Ok(made)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for MadeUpClip {
    fn drop(&mut self) {
        // Nothing can be done about a folder that does not go, and nothing depends on it.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Measures a model.
///
/// # Errors
/// When its towers cannot be made, a file is not a picture, or `progress` stops it.
pub fn clip(
    checkpoint: &ClipCheckpoint,
    options: &ClipBenchOptions,
    progress: &mut Progress<'_>,
) -> Result<ClipBench, EvalError> {
    let started = Instant::now();
    let clip = Clip::of(checkpoint.clone(), options.options)?;
    let open_ms = started.elapsed().as_secs_f64() * 1e3;
    let mut random = Random::seeded(7);
    let size = clip.image_size();
    let pictures: Vec<Pixels> = (0..options.pictures)
        .map(|_| Pixels { size, rgb: (0..size * size * 3).map(|_| random.bits() as u8).collect() })
        .collect();
    let around = clip.context() - clip.room();
    let tokens = options.tokens.clamp(around, clip.context());
    let mut made = |count: usize, tokens: usize| -> Vec<WeightedTokens> {
        let text = |random: &mut Random| (0..tokens - around).map(|_| random.below(256) as u32).collect();
        (0..count).map(|_| WeightedTokens::plain(text(&mut random))).collect()
    };
    let (texts, full) = (made(options.texts, tokens), made(options.texts.div_ceil(4), clip.context()));

    forget_peak();
    let mut times: [Vec<f64>; 5] = Default::default();
    // The first run is not timed: it takes the memory that the others use again.
    for run in 0..=options.runs {
        let mut at = 0;
        let mut time = |work: &dyn Fn() -> Result<(), EvalError>| -> Result<(), EvalError> {
            let started = Instant::now();
            work()?;
            if run > 0 {
                times[at].push(started.elapsed().as_secs_f64());
            }
            at += 1;
            Ok(())
        };
        time(&|| clip.embed_images(&pictures).map(drop).map_err(Into::into))?;
        time(&|| clip.embed_texts(&texts).map(drop).map_err(Into::into))?;
        time(&|| clip.embed_texts(&full).map(drop).map_err(Into::into))?;
        time(&|| clip.embed_images(&pictures[..1]).map(drop).map_err(Into::into))?;
        time(&|| clip.embed_texts(&texts[..1]).map(drop).map_err(Into::into))?;
        if progress(run, options.runs) == ControlFlow::Break(()) {
            return Err(EngineError::Cancelled.into());
        }
    }
    let [pictures_s, texts_s, full_s, picture, text] = times.map(median);
    let (peak_rss_mb, resident_mb) = (peak_mb(), resident_mb());
    let files = (!options.files.is_empty()).then(|| from_files(&clip, &options.files)).transpose()?;
    let exact = Options { mode: crayon_kernels::Mode::Exact, weights: None, ..options.options };
    let cosine = match options.options.weights {
        None => None,
        Some(_) => {
            let exact = Clip::of(checkpoint.clone(), exact)?;
            let (pictures, texts) = (&pictures[..pictures.len().min(16)], &texts[..texts.len().min(16)]);
            let images = least_cosine(&clip.embed_images(pictures)?, &exact.embed_images(pictures)?);
            Some([images, least_cosine(&clip.embed_texts(texts)?, &exact.embed_texts(texts)?)])
        }
    };
    Ok(ClipBench {
        model: clip.name().to_owned(),
        weights: options.options.weights.map(|format| format.name()),
        threads: clip.threads().count(),
        pictures: pictures.len(),
        texts: texts.len(),
        tokens,
        runs: options.runs,
        pictures_s: pictures.len() as f64 / pictures_s,
        texts_s: texts.len() as f64 / texts_s,
        full_texts_s: full.len() as f64 / full_s,
        picture_ms: picture * 1e3,
        text_ms: text * 1e3,
        files,
        cosine,
        open_ms,
        peak_rss_mb,
        resident_mb,
    })
}

/// Decodes files on all threads, then embeds them while the next ones are decoded, as an index does.
fn from_files(clip: &Clip, paths: &[PathBuf]) -> Result<FilesBench, EvalError> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|source| EvalError::Io {
            file: path.display().to_string(),
            action: "read",
            source,
        })
    };
    let files = paths.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let mut pixels = 0.0;
    for file in &files {
        let (width, height) = crayon_vision::dimensions(file)?;
        pixels += f64::from(width) * f64::from(height) / 1e6;
    }
    let started = Instant::now();
    let pictures = clip.preprocess_all(&files).into_iter().collect::<Result<Vec<_>, _>>()?;
    let decoding = started.elapsed().as_secs_f64();
    let started = Instant::now();
    drop(clip.embed_images(&pictures)?);
    let embedding = started.elapsed().as_secs_f64();
    let count = files.len() as f64;
    Ok(FilesBench {
        files: files.len(),
        megapixels: pixels,
        decoded_s: count / decoding,
        embedded_s: count / (decoding + embedding),
    })
}

fn least_cosine(a: &[Vec<f32>], b: &[Vec<f32>]) -> f64 {
    let cosine = |(a, b): (&Vec<f32>, &Vec<f32>)| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    a.iter().zip(b).map(cosine).fold(1.0, f64::min)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}
