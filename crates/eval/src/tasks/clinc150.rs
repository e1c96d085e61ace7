//! CLINC150 (Larson et al. 2019): short requests of 150 intents in 10 domains, and requests outside all of them.
//!
//! `data_full.json` maps splits to `[text, intent]` pairs, `domains.json` beside it maps domains to intents. As
//! a multiple-choice task the choices of a request are all intents of its domain, as words.

use std::collections::BTreeMap;
use std::path::Path;

use super::Question;
use crate::EvalError;
use crate::input::read_text;

/// A request and its intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Utterance {
    /// What was said.
    pub text: String,
    /// The intent's label; `oos` outside all domains.
    pub intent: String,
}

/// Intents that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Name.
    pub name: String,
    /// Labels, as in the file.
    pub intents: Vec<String>,
}

/// The whole set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clinc150 {
    file: String,
    /// The domains, in the order of the file.
    pub domains: Vec<Domain>,
    splits: BTreeMap<String, Vec<Utterance>>,
}

impl Clinc150 {
    /// Reads `data_full.json` at `path` and `domains.json` beside it.
    ///
    /// # Errors
    /// When either is missing or damaged, or an intent belongs to no domain.
    pub fn open(path: &Path) -> Result<Clinc150, EvalError> {
        Clinc150::parse(path, &read_text(path)?)
    }

    pub(super) fn parse(path: &Path, text: &str) -> Result<Clinc150, EvalError> {
        let beside = path.with_file_name("domains.json");
        if !beside.exists() {
            let what = format!("needs {} for the intents of each domain", beside.display());
            return Err(EvalError::content(&path.display().to_string(), None, what)
                .with_hint("put the set's domains.json beside it"));
        }
        let domains = read_text(&beside)?;
        Clinc150::from_json(&path.display().to_string(), text, &beside.display().to_string(), &domains)
    }

    fn from_json(file: &str, text: &str, domains_file: &str, domains: &str) -> Result<Clinc150, EvalError> {
        let splits: BTreeMap<String, Vec<(String, String)>> = parse(file, text)?;
        let utterance = |(text, intent)| Utterance { text, intent };
        let splits: BTreeMap<String, Vec<Utterance>> = splits
            .into_iter()
            .map(|(name, pairs)| (name, pairs.into_iter().map(utterance).collect()))
            .collect();
        let map: serde_json::Map<String, serde_json::Value> = parse(domains_file, domains)?;
        let domains = map.into_iter().map(|(name, intents)| match serde_json::from_value(intents) {
            Ok(intents) => Ok(Domain { name, intents }),
            Err(_) => {
                Err(EvalError::content(domains_file, None, format!("{name:?} is not a list of intents")))
            }
        });
        let domains = domains.collect::<Result<Vec<Domain>, EvalError>>()?;
        Ok(Clinc150 { file: file.to_owned(), domains, splits })
    }

    /// Requests of a split inside the domains: `train`, `val`, `test`.
    pub fn split(&self, name: &str) -> &[Utterance] {
        self.splits.get(name).map_or(&[], Vec::as_slice)
    }

    /// Requests of a split outside all domains.
    pub fn out_of_scope(&self, name: &str) -> &[Utterance] {
        self.split(&format!("oos_{name}"))
    }

    /// The split as multiple choice: the choices are all intents of the request's domain.
    ///
    /// # Errors
    /// When an intent belongs to no domain.
    pub fn questions(&self, split: &str) -> Result<Vec<Question>, EvalError> {
        let utterances = self.split(split).iter().enumerate();
        let questions = utterances.map(|(index, utterance)| {
            let found = self.domains.iter().find_map(|domain| {
                let answer = domain.intents.iter().position(|intent| *intent == utterance.intent)?;
                Some((domain, answer))
            });
            let Some((domain, answer)) = found else {
                let what =
                    format!("intent {:?} of {split}, entry {}, is in no domain", utterance.intent, index + 1);
                return Err(EvalError::content(&self.file, None, what));
            };
            let choices = domain.intents.iter().map(|intent| words(intent)).collect();
            Ok(Question { prompt: format!("{}\nIntent:", utterance.text), choices, answer, line: index + 1 })
        });
        questions.collect()
    }

    /// The questions of one domain alone.
    ///
    /// # Errors
    /// As [`Clinc150::questions`].
    pub fn domain_questions(&self, split: &str, domain: &Domain) -> Result<Vec<Question>, EvalError> {
        let wanted: Vec<String> = domain.intents.iter().map(|intent| words(intent)).collect();
        let mut questions = self.questions(split)?;
        questions.retain(|question| question.choices == wanted);
        Ok(questions)
    }
}

/// `card_declined` as `card declined`.
fn words(intent: &str) -> String {
    intent.replace('_', " ")
}

fn parse<T: serde::de::DeserializeOwned>(file: &str, text: &str) -> Result<T, EvalError> {
    serde_json::from_str(text)
        .map_err(|error| EvalError::content(file, error.line(), format!("JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: &str = r#"{
        "test": [["is my card blocked", "card_blocked"], ["play a song", "play_music"]],
        "oos_test": [["how tall is a giraffe", "oos"]]
    }"#;
    const DOMAINS: &str = r#"{"bank": ["balance", "card_blocked"], "home": ["play_music", "lights"]}"#;

    #[test]
    fn choices_are_the_domain_in_words() {
        let set = Clinc150::from_json("data", DATA, "domains", DOMAINS).unwrap();
        let questions = set.questions("test").unwrap();
        assert_eq!(questions[0].prompt, "is my card blocked\nIntent:");
        assert_eq!(questions[0].choices, ["balance", "card blocked"]);
        assert_eq!((questions[0].answer, questions[1].answer), (1, 0));
        assert_eq!(set.out_of_scope("test")[0].text, "how tall is a giraffe");
        assert_eq!(set.domain_questions("test", &set.domains[1]).unwrap().len(), 1);
        assert_eq!(set.domains[0].name, "bank");
    }

    #[test]
    fn damage_is_named() {
        let lost = r#"{"bank": ["balance"]}"#;
        let set = Clinc150::from_json("data", DATA, "domains", lost).unwrap();
        let error = set.questions("test").unwrap_err().to_string();
        assert!(error.contains("\"card_blocked\" of test, entry 1, is in no domain"), "{error}");
        let error = Clinc150::from_json("data", "{\n\"test\": [[\"a\"]]}", "domains", DOMAINS).unwrap_err();
        assert!(error.to_string().starts_with("data, line 2: JSON"), "{error}");
        assert!(Clinc150::from_json("data", DATA, "domains", r#"{"bank": 3}"#).is_err());
    }
}
