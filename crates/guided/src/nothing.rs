//! No forms.

use std::sync::Arc;

use crayon_engine::{Engine, Grammar};

use crate::{Form, GuideError};

/// What stands for a model's tokens where no form can be followed.
pub struct Guide;

impl Guide {
    /// # Errors
    /// Always.
    pub fn new(_: &Engine) -> Result<Guide, GuideError> {
        Err(GuideError::Form("this program was built without forms of answers".to_owned()))
    }

    /// # Errors
    /// Always.
    pub fn grammar(&self, _: &Form) -> Result<Arc<dyn Grammar>, GuideError> {
        Err(GuideError::Form("this program was built without forms of answers".to_owned()))
    }
}
