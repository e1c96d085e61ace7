//! One request from messages to text, for whoever shows it: the program at a terminal, the server over HTTP, a measurement.
//!
//! A [`Request`] says what is wanted. [`plan()`] turns it into token ids, settings and the shape of the memory, and refuses
//! with the numbers what cannot be done. [`run()`] has it answered by the device, by a bigger model on a server, or by the
//! device after all ([`Routing`]), and tells a sink of [`Event`]s. Nothing here prints, reads arguments or listens.
//!
//! ```no_run
//! use std::ops::ControlFlow;
//! use crayon_answer::{Event, Limits, Request, ask_device, plan};
//! use crayon_engine::{Engine, ModelSource, Settings};
//!
//! let engine = Engine::open(&ModelSource::path("model.gguf".as_ref())?, &Settings::default())?;
//! let request = Request { documents: vec!["A long text.".to_owned()], ..Request::asking("Who wrote it?") };
//! let plan = plan(&engine, &request, &Limits::default())?;
//! let written = ask_device(&engine, &plan, &mut |event| {
//!     if let Event::Text(text) = event { print!("{text}") }
//!     ControlFlow::Continue(())
//! })?;
//! # Ok::<(), crayon_answer::AnswerError>(())
//! ```
//!
//! Reading order: `request`, `plan`, `run`, `device`; `memory` and `room` serve the plan, `route` and `calibrated` the run; `customization` and
//! `source` say what is answered through.

mod calibrated;
mod customization;
mod device;
mod error;
mod event;
mod limits;
mod memory;
mod plan;
mod request;
mod room;
mod route;
mod run;
mod source;

pub use calibrated::{Calibrated, thresholds_path};
pub use customization::{Blend, BlendRequest, Customization, Through};
pub use device::{Device, DeviceEvent, Distilled, Drawn, Kept, SessionDevice, Writing, Written};
pub use error::AnswerError;
pub use event::{Event, Note, Sink};
pub use limits::{Allowed, Limits};
pub use memory::{Catalyst, MemoryRequest, MemorySize, PASSES, policy_names};
pub use plan::{Memory, Plan, plan, plan_turn};
pub use request::{Input, Request};
pub use room::{NoRoom, Otherwise};
pub use route::{Routing, Server};
pub use run::{By, Counts, Outcome, Task, ask_device, ask_server, run};
pub use source::{Made, PoolAccess, ServerPool, Source, Traffic, is_address};
