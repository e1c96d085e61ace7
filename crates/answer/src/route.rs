//! Who answers: the device, or a server with a bigger model.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use crayon_hybrid::{
    Decision, Event as ServerEvent, HybridError, Place, Question, Remote, RemoteAnswer, Router, Thresholds,
};

use crate::AnswerError;

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

    /// The same with these thresholds, decided after `after` tokens or after the whole answer.
    pub(crate) fn with_thresholds(self, thresholds: Thresholds, after: Option<usize>) -> Routing {
        Routing { router: self.router.with_thresholds(thresholds), after, ..self }
    }
}
