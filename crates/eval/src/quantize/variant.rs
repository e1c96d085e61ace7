//! The ways to quantise that are compared.

use crayon_quant::{
    Activations, Form, GridKind, Groups, Method, Places, RangeKind, Recipe, Scheme, Start, WeightKind,
};

/// A row of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Name in tables and on the command line.
    pub name: &'static str,
    /// What it is, for tables.
    pub about: &'static str,
    kind: Kind,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing: the exact path.
    Exact,
    /// A recipe.
    Recipe(Choices),
    /// All weights trained, with quantisers or without.
    Tuned { aware: bool },
}

/// What a recipe has other than its defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choices {
    method: Method,
    places: Places,
    range: RangeKind,
    weights: Option<WeightKind>,
    start: Start,
    phases: [bool; 2],
    /// SmoothQuant's exponent is chosen on held-out text.
    pub(super) swept: bool,
}

const PLAIN: Choices = Choices {
    method: Method::Rtn,
    places: Places::All,
    range: RangeKind::MinMax,
    weights: None,
    start: Start::Smooth,
    phases: [true, false],
    swept: false,
};

macro_rules! variant {
    ($name:literal, $about:literal, $kind:expr) => {
        Variant { name: $name, about: $about, kind: $kind }
    };
}

impl Variant {
    /// All of them, in the order of tables.
    pub const ALL: [Variant; 23] = [
        variant!("exact", "full precision", Kind::Exact),
        variant!("rtn", "round-to-nearest", Kind::Recipe(PLAIN)),
        variant!(
            "percentile",
            "percentile ranges",
            Kind::Recipe(Choices { range: RangeKind::Percentile, ..PLAIN })
        ),
        variant!(
            "mse",
            "ranges of least squared error",
            Kind::Recipe(Choices { range: RangeKind::Mse, ..PLAIN })
        ),
        variant!("running", "running ranges", Kind::Recipe(Choices { range: RangeKind::Running, ..PLAIN })),
        variant!(
            "equalise",
            "cross-layer equalisation",
            Kind::Recipe(Choices { method: Method::Equalise, ..PLAIN })
        ),
        variant!(
            "smoothquant-paper",
            "SmoothQuant, the two places of Quadapter's paper",
            Kind::Recipe(Choices {
                method: Method::SmoothQuant,
                places: Places::Paper,
                swept: true,
                ..PLAIN
            })
        ),
        variant!(
            "smoothquant",
            "SmoothQuant, all places",
            Kind::Recipe(Choices { method: Method::SmoothQuant, swept: true, ..PLAIN })
        ),
        variant!(
            "omniquant",
            "OmniQuant's transform (scales) and weight clipping, learned",
            Kind::Recipe(Choices {
                method: Method::Quadapter,
                places: Places::NoDown,
                weights: Some(WeightKind::Learned),
                ..PLAIN
            })
        ),
        variant!(
            "quadapter-paper",
            "Quadapter phase 1, the paper's two places",
            Kind::Recipe(Choices { method: Method::Quadapter, places: Places::Paper, ..PLAIN })
        ),
        variant!(
            "quadapter-one",
            "Quadapter phase 1, all places, started at 1",
            Kind::Recipe(Choices { method: Method::Quadapter, start: Start::One, ..PLAIN })
        ),
        variant!(
            "quadapter",
            "Quadapter phase 1, all places (ours)",
            Kind::Recipe(Choices { method: Method::Quadapter, ..PLAIN })
        ),
        variant!(
            "quadapter-ranges",
            "the same, ranges learned too (ours)",
            Kind::Recipe(Choices { method: Method::Quadapter, range: RangeKind::Learned, ..PLAIN })
        ),
        variant!(
            "quadapter-2",
            "Quadapter phase 2 alone, all places",
            Kind::Recipe(Choices { method: Method::Quadapter, phases: [false, true], ..PLAIN })
        ),
        variant!(
            "quadapter-12",
            "Quadapter phases 1 and 2, all places, ranges learned",
            Kind::Recipe(Choices {
                method: Method::Quadapter,
                range: RangeKind::Learned,
                phases: [true, true],
                ..PLAIN
            })
        ),
        variant!(
            "gptq",
            "GPTQ's weights",
            Kind::Recipe(Choices { weights: Some(WeightKind::Gptq), ..PLAIN })
        ),
        variant!(
            "smoothquant-gptq",
            "SmoothQuant, all places, then GPTQ's weights",
            Kind::Recipe(Choices { method: Method::SmoothQuant, weights: Some(WeightKind::Gptq), ..PLAIN })
        ),
        variant!(
            "quadapter-gptq",
            "Quadapter phase 1, all places, then GPTQ's weights",
            Kind::Recipe(Choices { method: Method::Quadapter, weights: Some(WeightKind::Gptq), ..PLAIN })
        ),
        variant!(
            "hadamard",
            "rotations that fold: residual stream, values of heads",
            Kind::Recipe(Choices { method: Method::Hadamard, ..PLAIN })
        ),
        variant!(
            "hadamard-o",
            "rotations of the values of heads alone",
            Kind::Recipe(Choices { method: Method::Hadamard, places: Places::Output, ..PLAIN })
        ),
        variant!(
            "hadamard-gptq",
            "rotations that fold, then GPTQ's weights",
            Kind::Recipe(Choices { method: Method::Hadamard, weights: Some(WeightKind::Gptq), ..PLAIN })
        ),
        variant!("qat", "QAT of all weights, ranges learned", Kind::Tuned { aware: true }),
        variant!("finetune", "the same fine-tuning, nothing quantised", Kind::Tuned { aware: false }),
    ];

    /// The variant called `name`.
    pub fn from_name(name: &str) -> Option<Variant> {
        Variant::ALL.into_iter().find(|variant| variant.name == name)
    }

    pub(super) fn kind(self) -> Kind {
        self.kind
    }

    /// Whether the model is rotated.
    pub(super) fn rotates(self) -> bool {
        matches!(self.kind, Kind::Recipe(Choices { method: Method::Hadamard, .. }))
    }

    /// The recipe under a scheme. Groups other than its own are kept as floats where integers have no such form.
    pub(super) fn recipe(self, scheme: Scheme, activations: Activations, groups: Option<Groups>) -> Recipe {
        let choices = match self.kind {
            Kind::Recipe(choices) => choices,
            Kind::Exact | Kind::Tuned { .. } => PLAIN,
        };
        let mut plain = Recipe::new(scheme, choices.method);
        if let Some(groups) = groups.filter(|groups| *groups != plain.groups) {
            let rows = scheme.weight_bits() == 8 && !matches!(groups, Groups::Of(_));
            (plain.groups, plain.grid) = (groups, GridKind::Symmetric);
            plain.form = if rows { Form::Rows } else { Form::Floats };
        }
        Recipe {
            places: choices.places,
            range: choices.range,
            weights: choices.weights.unwrap_or(plain.weights),
            start: choices.start,
            by_block: choices.phases[0],
            end_to_end: choices.phases[1],
            activations,
            ..plain
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unlike() {
        let mut names = Variant::ALL.map(|variant| variant.name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Variant::ALL.len());
        assert!(names.iter().all(|name| Variant::from_name(name).is_some()));
    }
}
