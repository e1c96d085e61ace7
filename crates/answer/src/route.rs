//! Who answers: the device, or a server with a bigger model.

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crayon_hybrid::{
    Calibration, Decision, Event as ServerEvent, HybridError, Place, Question, Remote, RemoteAnswer, Router,
};

use crate::{AnswerError, Note};

/// Something that answers questions on a server.
pub trait Server: Send + Sync {
    /// Asks for an answer. `hear` is told of everything and may stop it.
    ///
    /// # Errors
    /// [`AnswerError::Remote`] when the server fails; the device may answer then. Any other error ends the request.
    fn ask(
        &self,
        question: &Question,
        hear: &mut dyn FnMut(ServerEvent) -> ControlFlow<()>,
    ) -> Result<RemoteAnswer, AnswerError>;

    /// Whether others on the way can read what is sent.
    fn is_readable_by_others(&self) -> bool;
}

impl Server for Remote {
    fn ask(
        &self,
        question: &Question,
        hear: &mut dyn FnMut(ServerEvent) -> ControlFlow<()>,
    ) -> Result<RemoteAnswer, AnswerError> {
        Ok(Remote::ask(self, question, hear)?)
    }

    fn is_readable_by_others(&self) -> bool {
        self.endpoint().is_readable_by_others()
    }
}

/// Who may answer, and how it is decided. Making one opens no socket.
#[derive(Clone)]
pub struct Routing {
    router: Router,
    server: Option<Arc<dyn Server>>,
    /// Tokens of the device's answer after which it is decided; all of them when `None`.
    after: Option<usize>,
}

impl fmt::Debug for Routing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Routing").field("router", &self.router).field("after", &self.after).finish()
    }
}

impl Routing {
    /// Routing by `router`, to `server` where it may be asked; decided after `after` tokens of the device's answer, or after
    /// all of it.
    pub fn new(router: Router, server: Option<Arc<dyn Server>>, after: Option<usize>) -> Routing {
        Routing { router, server, after }
    }

    /// Who decides.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Tokens of the device's answer after which it is decided.
    pub fn after(&self) -> Option<usize> {
        self.after
    }

    /// Whether a request may leave the device.
    pub fn may_send(&self) -> bool {
        self.router.may_send()
    }

    /// The decision for the server, if it is made without the device.
    pub fn server_only(&self) -> Option<Decision> {
        self.router.before(None).filter(|decision| decision.place == Place::Server)
    }

    pub(crate) fn server(&self) -> Result<&dyn Server, AnswerError> {
        match &self.server {
            Some(server) => Ok(&**server),
            None => Err(HybridError::NoServer.into()),
        }
    }

    /// The same with the thresholds calibrated for a model of this fingerprint, customized for what `custom` is the fingerprint
    /// of or not at all: those in `file`, else those in `folder`, else a guess. A note says where they are not the right ones.
    ///
    /// # Errors
    /// When a file is damaged or belongs to another model.
    pub fn calibrated(
        mut self,
        model: &str,
        custom: Option<&str>,
        file: Option<&Path>,
        folder: &Path,
    ) -> Result<(Routing, Option<Note>), AnswerError> {
        if self.router.before(None).is_some() {
            return Ok((self, None));
        }
        let (usual, own) = (thresholds_path(folder, model, None), thresholds_path(folder, model, custom));
        let (path, note) = match file {
            Some(file) => (file.to_owned(), None),
            None if own.exists() => (own, None),
            None if usual.exists() => (usual, Some(Note::ThresholdsOfBase)),
            None => return Ok((self, Some(Note::NoThresholds))),
        };
        let calibration = Calibration::load(&path, model, custom)?;
        self.after = calibration.after;
        self.router = self.router.with_thresholds(calibration.thresholds);
        Ok((self, note))
    }
}

/// Where in `folder` the thresholds of a model are kept, customized for what `custom` is the fingerprint of or not at all.
pub fn thresholds_path(folder: &Path, model: &str, custom: Option<&str>) -> PathBuf {
    let short = |text: &str| text.get(..16).unwrap_or(text).to_owned();
    let custom = custom.map(|custom| format!("-{}", short(custom))).unwrap_or_default();
    folder.join(format!("{}{custom}.json", short(model)))
}
