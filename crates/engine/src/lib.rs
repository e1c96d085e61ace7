//! The facade: open a model, hold a session, generate. This is the library a Rust program adds.
//!
//! ```no_run
//! use std::ops::ControlFlow;
//! use crayon_engine::{Engine, Event, Message, ModelSource, GenerateOptions, Role, Settings};
//!
//! let engine = Engine::open(&ModelSource::embedded("mini")?, &Settings::default())?;
//! let prompt = engine.chat_prompt(&[Message::new(Role::User, "Why is the sky blue?")])?;
//! let mut session = engine.session(prompt.len() + 128)?;
//! session.feed(&prompt, &mut |_| ControlFlow::Continue(()))?;
//! let answer = session.generate(&GenerateOptions::default(), &mut |event| {
//!     if let Event::Text(text) = event { print!("{text}") }
//!     ControlFlow::Continue(())
//! })?;
//! # Ok::<(), crayon_engine::EngineError>(())
//! ```

mod adapted;
mod batch;
mod budget;
mod constraint;
mod customize;
mod embed;
mod embedded;
mod error;
mod generate;
mod guess;
mod long;
mod open;
mod prefixes;
mod prompt;
mod sampler;
mod session;
mod shown;
mod source;
mod stop;
mod unprompted;
mod usage;

pub use adapted::read_adapter;
pub use batch::Batch;
pub use budget::{Budget, Held, Holder, Shortage, Turn};
pub use constraint::{Allowed, Constrained, Constraint, Grammar};
pub use crayon_adapters as adapters;
pub use crayon_model::Adapter;
pub use crayon_pot::{
    GENERAL_CATALYST, KeyWeights, KvStorage, POLICIES, PotError, PotOptions, PrefixCache, Saved, distillable,
};
pub use crayon_text::{FRAMES, Frame, FunctionCall, Message, Role};
pub use customize::{BUILT_IN, Scored, built_in_pool};
pub use embedded::{EMBEDDED, EMBEDDED_CLIP, Embedded, EmbeddedClip};
pub use error::EngineError;
pub use generate::{Answer, Event, Finish, GenerateOptions, Generation, Timing};
pub use long::{CachedRead, stays};
pub use open::{Engine, Settings};
pub use prefixes::Prefixes;
pub use prompt::{begun, turns};
pub use sampler::{Sampler, Sampling, SamplingOverrides};
pub use session::{Fed, Session};
pub use source::ModelSource;
pub use usage::{own_rss_bytes, peak_rss_bytes};
