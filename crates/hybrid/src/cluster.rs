//! A server with many adapters beside one base model, which takes new ones while it runs: vLLM or SGLang. It is told a name and where
//! the adapter's files are, and reads them itself; what the adapter was made of is not told.

use std::ops::ControlFlow;

use crayon_net::RetryPolicy;
use serde::Deserialize;
use serde_json::json;

use crate::http::{Call, Event, Http};
use crate::read::clean;
use crate::{ClusterError, Endpoint, Key, RemoteError};

/// Largest answer, in bytes: a list of models is the longest.
const LARGEST: u64 = 4 << 20;

/// Such a server.
#[derive(Clone, Debug)]
pub struct Cluster {
    http: Http,
    endpoint: Endpoint,
}

/// Whose requests a server understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Software {
    /// [vLLM](https://docs.vllm.ai/en/latest/features/lora.html), beside its other paths.
    Vllm,
    /// [SGLang](https://docs.sglang.ai/advanced_features/lora.html), in front of them.
    Sglang,
}

impl Software {
    const ALL: [Software; 2] = [Software::Vllm, Software::Sglang];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Software::Vllm => "vLLM",
            Software::Sglang => "SGLang",
        }
    }
}

/// The list of models.
#[derive(Deserialize)]
struct Models {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
}

/// SGLang says in its answer whether it did what was asked.
#[derive(Deserialize)]
struct Done {
    success: Option<bool>,
    error_message: Option<String>,
}

impl Cluster {
    /// A server at what [`Endpoint::parse_base`] found. No connection is made yet.
    pub fn new(endpoint: Endpoint, key: Option<Key>, policy: RetryPolicy) -> Cluster {
        Cluster { http: Http::new(&endpoint, key, policy), endpoint }
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Names of the models and adapters that it answers through. `on_event` hears of failed tries, and may stop it.
    ///
    /// # Errors
    /// When the server gives no answer.
    pub fn models(
        &self,
        on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Vec<String>, ClusterError> {
        let list = Call::Get(self.endpoint.under(&["models"]));
        let (bytes, _) = self.http.fetch(list, "application/json", LARGEST, on_event)?;
        let host = self.endpoint.host().to_owned();
        let models: Models = serde_json::from_slice(&bytes)
            .map_err(|error| RemoteError::Answer { host, what: format!("no list of models ({error})") })?;
        Ok(models.data.iter().map(|model| clean(&model.id)).collect())
    }

    /// Has it take the adapter whose files are in `folder`, as it sees its own disks, under `name`.
    ///
    /// # Errors
    /// When the server gives no answer, takes no adapters, or not this one.
    pub fn load(
        &self,
        name: &str,
        folder: &str,
        on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Software, ClusterError> {
        let body = json!({"lora_name": name, "lora_path": folder}).to_string();
        self.either("load_lora_adapter", &body, on_event)
    }

    /// Has it forget the adapter of this name.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn unload(
        &self,
        name: &str,
        on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Software, ClusterError> {
        self.either("unload_lora_adapter", &json!({"lora_name": name}).to_string(), on_event)
    }

    /// Asks under the paths of both kinds of server; one that does not know a path says so with 404.
    fn either(
        &self,
        what: &str,
        body: &str,
        on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Software, ClusterError> {
        let host = self.endpoint.host().to_owned();
        for software in Software::ALL {
            let url = match software {
                Software::Vllm => self.endpoint.under(&[what]),
                Software::Sglang => self.endpoint.beside_version(what),
            };
            match self.http.fetch(Call::Post(url, body.to_owned()), "*/*", LARGEST, on_event) {
                Ok((bytes, _)) => {
                    // vLLM answers with a sentence.
                    return match serde_json::from_slice::<Done>(&bytes) {
                        Ok(Done { success: Some(false), error_message }) => {
                            let message = error_message.map(|text| clean(&self.http.hide(&text)));
                            Err(ClusterError::NotTaken { host, message })
                        }
                        _ => Ok(software),
                    };
                }
                Err(RemoteError::Refused { status: 404 | 405, message: None, .. }) => {}
                // A route that is switched off has FastAPI's words.
                Err(RemoteError::Refused { status: 404, message: Some(words), .. })
                    if words == "Not Found" => {}
                Err(RemoteError::Refused { status: 400 | 404 | 422, message, .. }) => {
                    return Err(ClusterError::NotTaken { host, message });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(ClusterError::Closed { host })
    }
}
