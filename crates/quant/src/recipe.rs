//! What is done to a model: every choice in one place. The command line, the comparison and the tests enumerate these.

use std::fmt;

use crayon_formats::spec::Spec;
use crayon_kernels::nibbles;
use crayon_model::Place;
use crayon_train::quantised::{BlockRounding, GridKind, Groups, InputRounding, WeightRounding};

use crate::Scheme;

/// Defines an enum of choices with their names.
macro_rules! choices {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $choice:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$doc])* $choice,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [$name] = &[$($name::$choice),+];

            /// The name users know it by.
            pub const fn name(self) -> &'static str {
                match self {
                    $($name::$choice => $text,)+
                }
            }

            /// The one called `name`.
            pub fn from_name(name: &str) -> Option<$name> {
                $name::ALL.iter().copied().find(|choice| choice.name() == name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(self.name())
            }
        }
    };
}

choices! {
    /// Where the scales come from.
    Method {
        /// Quadapter (arXiv 2211.16912): learned, block by block and then end to end.
        Quadapter = "quadapter",
        /// SmoothQuant's closed form (arXiv 2211.10438).
        SmoothQuant = "smoothquant",
        /// Cross-layer equalisation (arXiv 1906.04721): the ranges of neighbouring weights made alike, without data.
        Equalise = "equalise",
        /// None, but rotations that fold away (QuaRot, arXiv 2404.00456): [`rotate`](crate::rotate).
        Hadamard = "hadamard",
        /// None: round-to-nearest.
        Rtn = "rtn",
    }
}

choices! {
    /// Which places get scales, or are rotated.
    Places {
        /// Before o alone.
        Output = "o",
        /// Quadapter's two: the norms before q, k, v and before gate, up.
        Paper = "paper",
        /// The paper's, and before o, as OmniQuant's transform has them.
        NoDown = "no-down",
        /// Every place whose inverse folds exactly; our extension.
        All = "all",
    }
}

choices! {
    /// When the range of an activation is known.
    Activations {
        /// Each token has its own, found as it comes.
        Token = "token",
        /// One for a whole tensor, known beforehand.
        Static = "static",
    }
}

choices! {
    /// How static ranges are found.
    RangeKind {
        /// From the least to the greatest value seen.
        MinMax = "minmax",
        /// Leaving out one value in ten thousand at either end.
        Percentile = "percentile",
        /// The share of the whole range that loses least by squared error.
        Mse = "mse",
        /// The running mean of each sequence's extremes.
        Running = "running",
        /// From the least to the greatest value, and then learned beside the scales.
        Learned = "learned",
    }
}

choices! {
    /// How weights are rounded within their range.
    WeightKind {
        /// The largest magnitude is the greatest code.
        Max = "max",
        /// The share of the largest magnitude that loses least by squared error.
        Mse = "mse",
        /// The share is learned beside the scales (OmniQuant's clipping, arXiv 2308.13137).
        Learned = "learned",
        /// One column after the other, the rest making up for its error (GPTQ, arXiv 2210.17323).
        Gptq = "gptq",
    }
}

choices! {
    /// Where learned scales start.
    Start {
        /// At SmoothQuant's closed form.
        Smooth = "smooth",
        /// At 1.
        One = "one",
    }
}

choices! {
    /// What becomes of the weights.
    Form {
        /// Rows of integers, which this program's kernels multiply.
        Rows = "rows",
        /// GGUF's blocks of 32, for other programs.
        Blocks = "blocks",
        /// Rounded, but kept as floats: to measure what no file format has.
        Floats = "floats",
    }
}

/// What is done to a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Bits.
    pub scheme: Scheme,
    /// Where scales come from.
    pub method: Method,
    /// Which places get some.
    pub places: Places,
    /// When ranges of activations are known.
    pub activations: Activations,
    /// How static ranges are found.
    pub range: RangeKind,
    /// How weights are rounded.
    pub weights: WeightKind,
    /// Who shares a range of weights.
    pub groups: Groups,
    /// What grids of weights look like.
    pub grid: GridKind,
    /// SmoothQuant's exponent: the share of the difficulty that goes from activations to weights.
    pub alpha: f32,
    /// Where learned scales start.
    pub start: Start,
    /// Whether each block learns by itself (phase 1).
    pub by_block: bool,
    /// Whether all learn together afterwards (phase 2).
    pub end_to_end: bool,
    /// Steps of a block.
    pub steps: usize,
    /// Steps of all together.
    pub final_steps: usize,
    /// Learning rate of a block.
    pub rate: f64,
    /// Learning rate of all together.
    pub final_rate: f64,
    /// Sequences that learn together in a step.
    pub batch: usize,
    /// The order of sequences follows from it.
    pub seed: u64,
    /// What becomes of the weights.
    pub form: Form,
}

impl Recipe {
    /// The defaults for a scheme and a method.
    pub fn new(scheme: Scheme, method: Method) -> Recipe {
        Recipe {
            scheme,
            method,
            places: Places::All,
            activations: Activations::Token,
            range: RangeKind::MinMax,
            weights: if scheme.weight_bits() < 8 { WeightKind::Mse } else { WeightKind::Max },
            groups: if scheme.weight_bits() < 8 { Groups::Of(nibbles::SHARED) } else { Groups::Channel },
            grid: if scheme.weight_bits() < 8 { GridKind::Nibbles } else { GridKind::Symmetric },
            alpha: 0.5,
            start: Start::Smooth,
            by_block: true,
            end_to_end: false,
            steps: scheme.steps(),
            final_steps: 24,
            rate: 2e-2,
            final_rate: 2e-3,
            batch: 2,
            seed: 0,
            form: Form::Rows,
        }
    }

    /// The places that get scales in a network.
    pub fn scaled(&self, spec: &Spec) -> Vec<Place> {
        match (self.method, self.places) {
            (Method::Rtn | Method::Hadamard, _) => Vec::new(),
            (_, Places::Output) => vec![Place::Output],
            (_, Places::Paper) => Place::PAPER.to_vec(),
            (_, Places::NoDown) => vec![Place::Attention, Place::Output, Place::Mlp],
            (_, Places::All) => Place::ALL.into_iter().filter(|place| place.folds(spec)).collect(),
        }
    }

    /// How blocks are rounded.
    pub fn rounding(&self) -> BlockRounding {
        let inputs = match (self.scheme.input_bits(), self.activations) {
            (None, _) => InputRounding::Exact,
            (Some(bits), Activations::Token) => InputRounding::Row { bits },
            (Some(bits), Activations::Static) => InputRounding::Fixed { bits },
        };
        let bits = self.scheme.weight_bits();
        let weights = WeightRounding { bits, kind: self.grid, groups: self.groups };
        BlockRounding { weights: Some(weights), inputs }
    }

    /// Whether anything learns block by block.
    pub fn learns_by_block(&self) -> bool {
        self.by_block
            && (self.method == Method::Quadapter
                || self.weights == WeightKind::Learned
                || (self.range == RangeKind::Learned && self.activations == Activations::Static))
    }
}
