//! What a rung that learns has done so far, on disk: a climb that was stopped, or killed, goes on there.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crayon_files::{create_folder, write_file};
use crayon_train::TrainError;
use crayon_train::pool::{Learner, Learning};
use serde::{Deserialize, Serialize};

use crate::error::CustomizeError;
use crate::judge::Judged;

const FILE: &str = "folds.json";
/// Time between two times that something is kept: writing must not be what is waited for.
const BETWEEN: Duration = Duration::from_secs(2);

/// How a rung learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) folds: usize,
    pub(crate) rounds: usize,
}

/// What one fold has shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fold {
    /// What the examples kept aside said at every look, in their order.
    #[serde(with = "exactly")]
    pub(crate) looks: Vec<Vec<Judged>>,
    /// Whether no look follows.
    pub(crate) ended: bool,
}

/// Losses as the bits they are, so that nothing is rounded on the way.
mod exactly {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Judged;

    pub(super) fn serialize<S: Serializer>(looks: &[Vec<Judged>], serializer: S) -> Result<S::Ok, S::Error> {
        let bits =
            |look: &Vec<Judged>| look.iter().map(|one| (one.loss.to_bits(), one.right, one.ahead)).collect();
        looks.iter().map(bits).collect::<Vec<Vec<(u64, bool, bool)>>>().serialize(serializer)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(
        deserializer: D,
    ) -> Result<Vec<Vec<Judged>>, D::Error> {
        let looks = Vec::<Vec<(u64, bool, bool)>>::deserialize(deserializer)?;
        let judged = |(bits, right, ahead)| Judged { loss: f64::from_bits(bits), right, ahead };
        Ok(looks.into_iter().map(|look| look.into_iter().map(judged).collect()).collect())
    }
}

/// The file.
#[derive(Serialize, Deserialize)]
struct Record {
    key: String,
    plan: Plan,
    folds: Vec<Fold>,
}

/// Where a rung keeps what it has done, if anywhere.
pub(crate) struct Journal {
    folder: Option<PathBuf>,
    key: String,
    last: Instant,
}

impl Journal {
    /// In `folder`, under a key of everything that the learning follows from.
    pub(crate) fn new(folder: Option<PathBuf>, key: String) -> Journal {
        Journal { folder, key, last: Instant::now() }
    }

    /// Plan and folds of an earlier climb. What cannot be read is no reason to fail: it only saves time.
    pub(crate) fn earlier(&self) -> Option<(Plan, Vec<Fold>)> {
        let text = std::fs::read(self.folder.as_ref()?.join(FILE)).ok()?;
        let record: Record = serde_json::from_slice(&text).ok()?;
        (record.key == self.key).then_some((record.plan, record.folds))
    }

    /// Keeps plan and folds.
    pub(crate) fn note(&self, plan: Plan, folds: &[Fold]) -> Result<(), CustomizeError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        create_folder(folder)?;
        let record = Record { key: self.key.clone(), plan, folds: folds.to_vec() };
        let text = serde_json::to_vec(&record).unwrap_or_default();
        Ok(write_file(&folder.join(FILE), &text)?)
    }

    /// Keeps the learner of the fold of this number, unless one was kept a moment ago.
    pub(crate) fn keep<L: Learning>(
        &mut self,
        number: usize,
        learner: &Learner<'_, L>,
        now: bool,
    ) -> Result<(), TrainError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        if !now && self.last.elapsed() < BETWEEN {
            return Ok(());
        }
        learner.keep(folder, &self.of(number))?;
        self.last = Instant::now();
        Ok(())
    }

    /// Brings the learner of the fold of this number to where it was kept.
    pub(crate) fn resume<L: Learning>(&self, number: usize, learner: &mut Learner<'_, L>) {
        if let Some(folder) = &self.folder {
            learner.resume(folder, &self.of(number));
        }
    }

    fn of(&self, number: usize) -> String {
        format!("{} {number}", self.key)
    }
}

/// Removes what was kept in `folder`, and the folder around it where nothing else is in there.
pub(crate) fn clear(folder: &Path) {
    // What stays only takes room, and the key tells that it is old.
    let _ = std::fs::remove_dir_all(folder);
    let _ = folder.parent().map(std::fs::remove_dir);
}
