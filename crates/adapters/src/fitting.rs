//! Adapters of a model beside another form of it: numbers of another type, or scales folded into its parameters.

use crayon_formats::spec::Spec;
use crayon_formats::{Checkpoint, Origin};
use crayon_model::{Place, Projection};

use crate::{AdapterError, Lora};

impl Lora {
    /// Makes the adapter fit the model in `checkpoint`, which messages call `name`: it stays as it is beside the model it was made
    /// for, and takes the scales that were folded into a quantised form of that. Adapters trained elsewhere do not say what they
    /// were made for; their shapes decide, and that they were made for the model as it was. Messages call the adapter `what`.
    ///
    /// # Errors
    /// When it was made for another model, or scales do not fit the network.
    pub fn fit(&mut self, what: &str, checkpoint: &Checkpoint, name: &str) -> Result<(), AdapterError> {
        match (&self.base, checkpoint.origin()) {
            (None, None) => Ok(()),
            (Some(base), Some(origin)) if !origin.fingerprints.contains(base) => {
                self.check_base(what, &checkpoint.fingerprint(), name)
            }
            (None, Some(origin)) if origin.rotated => Err(AdapterError::unusable(
                format!(
                    "{what} does not say which model it was made for, and the channels of {name} were mixed"
                ),
                "use it with the model before the rotation, or make one beside this model",
            )),
            (Some(_), None) => self.check_base(what, &checkpoint.fingerprint(), name),
            (_, Some(origin)) => {
                self.take_scales(&checkpoint.spec, origin, &checkpoint.source.name)?;
                self.base = Some(checkpoint.fingerprint());
                Ok(())
            }
        }
    }

    /// Folds the scales of `origin` in: A reads inputs that are so many times larger, and what B adds to v and up has to be.
    fn take_scales(&mut self, spec: &Spec, origin: &Origin, model: &str) -> Result<(), AdapterError> {
        for (site, pair) in &mut self.pairs {
            let scales = |place: Place| match origin.scales.get(&format!("blk.{}.{place}", site.layer)) {
                Some(values) if values.len() != place.scales(spec) => {
                    let what = format!(
                        "{model} says of block {} that {} scales stand before {place}",
                        site.layer,
                        values.len()
                    );
                    Err(AdapterError::unusable(what, "the model is damaged; quantise it again"))
                }
                found => Ok(found),
            };
            let place = Place::of(site.projection);
            if let Some(values) = scales(place)? {
                let inverse: Vec<f32> =
                    (0..place.width(spec)).map(|at| 1.0 / values[place.scale_of(spec, at)]).collect();
                for row in pair.a.chunks_exact_mut(inverse.len()) {
                    row.iter_mut().zip(&inverse).for_each(|(value, inverse)| *value *= inverse);
                }
            }
            let behind = match site.projection {
                Projection::V => scales(Place::Output)?,
                Projection::Up if spec.gated => scales(Place::Down)?,
                _ => None,
            };
            if let Some(values) = behind {
                for (row, scale) in pair.b.chunks_exact_mut(pair.rank).zip(values) {
                    row.iter_mut().for_each(|value| *value *= scale);
                }
            }
        }
        Ok(())
    }
}
