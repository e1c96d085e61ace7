//! What a training needs to go on after it was stopped: variables, moments, the best so far, the step.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crayon_formats::safetensors::{self, SafeTensors};
use crayon_formats::{Error as FormatError, Tensor};

use crate::{Adam, TrainError, Trainable};

/// The file within the training's folder.
const FILE: &str = "training.safetensors";

/// The state between two steps. Kept in a folder under a key, which tells trainings apart: a state is read back only under the
/// key it was written with, so put into it whatever would make the state wrong, such as the model, the data and the options.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Steps done.
    pub step: usize,
    /// The optimiser's moments.
    pub adam: Adam,
    /// The variables after the best epoch; empty before the first.
    pub best: Vec<Vec<f32>>,
    /// Held-out loss then.
    pub best_loss: f32,
    /// Held-out loss after the last epoch.
    pub last_loss: f32,
    /// Held-out loss before the first step.
    pub first_loss: f32,
    /// Epochs since the best.
    stale: usize,
    /// Whether patience is over.
    pub ended: bool,
}

impl State {
    /// Before the first step of `trainable`.
    pub fn new(trainable: &dyn Trainable) -> State {
        State {
            step: 0,
            adam: Adam::new(trainable),
            best: Vec::new(),
            best_loss: f32::INFINITY,
            last_loss: f32::INFINITY,
            first_loss: f32::INFINITY,
            stale: 0,
            ended: false,
        }
    }

    /// Takes note of the held-out loss after an epoch; `patience` epochs without a better one end the training.
    pub fn judge(&mut self, loss: f32, trainable: &dyn Trainable, patience: usize) {
        self.last_loss = loss;
        if loss < self.best_loss || self.best.is_empty() {
            self.best_loss = loss;
            self.best = trainable.values();
            self.stale = 0;
        } else {
            self.stale += 1;
            self.ended = self.stale >= patience.max(1);
        }
    }

    /// Writes the state into `folder`, in one step.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn keep(&self, folder: &Path, key: &str, trainable: &dyn Trainable) -> Result<(), TrainError> {
        crayon_files::create_folder(folder).map_err(FormatError::from)?;
        let mut tensors = Vec::new();
        let mut push = |name: String, values: &[f32]| {
            tensors.push(Tensor::from_f32(&name, vec![values.len()], values));
        };
        for (at, variable) in trainable.variables().into_iter().enumerate() {
            push(format!("value.{at}"), &variable.values);
            push(format!("mean.{at}"), &self.adam.moments[at][0]);
            push(format!("square.{at}"), &self.adam.moments[at][1]);
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

    /// The state kept in `folder` under this key, with `trainable` brought to it; `None` to start anew. A file that cannot be
    /// read is no reason to fail: it only saves time.
    pub fn resume(folder: &Path, key: &str, trainable: &mut dyn Trainable) -> Option<State> {
        let path = path(folder);
        if !path.is_file() {
            return None;
        }
        let file = SafeTensors::open(&path).ok()?;
        let number = |name: &str| file.metadata.get(name).and_then(|text| text.parse::<usize>().ok());
        let (step, stale) = (number("step")?, number("stale")?);
        if file.metadata.get("key").map(String::as_str) != Some(key) {
            return None;
        }
        let read = |name: String, size: usize| {
            let tensor = file.tensor(&name).ok().flatten()?;
            Some(tensor.to_f32()).filter(|values| values.len() == size)
        };
        let mut state = State { step, stale, ..State::new(trainable) };
        state.ended = file.metadata.get("ended").is_some_and(|text| text == "true");
        let mut values = Vec::new();
        for (at, variable) in trainable.variables().into_iter().enumerate() {
            let size = variable.values.len();
            values.push(read(format!("value.{at}"), size)?);
            state.adam.moments[at] = [read(format!("mean.{at}"), size)?, read(format!("square.{at}"), size)?];
            state.best.extend(read(format!("best.{at}"), size));
        }
        let losses = read("losses".to_owned(), 3)?;
        (state.best_loss, state.last_loss, state.first_loss) = (losses[0], losses[1], losses[2]);
        for (variable, value) in trainable.variables_mut().into_iter().zip(values) {
            variable.values = value;
        }
        Some(state)
    }

    /// Removes what a training kept in `folder`, once it is finished.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove(folder: &Path) -> Result<(), TrainError> {
        let path = path(folder);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(io(&path, "remove", error)),
            _ => Ok(()),
        }
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

fn io(path: &Path, action: &'static str, source: std::io::Error) -> TrainError {
    FormatError::Io { file: path.display().to_string(), action, source }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Variable;
    use crate::optimiser::tests::Numbers;

    fn numbers() -> Numbers {
        Numbers(vec![Variable::new(vec![1.0, 2.0, 3.0]), Variable::new(vec![4.0])])
    }

    #[test]
    fn a_kept_state_comes_back_under_its_key_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut learning = numbers();
        learning.0[0].gradient = vec![0.1, -0.2, 0.3];
        let mut state = State::new(&learning);
        state.judge(2.0, &learning, 2);
        state.adam.step(&mut learning, 0.1, state.step);
        state.step += 1;
        state.judge(3.0, &learning, 2);
        state.first_loss = 5.0;
        state.keep(folder.path(), "this", &learning).unwrap();

        let mut other = numbers();
        assert_eq!(State::resume(folder.path(), "that", &mut other), None);
        assert_eq!(other.values(), numbers().values());
        assert_eq!(State::resume(folder.path(), "this", &mut other), Some(state));
        assert_eq!(other.values(), learning.values());
        // Variables of other sizes are another training, whatever the key.
        let mut fewer = Numbers(vec![Variable::new(vec![1.0])]);
        assert_eq!(State::resume(folder.path(), "this", &mut fewer), None);

        std::fs::write(folder.path().join(FILE), b"damaged").unwrap();
        assert_eq!(State::resume(folder.path(), "this", &mut other), None);
        State::remove(folder.path()).unwrap();
        State::remove(folder.path()).unwrap();
        assert_eq!(State::resume(folder.path(), "this", &mut other), None);
    }

    #[test]
    fn patience_ends_a_training_that_gets_no_better() {
        let mut learning = numbers();
        let mut state = State::new(&learning);
        for (loss, ended) in
            [(3.0, false), (2.0, false), (2.5, false), (1.5, false), (1.6, false), (f32::NAN, true)]
        {
            state.judge(loss, &learning, 2);
            assert_eq!(state.ended, ended, "{loss}");
            learning.0[1].values[0] += 1.0;
        }
        assert_eq!((state.best_loss, state.best[1][0]), (1.5, 7.0));
    }
}
