//! How adapters are trained.

use crayon_adapters::{Member, Pool, TEMPERATURE};
use crayon_errors::{Command, phrase};
use crayon_kernels::Mode;
use crayon_model::{Projection, Site};

use crate::{Device, TrainError};

/// How a pool is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainOptions {
    /// Adapters, N.
    pub adapters: usize,
    /// Rank of each.
    pub rank: usize,
    /// LoRA's alpha; the factor on each product is `alpha / rank`.
    pub alpha: f32,
    /// Adapted layers of every block.
    pub targets: Vec<Projection>,
    /// Times the data is read at most.
    pub epochs: usize,
    /// Examples of a step.
    pub batch: usize,
    /// Largest learning rate; it rises over the first twentieth of the steps and falls to 0 at the end.
    pub rate: f64,
    /// Temperature of the softmax over scores.
    pub temperature: f32,
    /// Keys look at prompts alone; for comparison only.
    pub prompt_keys: bool,
    /// Keys stay the centres of groups of examples, and the weights sum to 1; for comparison only.
    pub fixed_keys: bool,
    /// Share of the examples that are read with the labels of another task, so that the keys learn when to leave the model alone.
    pub strangers: f64,
    /// Examples of a task, at most, whose mean query weighs the adapters while one of them is learned; 1: each by itself.
    pub episode: usize,
    /// Every example trains the one nearest adapter only.
    pub hard: bool,
    /// The mean query is subtracted from queries. Without, all of them are nearly alike; for comparison only.
    pub centred: bool,
    /// Everything random follows from it.
    pub seed: u64,
    /// Share of the data held out to see when to stop.
    pub validation: f64,
    /// Epochs without improvement on it after which training ends.
    pub patience: usize,
    /// Steps after which the state is kept, so that a stopped training can go on.
    pub keep_every: usize,
    /// Where it is computed. Losses differ in their last digits between devices.
    pub device: Device,
    /// How a CPU multiplies: [`Mode::Fast`] with 8-bit activations and gradients.
    pub mode: Mode,
}

impl Default for TrainOptions {
    fn default() -> TrainOptions {
        TrainOptions {
            adapters: 8,
            rank: 8,
            alpha: 16.0,
            targets: vec![Projection::Q, Projection::V],
            epochs: 10,
            batch: 8,
            rate: 3e-4,
            temperature: TEMPERATURE,
            prompt_keys: false,
            fixed_keys: false,
            strangers: 0.25,
            episode: 16,
            hard: false,
            centred: true,
            seed: 0,
            validation: 0.1,
            patience: 2,
            keep_every: 50,
            device: Device::Cpu,
            mode: Mode::Fast,
        }
    }
}

impl TrainOptions {
    /// With the number, rank and places of a pool's adapters, and a factor of 1 on each.
    pub(super) fn like(self, pool: &Pool) -> Result<TrainOptions, TrainError> {
        let (adapters, rank) = (pool.members.len(), pool.rank());
        let places = |member: &Member| -> Vec<(Site, usize)> {
            member.lora.pairs.iter().map(|(site, pair)| (*site, pair.rank)).collect()
        };
        let first: Vec<(Site, usize)> = pool.members.first().map(places).unwrap_or_default();
        let mut targets: Vec<Projection> = first.iter().map(|(site, _)| site.projection).collect();
        targets.sort_unstable();
        targets.dedup();
        let layers = first.len() / targets.len().max(1);
        let whole = (0..layers).all(|layer| {
            targets.iter().all(|&projection| first.contains(&(Site { layer, projection }, rank)))
        });
        if !whole || pool.members.iter().any(|member| places(member) != first) {
            return Err(TrainError::unusable(
                "the adapters of the pool are of different ranks or places",
                "a pool that was trained as one can be gone on with".into(),
            ));
        }
        Ok(TrainOptions { adapters, rank, alpha: rank as f32, targets, ..self })
    }

    pub(super) fn check(&self) -> Result<(), TrainError> {
        let sane = |value: f64| value.is_finite() && value > 0.0;
        let wrong = if self.adapters == 0 || self.rank == 0 || self.epochs == 0 || self.batch == 0 {
            "adapters, rank, epochs and batch must be 1 or more"
        } else if self.episode == 0 {
            "an episode has 1 example or more"
        } else if self.adapters.saturating_mul(self.rank) > 1 << 16 {
            "adapters times rank must be at most 65536"
        } else if !sane(self.rate) || !sane(f64::from(self.alpha)) || !sane(f64::from(self.temperature)) {
            "learning rate, alpha and temperature must be above 0"
        } else if ![self.validation, self.strangers].iter().all(|share| (0.0..1.0).contains(share)) {
            "the shares for validation and of strangers must be at least 0 and below 1"
        } else if self.targets.is_empty() {
            "no layers to adapt are named"
        } else {
            return Ok(());
        };
        Err(TrainError::unusable(
            wrong,
            phrase!["the help of ", Command::TrainPool, " lists the settings with their usual values"],
        ))
    }
}
