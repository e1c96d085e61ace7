//! A model of texts and pictures, opened.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crayon_formats::Note;
use crayon_formats::clip::{ClipCheckpoint, ClipFiles, ClipSpec, Fit, Preprocess};
use crayon_kernels::{Mode, Threads};
use image::RgbImage;

use crate::decode::{decode, decode_for};
use crate::encoder::{Buffers, Run};
use crate::image_tower::ImageTower;
use crate::pieces::{Piece, Pieces};
use crate::pixels::Pixels;
use crate::text_tower::{TextTower, WeightedTokens};
use crate::weights::Weights;
use crate::{Options, VisionError};

/// Rows of a pass: enough to read weights seldom, few enough that what lies between layers stays in the cache.
const PASS_ROWS: usize = 1024;

/// Both towers, the tokenizer and the preparation of pictures. Embedding takes `&self` and may be called from several threads,
/// which take turns at the cores.
pub struct Clip {
    spec: ClipSpec,
    preprocess: Preprocess,
    fingerprint: String,
    name: String,
    notes: Vec<Note>,
    pieces: Pieces,
    text: TextTower,
    image: ImageTower,
    logit_scale: f32,
    logit_bias: f32,
    mode: Mode,
    whole_pictures: bool,
    threads: Threads,
    /// Buffers of passes that are over, for the next.
    buffers: Mutex<Vec<Buffers>>,
}

impl Clip {
    /// Opens a folder in Hugging Face layout (CLIP, SigLIP), a folder of OpenCLIP, or a `.safetensors` file with OpenAI's
    /// tensors.
    ///
    /// # Errors
    /// When there is no model this program knows, or it is damaged.
    pub fn open(path: &Path, options: Options) -> Result<Clip, VisionError> {
        Clip::of(ClipCheckpoint::open(path)?, options)
    }

    /// Opens a model that is already in memory.
    ///
    /// # Errors
    /// As [`Clip::open`].
    pub fn from_files(files: ClipFiles, options: Options) -> Result<Clip, VisionError> {
        Clip::of(ClipCheckpoint::from_files(files)?, options)
    }

    /// Makes the towers of a checkpoint.
    ///
    /// # Errors
    /// When its tokenizer or a tensor cannot be used.
    pub fn of(checkpoint: ClipCheckpoint, options: Options) -> Result<Clip, VisionError> {
        let (pieces, ends) = Pieces::open(&checkpoint)?;
        let weights = Weights { checkpoint: &checkpoint, format: options.weights };
        let scalar =
            |name: &str| Ok::<f32, VisionError>(weights.values(name)?.first().copied().unwrap_or(0.0));
        let mut fingerprint = checkpoint.fingerprint();
        if let Some(format) = options.weights {
            fingerprint = format!("{fingerprint}-{format}");
        }
        Ok(Clip {
            text: TextTower::open(&weights, ends)?,
            image: ImageTower::open(&weights)?,
            logit_scale: scalar("logit_scale")?.exp(),
            logit_bias: if checkpoint.spec.sigmoid { scalar("logit_bias")? } else { 0.0 },
            fingerprint,
            name: checkpoint.name.clone(),
            notes: checkpoint.notes().to_vec(),
            spec: checkpoint.spec,
            preprocess: checkpoint.preprocess,
            pieces,
            mode: options.mode,
            whole_pictures: options.whole_pictures,
            threads: Threads::new(options.threads.unwrap_or_else(cores).max(1)),
            buffers: Mutex::default(),
        })
    }

    /// The description of the towers.
    pub fn spec(&self) -> &ClipSpec {
        &self.spec
    }

    /// Path or name of the model.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the model's files say and is not done.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Width of an embedding.
    pub fn dim(&self) -> usize {
        self.spec.dim
    }

    /// Tells one model from another: SHA-256 in hexadecimal, and the number type of the weights if it was chosen.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Height and width of a picture as the tower takes it.
    pub fn image_size(&self) -> usize {
        self.spec.image.size
    }

    /// Positions of the text tower, those of start and end included (77 in CLIP).
    pub fn context(&self) -> usize {
        self.spec.text.context
    }

    /// Tokens of a text there is room for: the context without start and end.
    pub fn room(&self) -> usize {
        self.text.room()
    }

    /// Blocks of the text tower: word weights can begin at any of them.
    pub fn text_layers(&self) -> usize {
        self.text.layers()
    }

    /// Factor on cosines that gives logits.
    pub fn logit_scale(&self) -> f32 {
        self.logit_scale
    }

    /// Added to them where a text and a picture are scored by themselves ([`ClipSpec::sigmoid`]); 0 otherwise.
    pub fn logit_bias(&self) -> f32 {
        self.logit_bias
    }

    /// Threads it runs on.
    pub fn threads(&self) -> &Threads {
        &self.threads
    }

    /// Cuts a text into tokens, without those that start and end it. A text longer than [`Clip::room`] is cut up like any
    /// other; it is embedding that refuses it.
    ///
    /// # Errors
    /// When the vocabulary cannot express the text.
    pub fn tokenize(&self, text: &str) -> Result<Vec<Piece>, VisionError> {
        self.pieces.cut(text)
    }

    /// The vocabulary entry of a token, in the alphabet of the tokenizer (`red</w>`).
    pub fn token_text(&self, id: u32) -> Option<String> {
        self.pieces.text(id)
    }

    /// The tokens of a text with those that the tower puts around them, and how many of these come first. The last row is the text's.
    pub fn rows(&self, tokens: &[u32]) -> (Vec<u32>, usize) {
        (self.text.ids(tokens), self.text.before())
    }

    /// A text's tokens, all counting the same.
    ///
    /// # Errors
    /// As [`Clip::tokenize`].
    pub fn plain(&self, text: &str) -> Result<WeightedTokens, VisionError> {
        Ok(WeightedTokens::plain(self.tokenize(text)?.into_iter().map(|piece| piece.id).collect()))
    }

    /// Embeds texts: `[dim]` of length 1 each, whatever else is in the batch.
    ///
    /// # Errors
    /// When a text is too long, or a weight is negative or no number.
    pub fn embed_texts(&self, texts: &[WeightedTokens]) -> Result<Vec<Vec<f32>>, VisionError> {
        texts.iter().try_for_each(|text| self.text.check(text))?;
        let mut out = Vec::with_capacity(texts.len());
        let mut rest = texts;
        while !rest.is_empty() {
            let mut rows = 0;
            let count = rest.iter().take_while(|text| {
                let before = rows;
                rows += self.text.rows(text.tokens.len());
                before == 0 || rows <= PASS_ROWS
            });
            let (pass, after) = rest.split_at(count.count());
            rest = after;
            let pass: Vec<&WeightedTokens> = pass.iter().collect();
            self.pass(&mut out, |run, buffers, embeddings| {
                self.text.forward(run, &pass, buffers, embeddings)
            });
        }
        Ok(out)
    }

    /// Embeds pictures: `[dim]` of length 1 each, whatever else is in the batch.
    ///
    /// # Errors
    /// When a picture was prepared for another size.
    pub fn embed_images(&self, pictures: &[Pixels]) -> Result<Vec<Vec<f32>>, VisionError> {
        let wanted = self.image_size();
        if let Some(other) =
            pictures.iter().find(|picture| picture.size != wanted || picture.rgb.len() != 3 * wanted * wanted)
        {
            return Err(VisionError::Size { found: other.size, wanted });
        }
        let mut out = Vec::with_capacity(pictures.len());
        for pass in pictures.chunks((PASS_ROWS / self.spec.image.rows()).max(1)) {
            self.pass(&mut out, |run, buffers, embeddings| {
                self.image.forward(run, pass, buffers, embeddings)
            });
        }
        Ok(out)
    }

    /// The tower's pixels of a picture file.
    ///
    /// # Errors
    /// When the file is not a picture, is damaged or too large.
    pub fn preprocess(&self, file: &[u8]) -> Result<Pixels, VisionError> {
        let edge = match self.preprocess.fit {
            Fit::Crop { edge } => edge,
            Fit::Squash => self.image_size(),
        };
        self.fit(&if self.whole_pictures { decode(file)? } else { decode_for(file, edge)? })
    }

    /// The tower's pixels of many picture files, worked on by all threads.
    pub fn preprocess_all(&self, files: &[impl AsRef<[u8]> + Sync]) -> Vec<Result<Pixels, VisionError>> {
        let done: Vec<Mutex<Option<Result<Pixels, VisionError>>>> =
            files.iter().map(|_| Mutex::default()).collect();
        self.threads.run(files.len(), |i| {
            let pixels = self.preprocess(files[i].as_ref());
            *done[i].lock().unwrap_or_else(PoisonError::into_inner) = Some(pixels);
        });
        let none = || Err(VisionError::Picture("it was not read".to_owned()));
        let result = |place: Mutex<Option<_>>| place.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.into_iter().map(|place| result(place).unwrap_or_else(none)).collect()
    }

    /// The tower's pixels of a decoded picture.
    ///
    /// # Errors
    /// When it has no pixels.
    pub fn fit(&self, picture: &RgbImage) -> Result<Pixels, VisionError> {
        Pixels::fit(picture, &self.preprocess, self.image_size())
    }

    /// One pass of a tower, whose embeddings are brought to length 1 and appended to `out`.
    fn pass(&self, out: &mut Vec<Vec<f32>>, forward: impl FnOnce(Run<'_>, &mut Buffers, &mut Vec<f32>)) {
        let lock = || self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffers = lock().pop().unwrap_or_default();
        let mut embeddings = Vec::new();
        forward(Run { threads: &self.threads, mode: self.mode }, &mut buffers, &mut embeddings);
        lock().push(buffers);
        out.extend(embeddings.chunks_exact(self.dim()).map(unit));
    }
}

/// A vector brought to length 1; one of length 0 stays.
fn unit(x: &[f32]) -> Vec<f32> {
    let length = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    let factor = if length > 0.0 { 1.0 / length } else { 1.0 };
    x.iter().map(|x| (f64::from(*x) * factor) as f32).collect()
}

/// Cores this process may use.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
