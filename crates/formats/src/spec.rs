//! What a network is, in one description that every file format resolves to.
//!
//! This is the table of differences between the families: the networks in `crayon-model` read these fields and
//! never ask which family they run.

/// The family a checkpoint belongs to; only for messages, file names and conversions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// GPT-2.
    Gpt2,
    /// Llama 2, 3, 3.1, 3.2.
    Llama,
    /// Mistral.
    Mistral,
    /// Qwen 2 and 2.5.
    Qwen2,
    /// Qwen 3.
    Qwen3,
    /// Gemma 2.
    Gemma2,
    /// Gemma 3 (text).
    Gemma3,
    /// Phi-3.
    Phi3,
}

/// One decoder-only network. Sizes count elements, not bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Family, for messages and conversions only.
    pub family: Family,
    /// Rows of the token embedding.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads (`heads` is a multiple).
    pub kv_heads: usize,
    /// Width of one head; `heads * head_dim` need not equal `hidden`.
    pub head_dim: usize,
    /// Width of the MLP.
    pub intermediate: usize,
    /// Longest sequence the network was trained for.
    pub context: usize,
    /// The normalisation in front of attention and MLP and at the end.
    pub norm: Norm,
    /// Gemma: a second norm after attention and after the MLP, before the residual sum.
    pub post_norms: bool,
    /// Qwen 3, Gemma 3: RMSNorm over each head of q and k before positions are applied.
    pub qk_norm: bool,
    /// Activation in the MLP.
    pub activation: Activation,
    /// Whether the MLP is `down(act(gate x) * up x)` rather than `down(act(up x))`.
    pub gated: bool,
    /// Which linear layers carry a bias.
    pub biases: Biases,
    /// How positions enter.
    pub positions: Positions,
    /// Factor on q.k before softmax, normally `1/sqrt(head_dim)`.
    pub attention_scale: f32,
    /// Gemma 2: scores pass through `cap * tanh(score / cap)`.
    pub attention_softcap: Option<f32>,
    /// Gemma 2: the same for logits.
    pub logit_softcap: Option<f32>,
    /// Per layer, how many positions back a query sees (itself included); `None` sees all.
    pub windows: Vec<Option<usize>>,
    /// Gemma: embeddings are multiplied by `sqrt(hidden)`.
    pub embedding_scale: f32,
    /// Whether the output layer is the token embedding.
    pub tied: bool,
}

/// Kind of normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Norm {
    /// `x / rms(x) * weight`.
    Rms {
        /// Added to the mean square.
        eps: f32,
    },
    /// `(x - mean) / std * weight + bias`.
    Layer {
        /// Added to the variance.
        eps: f32,
    },
}

/// Activation of the MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// GELU by its tanh approximation (GPT-2's `gelu_new`, Gemma's `gelu_pytorch_tanh`).
    GeluTanh,
    /// GELU by the error function.
    Gelu,
    /// `x * sigmoid(1.702 x)`, OpenAI's stand-in for GELU.
    QuickGelu,
}

/// Which linear layers carry a bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Biases {
    /// q, k and v.
    pub qkv: bool,
    /// The projection after attention.
    pub attention_output: bool,
    /// All linear layers of the MLP.
    pub mlp: bool,
}

/// How positions enter the network.
#[derive(Clone, Debug, PartialEq)]
pub enum Positions {
    /// A learned vector per position, added to the embedding (GPT-2).
    Learned,
    /// Rotation of q and k.
    Rope(Rope),
}

/// Rotary positions.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Pairing of the rotated values.
    pub layout: RopeLayout,
    /// Leading values of each head that rotate (all but for partial rotary models).
    pub dims: usize,
    /// Rotation of layers that see the whole context.
    pub global: RopeFrequencies,
    /// Rotation of sliding-window layers where it differs (Gemma 3).
    pub local: Option<RopeFrequencies>,
}

/// Which values form a rotated pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeLayout {
    /// `(i, i + dims/2)`, as Hugging Face files store q and k.
    Half,
    /// `(2i, 2i + 1)`, as llama2.c and GGUF files of the Llama family store them.
    Interleaved,
}

/// Inverse frequencies `theta^(-2i/dims)` and their scaling.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeFrequencies {
    /// Base.
    pub theta: f32,
    /// Scaling for contexts longer than the original training.
    pub scaling: RopeScaling,
}

/// Scaling of rotary frequencies.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Plain frequencies.
    None,
    /// All divided by `factor`.
    Linear {
        /// Divisor.
        factor: f32,
    },
    /// Llama 3.1: low frequencies divided by `factor`, high ones kept, a ramp between.
    Llama3 {
        /// Divisor of low frequencies.
        factor: f32,
        /// Ramp start in wavelengths per original context.
        low_freq_factor: f32,
        /// Ramp end in wavelengths per original context.
        high_freq_factor: f32,
        /// Context before scaling.
        original_context: usize,
    },
    /// YaRN (arXiv 2309.00071).
    Yarn {
        /// Context extension.
        factor: f32,
        /// Rotations above which a dimension is kept.
        beta_fast: f32,
        /// Rotations below which a dimension is interpolated.
        beta_slow: f32,
        /// Context before scaling.
        original_context: usize,
        /// Factor on cos and sin.
        attention_factor: f32,
    },
    /// Explicit divisors per pair, one list for short and one for long contexts (Phi-3's longrope); GGUF's
    /// `rope_freqs` tensor is the same with both lists equal.
    Factors {
        /// Divisors within the original context, `dims/2` of them.
        short: Vec<f32>,
        /// Divisors beyond it.
        long: Vec<f32>,
        /// Context up to which `short` holds.
        original_context: usize,
        /// Factor on cos and sin.
        attention_factor: f32,
    },
}

impl Spec {
    /// Parameters of the network, norms and biases included.
    pub fn parameters(&self) -> usize {
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let norm = match self.norm {
            Norm::Rms { .. } => self.hidden,
            Norm::Layer { .. } => 2 * self.hidden,
        };
        let mut block =
            self.hidden * (2 * q + 2 * kv) + self.hidden * self.intermediate * if self.gated { 3 } else { 2 };
        block += norm * if self.post_norms { 4 } else { 2 };
        block += if self.qk_norm { 2 * self.head_dim } else { 0 };
        block += if self.biases.qkv { q + 2 * kv } else { 0 };
        block += if self.biases.attention_output { self.hidden } else { 0 };
        block += if self.biases.mlp {
            self.hidden + self.intermediate * if self.gated { 2 } else { 1 }
        } else {
            0
        };
        let embeddings = self.vocab * self.hidden * if self.tied { 1 } else { 2 };
        let positions = if self.positions == Positions::Learned { self.context * self.hidden } else { 0 };
        embeddings + positions + norm + self.layers * block
    }
}
