//! Why a request gets no answer, in the form OpenAI's programs expect.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use crayon_answer::AnswerError;
use crayon_customize::CustomizeError;
use crayon_engine::EngineError;
use crayon_errors::{Explain, Phrase, Piece, Setting};
use crayon_hybrid::{HybridError, RemoteError};
use serde_json::{Value, json};

/// An error object with its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// The field to blame.
    pub(crate) param: Option<String>,
    pub(crate) code: Option<&'static str>,
    /// Seconds after which another try makes sense.
    pub(crate) retry_after: Option<u64>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Refusal {
        Refusal { status, message: message.into(), param: None, code: None, retry_after: None }
    }

    /// What was asked for cannot be had; asking again changes nothing.
    pub(crate) fn invalid(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn at(mut self, param: impl Into<String>) -> Refusal {
        self.param = Some(param.into());
        self
    }

    pub(crate) fn code(mut self, code: &'static str) -> Refusal {
        self.code = Some(code);
        self
    }

    /// Examples cannot be used.
    pub(crate) fn of_customization(error: CustomizeError) -> Refusal {
        match error {
            CustomizeError::Engine(error) => error.into(),
            error => Refusal::invalid(error.to_string()).at("examples"),
        }
    }

    /// A name that is not among those there are.
    pub(crate) fn unknown<'a>(param: &str, what: String, names: impl Iterator<Item = &'a str>) -> Refusal {
        let names: Vec<&str> = names.collect();
        let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Refusal::invalid(format!("{what}; this server offers {there}")).at(param)
    }

    /// There is no model of this name.
    pub(crate) fn no_model(name: &str, there: &[&str]) -> Refusal {
        let there: Vec<String> = there.iter().map(|name| format!("{name:?}")).collect();
        let message = format!("there is no model {name:?} here; this server has {}", there.join(", "));
        Refusal::new(StatusCode::NOT_FOUND, message).at("model").code("model_not_found")
    }

    /// The model is here and cannot be opened.
    pub(crate) fn not_opened(name: &str) -> Refusal {
        let message =
            format!("the model {name:?} cannot be opened; the operator of this server was told why");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message).at("model").code("model_failed")
    }

    /// The queue is full.
    pub(crate) fn busy(seconds: u64) -> Refusal {
        let message = format!("the model is busy and its queue is full; try again in {seconds} s");
        let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, message).code("queue_full");
        Refusal { retry_after: Some(seconds), ..refusal }
    }

    /// The server is going away.
    pub(crate) fn stopping() -> Refusal {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping").code("stopping")
    }

    fn kind(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// The object of the answer's body.
    pub(crate) fn object(&self) -> Value {
        let (param, code) = (&self.param, self.code);
        json!({"error": {"message": self.message, "type": self.kind(), "param": param, "code": code}})
    }
}

/// A phrase with the names of this interface's fields.
pub(crate) fn spell(phrase: &Phrase) -> String {
    phrase.spell(&|piece| match piece {
        Piece::Words(words) => words.clone(),
        Piece::Setting(setting) => {
            field(*setting).map_or(setting.words().to_owned(), |name| format!("`{name}`"))
        }
        Piece::Command(command) => command.words().to_owned(),
    })
}

/// The field of a setting, where a client can set it.
fn field(setting: Setting) -> Option<&'static str> {
    Some(match setting {
        Setting::Adapter => "adapter",
        Setting::Catalyst => "catalyst",
        Setting::Examples => "examples",
        Setting::Force => "force",
        Setting::Keep => "keep",
        Setting::MaxTokens => "max_tokens",
        Setting::Model => "model",
        Setting::Novelty => "novelty",
        Setting::Policy => "policy",
        Setting::Pool => "pool",
        Setting::Pot => "pot",
        Setting::Recent => "recent",
        Setting::Route => "route",
        Setting::Sinks => "sinks",
        Setting::Smooth => "smooth",
        _ => return None,
    })
}

impl Refusal {
    /// Why an answer failed; `field` holds the prompt.
    pub(crate) fn of(error: AnswerError, field: &str) -> Refusal {
        let mut message = spell(&error.message());
        if let Some(hint) = error.hint() {
            message = format!("{message}; {}", spell(&hint));
        }
        let too_long = || Refusal::invalid(message.as_str()).at(field).code("context_length_exceeded");
        match error {
            AnswerError::NoRoom(_) | AnswerError::LongPrompt { .. } => too_long(),
            AnswerError::Engine(EngineError::TooLong { .. }) => too_long(),
            AnswerError::Engine(EngineError::NoMemory { .. }) => {
                Refusal::invalid(message).at(field).code("memory_exceeded")
            }
            AnswerError::Engine(EngineError::Pot(_)) => Refusal::invalid(message).at("pot"),
            AnswerError::LongAnswer { .. } => {
                Refusal::invalid(message).at("max_tokens").code("invalid_value")
            }
            AnswerError::NoQuestion => Refusal::invalid(message).at("catalyst"),
            AnswerError::NoMessage | AnswerError::Engine(EngineError::EmptyPrompt) => {
                Refusal::invalid(message).at(field)
            }
            AnswerError::Hybrid(error) => error.into(),
            AnswerError::Busy { seconds } => Refusal::busy(seconds),
            AnswerError::ServerBusy => {
                let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, message).code("server_busy");
                Refusal { retry_after: Some(1), ..refusal }
            }
            AnswerError::Stopping | AnswerError::Cancelled => Refusal::stopping(),
            AnswerError::Late { .. } => Refusal::invalid(message).code("time_limit"),
            error if error.is_mistake() => Refusal::invalid(message),
            _ => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message),
        }
    }

    /// The bigger model's server failed, and nobody else may answer.
    pub(crate) fn of_server(error: &RemoteError) -> Refusal {
        let message = format!("the bigger model's server failed: {error}");
        Refusal::new(StatusCode::BAD_GATEWAY, message).code("server_failed")
    }
}

impl From<AnswerError> for Refusal {
    fn from(error: AnswerError) -> Refusal {
        Refusal::of(error, "messages")
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Refusal {
        AnswerError::from(error).into()
    }
}

impl From<HybridError> for Refusal {
    fn from(error: HybridError) -> Refusal {
        match error {
            HybridError::NoServer => {
                let message = "no bigger model is set up here; the operator of this server can set one up";
                Refusal::invalid(message).at("route").code("no_server")
            }
            error => {
                let refusal = Refusal::new(StatusCode::FORBIDDEN, error.to_string());
                refusal.at("route").code("route_not_allowed")
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.object().to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
