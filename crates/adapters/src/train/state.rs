//! What a training needs to go on after it was stopped: variables, moments, the best so far, the step.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crayon_formats::Tensor;
use crayon_formats::safetensors::{self, SafeTensors};
use sha2::{Digest, Sha256};

use super::{Options, Sample, Soft};
use crate::AdapterError;

/// The file within the pool's folder.
const FILE: &str = "training.safetensors";

/// The state between two steps.
pub(super) struct State {
    pub(super) step: usize,
    /// Adam's means and squares of every variable.
    pub(super) moments: Vec<[Vec<f32>; 2]>,
    /// The variables after the best epoch.
    pub(super) best: Vec<Vec<f32>>,
    pub(super) best_loss: f32,
    pub(super) last_loss: f32,
    pub(super) first_loss: f32,
    /// Epochs since the best.
    stale: usize,
    pub(super) ended: bool,
}

/// Tells trainings apart: another model, other data or other options start anew.
pub(super) fn key(base: &str, samples: &[Sample], options: &Options) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{base} {options:?} {}", samples.len()));
    for sample in samples {
        hash.update(format!("{:?} {:?} {}", sample.prompt, sample.answer, sample.task));
    }
    hex::encode(hash.finalize())
}

pub(super) fn remove(folder: &Path) -> Result<(), AdapterError> {
    let path = path(folder);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(AdapterError::io(&path, "remove", error))
        }
        _ => Ok(()),
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

impl State {
    pub(super) fn new(soft: &Soft) -> State {
        let sizes: Vec<usize> = soft.variables().map(|variable| variable.values.len()).collect();
        State {
            step: 0,
            moments: sizes.iter().map(|&size| [vec![0.0; size], vec![0.0; size]]).collect(),
            best: Vec::new(),
            best_loss: f32::INFINITY,
            last_loss: f32::INFINITY,
            first_loss: f32::INFINITY,
            stale: 0,
            ended: false,
        }
    }

    /// Takes note of the held-out loss after an epoch.
    pub(super) fn judge(&mut self, loss: f32, soft: &Soft, patience: usize) {
        self.last_loss = loss;
        if loss < self.best_loss || self.best.is_empty() {
            self.best_loss = loss;
            self.best = soft.values();
            self.stale = 0;
        } else {
            self.stale += 1;
            self.ended = self.stale >= patience.max(1);
        }
    }

    /// Writes the state, in one step.
    pub(super) fn keep(&self, folder: &Path, key: &str, soft: &Soft) -> Result<(), AdapterError> {
        crayon_files::create_folder(folder)?;
        let mut tensors = Vec::new();
        let mut push = |name: String, values: &[f32]| {
            tensors.push(Tensor::from_f32(&name, vec![values.len()], values));
        };
        for (at, values) in soft.values().iter().enumerate() {
            push(format!("value.{at}"), values);
            push(format!("mean.{at}"), &self.moments[at][0]);
            push(format!("square.{at}"), &self.moments[at][1]);
            if let Some(best) = self.best.get(at) {
                push(format!("best.{at}"), best);
            }
        }
        push("losses".to_owned(), &[self.best_loss, self.last_loss, self.first_loss]);
        let metadata = BTreeMap::from([
            ("key".to_owned(), key.to_owned()),
            ("step".to_owned(), self.step.to_string()),
            ("stale".to_owned(), self.stale.to_string()),
            ("ended".to_owned(), self.ended.to_string()),
        ]);
        Ok(safetensors::write(&path(folder), &tensors, &metadata)?)
    }

    /// The state kept in `folder` by a training of this key, with `soft` brought to it; `None` to start anew. A file that
    /// cannot be read is no reason to fail: it only saves time.
    pub(super) fn resume(folder: &Path, key: &str, soft: &mut Soft) -> Result<Option<State>, AdapterError> {
        let path = path(folder);
        if !path.is_file() {
            return Ok(None);
        }
        let Ok(file) = SafeTensors::open(&path) else { return Ok(None) };
        let number = |name: &str| file.metadata.get(name).and_then(|text| text.parse::<usize>().ok());
        let (Some(step), Some(stale)) = (number("step"), number("stale")) else { return Ok(None) };
        if file.metadata.get("key").map(String::as_str) != Some(key) {
            return Ok(None);
        }
        let read = |name: String, size: usize| {
            let tensor = file.tensor(&name).ok().flatten()?;
            Some(tensor.to_f32()).filter(|values| values.len() == size)
        };
        let mut state = State { step, stale, ..State::new(soft) };
        state.ended = file.metadata.get("ended").is_some_and(|text| text == "true");
        let mut values = Vec::new();
        for (at, variable) in soft.variables().enumerate() {
            let size = variable.values.len();
            let all = ["value", "mean", "square"].map(|name| read(format!("{name}.{at}"), size));
            let [Some(value), Some(mean), Some(square)] = all else { return Ok(None) };
            values.push(value);
            state.moments[at] = [mean, square];
            state.best.extend(read(format!("best.{at}"), size));
        }
        let Some(losses) = read("losses".to_owned(), 3) else { return Ok(None) };
        (state.best_loss, state.last_loss, state.first_loss) = (losses[0], losses[1], losses[2]);
        for (variable, value) in soft.variables_mut().zip(values) {
            variable.values = value;
        }
        Ok(Some(state))
    }
}
