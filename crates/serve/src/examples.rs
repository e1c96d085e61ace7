//! What examples in a request are worth: judged by their own answers as `ask` judges them, once for each set of examples.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crayon_answer::{Blend, BlendRequest, Customization, DeviceEvent};
use crayon_customize::{Given, Instantly, Rung, Tried};
use crayon_engine::adapters::Stack;
use crayon_engine::{Adapter, Engine};
use crayon_errors::Phrase;
use sha2::{Digest, Sha256};

use crate::queued::Queued;
use crate::refusal::Refusal;
use crate::registry::Registry;
use crate::request::ApiRequest;

/// Sets of examples whose result is remembered.
const REMEMBERED: usize = 64;

/// What was found for a set of examples.
pub(crate) struct Found {
    pub(crate) custom: Customization,
    /// Candidates that the answers judged, the simplest first; none where they judged nothing.
    pub(crate) tried: Vec<Tried>,
    /// The one taken.
    pub(crate) chosen: Option<Rung>,
    /// What the client should know.
    pub(crate) notes: Vec<Phrase>,
}

/// Examples to be judged, and what of a pool is judged by them.
pub(crate) struct Judging {
    pub(crate) given: Given,
    pub(crate) pool: Option<(Arc<Stack>, Vec<f32>)>,
}

/// A place for one result; whoever is first fills it, and others wait for that.
type Place = Arc<Mutex<Option<Arc<Found>>>>;

/// What was found for the sets of examples asked with last.
#[derive(Default)]
pub(crate) struct Remembered(Mutex<VecDeque<([u8; 32], Place)>>);

impl Remembered {
    /// What was found under `key`, or what `find` finds now. A failure is not remembered.
    pub(crate) fn get(
        &self,
        key: [u8; 32],
        find: impl FnOnce() -> Result<Found, Refusal>,
    ) -> Result<Arc<Found>, Refusal> {
        let place = {
            // Whoever panicked left the list whole.
            let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let at = list.iter().position(|(other, _)| *other == key);
            let place = at.and_then(|at| list.remove(at)).map_or_else(Place::default, |(_, place)| place);
            list.push_front((key, place.clone()));
            list.truncate(REMEMBERED);
            place
        };
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = &*place {
            return Ok(found.clone());
        }
        Ok(place.insert(Arc::new(find()?)).clone())
    }
}

/// Tells sets of examples apart, and what else the result follows from.
pub(crate) fn key(asked: &ApiRequest) -> [u8; 32] {
    let ApiRequest { examples, pool, force, .. } = asked;
    Sha256::digest(format!("{pool:?} {force} {examples:?}")).into()
}

/// What `examples` are worth beside the pool called `pool`, or the only one. Where there is none they can stand in the prompt.
pub(crate) fn find(
    engine: &Engine,
    registry: &Registry,
    asked: &ApiRequest,
    queue: &mut Queued<'_>,
    watch: &mut dyn FnMut(DeviceEvent) -> std::ops::ControlFlow<()>,
) -> Result<Found, Refusal> {
    let ApiRequest { examples, pool, force, .. } = asked;
    let given = Given::new(engine, examples).map_err(Refusal::of_customization)?;
    let judges = !force && given.cases.len() > 1;
    let pool = match registry.pool(pool.as_deref()) {
        Err(_) if judges && pool.is_none() && registry.pools.is_empty() => None,
        found => Some(found?),
    };
    let mut notes: Vec<Phrase> = Vec::new();
    let mut blend = match pool {
        None => None,
        Some(pool) => {
            let lines = examples.iter().cloned().map(Ok);
            let wanted = BlendRequest { force: *force, ..BlendRequest::default() };
            Some((Blend::score(engine, &pool.catalogue, lines, &wanted)?, pool.stack.clone()))
        }
    };
    if !judges {
        let Some((blend, stack)) = blend else {
            return Err(Refusal::invalid("there is no pool here").at("pool"));
        };
        let weighed = blend.used().then(|| stack.weigh(&blend.weights)).transpose();
        let weighed = weighed.map_err(|error| Refusal::invalid(error.to_string()))?;
        let adapter = weighed.map(|weighed| Arc::new(weighed) as Arc<dyn Adapter>);
        notes.extend(blend.note().map(|note| note.phrase()));
        let custom = Customization::blended(&blend, adapter);
        return Ok(Found { custom, tried: Vec::new(), chosen: None, notes });
    }
    notes.extend(given.notes.iter().map(crayon_customize::Note::phrase));
    let offered = blend.as_ref().map(|(blend, stack)| (stack.clone(), blend.weights.clone()));
    let found = queue.judge(Judging { given, pool: offered }, watch)?;
    let Instantly { tried, chosen, adapter, weights, demonstrations, notes: told } = found;
    notes.extend(told.iter().map(crayon_customize::Note::phrase));
    let custom = match &mut blend {
        Some((blend, _)) => Customization::judged(blend, adapter, weights, demonstrations),
        None if demonstrations.is_empty() => Customization::default(),
        None => {
            let scope = engine.scope(examples.iter().map(|example| example.prompt.as_str()))?;
            Customization::of_demonstrations(demonstrations, Some(scope))
        }
    };
    Ok(Found { custom, tried, chosen: Some(chosen), notes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Found {
        Found { custom: Customization::default(), tried: Vec::new(), chosen: None, notes: Vec::new() }
    }

    #[test]
    fn a_set_is_judged_once_and_a_failure_is_not_remembered() {
        let remembered = Remembered::default();
        let mut count = 0;
        for _ in 0..3 {
            remembered
                .get([1; 32], || {
                    count += 1;
                    Ok(found())
                })
                .unwrap();
        }
        assert_eq!(count, 1);
        assert!(remembered.get([2; 32], || Err(Refusal::stopping())).is_err());
        assert!(remembered.get([2; 32], || Ok(found())).is_ok());
        // The oldest goes when there are too many.
        for at in 0..REMEMBERED {
            remembered.get([at as u8 + 10; 32], || Ok(found())).unwrap();
        }
        let mut again = false;
        remembered
            .get([1; 32], || {
                again = true;
                Ok(found())
            })
            .unwrap();
        assert!(again);
    }
}
