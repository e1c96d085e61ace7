//! Weights of words learned from a few pictures of each class.

use std::ops::ControlFlow;

use crayon_train::{ClassText, FewShot, PlainTextTower, StressOptions, TextRows, learn_context, learn_words};
use crayon_vision::Clip;

use crate::embedder::weighted_tokens;
use crate::few_shot::Shots;
use crate::prompt::spans;
use crate::{Classes, ImageError, Prompt};

/// Where the learned vectors in front of a class's name begin, as CoOp's do where they are not random.
const CONTEXT: &str = "a photo of a";

/// What is learned from, besides pictures.
#[derive(Clone, Copy)]
pub struct Learning<'a> {
    /// The model that compares texts with pictures.
    pub clip: &'a Clip,
    /// Its text tower as gradients go through it.
    pub tower: &'a PlainTextTower,
    /// The classes and their texts.
    pub classes: &'a Classes,
    /// Steps, rate and decay.
    pub options: StressOptions,
}

impl Learning<'_> {
    /// The classes with a learned weight for each word of each class, and the loss before and after.
    ///
    /// # Errors
    /// If a text is too long, the training fails or `progress` stops it.
    pub fn words(
        &self,
        shots: Shots<'_>,
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<(Classes, [f32; 2]), ImageError> {
        let (task, words) = task(self.clip, self.classes, shots)?;
        let learned = learn_words(self.tower, &task, &self.options, progress).map_err(failed)?;
        let mut classes = self.classes.clone();
        classes.model = Some(self.clip.fingerprint().to_owned());
        for ((class, word), log) in words.into_iter().zip(&learned.logs) {
            classes.classes[class].weights.insert(word, log.exp());
        }
        Ok((classes, learned.loss))
    }

    /// Vectors of classes, `[classes, dim]`, behind a learned context (CoOp).
    ///
    /// # Errors
    /// As [`Learning::words`].
    pub fn context(
        &self,
        shots: Shots<'_>,
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Vec<f32>, ImageError> {
        let (clip, classes) = (self.clip, self.classes);
        let mut texts = Vec::new();
        let context = weighted_tokens(clip, &Prompt::plain(CONTEXT))?;
        let name = |class: &crate::Class| Prompt::plain(&class.name);
        let names = classes
            .classes
            .iter()
            .map(|class| weighted_tokens(clip, &name(class)))
            .collect::<Result<Vec<_>, _>>()?;
        for (class, tokens) in names.iter().enumerate() {
            let ids = context.iter().chain(tokens).map(|(token, _)| token.id);
            let (rows, _) = clip.rows(&ids.collect::<Vec<u32>>());
            let weight = vec![None; rows.len()];
            texts.push(ClassText { class, rows: TextRows { pooled: rows.len() - 1, ids: rows }, weight });
        }
        let task = FewShot {
            texts,
            classes: classes.classes.len(),
            weights: 0,
            pictures: shots.pictures.to_vec(),
            labels: shots.labels.to_vec(),
            scale: clip.logit_scale(),
        };
        learn_context(self.tower, &task, context.len(), &self.options, progress).map_err(failed)
    }
}

/// What is learned, and the class and word of each weight.
fn task(
    clip: &Clip,
    classes: &Classes,
    shots: Shots<'_>,
) -> Result<(FewShot, Vec<(usize, String)>), ImageError> {
    let mut texts = Vec::new();
    let mut words = Vec::new();
    for (class, described) in classes.classes.iter().enumerate() {
        let first = words.len();
        words.extend(described.words().into_iter().map(|word| (class, word)));
        for text in &described.texts {
            let prompt = Prompt::plain(text);
            let tokens = weighted_tokens(clip, &prompt)?;
            let ids: Vec<u32> = tokens.iter().map(|(token, _)| token.id).collect();
            let (rows, before) = clip.rows(&ids);
            let mut weight = vec![None; rows.len()];
            for (row, (token, _)) in weight[before..].iter_mut().zip(&tokens) {
                let over = |word: &std::ops::Range<usize>| {
                    word.start < token.range.end && token.range.start < word.end
                };
                let word = spans(&prompt.text).find(over).map(|word| prompt.text[word].to_lowercase());
                *row = word
                    .and_then(|word| words[first..].iter().position(|(_, known)| *known == word))
                    .map(|at| first + at);
            }
            texts.push(ClassText { class, rows: TextRows { pooled: rows.len() - 1, ids: rows }, weight });
        }
    }
    let task = FewShot {
        texts,
        classes: classes.classes.len(),
        weights: words.len(),
        pictures: shots.pictures.to_vec(),
        labels: shots.labels.to_vec(),
        scale: clip.logit_scale(),
    };
    Ok((task, words))
}

fn failed(error: crayon_train::TrainError) -> ImageError {
    match error {
        crayon_train::TrainError::Stopped => ImageError::Stopped,
        other => ImageError::Model(Box::new(other)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crayon_formats::clip::ClipCheckpoint;
    use crayon_train::{Device, loss_and_gradient};
    use crayon_vision::Options;

    use super::*;
    use crate::{Class, embed_prompts, parse};

    fn opened(name: &str) -> (Clip, PlainTextTower) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vision/tests/fixtures").join(name);
        let clip = Clip::open(&path, Options::default()).unwrap();
        let checkpoint = ClipCheckpoint::open(&path).unwrap();
        (clip, PlainTextTower::open(&checkpoint, &Device::Cpu.open().unwrap()).unwrap())
    }

    fn classes() -> Classes {
        let class = |name: &str| Class::from_templates(name, ["a photo of a {}", "the {}, a thing"]);
        Classes::new(vec![class("red heart"), class("yellow dog"), class("star")], None).unwrap()
    }

    /// Pictures that lie between the classes' texts.
    fn pictures(clip: &Clip) -> (Vec<f32>, Vec<u32>) {
        let texts = classes().embed(clip).unwrap();
        let dim = Clip::dim(clip);
        let mut vectors = Vec::new();
        for i in 0..6 {
            let mixed: Vec<f32> = (0..dim)
                .map(|d| {
                    texts[i % 3 * dim + d] + 0.8 * texts[(i + 1) % 3 * dim + d] + 0.02 * (i * d % 5) as f32
                })
                .collect();
            let length = mixed.iter().map(|value| value * value).sum::<f32>().sqrt();
            vectors.extend(mixed.iter().map(|value| value / length));
        }
        (vectors, vec![1, 2, 0, 0, 1, 2])
    }

    #[test]
    fn both_towers_give_the_same_vectors() {
        for name in ["clip", "clip-gelu"] {
            let (clip, tower) = opened(name);
            let mut class = Class::from_templates("red heart", ["a photo of a {}"]);
            class.weights.insert("red".to_owned(), 2.5);
            class.weights.insert("photo".to_owned(), 0.3);
            let mut other = class.clone();
            other.name = "other".to_owned();
            let both = Classes::new(vec![class.clone(), other], None).unwrap();
            let shots = Shots { pictures: &[], labels: &[], dim: Clip::dim(&clip) };
            let (task, words) = task(&clip, &both, shots).unwrap();
            let logs: Vec<f32> =
                words.iter().map(|(_, word)| class.weights.get(word).copied().unwrap_or(1.0).ln()).collect();
            let bias: Vec<f32> = task
                .texts
                .iter()
                .flat_map(|text| text.weight.iter().map(|at| at.map_or(0.0, |at| logs[at])))
                .collect();
            let rows: Vec<TextRows> = task.texts.iter().map(|text| text.rows.clone()).collect();
            let plain = tower.vectors(&rows, &bias).unwrap();
            let fast = embed_prompts(&clip, &[parse("a (photo:0.3) of a (red:2.5) heart").unwrap()]).unwrap();
            for (a, b) in fast.iter().zip(&plain) {
                assert!((a - b).abs() < 1e-4, "{name}: {a} {b}");
            }
        }
    }

    #[test]
    fn gradients_are_those_of_differences() {
        let (clip, tower) = opened("clip");
        let (vectors, labels) = pictures(&clip);
        let shots = Shots { pictures: &vectors, labels: &labels, dim: Clip::dim(&clip) };
        let (task, words) = task(&clip, &classes(), shots).unwrap();
        let logs: Vec<f32> = (0..words.len()).map(|i| (i % 5) as f32 * 0.2 - 0.4).collect();
        let (_, gradient) = loss_and_gradient(&tower, &task, &logs, 0.1).unwrap();
        let scale = gradient.iter().fold(0.0f32, |most, g| most.max(g.abs()));
        assert!(scale > 1e-4);
        for i in 0..logs.len() {
            let moved = |by: f32| {
                let mut logs = logs.clone();
                logs[i] += by;
                loss_and_gradient(&tower, &task, &logs, 0.1).unwrap().0
            };
            let difference = (moved(0.05) - moved(-0.05)) / 0.1;
            assert!(
                (difference - gradient[i]).abs() < 0.03 * scale + 1e-4,
                "{i}: {difference} {}",
                gradient[i]
            );
        }
    }

    #[test]
    fn learning_lowers_the_loss_and_a_learned_context_does_too() {
        let (clip, tower) = opened("clip");
        let (vectors, labels) = pictures(&clip);
        let shots = Shots { pictures: &vectors, labels: &labels, dim: Clip::dim(&clip) };
        let options = StressOptions { steps: 40, rate: 0.05, decay: 0.0 };
        let mut go_on = |_: usize, _: usize| ControlFlow::Continue(());
        let classes = classes();
        let learning = Learning { clip: &clip, tower: &tower, classes: &classes, options };
        let (learned, loss) = learning.words(shots, &mut go_on).unwrap();
        assert!(loss[1] < loss[0], "{loss:?}");
        assert!(learned.classes.iter().all(|class| class.weights.len() == class.words().len()));
        let context = learning.context(shots, &mut go_on).unwrap();
        assert_eq!(context.len(), 3 * Clip::dim(&clip));
        let mut stop = |_: usize, _: usize| ControlFlow::Break(());
        assert!(matches!(learning.words(shots, &mut stop), Err(ImageError::Stopped)));
    }
}
