//! Modules as PEFT names them by their whole paths, and the places they are here. One module may be several places: GPT-2's `c_attn` and
//! Phi-3's `qkv_proj` are q, k and v on top of each other, `gate_up_proj` is gate and up.

use crayon_formats::spec::{Family, Spec};
use crayon_model::{Projection, Site};

use Projection::{Down, Gate, K, O, Q, Up, V};

/// Module names within a block and the projections in them, top to bottom.
type Table = &'static [(&'static str, &'static [Projection])];

const PLAIN: Table = &[
    ("self_attn.q_proj", &[Q]),
    ("self_attn.k_proj", &[K]),
    ("self_attn.v_proj", &[V]),
    ("self_attn.o_proj", &[O]),
    ("mlp.gate_proj", &[Gate]),
    ("mlp.up_proj", &[Up]),
    ("mlp.down_proj", &[Down]),
];
const PHI3: Table = &[
    ("self_attn.qkv_proj", &[Q, K, V]),
    ("self_attn.o_proj", &[O]),
    ("mlp.gate_up_proj", &[Gate, Up]),
    ("mlp.down_proj", &[Down]),
];
const GPT2: Table =
    &[("attn.c_attn", &[Q, K, V]), ("attn.c_proj", &[O]), ("mlp.c_fc", &[Up]), ("mlp.c_proj", &[Down])];

/// What may stand before a block of the language model: its own body, and the classes that hold it.
const BODY: [&str; 4] = ["model", "language_model", "transformer", "base_model"];

/// Parts that turn pictures and sounds into embeddings, as transformers names them.
const OTHER_SENSES: [&str; 8] = [
    "vision_tower",
    "vision_model",
    "visual",
    "vision_embed_tokens",
    "image_newline",
    "audio_tower",
    "embed_audio",
    "multi_modal_projector",
];

/// Whether `name` lies in a part that texts do not pass through.
pub(super) fn is_of_other_senses(name: &str) -> bool {
    name.split('.').any(|part| OTHER_SENSES.contains(&part))
}

/// One module of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Module {
    pub(super) layer: usize,
    pub(super) projections: &'static [Projection],
}

impl Module {
    /// The module called `name`, such as `model.layers.3.self_attn.q_proj`; `None` when it is not a linear layer of a block
    /// of the language model. Other parts of a model have layers of the same names (`vision_tower.encoder.layers.0`), so
    /// that the whole path counts.
    pub(super) fn parse(name: &str) -> Option<Module> {
        let parts: Vec<&str> = name.split('.').collect();
        let at = parts.iter().position(|part| matches!(*part, "layers" | "h"))?;
        if !parts[..at].iter().all(|part| BODY.contains(part)) {
            return None;
        }
        let layer = parts.get(at + 1)?.parse().ok()?;
        let inner = parts.get(at + 2..)?.join(".");
        let tables = [PLAIN, PHI3, GPT2].into_iter().flatten();
        let (_, projections) = tables.into_iter().find(|(known, _)| *known == inner)?;
        Some(Module { layer, projections })
    }

    /// All modules of a block in the order it runs them, with their full names.
    pub(super) fn of(spec: &Spec, layer: usize) -> impl Iterator<Item = (String, Module)> {
        let (table, prefix) = match spec.family {
            Family::Gpt2 => (GPT2, "transformer.h"),
            Family::Phi3 => (PHI3, "model.layers"),
            _ => (PLAIN, "model.layers"),
        };
        table.iter().map(move |(name, projections)| {
            (format!("{prefix}.{layer}.{name}"), Module { layer, projections })
        })
    }

    /// Its places with the rows each takes of the module's output.
    pub(super) fn sites<'a>(&self, spec: &'a Spec) -> impl Iterator<Item = (Site, usize)> + use<'a> {
        let layer = self.layer;
        self.projections.iter().map(move |&projection| (Site { layer, projection }, projection.size(spec).1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_under_any_prefix() {
        let check = |name: &str, layer, projections: &[Projection]| {
            let module = Module::parse(name).unwrap();
            assert_eq!((module.layer, module.projections), (layer, projections), "{name}");
        };
        check("model.layers.3.self_attn.q_proj", 3, &[Q]);
        check("model.language_model.layers.11.mlp.gate_proj", 11, &[Gate]);
        check("transformer.h.0.attn.c_attn", 0, &[Q, K, V]);
        check("h.1.mlp.c_proj", 1, &[Down]);
        check("model.layers.0.mlp.gate_up_proj", 0, &[Gate, Up]);
        for other in
            ["lm_head", "model.embed_tokens", "model.layers.x.mlp.up_proj", "model.layers.0.mlp.experts"]
        {
            assert_eq!(Module::parse(other), None, "{other}");
        }
    }

    #[test]
    fn layers_of_other_parts_are_none_of_the_language_model() {
        for (name, other_senses) in [
            ("model.vision_tower.encoder.layers.0.self_attn.q_proj", true),
            ("model.vision_tower.vision_model.encoder.layers.1.self_attn.v_proj", true),
            ("vision_model.encoder.layers.0.self_attn.k_proj", true),
            ("model.audio_tower.layers.0.self_attn.q_proj", true),
            ("model.visual.blocks.0.attn.qkv", true),
            ("model.multi_modal_projector.linear_1", true),
            ("model.encoder.layers.0.self_attn.q_proj", false),
            ("mtp.layers.0.self_attn.q_proj", false),
        ] {
            assert_eq!(Module::parse(name), None, "{name}");
            assert_eq!(is_of_other_senses(name), other_senses, "{name}");
        }
    }
}
