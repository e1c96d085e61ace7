//! Models from the Hugging Face Hub, and the folder they are kept in.
//!
//! ```no_run
//! use std::ops::ControlFlow;
//! # fn main() -> Result<(), crayon_hub::HubError> {
//! let hub = crayon_hub::Hub::from_env()?;
//! let reference = "Qwen/Qwen2.5-0.5B-Instruct".parse()?;
//! let path = match hub.find(&reference) {
//!     Some(path) => path,
//!     None => hub.pull(&hub.plan(&reference)?, &mut |_| ControlFlow::Continue(()))?,
//! };
//! # let _ = path;
//! # Ok(())
//! # }
//! ```
//!
//! What it holds to:
//! - Only [`Hub::plan`] and [`Hub::pull`] ask the network, and neither does when `CRAYON_OFFLINE` or `HF_HUB_OFFLINE` is
//!   set.
//! - The token goes to the hub's own scheme, host and port, never to where it redirects.
//! - A model can be found only after every file had the size and checksum that the hub lists for its commit.
//! - What has arrived is kept, whatever ends a pull, and the next one goes on with it.
//! - Weights come as safetensors or GGUF; Python pickles are never downloaded.

mod cache;
mod digest;
mod download;
mod error;
mod gguf;
mod http;
mod plan;
mod progress;
mod reference;
mod settings;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

pub use cache::{Format, Local};
pub use crayon_net::RetryPolicy;
pub use error::HubError;
pub use gguf::Offer;
pub use plan::{Plan, PlannedFile};
pub use progress::{Progress, Report, Stage};
pub use reference::Reference;
pub use settings::{Settings, Token};

use cache::ModelCache;
use crayon_net::address;
use http::{Client, Refusal, Retry};

/// A hub and the folder of what came from it.
#[derive(Debug)]
pub struct Hub {
    client: Client,
    cache: ModelCache,
}

impl Hub {
    /// The hub and folder that the environment names; see [`Settings`].
    ///
    /// # Errors
    /// [`HubError::Setting`] if a variable cannot be used.
    pub fn from_env() -> Result<Hub, HubError> {
        Settings::from_env().map(Hub::new)
    }

    /// A hub with these settings.
    pub fn new(settings: Settings) -> Hub {
        let cache = ModelCache::new(settings.cache.clone());
        Hub { client: Client::new(settings), cache }
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &Settings {
        self.client.settings()
    }

    /// The folder or GGUF file of a model that is here, complete; opens no socket.
    ///
    /// A branch or tag means the commit it stood for when it was last pulled.
    pub fn find(&self, reference: &Reference) -> Option<PathBuf> {
        self.cache.find(reference)
    }

    /// Asks the hub which files a model has and what of them to download.
    ///
    /// # Errors
    /// If sockets are forbidden, the hub cannot be reached or refuses, or has nothing that this program reads.
    pub fn plan(&self, reference: &Reference) -> Result<Plan, HubError> {
        self.online(reference)?;
        let Reference { owner, name, .. } = reference;
        let mut url =
            self.client.address(&["api", "models", owner, name, "revision", reference.revision()])?;
        url.set_query(Some("blobs=true"));
        let mut retry = Retry::new(&self.client, &url);
        loop {
            match self.client.read(&url, plan::MAX_LISTING) {
                Ok(json) => return plan::plan(reference, &address::shown(&url), &json),
                Err(fault) => {
                    let refused = |refusal: Refusal<'_>| self.refused(reference, refusal);
                    retry.pause(fault, &refused, &mut |_, _| ControlFlow::Continue(()))?;
                }
            }
        }
    }

    /// Bytes of a plan that are not here yet, in whole or in part.
    pub fn missing(&self, plan: &Plan) -> u64 {
        let folder = self.cache.folder(&plan.reference, &plan.commit);
        let missing = |file: &PlannedFile| {
            if self.cache.has(&folder, file) {
                return 0;
            }
            let here = [folder.join(&file.name), download::part_path(&folder.join(&file.name))];
            let here = here.iter().filter_map(|path| path.metadata().ok()).map(|m| m.len()).max();
            file.bytes.saturating_sub(here.unwrap_or(0))
        };
        plan.files.iter().map(missing).sum()
    }

    /// Downloads what of a plan is missing, and returns the folder or GGUF file.
    ///
    /// # Errors
    /// If sockets are forbidden and a file is missing, another pull of the model is under way, the hub refuses or
    /// cannot be reached for long, the bytes are not those listed, the disk is full, or `report` ends the pull. What
    /// has arrived is kept, but for a file whose checksum is wrong.
    pub fn pull(&self, plan: &Plan, report: &mut Report<'_>) -> Result<PathBuf, HubError> {
        let reference = &plan.reference;
        let _lock = self.cache.lock(reference)?;
        let folder = self.cache.folder(reference, &plan.commit);
        std::fs::create_dir_all(&folder).map_err(|error| HubError::io("create", &folder, error))?;
        let total = plan.bytes();
        let mut done = 0;
        for file in &plan.files {
            if !self.cache.has(&folder, file) {
                let mut on_stage = |file_bytes: u64, stage: Stage<'_>| {
                    let (name, file_total) = (file.name.as_str(), file.bytes);
                    report(Progress {
                        file: name,
                        file_bytes,
                        file_total,
                        bytes: done + file_bytes,
                        total,
                        stage,
                    })
                };
                self.get_file(plan, file, &folder, &mut on_stage)?;
            }
            done += file.bytes;
        }
        self.cache.finish(plan)?;
        let exact = Reference { revision: Some(plan.commit.clone()), ..reference.clone() };
        self.cache.find(&exact).ok_or(HubError::NotHere { reference: exact })
    }

    /// All models that are here, unfinished pulls included.
    pub fn list(&self) -> Vec<Local> {
        self.cache.list()
    }

    /// Removes a model: the whole of it, or the revision or GGUF file that the reference names. Returns the bytes
    /// freed.
    ///
    /// # Errors
    /// [`HubError::NotHere`] if there is nothing to remove, [`HubError::Busy`] if it is being pulled.
    pub fn remove(&self, reference: &Reference) -> Result<u64, HubError> {
        self.cache.remove(reference)
    }

    fn get_file(
        &self,
        plan: &Plan,
        file: &PlannedFile,
        folder: &Path,
        on_stage: &mut download::OnStage<'_>,
    ) -> Result<(), HubError> {
        let reference = &plan.reference;
        let target = folder.join(&file.name);
        let part = download::part_path(&target);
        if target.exists() {
            // From a pull that ended before its manifest was written: check it like a part.
            std::fs::rename(&target, &part).map_err(|error| HubError::io("rename", &target, error))?;
        } else if self.cache.reuse(reference, file, &target) {
            let _ = std::fs::remove_file(&part);
            return Ok(());
        }
        let Reference { owner, name, .. } = reference;
        let mut place = vec![owner, name, "resolve", &plan.commit];
        place.extend(file.path.split('/'));
        let url = self.client.address(&place)?;
        self.online(reference)?;
        let refused = |refusal: Refusal<'_>| self.refused(reference, refusal);
        download::fetch(&self.client, &url, &target, file, &refused, on_stage)
    }

    /// Whether sockets are allowed.
    fn online(&self, reference: &Reference) -> Result<(), HubError> {
        match self.settings().offline {
            Some(variable) => Err(HubError::Offline { reference: reference.clone(), variable }),
            None => Ok(()),
        }
    }

    /// The meaning of a refusal. The hub tells in `X-Error-Code` what the status leaves open: to a stranger it answers
    /// 401 for a model that does not exist, so as not to betray private ones.
    fn refused(&self, reference: &Reference, refusal: Refusal<'_>) -> HubError {
        let (url, status, code) = match refusal {
            Refusal::Hub { url, status, code } => (url, status, code),
            Refusal::Offline(variable) => {
                return HubError::Offline { reference: reference.clone(), variable };
            }
        };
        let endpoint = self.settings().endpoint.clone();
        let repository = reference.repository();
        let token = self.settings().token.as_ref().map(|token| token.source.clone());
        match (status, code) {
            (_, "GatedRepo") => HubError::Gated { endpoint, repository, token },
            (_, "RevisionNotFound") => {
                HubError::NoRevision { repository, revision: reference.revision().to_owned() }
            }
            (_, "RepoNotFound") => HubError::NoModel { endpoint, repository, token },
            (404, _) if url.path().contains("/api/models/") => {
                HubError::NoModel { endpoint, repository, token }
            }
            (401 | 403, _) => HubError::Unauthorized { endpoint, repository, status, token },
            _ => HubError::Status { url: address::shown(url), status },
        }
    }
}
