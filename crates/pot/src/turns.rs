//! How keys turn when their positions change.

use crayon_formats::spec::{Positions, Spec};
use crayon_model::rope::{Rotation, Rotations};

use crate::storage::Pairing;

/// Frequencies by which the keys of a network turn.
pub(crate) struct Turns {
    pairing: Pairing,
    /// Of texts within the original context of longrope scaling, and of longer ones; one where all texts turn alike.
    rotations: Vec<Rotations>,
    /// Whether a layer turns by the frequencies of layers with a window.
    local: Vec<bool>,
    longest_short: Option<usize>,
}

/// The turn of a key by a distance. Kept from one key to the next: neighbours that stay together turn alike.
#[derive(Default)]
pub(crate) struct Turn {
    /// What it was computed for: a layer, positions before and after, and whether the text is a long one.
    of: Option<(usize, isize, bool)>,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Turns {
    /// For `spec`, in a memory of positions up to `span`.
    pub(crate) fn new(spec: &Spec, span: usize) -> Turns {
        let Positions::Rope(rope) = &spec.positions else {
            let pairing = Pairing { dims: 0, interleaved: false };
            return Turns { pairing, rotations: Vec::new(), local: Vec::new(), longest_short: None };
        };
        let longest_short = Rotations::longest_short(rope);
        let short = Rotations::new(rope, 0);
        let long = longest_short.filter(|longest| span > *longest);
        let long = long.map(|longest| Rotations::new(rope, longest + 1));
        let windowed = |layer| spec.windows.get(layer).copied().flatten().is_some();
        Turns {
            pairing: Pairing { dims: short.dims, interleaved: short.interleaved },
            local: (0..spec.layers).map(|layer| short.local.is_some() && windowed(layer)).collect(),
            rotations: [Some(short), long].into_iter().flatten().collect(),
            longest_short,
        }
    }

    /// How the values of a key pair up.
    pub(crate) fn pairing(&self) -> Pairing {
        self.pairing
    }

    /// Whether a text of this length turns by the frequencies of long texts.
    pub(crate) fn is_long(&self, length: usize) -> bool {
        self.longest_short.is_some_and(|longest| length > longest)
    }

    /// Tokens by which a text of `length` can grow and still turn by the same frequencies.
    pub(crate) fn alike(&self, length: usize) -> usize {
        match self.longest_short {
            Some(longest) if length <= longest => longest - length,
            _ => usize::MAX,
        }
    }

    fn of(&self, length: usize) -> Option<&Rotations> {
        self.rotations.get(usize::from(self.is_long(length))).or(self.rotations.first())
    }

    /// The sines of the turn by one position of a text of `length` tokens, of all kinds of layers.
    pub(crate) fn sines(&self, length: usize) -> impl Iterator<Item = f32> + '_ {
        let kinds = self.of(length).map(|rotations| [Some(&rotations.global), rotations.local.as_ref()]);
        let frequencies = kinds.into_iter().flatten().flatten().flat_map(|kind| &kind.inverse_frequencies);
        frequencies.map(|frequency| frequency.sin())
    }

    /// How a key of `layer`, of a text of `length` tokens, turns on its way from one position to another; `None` when it stays as it
    /// is. `turn` is that of the key before.
    pub(crate) fn between<'t>(
        &self,
        length: usize,
        layer: usize,
        from: usize,
        to: usize,
        turn: &'t mut Turn,
    ) -> Option<(&'t [f32], &'t [f32], Pairing)> {
        let distance = to as isize - from as isize;
        if distance == 0 {
            return None;
        }
        let of = Some((layer, distance, self.is_long(length)));
        if turn.of != of {
            let rotations = self.of(length)?;
            let local = rotations.local.as_ref().filter(|_| self.local[layer]);
            let rotation: &Rotation = local.unwrap_or(&rotations.global);
            let positions = distance.unsigned_abs() as f32;
            turn.cos.clear();
            turn.sin.clear();
            for frequency in &rotation.inverse_frequencies {
                let (sin, cos) = (positions * frequency).sin_cos();
                turn.cos.push(cos);
                turn.sin.push(if distance < 0 { -sin } else { sin });
            }
            turn.of = of;
        }
        Some((&turn.cos, &turn.sin, self.pairing))
    }
}
