//! The places of a block where activations are rounded, and where a scale per channel can stand before the rounding.

use std::fmt;

use crate::Projection;
use crayon_formats::spec::Spec;

/// An input of linear layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// Norm before attention, read by q, k and v.
    Attention,
    /// What attention gathered, read by o.
    Output,
    /// Norm before the MLP, read by gate and up (GPT-2: c_fc).
    Mlp,
    /// The MLP's middle, read by down.
    Down,
}

impl Place {
    /// All of them, in the order a block comes to them.
    pub const ALL: [Place; 4] = [Place::Attention, Place::Output, Place::Mlp, Place::Down];
    /// Where Quadapter's paper has a scale per channel.
    pub const PAPER: [Place; 2] = [Place::Attention, Place::Mlp];

    /// Short name, for files and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Place::Attention => "qkv",
            Place::Output => "o",
            Place::Mlp => "up",
            Place::Down => "down",
        }
    }

    /// The place called `name`.
    pub fn from_name(name: &str) -> Option<Place> {
        Place::ALL.into_iter().find(|place| place.name() == name)
    }

    /// The layers that read it.
    pub fn readers(self, spec: &Spec) -> Vec<Projection> {
        match self {
            Place::Attention => vec![Projection::Q, Projection::K, Projection::V],
            Place::Output => vec![Projection::O],
            Place::Mlp if spec.gated => vec![Projection::Gate, Projection::Up],
            Place::Mlp => vec![Projection::Up],
            Place::Down => vec![Projection::Down],
        }
    }

    /// The place that a layer reads.
    pub fn of(projection: Projection) -> Place {
        match projection {
            Projection::Q | Projection::K | Projection::V => Place::Attention,
            Projection::O => Place::Output,
            Projection::Gate | Projection::Up => Place::Mlp,
            Projection::Down => Place::Down,
        }
    }

    /// Channels of the input.
    pub fn width(self, spec: &Spec) -> usize {
        match self {
            Place::Attention | Place::Mlp => spec.hidden,
            Place::Output => spec.heads * spec.head_dim,
            Place::Down => spec.intermediate,
        }
    }

    /// Scales of the place: one a channel, except that query heads which share a value head share its scales.
    pub fn scales(self, spec: &Spec) -> usize {
        match self {
            Place::Output => spec.kv_heads * spec.head_dim,
            _ => self.width(spec),
        }
    }

    /// The scale that stands before channel `channel`.
    pub fn scale_of(self, spec: &Spec, channel: usize) -> usize {
        match self {
            Place::Output => {
                let (head, at) = (channel / spec.head_dim, channel % spec.head_dim);
                head / (spec.heads / spec.kv_heads) * spec.head_dim + at
            }
            _ => channel,
        }
    }

    /// Whether a scale folds exactly into what stands before: norms and, through attention's weighted sum, v always; up only
    /// where a gate multiplies it, as an activation in between is not linear.
    pub fn folds(self, spec: &Spec) -> bool {
        self != Place::Down || spec.gated
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}
