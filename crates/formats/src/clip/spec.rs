//! What the networks of CLIP and SigLIP differ in.

use crate::names::limits;
use crate::spec::Activation;

/// A pair of towers that embed texts and pictures into one space.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipSpec {
    /// The tower of texts.
    pub text: TextSpec,
    /// The tower of pictures.
    pub image: ImageSpec,
    /// Width of the space both end in.
    pub dim: usize,
    /// Whether a text and a picture are scored by themselves, through a sigmoid (SigLIP), rather than against others.
    pub sigmoid: bool,
}

/// The blocks of one tower: norm first, attention over `heads` heads, an MLP without a gate, LayerNorms, biases everywhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TowerSpec {
    /// Blocks.
    pub layers: usize,
    /// Width of a row.
    pub hidden: usize,
    /// Width inside the MLP.
    pub intermediate: usize,
    /// Attention heads.
    pub heads: usize,
    /// Between the layers of the MLP.
    pub activation: Activation,
    /// Of the norms.
    pub eps: f32,
}

/// The tower of texts.
#[derive(Clone, Debug, PartialEq)]
pub struct TextSpec {
    /// Its blocks.
    pub tower: TowerSpec,
    /// Rows of the token embedding.
    pub vocab: usize,
    /// Positions, those of start and end included.
    pub context: usize,
    /// Whether a token sees only those before it.
    pub causal: bool,
    /// Whether the last layer has a bias.
    pub projection_bias: bool,
    /// The token that ends a text, where the configuration tells; otherwise the tokenizer does.
    pub end: Option<u32>,
    /// Whether every text is filled up to the context, whose last position is then the text's (SigLIP), rather than the
    /// position of the end token (CLIP).
    pub padded: bool,
}

/// The tower of pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageSpec {
    /// Its blocks.
    pub tower: TowerSpec,
    /// Height and width of a picture in pixels.
    pub size: usize,
    /// Height and width of a patch in pixels.
    pub patch: usize,
    /// Whether attention with a learned query pools the patches (SigLIP), rather than a class token among them (CLIP).
    pub pooling_head: bool,
}

impl ImageSpec {
    /// Patches of a picture.
    pub fn patches(&self) -> usize {
        let side = self.size / self.patch.max(1);
        side * side
    }

    /// Rows of the tower: the patches, and the class token where there is one.
    pub fn rows(&self) -> usize {
        self.patches() + usize::from(!self.pooling_head)
    }

    /// Values of a patch: three colours of `patch * patch` pixels.
    pub fn patch_values(&self) -> usize {
        3 * self.patch * self.patch
    }
}

impl ClipSpec {
    /// Checks sizes and numbers against each other and against absurdity.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub(crate) fn check(&self) -> Result<(), String> {
        check_tower("text", &self.text.tower)?;
        check_tower("image", &self.image.tower)?;
        in_range("vocabulary size", self.text.vocab, limits::VOCAB)?;
        in_range("context", self.text.context, 1 << 16)?;
        in_range("size of pictures", self.image.size, 1 << 13)?;
        in_range("size of patches", self.image.patch, self.image.size)?;
        in_range("number of patches", self.image.patches(), 1 << 16)?;
        in_range("width of embeddings", self.dim, limits::WIDTH)?;
        if let Some(id) = self.text.end.filter(|&id| id as usize >= self.text.vocab) {
            return Err(format!("the end token {id} is outside the vocabulary of {}", self.text.vocab));
        }
        Ok(())
    }
}

fn check_tower(tower: &str, spec: &TowerSpec) -> Result<(), String> {
    in_range(&format!("number of layers of the {tower} tower"), spec.layers, limits::LAYERS)?;
    in_range(&format!("width of the {tower} tower"), spec.hidden, limits::WIDTH)?;
    in_range(&format!("MLP size of the {tower} tower"), spec.intermediate, limits::WIDTH)?;
    in_range(&format!("number of heads of the {tower} tower"), spec.heads, limits::HEADS)?;
    if !spec.hidden.is_multiple_of(spec.heads) {
        return Err(format!(
            "the {tower} tower's width of {} does not divide into {} heads",
            spec.hidden, spec.heads
        ));
    }
    if !spec.eps.is_finite() || spec.eps < 0.0 {
        return Err("the epsilon of the norms is not a number of zero or more".to_owned());
    }
    Ok(())
}

fn in_range(name: &str, value: usize, most: usize) -> Result<(), String> {
    if value == 0 || value > most {
        return Err(format!("the {name} is {value}; it must lie between 1 and {most}"));
    }
    Ok(())
}
