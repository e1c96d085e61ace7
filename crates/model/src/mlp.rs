//! The MLP of a block.

use crayon_formats::spec::Activation;
use crayon_kernels::ops::{self, Act};

use crate::linear::{ELEMENTS, Linear, Projector};

/// `down(act(gate x) * up x)`, or without a gate `down(act(up x))`.
pub struct Mlp {
    /// `[inner, width]`, where there is one.
    pub gate: Option<Linear>,
    /// `[inner, width]`.
    pub up: Linear,
    /// `[width, inner]`.
    pub down: Linear,
    /// In between.
    pub activation: Activation,
}

impl Mlp {
    /// `x` `[rows, width]` to `out` `[rows, width]`, through two buffers that grow to `[rows, inner]`.
    pub fn forward(
        &self,
        project: &mut Projector<'_>,
        x: &[f32],
        rows: usize,
        [inner, up]: [&mut Vec<f32>; 2],
        out: &mut Vec<f32>,
    ) {
        self.expand(project, x, rows, [&mut *inner, up]);
        project.run(inner, rows, [(&self.down, out)]);
    }

    /// The same added to `onto` `[rows, width]`, through a buffer of that size.
    pub fn add(
        &self,
        project: &mut Projector<'_>,
        x: &[f32],
        rows: usize,
        [inner, up, delta]: [&mut Vec<f32>; 3],
        onto: &mut [f32],
    ) {
        self.expand(project, x, rows, [&mut *inner, up]);
        project.run_onto(inner, rows, &self.down, delta, onto);
    }

    /// What lies between the layers, `[rows, inner]`, in the first buffer.
    fn expand(&self, project: &mut Projector<'_>, x: &[f32], rows: usize, [inner, up]: [&mut Vec<f32>; 2]) {
        let act = act(self.activation);
        match &self.gate {
            Some(gate) => {
                project.run(x, rows, [(gate, &mut *inner), (&self.up, &mut *up)]);
                project.threads.for_each_chunk(inner, ELEMENTS, |i, inner| {
                    ops::gate_mul(act, inner, &up[i * ELEMENTS..][..inner.len()]);
                });
            }
            None => project.run_act(x, rows, &self.up, act, inner),
        }
    }
}

/// The kernel of an activation.
pub fn act(activation: Activation) -> Act {
    match activation {
        Activation::Silu => Act::Silu,
        Activation::GeluTanh => Act::GeluTanh,
        Activation::Gelu => Act::Gelu,
        Activation::QuickGelu => Act::QuickGelu,
    }
}
