//! Under which names files keep the tensors of both towers.

use crate::locate::Location;

/// Whose names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// transformers.
    Transformers,
    /// OpenAI's, which OpenCLIP took over; `split` where OpenCLIP keeps the text tower under `text.`.
    OpenAi {
        /// Whether it does.
        split: bool,
    },
}

impl Layout {
    /// Where the tensor called `canonical` lies. Of fused matrices `width` is the height of a part.
    pub(crate) fn locate(self, canonical: &str, width: usize) -> Location {
        match self {
            Layout::Transformers => transformers(canonical, width),
            Layout::OpenAi { split } => open_ai(canonical, width, split),
        }
    }

    /// A tensor that is known and not needed: buffers of older versions.
    pub(crate) fn is_buffer(name: &str) -> bool {
        name.ends_with("position_ids") || matches!(name, "input_resolution" | "context_length" | "vocab_size")
    }
}

/// A part of a fused query, key and value matrix.
fn fused(name: String, part: &str, width: usize) -> Location {
    let at = ["attn_q", "attn_k", "attn_v"].iter().position(|known| *known == part).unwrap_or(0);
    Location::rows(name, at * width..(at + 1) * width, 3 * width)
}

fn transformers(canonical: &str, width: usize) -> Location {
    let Some((tower, rest)) = canonical.split_once('.') else { return Location::whole(canonical.to_owned()) };
    let model = if tower == "text" { "text_model" } else { "vision_model" };
    let whole = |name: String| Location::whole(format!("{model}.{name}"));
    if let Some((layer, part, kind)) = block(rest) {
        let part = match part {
            "attn_norm" => "layer_norm1",
            "attn_q" => "self_attn.q_proj",
            "attn_k" => "self_attn.k_proj",
            "attn_v" => "self_attn.v_proj",
            "attn_output" => "self_attn.out_proj",
            "ffn_norm" => "layer_norm2",
            "ffn_up" => "mlp.fc1",
            _ => "mlp.fc2",
        };
        return whole(format!("encoder.layers.{layer}.{part}.{kind}"));
    }
    if let Some(part) = rest.strip_prefix("head.") {
        let (part, kind) = part.rsplit_once('.').unwrap_or((part, ""));
        return match part {
            "attn_q" | "attn_k" | "attn_v" => {
                let name = format!("{model}.head.attention.in_proj_{kind}");
                fused(name, part, width)
            }
            "attn_output" => whole(format!("head.attention.out_proj.{kind}")),
            "ffn_norm" => whole(format!("head.layernorm.{kind}")),
            "ffn_up" => whole(format!("head.mlp.fc1.{kind}")),
            "ffn_down" => whole(format!("head.mlp.fc2.{kind}")),
            _ => whole("head.probe".to_owned()),
        };
    }
    match (tower, rest) {
        (_, "token_embd.weight") => whole("embeddings.token_embedding.weight".to_owned()),
        (_, "position_embd.weight") => whole("embeddings.position_embedding.weight".to_owned()),
        (_, "class_embd") => whole("embeddings.class_embedding".to_owned()),
        (_, "patch_embd.weight") => whole("embeddings.patch_embedding.weight".to_owned()),
        (_, "patch_embd.bias") => whole("embeddings.patch_embedding.bias".to_owned()),
        ("text", "output_norm.weight") => whole("final_layer_norm.weight".to_owned()),
        ("text", "output_norm.bias") => whole("final_layer_norm.bias".to_owned()),
        // SigLIP's last layer belongs to the tower, CLIP's stands beside it; `ClipCheckpoint` looks at both.
        ("text", "projection.weight") => Location::whole("text_projection.weight".to_owned()),
        ("text", "projection.bias") => whole("head.bias".to_owned()),
        ("image", "projection.weight") => Location::whole("visual_projection.weight".to_owned()),
        (_, "input_norm.weight") => whole("pre_layrnorm.weight".to_owned()),
        (_, "input_norm.bias") => whole("pre_layrnorm.bias".to_owned()),
        (_, "output_norm.weight") => whole("post_layernorm.weight".to_owned()),
        (_, _) => whole("post_layernorm.bias".to_owned()),
    }
}

fn open_ai(canonical: &str, width: usize, split: bool) -> Location {
    let Some((tower, rest)) = canonical.split_once('.') else { return Location::whole(canonical.to_owned()) };
    let prefix = match tower {
        "image" => "visual.",
        _ if split => "text.",
        _ => "",
    };
    let whole = |name: &str| Location::whole(format!("{prefix}{name}"));
    let transposed = |name: &str| Location { transposed: true, ..whole(name) };
    if let Some((layer, part, kind)) = block(rest) {
        let block = format!("transformer.resblocks.{layer}");
        return match part {
            "attn_q" | "attn_k" | "attn_v" => {
                fused(format!("{prefix}{block}.attn.in_proj_{kind}"), part, width)
            }
            "attn_norm" => whole(&format!("{block}.ln_1.{kind}")),
            "attn_output" => whole(&format!("{block}.attn.out_proj.{kind}")),
            "ffn_norm" => whole(&format!("{block}.ln_2.{kind}")),
            "ffn_up" => whole(&format!("{block}.mlp.c_fc.{kind}")),
            _ => whole(&format!("{block}.mlp.c_proj.{kind}")),
        };
    }
    match (tower, rest) {
        (_, "token_embd.weight") => whole("token_embedding.weight"),
        (_, "position_embd.weight") => whole("positional_embedding"),
        ("text", "output_norm.weight") => whole("ln_final.weight"),
        ("text", "output_norm.bias") => whole("ln_final.bias"),
        ("text", "projection.weight") => transposed("text_projection"),
        (_, "projection.weight") => transposed("proj"),
        (_, "class_embd") => whole("class_embedding"),
        (_, "patch_embd.weight") => whole("conv1.weight"),
        (_, "input_norm.weight") => whole("ln_pre.weight"),
        (_, "input_norm.bias") => whole("ln_pre.bias"),
        (_, "output_norm.weight") => whole("ln_post.weight"),
        (_, _) => whole("ln_post.bias"),
    }
}

/// `blk.3.attn_q.weight` as `(3, attn_q, weight)`.
fn block(rest: &str) -> Option<(usize, &str, &str)> {
    let (layer, part) = rest.strip_prefix("blk.")?.split_once('.')?;
    let (part, kind) = part.split_once('.')?;
    Some((layer.parse().ok()?, part, kind))
}
