//! Who answers, and why.

use crate::{HybridError, Signals, Thresholds};

/// Who is asked to answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Route {
    /// The device, and the server where the device is not good enough.
    #[default]
    Auto,
    /// The device and nobody else.
    Device,
    /// The server and nobody else.
    Server,
}

impl Route {
    /// The route of this name in a request.
    pub fn from_name(name: &str) -> Option<Route> {
        match name {
            "auto" => Some(Route::Auto),
            "device" => Some(Route::Device),
            "server" => Some(Route::Server),
            _ => None,
        }
    }
}

/// Where an answer is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Here.
    Device,
    /// On the server.
    Server,
}

impl Place {
    /// The word reports use.
    pub const fn name(self) -> &'static str {
        match self {
            Place::Device => "device",
            Place::Server => "server",
        }
    }
}

/// Who answers, with the reason in words.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Who.
    pub place: Place,
    /// Why.
    pub reason: String,
}

impl Decision {
    fn new(place: Place, reason: impl Into<String>) -> Decision {
        Decision { place, reason: reason.into() }
    }
}

/// Decides for one request after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Router {
    route: Route,
    /// Why the server is out of the question, if it is.
    closed: Option<String>,
    thresholds: Thresholds,
}

impl Router {
    /// A router. `server` says whether one is set up, `private` that requests must not leave the device, `offline`
    /// which setting forbids the network, if one does.
    ///
    /// # Errors
    /// When the server is demanded and at the same time missing or forbidden: it never turns into the device silently.
    pub fn new(
        route: Route,
        server: bool,
        private: bool,
        offline: Option<&str>,
        thresholds: Thresholds,
    ) -> Result<Router, HybridError> {
        let closed = match (route, server) {
            (Route::Device, _) => Some("the device was asked for".to_owned()),
            (_, false) => Some("no server is set up".to_owned()),
            _ if private => Some("the request is private".to_owned()),
            _ => offline.map(|name| format!("{name} forbids the network")),
        };
        match (route, &closed) {
            (Route::Server, Some(_)) if !server => Err(HybridError::NoServer),
            (Route::Server, Some(reason)) => Err(HybridError::Forbidden { reason: reason.clone() }),
            _ => Ok(Router { route, closed, thresholds }),
        }
    }

    /// The same with other thresholds.
    pub fn with_thresholds(self, thresholds: Thresholds) -> Router {
        Router { thresholds, ..self }
    }

    /// When the device is sure enough.
    pub fn thresholds(&self) -> Thresholds {
        self.thresholds
    }

    /// Whether the server may ever be asked.
    pub fn may_send(&self) -> bool {
        self.closed.is_none()
    }

    /// Whether the device answers when the server fails.
    pub fn may_fall_back(&self) -> bool {
        self.route != Route::Server
    }

    /// Up-front routing: what is decided before the device has written anything. `scope` is the cosine between the
    /// query and the customized task, where there is one. `None` means that the device begins.
    pub fn before(&self, scope: Option<f32>) -> Option<Decision> {
        if let Some(reason) = &self.closed {
            return Some(Decision::new(Place::Device, reason.clone()));
        }
        if self.route == Route::Server {
            return Some(Decision::new(Place::Server, "the server was asked for"));
        }
        let (Some(scope), Some(threshold)) = (scope, self.thresholds.scope) else { return None };
        let reason = format!("outside the customized task: scope {scope:.3} is below {threshold:.3}");
        (scope < threshold).then(|| Decision::new(Place::Server, reason))
    }

    /// Cascade: what is decided by the device's answer, or by its beginning.
    pub fn after(&self, signals: &Signals) -> Decision {
        if let Some(decision) = self.before(signals.scope) {
            return decision;
        }
        let (confidence, threshold) = (signals.confidence.unwrap_or(0.0), self.thresholds.confidence);
        match self.thresholds.unsure(signals.confidence) {
            true => {
                let reason =
                    format!("the device is unsure: confidence {confidence:.3} is below {threshold:.3}");
                Decision::new(Place::Server, reason)
            }
            false => {
                let reason = format!("the device is sure: confidence {confidence:.3} reaches {threshold:.3}");
                Decision::new(Place::Device, reason)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds = Thresholds { confidence: 0.5, scope: Some(0.3) };

    fn router(
        route: Route,
        server: bool,
        private: bool,
        offline: Option<&str>,
    ) -> Result<Router, HybridError> {
        Router::new(route, server, private, offline, THRESHOLDS)
    }

    #[test]
    fn the_device_alone_is_never_overruled() {
        for (route, server, private, offline, reason) in [
            (Route::Device, true, false, None, "the device was asked for"),
            (Route::Auto, false, false, None, "no server is set up"),
            (Route::Auto, true, true, None, "the request is private"),
            (Route::Auto, true, false, Some("CRAYON_OFFLINE"), "CRAYON_OFFLINE forbids the network"),
        ] {
            let router = router(route, server, private, offline).unwrap();
            let unsure = Signals { confidence: Some(0.0), scope: Some(-1.0) };
            let decision = Decision::new(Place::Device, reason);
            assert_eq!(
                (router.before(Some(-1.0)), router.after(&unsure)),
                (Some(decision.clone()), decision)
            );
            assert!(!router.may_send());
        }
    }

    #[test]
    fn the_server_alone_is_an_error_where_it_may_not_be_asked() {
        assert!(matches!(router(Route::Server, false, false, None), Err(HybridError::NoServer)));
        assert!(matches!(router(Route::Server, true, true, None), Err(HybridError::Forbidden { .. })));
        assert!(matches!(router(Route::Server, true, false, Some("X")), Err(HybridError::Forbidden { .. })));
        let router = router(Route::Server, true, false, None).unwrap();
        assert_eq!(router.before(None).unwrap().place, Place::Server);
        assert!(!router.may_fall_back());
    }

    #[test]
    fn otherwise_scope_decides_first_and_confidence_then() {
        let router = router(Route::Auto, true, false, None).unwrap();
        assert_eq!(router.before(None), None);
        assert_eq!(router.before(Some(0.3)), None);
        assert_eq!(router.before(Some(0.29)).unwrap().place, Place::Server);
        let after = |confidence, scope| router.after(&Signals { confidence, scope });
        assert_eq!(after(Some(0.5), Some(0.9)).place, Place::Device);
        assert_eq!(after(Some(0.49), Some(0.9)).place, Place::Server);
        assert_eq!(after(None, None).reason, "the device is unsure: confidence 0.000 is below 0.500");
        assert!(after(Some(0.9), Some(0.1)).reason.contains("scope 0.100"));
        assert!(router.may_fall_back());
    }
}
