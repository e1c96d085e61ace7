//! What was measured of a model's confidence, found for a request: from where on the server answers, and what is doubted.

use std::path::{Path, PathBuf};

use crayon_engine::{EMBEDDED, Engine};
use crayon_hybrid::{Calibration, Doubt};

use crate::{AnswerError, Customization, Note, Plan, Routing};

/// Calibrations of a model as it is, and as it is customized.
#[derive(Clone, Debug, Default)]
pub struct Calibrated {
    own: Option<Calibration>,
    base: Option<Calibration>,
    /// Whether a file was named.
    given: bool,
    /// Whether the model is customized.
    customized: bool,
}

impl Calibrated {
    /// For a model of this fingerprint, customized for what `custom` is the fingerprint of or not at all: what `file` holds,
    /// else what is kept in `folder`, else what is known of the models inside the program.
    ///
    /// # Errors
    /// When a file is damaged or belongs to another model.
    pub fn find(
        model: &str,
        custom: Option<&str>,
        file: Option<&Path>,
        folder: &Path,
    ) -> Result<Calibrated, AnswerError> {
        let given = file.map(|file| Calibration::load(file, model, custom)).transpose()?;
        let kept = |custom: Option<&str>| -> Result<Option<Calibration>, AnswerError> {
            let path = thresholds_path(folder, model, custom);
            Ok(path.exists().then(|| Calibration::load(&path, model, custom)).transpose()?)
        };
        let mut found =
            Calibrated { given: file.is_some(), customized: custom.is_some(), ..Default::default() };
        match given {
            Some(given) if given.custom.is_some() => found.own = Some(given),
            Some(given) => found.base = Some(given),
            None if custom.is_some() => found.own = kept(custom)?,
            None => {}
        }
        if found.base.is_none() {
            found.base = kept(None)?.or_else(|| built_in(model));
        }
        Ok(found)
    }

    /// `routing` with these thresholds, and a note where they are not the right ones.
    pub fn routing(&self, routing: Routing) -> (Routing, Option<Note>) {
        if routing.router().before(None).is_some() {
            return (routing, None);
        }
        let note = match (&self.own, &self.base) {
            (None, None) => return (routing, Some(Note::NoThresholds)),
            (None, Some(_)) if self.customized && !self.given => Some(Note::ThresholdsOfBase),
            _ => None,
        };
        let routing = match self.own.as_ref().or(self.base.as_ref()) {
            Some(calibration) => routing.with_thresholds(calibration.thresholds, calibration.after),
            None => routing,
        };
        (routing, note)
    }

    /// The confidence below which the model's answers through `custom` are mostly wrong, where that is known.
    pub fn below(&self, engine: &Engine, custom: &Customization) -> Option<f32> {
        Some(self.measured(engine, custom, false)?.below)
    }

    /// Which answers to `plan` are doubted; `None` where that is not known. It was measured on the likeliest answers to
    /// questions, which texts to go on with and answers drawn by chance are not.
    pub fn doubt(&self, engine: &Engine, custom: &Customization, plan: &Plan) -> Option<Doubt> {
        let generate = &plan.generate;
        if generate.raw || generate.sampling.temperature > 0.0 {
            return None;
        }
        self.measured(engine, custom, plan.outside)
    }

    /// What was measured of what answers: `custom`, or the model alone to what lies `outside` and where `custom` leaves it alone.
    fn measured(&self, engine: &Engine, custom: &Customization, outside: bool) -> Option<Doubt> {
        let own = self.own.as_ref().filter(|own| own.custom == custom.fingerprint(engine));
        let calibration = match (outside, custom.acts(engine)) {
            (true, _) => self.base.as_ref(),
            (false, true) => own,
            (false, false) => own.or(self.base.as_ref()),
        };
        calibration?.doubt
    }
}

/// What is known of a model inside the program.
fn built_in(model: &str) -> Option<Calibration> {
    let mut known = EMBEDDED.iter().filter_map(|embedded| Calibration::parse(embedded.thresholds?).ok());
    known.find(|calibration| calibration.model == model)
}

/// Where in `folder` the thresholds of a model are kept, customized for what `custom` is the fingerprint of or not at all.
pub fn thresholds_path(folder: &Path, model: &str, custom: Option<&str>) -> PathBuf {
    let short = |text: &str| text.get(..16).unwrap_or(text).to_owned();
    let custom = custom.map(|custom| format!("-{}", short(custom))).unwrap_or_default();
    folder.join(format!("{}{custom}.json", short(model)))
}
