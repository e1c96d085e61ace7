//! Classes from a few pictures, on vectors alone: what weights of words are compared with.
//!
//! Each gives a classifier over vectors of length 1, `[pictures, dim]` to logits `[pictures, classes]`. Options are those of the papers'
//! programs and are tuned on nothing.

use crayon_train::{Adam, Trainable, Variable};

/// Pictures with their classes.
#[derive(Clone, Copy, Debug)]
pub struct Shots<'a> {
    /// `[pictures, dim]` of length 1.
    pub pictures: &'a [f32],
    /// A class for each.
    pub labels: &'a [u32],
    /// Numbers of a vector.
    pub dim: usize,
}

/// Something that gives logits.
pub trait Classifier {
    /// `[pictures, classes]` for `[pictures, dim]`.
    fn logits(&self, pictures: &[f32]) -> Vec<f32>;

    /// The class of the largest logit of each picture.
    fn predict(&self, pictures: &[f32], classes: usize) -> Vec<usize> {
        self.logits(pictures).chunks_exact(classes).map(argmax).collect()
    }
}

fn argmax(logits: &[f32]) -> usize {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
    best.map_or(0, |(class, _)| class)
}

/// Logits are `scale·cos` with a vector for each class, plus a bias for each.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// `[classes, dim]`.
    pub classes: Vec<f32>,
    /// `[classes]`.
    pub bias: Vec<f32>,
    /// Numbers of a vector.
    pub dim: usize,
    /// Factor on the products.
    pub scale: f32,
}

impl Linear {
    /// Plain CLIP: the classes' texts.
    pub fn zero_shot(texts: &[f32], dim: usize, scale: f32) -> Linear {
        Linear { classes: texts.to_vec(), bias: vec![0.0; texts.len() / dim], dim, scale }
    }
}

impl Classifier for Linear {
    fn logits(&self, pictures: &[f32]) -> Vec<f32> {
        let mut logits = Vec::with_capacity(pictures.len() / self.dim * self.bias.len());
        for picture in pictures.chunks_exact(self.dim) {
            let classes = self.classes.chunks_exact(self.dim).zip(&self.bias);
            logits.extend(classes.map(|(class, bias)| self.scale * dot(picture, class) + bias));
        }
        logits
    }
}

/// A logistic regression on the pictures' vectors, from zero, with a small decay.
pub fn linear_probe(shots: Shots<'_>, classes: usize, scale: f32) -> Linear {
    const STEPS: usize = 300;
    const DECAY: f32 = 1e-3;
    let zeros = Linear {
        classes: vec![0.0; classes * shots.dim],
        bias: vec![0.0; classes],
        dim: shots.dim,
        scale: scale.min(10.0),
    };
    let mut probe =
        Learned { variables: vec![Variable::new(zeros.classes.clone()), Variable::new(zeros.bias.clone())] };
    let mut model = zeros;
    descend(&mut probe, STEPS, 0.05, |variables| {
        model.classes.clone_from(&variables[0].values);
        model.bias.clone_from(&variables[1].values);
        let wrong = residual(&model.logits(shots.pictures), shots.labels);
        let mut gradient = outer(&wrong, shots, classes, model.scale);
        gradient.iter_mut().zip(&variables[0].values).for_each(|(g, value)| *g += DECAY * value);
        variables[0].gradient = gradient;
        variables[1].gradient =
            (0..classes).map(|class| wrong.iter().skip(class).step_by(classes).sum()).collect();
    });
    let [classes, bias] = [0, 1].map(|i: usize| probe.variables[i].values.clone());
    Linear { classes, bias, ..model }
}

/// TaskRes (arXiv 2211.10277): a residual on the classes' texts, `text + 0.5·residual`, brought to length 1.
pub fn task_res(shots: Shots<'_>, texts: &[f32], scale: f32) -> Linear {
    const STEPS: usize = 200;
    const ALPHA: f32 = 0.5;
    let classes = texts.len() / shots.dim;
    let mut learned = Learned { variables: vec![Variable::new(vec![0.0; texts.len()])] };
    let mut model = Linear::zero_shot(texts, shots.dim, scale);
    let residual_to_classes = |residual: &[f32]| {
        let moved: Vec<f32> = texts.iter().zip(residual).map(|(text, more)| text + ALPHA * more).collect();
        let lengths: Vec<f32> =
            moved.chunks_exact(shots.dim).map(|row| dot(row, row).sqrt().max(1e-6)).collect();
        (moved, lengths)
    };
    descend(&mut learned, STEPS, 2e-3, |variables| {
        let (moved, lengths) = residual_to_classes(&variables[0].values);
        for (to, (from, length)) in
            model.classes.chunks_exact_mut(shots.dim).zip(moved.chunks_exact(shots.dim).zip(&lengths))
        {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = from / length);
        }
        let wrong = residual(&model.logits(shots.pictures), shots.labels);
        let mut gradient = outer(&wrong, shots, classes, scale);
        // Through the length: what points along the vector itself changes nothing.
        for ((g, unit), length) in
            gradient.chunks_exact_mut(shots.dim).zip(model.classes.chunks_exact(shots.dim)).zip(&lengths)
        {
            let along = dot(g, unit);
            g.iter_mut().zip(unit).for_each(|(g, unit)| *g = ALPHA * (*g - along * unit) / length);
        }
        variables[0].gradient = gradient;
    });
    let (moved, lengths) = residual_to_classes(&learned.variables[0].values);
    let rows = moved.chunks_exact(shots.dim).zip(&lengths);
    model.classes = rows.flat_map(|(row, length)| row.iter().map(move |value| value / length)).collect();
    model
}

/// Tip-Adapter (arXiv 2207.09519): the pictures as a cache beside the classes' texts,
/// `scale·cos(text) + alpha·Σ exp(-beta·(1 - cos(picture)))`.
#[derive(Clone, Debug, PartialEq)]
pub struct TipAdapter {
    texts: Linear,
    /// `[pictures, dim]`.
    keys: Vec<f32>,
    labels: Vec<u32>,
    alpha: f32,
    beta: f32,
}

impl TipAdapter {
    /// The cache as it is.
    pub fn new(shots: Shots<'_>, texts: &[f32], scale: f32) -> TipAdapter {
        TipAdapter {
            texts: Linear::zero_shot(texts, shots.dim, scale),
            keys: shots.pictures.to_vec(),
            labels: shots.labels.to_vec(),
            alpha: 1.0,
            beta: 5.5,
        }
    }

    /// Tip-Adapter-F: the keys of the cache learn.
    pub fn tuned(shots: Shots<'_>, texts: &[f32], scale: f32) -> TipAdapter {
        const STEPS: usize = 100;
        let mut model = TipAdapter::new(shots, texts, scale);
        let classes = texts.len() / shots.dim;
        let mut learned = Learned { variables: vec![Variable::new(model.keys.clone())] };
        descend(&mut learned, STEPS, 1e-3, |variables| {
            model.keys.clone_from(&variables[0].values);
            let wrong = residual(&model.logits(shots.pictures), shots.labels);
            let gradient = &mut variables[0].gradient;
            gradient.fill(0.0);
            for (picture, wrong) in shots.pictures.chunks_exact(shots.dim).zip(wrong.chunks_exact(classes)) {
                let keys = model.keys.chunks_exact(shots.dim).zip(&model.labels);
                for ((key, label), g) in keys.zip(gradient.chunks_exact_mut(shots.dim)) {
                    let near = model.alpha * model.beta * (-model.beta * (1.0 - dot(picture, key))).exp();
                    let factor = wrong[*label as usize] * near;
                    g.iter_mut().zip(picture).for_each(|(g, value)| *g += factor * value);
                }
            }
        });
        model.keys.clone_from(&learned.variables[0].values);
        model
    }
}

impl Classifier for TipAdapter {
    fn logits(&self, pictures: &[f32]) -> Vec<f32> {
        let (mut logits, classes, dim) = (self.texts.logits(pictures), self.texts.bias.len(), self.texts.dim);
        for (picture, logits) in pictures.chunks_exact(dim).zip(logits.chunks_exact_mut(classes)) {
            for (key, label) in self.keys.chunks_exact(dim).zip(&self.labels) {
                logits[*label as usize] += self.alpha * (-self.beta * (1.0 - dot(picture, key))).exp();
            }
        }
        logits
    }
}

/// Softmax less the truth, over the number of pictures: the gradient of the mean cross-entropy by the logits.
fn residual(logits: &[f32], labels: &[u32]) -> Vec<f32> {
    let classes = logits.len() / labels.len().max(1);
    let mut out = Vec::with_capacity(logits.len());
    for (logits, label) in logits.chunks_exact(classes).zip(labels) {
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = logits.iter().map(|logit| (logit - most).exp()).sum();
        out.extend(logits.iter().enumerate().map(|(class, logit)| {
            let truth = if class == *label as usize { 1.0 } else { 0.0 };
            ((logit - most).exp() / sum - truth) / labels.len() as f32
        }));
    }
    out
}

/// The gradient by the vectors of classes, `[classes, dim]`.
fn outer(wrong: &[f32], shots: Shots<'_>, classes: usize, scale: f32) -> Vec<f32> {
    let mut gradient = vec![0.0; classes * shots.dim];
    for (picture, wrong) in shots.pictures.chunks_exact(shots.dim).zip(wrong.chunks_exact(classes)) {
        for (g, wrong) in gradient.chunks_exact_mut(shots.dim).zip(wrong) {
            g.iter_mut().zip(picture).for_each(|(g, value)| *g += scale * wrong * value);
        }
    }
    gradient
}

struct Learned {
    variables: Vec<Variable>,
}

impl Trainable for Learned {
    fn variables(&self) -> Vec<&Variable> {
        self.variables.iter().collect()
    }

    fn variables_mut(&mut self) -> Vec<&mut Variable> {
        self.variables.iter_mut().collect()
    }
}

/// Adam with a rate that falls as a cosine.
fn descend(learned: &mut Learned, steps: usize, rate: f64, mut gradient: impl FnMut(&mut [Variable])) {
    let mut adam = Adam::new(&*learned);
    for step in 0..steps {
        gradient(&mut learned.variables);
        let turn = std::f64::consts::PI * step as f64 / steps as f64;
        adam.step(learned, rate * 0.5 * (1.0 + turn.cos()), step);
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIM: usize = 6;
    const CLASSES: usize = 3;

    fn unit(mut vector: Vec<f32>) -> Vec<f32> {
        let length = dot(&vector, &vector).sqrt();
        vector.iter_mut().for_each(|value| *value /= length);
        vector
    }

    /// Pictures around an axis for each class, and texts that only hint at it.
    fn data(each: usize, seed: usize) -> (Vec<f32>, Vec<u32>, Vec<f32>) {
        let noise = |i: usize| ((i * 2_654_435_761 + seed * 97) % 1000) as f32 / 1000.0 - 0.5;
        let (mut pictures, mut labels) = (Vec::new(), Vec::new());
        for i in 0..each * CLASSES {
            let class = i % CLASSES;
            let value = |d: usize| noise(i * DIM + d) * 0.9 + if d == class { 1.0 } else { 0.0 };
            pictures.extend(unit((0..DIM).map(value).collect()));
            labels.push(class as u32);
        }
        let text = |class: usize| {
            (0..DIM).map(move |d| {
                if d == (class + 1) % CLASSES {
                    0.5
                } else if d == class {
                    0.4
                } else {
                    0.3
                }
            })
        };
        (pictures, labels, (0..CLASSES).flat_map(|class| unit(text(class).collect())).collect())
    }

    fn accuracy(model: &dyn Classifier, pictures: &[f32], labels: &[u32]) -> f64 {
        let predicted = model.predict(pictures, CLASSES);
        let right = predicted.iter().zip(labels).filter(|(a, b)| **a == **b as usize).count();
        right as f64 / labels.len() as f64
    }

    #[test]
    fn pictures_correct_texts_that_mislead() {
        let (pictures, labels, texts) = data(8, 1);
        let (others, truth, _) = data(50, 2);
        let shots = Shots { pictures: &pictures, labels: &labels, dim: DIM };
        let zero = accuracy(&Linear::zero_shot(&texts, DIM, 20.0), &others, &truth);
        assert!(zero < 0.6, "{zero}");
        let models: [(&str, Box<dyn Classifier>); 3] = [
            ("linear probe", Box::new(linear_probe(shots, CLASSES, 20.0))),
            ("TaskRes", Box::new(task_res(shots, &texts, 20.0))),
            ("Tip-Adapter-F", Box::new(TipAdapter::tuned(shots, &texts, 5.0))),
        ];
        for (name, model) in models {
            let right = accuracy(&*model, &others, &truth);
            assert!(right > zero + 0.1, "{name}: {right} beside {zero}");
        }
    }

    #[test]
    fn gradients_are_those_of_differences() {
        let (pictures, labels, texts) = data(3, 3);
        let shots = Shots { pictures: &pictures, labels: &labels, dim: DIM };
        let loss = |classes: &[f32]| {
            let logits = Linear::zero_shot(classes, DIM, 4.0).logits(&pictures);
            let each = logits.chunks_exact(CLASSES).zip(&labels).map(|(logits, label)| {
                let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
                sum.ln() - f64::from(logits[*label as usize])
            });
            each.sum::<f64>() / labels.len() as f64
        };
        let wrong = residual(&Linear::zero_shot(&texts, DIM, 4.0).logits(&pictures), &labels);
        let gradient = outer(&wrong, shots, CLASSES, 4.0);
        for i in 0..texts.len() {
            let moved = |by: f32| {
                let mut classes = texts.clone();
                classes[i] += by;
                loss(&classes)
            };
            let difference = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            assert!((difference - f64::from(gradient[i])).abs() < 1e-3, "{i}: {difference} {}", gradient[i]);
        }
    }
}
