//! What a training tells while it runs and at its end.

/// How far a training is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// Steps if it does not end early.
    pub steps: usize,
    /// Epoch, from 1.
    pub epoch: usize,
    /// Loss of the last batch; for language models in nats a token.
    pub loss: f32,
    /// Loss of the held-out examples, after the last step of an epoch.
    pub validation: Option<f32>,
    /// Steps that were done before this run.
    pub resumed: usize,
}

/// What a training came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainSummary {
    /// Examples it learned from.
    pub examples: usize,
    /// Examples held out.
    pub held_out: usize,
    /// Steps, those of earlier runs included.
    pub steps: usize,
    /// Steps of earlier runs.
    pub resumed: usize,
    /// Loss of the held-out examples before the first step; for language models in nats a token.
    pub loss_before: f32,
    /// The best after an epoch; the result is from then.
    pub loss: f32,
}
