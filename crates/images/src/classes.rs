//! Classes as texts whose words have weights.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crayon_files::write_file;
use serde::{Deserialize, Serialize};

use crate::embedder::{Embedder, embed_prompts};
use crate::prompt::spans;
use crate::scan::dot;
use crate::{ImageError, LARGEST, Prompt, Weighted};

/// Texts that hold a class's name in the place of `{}`.
pub const TEMPLATES: [&str; 3] = ["a photo of a {}", "a picture of a {}", "a {}"];
/// Version of the file.
const VERSION: u32 = 1;
/// The largest file of classes that is read.
const LARGEST_FILE: u64 = 64 << 20;

/// One class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Class {
    /// What it is called.
    pub name: String,
    /// What pictures of it show; its vector is the mean of theirs.
    pub texts: Vec<String>,
    /// Weights of words in lower case, the same in all its texts; 1 for those that are not listed.
    #[serde(default)]
    pub weights: BTreeMap<String, f32>,
}

/// Classes, and the model that their weights were learned with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Classes {
    version: u32,
    /// The fingerprint of the model; none where nothing was learned.
    #[serde(default)]
    pub model: Option<String>,
    /// The classes in the order of their numbers.
    pub classes: Vec<Class>,
}

impl Class {
    /// Through templates: `{}` stands for the name.
    pub fn from_templates<'a>(name: &str, templates: impl IntoIterator<Item = &'a str>) -> Class {
        let texts = templates.into_iter().map(|template| template.replace("{}", name)).collect();
        Class { name: name.to_owned(), texts, ..Class::default() }
    }

    /// Its words in lower case, each once, in the order they come.
    pub fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        for text in &self.texts {
            for span in spans(text) {
                let word = text[span].to_lowercase();
                if !words.contains(&word) {
                    words.push(word);
                }
            }
        }
        words
    }

    /// Its texts with the weights of their words.
    pub fn prompts(&self) -> Vec<Prompt> {
        let weighted = |text: &String| {
            let mut prompt = Prompt::plain(text);
            let words = spans(&prompt.text).filter_map(|range| {
                let weight = *self.weights.get(&prompt.text[range.clone()].to_lowercase())?;
                (weight != 1.0).then_some(Weighted { range, weight })
            });
            prompt.weights = words.collect();
            prompt
        };
        self.texts.iter().map(weighted).collect()
    }
}

impl Classes {
    /// The same with weights taken so far: each is raised to the power of `strength`, so 0 makes all of them 1.
    pub fn taken(&self, strength: f32) -> Classes {
        let mut taken = self.clone();
        let weights = taken.classes.iter_mut().flat_map(|class| class.weights.values_mut());
        weights.for_each(|weight| *weight = weight.powf(strength));
        taken
    }

    /// Classes without learned weights.
    ///
    /// # Errors
    /// If there are fewer than two, or two of one name, or one has no text.
    pub fn new(classes: Vec<Class>, model: Option<String>) -> Result<Classes, ImageError> {
        let classes = Classes { version: VERSION, model, classes };
        classes.check().map_err(|what| ImageError::unusable(what, "name two classes or more, each once"))?;
        Ok(classes)
    }

    fn check(&self) -> Result<(), String> {
        if self.version != VERSION {
            return Err(format!(
                "version {} of a file of classes; this program knows {VERSION}",
                self.version
            ));
        }
        if self.classes.len() < 2 {
            return Err(format!("there must be two classes or more, not {}", self.classes.len()));
        }
        for (i, class) in self.classes.iter().enumerate() {
            if class.name.trim().is_empty() || class.texts.iter().all(|text| spans(text).next().is_none()) {
                return Err(format!("class {} has no name or no text", i + 1));
            }
            if self.classes[..i].iter().any(|other| other.name == class.name) {
                return Err(format!("the class {:?} is there twice", class.name));
            }
            if let Some((word, weight)) =
                class.weights.iter().find(|(_, weight)| !(0.0..=LARGEST).contains(*weight))
            {
                return Err(format!("class {:?}: {word:?} has the weight {weight}", class.name));
            }
        }
        Ok(())
    }

    /// Reads a file that [`Classes::write`] wrote.
    ///
    /// # Errors
    /// If it is none.
    pub fn read(path: &Path) -> Result<Classes, ImageError> {
        let size = fs::metadata(path).map_err(|error| ImageError::io(path, error))?.len();
        let refused = |what: String| {
            ImageError::unusable(
                format!("{}: {what}", path.display()),
                "give a file of classes with weights that was learned from pictures",
            )
        };
        if size > LARGEST_FILE {
            return Err(refused(format!("no file of classes has {size} bytes")));
        }
        let bytes = fs::read(path).map_err(|error| ImageError::io(path, error))?;
        let classes: Classes = serde_json::from_slice(&bytes).map_err(|error| refused(error.to_string()))?;
        classes.check().map_err(refused)?;
        Ok(classes)
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn write(&self, path: &Path) -> Result<(), ImageError> {
        let mut json = serde_json::to_vec_pretty(self).unwrap_or_default();
        json.push(b'\n');
        Ok(write_file(path, &json)?)
    }

    /// Refuses weights that were learned with another model.
    ///
    /// # Errors
    /// If they were.
    pub fn must_fit(&self, embedder: &dyn Embedder, path: &Path) -> Result<(), ImageError> {
        match &self.model {
            Some(model) if *model != embedder.fingerprint() => Err(ImageError::OtherModel {
                file: path.display().to_string(),
                made_with: model.chars().take(12).collect(),
                model: embedder.name(),
            }),
            _ => Ok(()),
        }
    }

    /// A vector of length 1 for each class, `[classes, dim]`: the mean of its texts'.
    ///
    /// # Errors
    /// If a text is too long or the model fails.
    pub fn embed(&self, embedder: &dyn Embedder) -> Result<Vec<f32>, ImageError> {
        let dim = embedder.dim();
        let mut all = Vec::with_capacity(self.classes.len() * dim);
        for class in &self.classes {
            let texts = embed_prompts(embedder, &class.prompts())?;
            let mut mean = vec![0.0f32; dim];
            for text in texts.chunks_exact(dim) {
                mean.iter_mut().zip(text).for_each(|(sum, value)| *sum += value);
            }
            let length = dot(&mean, &mean).sqrt().max(1e-12);
            all.extend(mean.iter().map(|value| value / length));
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up::MadeUp;

    fn class(name: &str, texts: &[&str]) -> Class {
        Class {
            name: name.to_owned(),
            texts: texts.iter().map(|text| (*text).to_owned()).collect(),
            ..Class::default()
        }
    }

    #[test]
    fn weights_hold_for_a_word_in_all_texts() {
        let mut red = class("red", &["a red thing", "Red and blue"]);
        assert_eq!(red.words(), ["a", "red", "thing", "and", "blue"]);
        red.weights.insert("red".to_owned(), 2.0);
        let shown: Vec<Vec<f32>> = red
            .prompts()
            .iter()
            .map(|prompt| prompt.words().into_iter().map(|(_, weight)| weight).collect())
            .collect();
        assert_eq!(shown, [vec![1.0, 2.0, 1.0], vec![2.0, 1.0, 1.0]]);
        let classes = Classes::new(vec![red, class("blue", &["blue"])], None).unwrap();
        let vectors = classes.embed(&MadeUp).unwrap();
        assert!(vectors[0] > vectors[2] && vectors.len() == 10);
    }

    #[test]
    fn files_come_back_and_others_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("classes.json");
        let mut classes = Classes::new(
            vec![Class::from_templates("cat", TEMPLATES), Class::from_templates("dog", TEMPLATES)],
            Some("f".to_owned()),
        )
        .unwrap();
        classes.classes[0].weights.insert("cat".to_owned(), 1.5);
        classes.write(&path).unwrap();
        assert_eq!(Classes::read(&path).unwrap(), classes);
        assert!(matches!(classes.must_fit(&MadeUp, &path), Err(ImageError::OtherModel { .. })));
        for bad in [
            "",
            "{}",
            "[1]",
            r#"{"version":9,"classes":[]}"#,
            r#"{"version":1,"classes":[{"name":"a","texts":["a"]}]}"#,
            r#"{"version":1,"classes":[{"name":"a","texts":["a"]},{"name":"a","texts":["b"]}]}"#,
            r#"{"version":1,"classes":[{"name":"a","texts":["a"],"weights":{"a":-1}},{"name":"b","texts":["b"]}]}"#,
            r#"{"version":1,"classes":[{"name":"a","texts":[]},{"name":"b","texts":["b"]}]}"#,
        ] {
            fs::write(&path, bad).unwrap();
            assert!(Classes::read(&path).is_err(), "{bad}");
        }
    }
}
