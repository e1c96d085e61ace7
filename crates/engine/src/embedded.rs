//! Models that are part of the program. Their cards stand beside them in `models/`.

use crayon_formats::clip::ClipFiles;
use crayon_formats::{Bytes, TokenizerSource};

/// A model inside the program.
#[derive(Debug)]
pub struct Embedded {
    /// What `--model` calls it.
    pub name: &'static str,
    /// One line about it.
    pub summary: &'static str,
    /// The GGUF file.
    pub bytes: &'static [u8],
    /// A packed pool of adapters beside it.
    pub pool: Option<&'static [u8]>,
    /// What was measured of its confidence, as `crayon-hybrid` writes it.
    pub thresholds: Option<&'static str>,
}

/// All embedded models, the default first; none in a program built without the feature `embedded`.
pub static EMBEDDED: &[Embedded] = &[
    #[cfg(feature = "embedded")]
    Embedded {
        name: "mini",
        summary: "the default: a small Llama-like model for simple English, intents and short questions",
        bytes: include_bytes!("../../../models/mini.gguf"),
        pool: Some(include_bytes!("../../../models/mini-pool.safetensors")),
        thresholds: Some(include_str!("../../../models/mini-thresholds.json")),
    },
    #[cfg(feature = "embedded")]
    Embedded {
        name: "mini-gpt2",
        summary: "the same vocabulary in GPT-2's architecture",
        bytes: include_bytes!("../../../models/mini-gpt2.gguf"),
        pool: None,
        thresholds: None,
    },
];

/// A model of texts and pictures inside the program, as the files of its folder.
#[derive(Debug)]
pub struct EmbeddedClip {
    /// What `--model` calls it.
    pub name: &'static str,
    /// One line about it.
    pub summary: &'static str,
    config: &'static [u8],
    preprocessor: &'static [u8],
    tokenizer: &'static [u8],
    weights: &'static [u8],
}

impl EmbeddedClip {
    /// What `ClipCheckpoint::from_files` reads.
    pub fn files(&self) -> ClipFiles {
        ClipFiles {
            name: self.name.to_owned(),
            config: Bytes::from_static(self.config),
            preprocessor: Some(Bytes::from_static(self.preprocessor)),
            tokenizer: TokenizerSource::Json(Bytes::from_static(self.tokenizer)),
            weights: Bytes::from_static(self.weights),
        }
    }

    /// Size of the weights in bytes.
    pub fn bytes(&self) -> usize {
        self.weights.len()
    }
}

/// The embedded models of texts and pictures, the default first; none in a program built without the feature `embedded`.
pub static EMBEDDED_CLIP: &[EmbeddedClip] = &[
    #[cfg(feature = "embedded")]
    EmbeddedClip {
        name: "mini-clip",
        summary: "texts and pictures: emoji, drawings, simple photographs",
        config: include_bytes!("../../../models/mini-clip/config.json"),
        preprocessor: include_bytes!("../../../models/mini-clip/preprocessor_config.json"),
        tokenizer: include_bytes!("../../../models/mini-clip/tokenizer.json"),
        weights: include_bytes!("../../../models/mini-clip/model.safetensors"),
    },
];
