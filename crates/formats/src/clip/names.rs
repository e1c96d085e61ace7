//! Canonical names of the tensors of both towers, and the shapes a [`ClipSpec`] asks of them.
//!
//! They follow those of decoders (GGUF's), after the name of the tower. A linear weight is `[out, in]`.

use super::spec::{ClipSpec, TowerSpec};
use crate::names::NamedShape;

impl ClipSpec {
    /// Every tensor of the towers with the shape it must have.
    pub fn tensors(&self) -> Vec<NamedShape> {
        let mut out = Vec::new();
        let (text, image) = (&self.text, &self.image);
        let width = text.tower.hidden;
        out.push(("text.token_embd.weight".to_owned(), vec![text.vocab, width]));
        out.push(("text.position_embd.weight".to_owned(), vec![text.context, width]));
        blocks("text", &text.tower, &mut out);
        norm("text.output_norm", width, &mut out);
        linear("text.projection", [self.dim, width], text.projection_bias, &mut out);

        let width = image.tower.hidden;
        linear("image.patch_embd", [width, image.patch_values()], image.pooling_head, &mut out);
        if !image.pooling_head {
            out.push(("image.class_embd".to_owned(), vec![width]));
        }
        out.push(("image.position_embd.weight".to_owned(), vec![image.rows(), width]));
        if !image.pooling_head {
            norm("image.input_norm", width, &mut out);
        }
        blocks("image", &image.tower, &mut out);
        norm("image.output_norm", width, &mut out);
        if image.pooling_head {
            out.push(("image.head.probe".to_owned(), vec![width]));
            for part in ["attn_q", "attn_k", "attn_v", "attn_output"] {
                linear(&format!("image.head.{part}"), [width, width], true, &mut out);
            }
            mlp("image.head", &image.tower, &mut out);
        } else {
            linear("image.projection", [self.dim, width], false, &mut out);
        }
        out.push(("logit_scale".to_owned(), vec![1]));
        if self.sigmoid {
            out.push(("logit_bias".to_owned(), vec![1]));
        }
        out
    }
}

fn blocks(tower: &str, spec: &TowerSpec, out: &mut Vec<NamedShape>) {
    for layer in 0..spec.layers {
        let block = format!("{tower}.blk.{layer}");
        norm(&format!("{block}.attn_norm"), spec.hidden, out);
        for part in ["attn_q", "attn_k", "attn_v", "attn_output"] {
            linear(&format!("{block}.{part}"), [spec.hidden, spec.hidden], true, out);
        }
        mlp(&block, spec, out);
    }
}

fn mlp(block: &str, spec: &TowerSpec, out: &mut Vec<NamedShape>) {
    norm(&format!("{block}.ffn_norm"), spec.hidden, out);
    linear(&format!("{block}.ffn_up"), [spec.intermediate, spec.hidden], true, out);
    linear(&format!("{block}.ffn_down"), [spec.hidden, spec.intermediate], true, out);
}

fn norm(name: &str, width: usize, out: &mut Vec<NamedShape>) {
    out.push((format!("{name}.weight"), vec![width]));
    out.push((format!("{name}.bias"), vec![width]));
}

fn linear(name: &str, shape: [usize; 2], bias: bool, out: &mut Vec<NamedShape>) {
    out.push((format!("{name}.weight"), shape.to_vec()));
    if bias {
        out.push((format!("{name}.bias"), vec![shape[0]]));
    }
}
