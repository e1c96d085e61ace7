//! Texts and pictures embedded into one space: the towers of CLIP and SigLIP, made of the blocks of `crayon-model`.
//!
//! [`Clip::open`] reads a model. [`Clip::tokenize`] cuts a text into pieces that know their word, [`Clip::embed_texts`] embeds
//! tokens with a weight each inside the attention of the text tower (SToRI), [`Clip::preprocess`] makes the tower's pixels of
//! a picture file, and [`Clip::embed_images`] embeds them. All embeddings have length 1, so that a dot product is a cosine.

mod block;
mod clip;
mod decode;
mod encoder;
mod error;
mod head;
#[cfg(feature = "heic")]
mod heic;
mod image_tower;
mod options;
mod pieces;
mod pixels;
mod text_tower;
mod weights;

pub use clip::Clip;
pub use crayon_formats::clip::{ClipFiles, ClipSpec};
pub use decode::{KINDS, MOST_PIXELS, decode, decode_for, dimensions, is_heic};
pub use error::VisionError;
pub use options::Options;
pub use pieces::Piece;
pub use pixels::Pixels;
pub use text_tower::WeightedTokens;
