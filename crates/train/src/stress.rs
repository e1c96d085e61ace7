//! Weights of words learned from pictures (SToRI, arXiv 2410.08469), and beside them learned contexts (CoOp, arXiv 2109.01134).
//!
//! Both towers are fixed. A class is the mean of its texts' vectors; the loss is the cross-entropy of `scale·cos(picture, class)`.

use std::ops::ControlFlow;

use candle_core::{D, Tensor, Var, backprop::GradStore};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};

use crate::TrainError;
use crate::plain_text::{PlainTextTower, TextRows, unit};

/// A text of a class.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassText {
    /// The class, from 0.
    pub class: usize,
    /// Its tokens.
    pub rows: TextRows,
    /// For every row the number of its weight; `None` for rows whose weight stays 1.
    pub weight: Vec<Option<usize>>,
}

/// Pictures with their classes, and what to call these.
#[derive(Clone, Debug, Default)]
pub struct FewShot {
    /// Every class has one at least.
    pub texts: Vec<ClassText>,
    /// How many.
    pub classes: usize,
    /// Weights that are learned.
    pub weights: usize,
    /// `[pictures, dim]` of length 1.
    pub pictures: Vec<f32>,
    /// A class for each.
    pub labels: Vec<u32>,
    /// Factor on cosines.
    pub scale: f32,
}

/// How it is learned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StressOptions {
    /// Steps, each over all pictures.
    pub steps: usize,
    /// Learning rate at the beginning; it falls as a cosine.
    pub rate: f64,
    /// Factor on the mean square of the logarithms of weights.
    pub decay: f64,
}

impl Default for StressOptions {
    fn default() -> StressOptions {
        StressOptions { steps: 100, rate: 1e-2, decay: 0.01 }
    }
}

/// What was learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Stressed {
    /// The logarithm of each weight.
    pub logs: Vec<f32>,
    /// The loss before the first step and before the last.
    pub loss: [f32; 2],
}

/// Loss and gradient by the logarithms of weights.
///
/// # Errors
/// When the tensor library fails.
pub fn loss_and_gradient(
    tower: &PlainTextTower,
    task: &FewShot,
    logs: &[f32],
    decay: f64,
) -> Result<(f32, Vec<f32>), TrainError> {
    let pass = Pass::new(tower, task)?;
    let variable = Var::from_vec(logs.to_vec(), logs.len(), tower.device())?;
    let (loss, gradients) = pass.words(&variable, decay)?;
    let gradient = gradients.get(variable.as_tensor()).map(Tensor::to_vec1).transpose()?;
    Ok((loss, gradient.unwrap_or_else(|| vec![0.0; logs.len()])))
}

/// Learns a weight for each word of each class.
///
/// # Errors
/// When the tensor library fails or the loss becomes no number.
pub fn learn_words(
    tower: &PlainTextTower,
    task: &FewShot,
    options: &StressOptions,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Stressed, TrainError> {
    let pass = Pass::new(tower, task)?;
    let variable = Var::zeros(task.weights, candle_core::DType::F32, tower.device())?;
    let loss = descend(options, vec![variable.clone()], progress, || pass.words(&variable, options.decay))?;
    Ok(Stressed { logs: variable.as_tensor().to_vec1()?, loss })
}

/// Learns `length` vectors that stand in front of every class's words, as CoOp does. Texts begin with so many tokens whose places they
/// take, after the start. The vectors of classes, `[classes, dim]`.
///
/// # Errors
/// As [`learn_words`].
pub fn learn_context(
    tower: &PlainTextTower,
    task: &FewShot,
    length: usize,
    options: &StressOptions,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Vec<f32>, TrainError> {
    let pass = Pass::new(tower, task)?;
    let embedded = tower.embed(&pass.texts)?;
    let (count, rows, width) = embedded.dims3()?;
    // It begins with the tokens that stand there.
    let variable = Var::from_tensor(&embedded.get(0)?.narrow(0, 1, length)?.contiguous()?)?;
    let (first, rest) = (embedded.narrow(1, 0, 1)?, embedded.narrow(1, 1 + length, rows - 1 - length)?);
    let classes = || -> Result<Tensor, TrainError> {
        let context = variable.as_tensor().unsqueeze(0)?.broadcast_as((count, length, width))?;
        let whole = Tensor::cat(&[&first, &context.contiguous()?, &rest], 1)?;
        pass.classes(&tower.forward_embedded(&whole, &pass.texts, None)?)
    };
    descend(options, vec![variable.clone()], progress, || {
        let loss = pass.loss(&classes()?)?;
        Ok((loss.to_scalar()?, loss.backward()?))
    })?;
    Ok(classes()?.flatten_all()?.to_vec1()?)
}

/// Takes the steps; the loss before the first and before the last.
fn descend(
    options: &StressOptions,
    variables: Vec<Var>,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    mut gradient: impl FnMut() -> Result<(f32, GradStore), TrainError>,
) -> Result<[f32; 2], TrainError> {
    let settings = ParamsAdamW { lr: options.rate, weight_decay: 0.0, ..ParamsAdamW::default() };
    let mut adam = AdamW::new(variables, settings)?;
    let mut losses = [f32::NAN; 2];
    for step in 0..options.steps {
        if progress(step, options.steps).is_break() {
            return Err(TrainError::Stopped);
        }
        let (loss, gradients) = gradient()?;
        if !loss.is_finite() {
            return Err(TrainError::NotFinite { step: step + 1 });
        }
        losses = [if step == 0 { loss } else { losses[0] }, loss];
        let turn = std::f64::consts::PI * step as f64 / options.steps as f64;
        adam.set_learning_rate(options.rate * 0.5 * (1.0 + turn.cos()));
        adam.step(&gradients)?;
    }
    Ok(losses)
}

/// What stays the same from step to step.
struct Pass<'a> {
    tower: &'a PlainTextTower,
    texts: Vec<TextRows>,
    rows: usize,
    /// For every row the number of its weight, `[texts * rows]`; one beyond the last for those without.
    place: Tensor,
    /// `[classes, texts]`: a mean over the texts of a class.
    mean: Tensor,
    pictures: Tensor,
    labels: Tensor,
    scale: f64,
}

impl<'a> Pass<'a> {
    fn new(tower: &'a PlainTextTower, task: &FewShot) -> Result<Pass<'a>, TrainError> {
        let device = tower.device();
        let count = task.texts.len();
        let texts: Vec<TextRows> = task.texts.iter().map(|text| text.rows.clone()).collect();
        let rows = texts.iter().map(|text| text.ids.len()).max().unwrap_or(0);
        let mut place = Vec::with_capacity(count * rows);
        let mut mean = vec![0.0f32; task.classes * count];
        let mut each = vec![0usize; task.classes];
        task.texts.iter().for_each(|text| each[text.class] += 1);
        for (i, text) in task.texts.iter().enumerate() {
            let all = text.weight.iter().copied().chain(std::iter::repeat(None)).take(rows);
            place.extend(all.map(|weight| weight.unwrap_or(task.weights) as u32));
            mean[text.class * count + i] = 1.0 / each[text.class] as f32;
        }
        let dim = task.pictures.len() / task.labels.len().max(1);
        Ok(Pass {
            tower,
            rows,
            place: Tensor::from_vec(place, count * rows, device)?,
            mean: Tensor::from_vec(mean, (task.classes, count), device)?,
            pictures: Tensor::from_vec(task.pictures.clone(), (task.labels.len(), dim), device)?,
            labels: Tensor::from_vec(task.labels.clone(), (task.labels.len(), 1), device)?,
            scale: f64::from(task.scale),
            texts,
        })
    }

    fn words(&self, logs: &Var, decay: f64) -> Result<(f32, GradStore), TrainError> {
        let none = Tensor::zeros(1, candle_core::DType::F32, self.tower.device())?;
        let all = Tensor::cat(&[logs.as_tensor(), &none], 0)?;
        let bias = all.index_select(&self.place, 0)?.reshape((self.texts.len(), self.rows))?;
        let classes = self.classes(&self.tower.forward(&self.texts, Some(&bias))?)?;
        let loss = (self.loss(&classes)? + (logs.as_tensor().sqr()?.mean_all()? * decay)?)?;
        Ok((loss.to_scalar()?, loss.backward()?))
    }

    /// `[classes, dim]` of length 1.
    fn classes(&self, texts: &Tensor) -> Result<Tensor, TrainError> {
        Ok(unit(&self.mean.matmul(texts)?)?)
    }

    fn loss(&self, classes: &Tensor) -> Result<Tensor, TrainError> {
        let logits = (self.pictures.matmul(&classes.t()?)? * self.scale)?;
        let most = logits.max_keepdim(D::Minus1)?.detach();
        let shifted = logits.broadcast_sub(&most)?;
        let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
        Ok((log_sum - shifted.gather(&self.labels, D::Minus1)?)?.mean_all()?)
    }
}
