//! The device answers what it is sure of, a bigger model on a server the rest. Where the server fails, the device answers after all.
//!
//! ```text
//! cargo run --release -p crayon-answer --example route -- http://127.0.0.1:8080/v1 big
//! ```
//!
//! Without an address it asks a port at which nobody listens.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crayon_answer::{Event, Limits, Request, Routing, SessionDevice, Task, plan, run};
use crayon_engine::{Engine, ModelSource, Settings};
use crayon_hybrid::{Endpoint, Key, Remote, RetryPolicy, Route, Router, Thresholds};

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let address = words.next().unwrap_or_else(|| "http://127.0.0.1:9/v1".to_owned());
    let model = words.next().unwrap_or_else(|| "big".to_owned());

    // No socket is opened before a question is sent. The key is the one in this variable, if it is set.
    let key = Key::find(None, "CRAYON_SERVER_KEY")?;
    let patience = RetryPolicy::within(Duration::from_secs(2));
    let server = Remote::new(Endpoint::parse(&address)?, &model, key, patience);

    // Answers of a confidence below 0.9 go to the server. `crayon route calibrate` measures a better number.
    let thresholds = Thresholds { confidence: 0.9, ..Thresholds::default() };
    let router = Router::new(Route::Auto, true, false, None, thresholds)?;
    let routing = Routing::new(router, Some(Arc::new(server)), None);

    let engine = Engine::open(&ModelSource::embedded("mini")?, &Settings::default())?;
    for question in ["What is a cat?", "Who wrote the first book about bridges?"] {
        let request = Request::asking(question);
        let plan = plan(&engine, &request, &Limits::default())?;
        let mut session = plan.session(&engine)?;
        let mut device = SessionDevice { session: &mut session, cache: None };
        let sent = request.question();
        let task = Task { plan: &plan, question: sent.as_ref(), scope: None, doubt: None, live: false };
        let outcome = run(&routing, &task, &mut device, &mut |event| {
            if let Event::Note(note) = event {
                println!("note: {}", note.phrase());
            }
            ControlFlow::Continue(())
        })?;
        println!("{question}\n  {}", outcome.text());
        println!("  [{}: {}]", outcome.decision.place.name(), outcome.decision.reason);
    }
    Ok(())
}
