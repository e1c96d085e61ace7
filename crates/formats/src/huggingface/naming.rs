//! Names of tensors in Hugging Face files.

use crate::locate::Location;
use crate::names::split_block;
use crate::spec::{Family, Spec};

/// How a set of files spells tensor names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Naming {
    /// What stands before `layers.0` or `h.0`.
    pub(crate) prefix: &'static str,
    /// Whether q, k, v and gate, up are one matrix each (Phi-3).
    pub(crate) fused: bool,
}

impl Naming {
    /// The spelling transformers writes for a family.
    pub(crate) fn of(family: Family) -> Naming {
        let prefix = if family == Family::Gpt2 { "transformer." } else { "model." };
        Naming { prefix, fused: family == Family::Phi3 }
    }

    /// Where the tensor called `canonical` lies.
    pub(crate) fn locate(&self, spec: &Spec, canonical: &str) -> Location {
        let mut location = match spec.family {
            Family::Gpt2 => self.locate_gpt2(spec, canonical),
            _ => self.locate_rms(spec, canonical),
        };
        let is_norm = canonical.ends_with("norm.weight");
        location.plus_one = is_norm && matches!(spec.family, Family::Gemma2 | Family::Gemma3);
        location
    }

    fn body(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn locate_rms(&self, spec: &Spec, canonical: &str) -> Location {
        let Some((layer, part)) = split_block(canonical) else {
            return Location::whole(match canonical {
                "token_embd.weight" => self.body("embed_tokens.weight"),
                "output.weight" => "lm_head.weight".to_owned(),
                "output_norm.weight" => self.body("norm.weight"),
                other => other.to_owned(),
            });
        };
        let (stem, kind) = part.rsplit_once('.').unwrap_or((part, "weight"));
        let name = |inner: &str| self.body(&format!("layers.{layer}.{inner}.{kind}"));
        let (q, kv, mlp) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim, spec.intermediate);
        if self.fused {
            let qkv = |start: usize, rows: usize| {
                Location::rows(name("self_attn.qkv_proj"), start..start + rows, q + 2 * kv)
            };
            let gate_up =
                |start: usize| Location::rows(name("mlp.gate_up_proj"), start..start + mlp, 2 * mlp);
            match stem {
                "attn_q" => return qkv(0, q),
                "attn_k" => return qkv(q, kv),
                "attn_v" => return qkv(q + kv, kv),
                "ffn_gate" => return gate_up(0),
                "ffn_up" => return gate_up(mlp),
                _ => {}
            }
        }
        Location::whole(match stem {
            "attn_norm" => name("input_layernorm"),
            "ffn_norm" if spec.post_norms => name("pre_feedforward_layernorm"),
            "ffn_norm" | "post_attention_norm" => name("post_attention_layernorm"),
            "post_ffw_norm" => name("post_feedforward_layernorm"),
            "attn_q" => name("self_attn.q_proj"),
            "attn_k" => name("self_attn.k_proj"),
            "attn_v" => name("self_attn.v_proj"),
            "attn_q_norm" => name("self_attn.q_norm"),
            "attn_k_norm" => name("self_attn.k_norm"),
            "attn_output" => name("self_attn.o_proj"),
            "ffn_gate" => name("mlp.gate_proj"),
            "ffn_up" => name("mlp.up_proj"),
            "ffn_down" => name("mlp.down_proj"),
            _ => canonical.to_owned(),
        })
    }

    fn locate_gpt2(&self, spec: &Spec, canonical: &str) -> Location {
        let Some((layer, part)) = split_block(canonical) else {
            return Location::whole(match canonical {
                "token_embd.weight" => self.body("wte.weight"),
                "position_embd.weight" => self.body("wpe.weight"),
                "output.weight" => "lm_head.weight".to_owned(),
                "output_norm.weight" => self.body("ln_f.weight"),
                "output_norm.bias" => self.body("ln_f.bias"),
                other => other.to_owned(),
            });
        };
        let (stem, kind) = part.rsplit_once('.').unwrap_or((part, "weight"));
        let name = |inner: &str| self.body(&format!("h.{layer}.{inner}.{kind}"));
        let hidden = spec.hidden;
        let fused = |index: usize| {
            Location::rows(name("attn.c_attn"), index * hidden..(index + 1) * hidden, 3 * hidden)
        };
        let mut location = match stem {
            "attn_norm" => Location::whole(name("ln_1")),
            "ffn_norm" => Location::whole(name("ln_2")),
            "attn_q" => fused(0),
            "attn_k" => fused(1),
            "attn_v" => fused(2),
            "attn_output" => Location::whole(name("attn.c_proj")),
            "ffn_up" => Location::whole(name("mlp.c_fc")),
            "ffn_down" => Location::whole(name("mlp.c_proj")),
            _ => Location::whole(canonical.to_owned()),
        };
        // GPT-2's layers are written as convolutions: their weights are `[in, out]`.
        location.transposed = kind == "weight" && !stem.ends_with("norm");
        location
    }
}
