//! Models that are part of the program. Their cards stand beside them in `models/`.

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
}

/// All embedded models, the default first.
pub static EMBEDDED: [Embedded; 2] = [
    Embedded {
        name: "mini",
        summary: "the default: a small Llama-like model for simple English, intents and short questions",
        bytes: include_bytes!("../../../models/mini.gguf"),
        pool: Some(include_bytes!("../../../models/mini-pool.safetensors")),
    },
    Embedded {
        name: "mini-gpt2",
        summary: "the same vocabulary in GPT-2's architecture",
        bytes: include_bytes!("../../../models/mini-gpt2.gguf"),
        pool: None,
    },
];
