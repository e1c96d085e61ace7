//! How sure is sure enough: thresholds, and where they come from.
//!
//! A query goes to the server when its confidence is below `t`, or its scope below `t_g`. For a wanted share of the
//! server both are quantiles on held-out queries, at the one level that gives it (our choice: the paper leaves the
//! level of each open). Where no share is wanted, answers below `t` are mostly wrong ([`Doubt`]).

use std::path::Path;

use crayon_errors::describe;
use crayon_files::write_file;
use serde::{Deserialize, Serialize};

use crate::{Doubt, HybridError};

/// What the file calls itself.
const FORMAT: &str = "crayon-routing";
/// Version of the file written, and the only one read.
const VERSION: u32 = 1;
/// Above every confidence and every cosine, so that all queries go to the server.
pub(crate) const EVERYTHING: f32 = 2.0;
/// Below every confidence and every cosine, so that none does.
pub(crate) const NOTHING: f32 = -2.0;
/// Largest file read, in bytes.
const LARGEST: u64 = 1 << 16;

/// What is known of a query.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Signals {
    /// How sure the device's model is, 0 to 1; `None` (an empty answer) counts as 0.
    pub confidence: Option<f32>,
    /// Cosine between the query and the customized task, -1 to 1; `None` where nothing was customized.
    pub scope: Option<f32>,
}

/// Below these a query goes to the server.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// Of the confidence.
    pub confidence: f32,
    /// Of the scope; `None` leaves it out.
    pub scope: Option<f32>,
}

impl Default for Thresholds {
    /// Confidence 0.5 and no scope: a guess, for those who have not calibrated.
    fn default() -> Thresholds {
        Thresholds { confidence: 0.5, scope: None }
    }
}

impl Thresholds {
    /// Whether a query goes to the server.
    pub fn send(&self, signals: &Signals) -> bool {
        self.unsure(signals.confidence) || self.outside(signals.scope)
    }

    /// Whether the device's model is too unsure.
    pub fn unsure(&self, confidence: Option<f32>) -> bool {
        confidence.unwrap_or(0.0) < self.confidence
    }

    /// Whether the query lies outside the customized task.
    pub fn outside(&self, scope: Option<f32>) -> bool {
        matches!((scope, self.scope), (Some(scope), Some(threshold)) if scope < threshold)
    }

    /// Share of `queries` that go to the server, 0 to 1.
    pub fn share(&self, queries: &[Signals]) -> f64 {
        let sent = queries.iter().filter(|signals| self.send(signals)).count();
        sent as f64 / queries.len().max(1) as f64
    }
}

/// Thresholds that send the `share` (0 to 1) of `queries` to the server, as nearly as their values allow: equal
/// values cannot be told apart, and are kept on the device then. A share of 0 sends nothing ever, of 1 everything.
///
/// # Errors
/// When there is no query, or the share is out of range.
pub fn calibrate(queries: &[Signals], share: f64) -> Result<Thresholds, HybridError> {
    if !(0.0..=1.0).contains(&share) {
        return Err(HybridError::Share { share });
    }
    if queries.is_empty() {
        return Err(HybridError::NoQueries);
    }
    let mut confidences: Vec<f32> = queries.iter().map(|query| query.confidence.unwrap_or(0.0)).collect();
    let mut scopes: Vec<f32> = queries.iter().filter_map(|query| query.scope).collect();
    confidences.sort_unstable_by(f32::total_cmp);
    scopes.sort_unstable_by(f32::total_cmp);
    let at = |level: f64| Thresholds {
        confidence: quantile(&confidences, level),
        scope: (!scopes.is_empty()).then(|| quantile(&scopes, level)),
    };
    if scopes.is_empty() || share == 0.0 || share == 1.0 {
        return Ok(at(share));
    }
    // The share grows with the level: the highest level that does not send too many.
    let n = queries.len();
    let wanted = (share * n as f64).round() / n as f64;
    let (mut low, mut high) = (0, n);
    while low < high {
        let middle = (low + high).div_ceil(2);
        match at(middle as f64 / n as f64).share(queries) <= wanted + 1e-9 {
            true => low = middle,
            false => high = middle - 1,
        }
    }
    Ok(at(low as f64 / n as f64))
}

/// A value with the share `level` of the sorted `values` below it.
fn quantile(values: &[f32], level: f64) -> f32 {
    let below = (level * values.len() as f64).round() as usize;
    match (below.checked_sub(1).and_then(|last| values.get(last)), values.get(below)) {
        (None, _) => NOTHING,
        (_, None) => EVERYTHING,
        (Some(a), Some(b)) => between(*a, *b),
    }
}

/// A border in the middle between `a` and the larger `b`, so that neither lies on it.
pub(crate) fn between(a: f32, b: f32) -> f32 {
    b.min((a + b) / 2.0 + f32::EPSILON * a.abs())
}

/// Thresholds with where they come from, as the file holds them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    format: String,
    version: u32,
    /// Fingerprint of the model whose confidences they are.
    pub model: String,
    /// What the model was customized for, as a fingerprint; `None` for the model itself.
    #[serde(default)]
    pub custom: Option<String>,
    /// Tokens of the answer after which it is decided; the whole answer when `None`.
    pub after: Option<usize>,
    /// The thresholds.
    pub thresholds: Thresholds,
    /// Share of the server that was wanted; `None` where the thresholds are those of `doubt`.
    pub wanted: Option<f64>,
    /// Share on the queries they were made from.
    pub share: f64,
    /// Number of those queries.
    pub queries: usize,
    /// Below which confidence an answer is doubted; `None` where it was not known which answers are right.
    #[serde(default)]
    pub doubt: Option<Doubt>,
}

impl Calibration {
    /// [`calibrate`] for the wanted share of `queries`, else the border of `doubt`, for the model with this fingerprint,
    /// customized for what `custom` is the fingerprint of.
    ///
    /// # Errors
    /// As [`calibrate`], and when there is neither.
    pub fn new(
        model: &str,
        custom: Option<&str>,
        after: Option<usize>,
        queries: &[Signals],
        wanted: Option<f64>,
        doubt: Option<Doubt>,
    ) -> Result<Calibration, HybridError> {
        let thresholds = match (wanted, doubt) {
            (Some(share), _) => calibrate(queries, share)?,
            (None, Some(doubt)) => Thresholds { confidence: doubt.below, scope: None },
            (None, None) => return Err(HybridError::NoQueries),
        };
        Ok(Calibration {
            format: FORMAT.to_owned(),
            version: VERSION,
            model: model.to_owned(),
            custom: custom.map(str::to_owned),
            after,
            thresholds,
            wanted,
            share: thresholds.share(queries),
            queries: queries.len(),
            doubt,
        })
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When the disk does not take it; what was there before stays.
    pub fn save(&self, path: &Path) -> Result<(), HybridError> {
        let wrong = |what: String| HybridError::File { path: path.to_owned(), what };
        let text = serde_json::to_string_pretty(self).map_err(|error| wrong(error.to_string()))? + "\n";
        write_file(path, text.as_bytes())
            .map_err(|error| wrong(format!("cannot {}: {}", error.action, describe(&error.cause))))
    }

    /// Reads the file; the thresholds must be those of `model`, customized as `custom` says or not at all. Those of the
    /// model itself serve where it is customized too, without a threshold of scope.
    ///
    /// # Errors
    /// When the file cannot be read, is something else, or belongs to another model or customization.
    pub fn load(path: &Path, model: &str, custom: Option<&str>) -> Result<Calibration, HybridError> {
        let wrong = |what: String| HybridError::File { path: path.to_owned(), what };
        let size = std::fs::metadata(path).map_err(|error| wrong(describe(&error)))?.len();
        if size > LARGEST {
            return Err(wrong(format!("{size} bytes are more than thresholds have")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| wrong(describe(&error)))?;
        let calibration = Calibration::parse(&text).map_err(wrong)?;
        if calibration.model != model {
            return Err(wrong("made with another model, whose confidences mean something else".to_owned()));
        }
        if calibration.custom.is_some() && calibration.custom.as_deref() != custom {
            let what = "made with the model customized for something else than it is now";
            return Err(wrong(what.to_owned()));
        }
        Ok(calibration)
    }

    /// Reads what such a file holds, whatever model it belongs to.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Calibration, String> {
        let calibration: Calibration =
            serde_json::from_str(text).map_err(|error| format!("no thresholds: {error}"))?;
        if (calibration.format.as_str(), calibration.version) != (FORMAT, VERSION) {
            return Err(format!("not {FORMAT} of version {VERSION}"));
        }
        match calibration.after {
            Some(0) => Err("decides after 0 tokens".to_owned()),
            _ => Ok(calibration),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crayon_errors::Explain as _;
    use proptest::prelude::*;

    fn queries(confidences: &[f32]) -> Vec<Signals> {
        confidences.iter().map(|c| Signals { confidence: Some(*c), scope: None }).collect()
    }

    #[test]
    fn no_share_and_the_whole_share_are_exact_for_every_query() {
        let seen = queries(&[0.2, 0.9, 1.0]);
        let (never, always) = (calibrate(&seen, 0.0).unwrap(), calibrate(&seen, 1.0).unwrap());
        for confidence in [None, Some(0.0), Some(1e-30), Some(0.5), Some(1.0)] {
            let signals = Signals { confidence, scope: Some(-1.0) };
            assert!(!never.send(&signals) && always.send(&signals), "{signals:?}");
        }
    }

    #[test]
    fn a_share_is_a_quantile() {
        let seen = queries(&[0.9, 0.1, 0.5, 0.3]);
        let half = calibrate(&seen, 0.5).unwrap();
        assert!((half.confidence - 0.4).abs() < 1e-6 && half.scope.is_none(), "{half:?}");
        assert_eq!(half.share(&seen), 0.5);
        // Equal values stay together, on the device.
        assert_eq!(calibrate(&queries(&[0.5; 4]), 0.5).unwrap().share(&queries(&[0.5; 4])), 0.0);
        assert!(matches!(calibrate(&seen, 1.1), Err(HybridError::Share { .. })));
        assert!(matches!(calibrate(&seen, f64::NAN), Err(HybridError::Share { .. })));
        assert!(matches!(calibrate(&[], 0.5), Err(HybridError::NoQueries)));
    }

    #[test]
    fn either_signal_sends_a_query() {
        let thresholds = Thresholds { confidence: 0.5, scope: Some(0.2) };
        let send = |confidence, scope| thresholds.send(&Signals { confidence, scope });
        assert!(!send(Some(0.5), Some(0.2)) && !send(Some(0.9), None));
        assert!(send(Some(0.4), Some(0.9)) && send(Some(0.9), Some(0.1)) && send(None, Some(0.9)));
    }

    #[test]
    fn files_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routing.json");
        let calibration =
            Calibration::new("print", None, Some(8), &queries(&[0.1, 0.9]), Some(0.5), None).unwrap();
        calibration.save(&path).unwrap();
        assert_eq!(Calibration::load(&path, "print", None).unwrap(), calibration);
        assert_eq!(Calibration::load(&path, "print", Some("mine")).unwrap(), calibration);
        let mine =
            Calibration::new("print", Some("mine"), None, &queries(&[0.1, 0.9]), Some(0.5), None).unwrap();
        mine.save(&path).unwrap();
        assert_eq!(Calibration::load(&path, "print", Some("mine")).unwrap(), mine);
        for custom in [None, Some("yours")] {
            let error = Calibration::load(&path, "print", custom).unwrap_err();
            assert!(error.to_string().contains("customized"), "{error}");
        }
        let other = Calibration::load(&path, "other", None).unwrap_err();
        assert!(other.to_string().contains("another model") && other.hint().is_some(), "{other}");
        std::fs::write(&path, "{}").unwrap();
        assert!(Calibration::load(&path, "print", None).is_err());
        assert!(Calibration::load(&folder.path().join("none"), "print", None).is_err());
    }

    #[test]
    fn where_no_share_is_wanted_the_border_of_doubt_decides() {
        let found = Doubt { below: 0.5, longest: 9, answers: 20, doubted: 10, wrong: 9, right: 8 };
        let made = |wanted, doubt| {
            Calibration::new("print", None, None, &queries(&[0.1, 0.2, 0.3, 0.9]), wanted, doubt)
        };
        let calibration = made(None, Some(found)).unwrap();
        assert_eq!((calibration.thresholds.confidence, calibration.share), (found.below, 0.75));
        let both = made(Some(0.25), Some(found)).unwrap();
        assert_eq!((both.share, both.doubt), (0.25, Some(found)));
        assert!(matches!(made(None, None), Err(HybridError::NoQueries)));
        // Files from before there was any doubt are read.
        let text = serde_json::to_string(&both).unwrap();
        let older = text.replace(&format!(",\"doubt\":{}", serde_json::to_string(&found).unwrap()), "");
        assert_eq!(Calibration::parse(&older).unwrap(), Calibration { doubt: None, ..both });
    }

    proptest! {
        #[test]
        fn distinct_values_give_the_share(
            values in prop::collection::btree_set(0u32..10_000, 1..60),
            scopes in prop::collection::btree_set(0u32..10_000, 60),
            share in 0.0f64..=1.0,
            both in any::<bool>(),
        ) {
            let scopes: Vec<u32> = scopes.into_iter().rev().collect();
            let seen: Vec<Signals> = values.iter().zip(scopes).map(|(c, g)| Signals {
                confidence: Some(*c as f32 / 1e4),
                scope: both.then_some(g as f32 / 1e4),
            }).collect();
            let reached = calibrate(&seen, share).unwrap().share(&seen);
            // Where both signals count, one level more can send two queries more.
            let step = if both { 1.5 } else { 0.5 } / seen.len() as f64;
            prop_assert!((reached - share).abs() <= step + 1e-9, "{reached} {share}");
        }
    }
}
