//! What a person is answered through.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use crayon_answer::Customization;
use crayon_engine::Adapter;
use crayon_engine::adapters::peft;
use sha2::{Digest, Sha256};

use crate::hosted::Hosted;
use crate::people::{People, Stored};
use crate::person::{Extra, short_print};
use crate::refusal::Refusal;

/// Adapters of people's own that stay in memory.
const HELD: usize = 8;

/// An adapter under the digest of its file.
type Held = ([u8; 32], Arc<dyn Adapter>);

/// Adapters of people's own that were asked for last.
#[derive(Default)]
pub(crate) struct Own(Mutex<VecDeque<Held>>);

impl Own {
    /// The adapter in `file`.
    fn get(&self, file: &[u8], hosted: &Hosted) -> Result<Arc<dyn Adapter>, Refusal> {
        let digest: [u8; 32] = Sha256::digest(file).into();
        // Whoever panicked left the list whole.
        let held = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list = held();
        if let Some(at) = list.iter().position(|(other, _)| *other == digest)
            && let Some(found) = list.remove(at)
        {
            let adapter = found.1.clone();
            list.push_front(found);
            return Ok(adapter);
        }
        drop(list);
        let spec = hosted.engine.spec();
        let lora = peft::from_bytes("a person's adapter", file.to_vec().into(), spec);
        let attached = lora.and_then(|lora| lora.attach(spec));
        let adapter: Arc<dyn Adapter> = Arc::new(attached.map_err(|error| damaged(&error.to_string()))?);
        let mut list = held();
        list.push_front((digest, adapter.clone()));
        list.truncate(HELD);
        Ok(adapter)
    }
}

/// What the person called `id` is answered through.
pub(crate) fn customization(people: &People, hosted: &Hosted, id: &str) -> Result<Customization, Refusal> {
    let Some(Stored { person, scope, extra }) = people.find(&hosted.name, id)? else {
        let message = format!("nobody is called {id:?} beside {:?} here", hosted.name);
        return Err(Refusal::new(StatusCode::NOT_FOUND, message).at("model").code("model_not_found"));
    };
    if person.base != short_print(&hosted.engine.checkpoint().fingerprint()) {
        return Err(changed(id, "the model"));
    }
    let scope = scope.map(|scope| scope.scope());
    let (mut weights, mut adapter, mut demonstrations) = (Vec::new(), None, Vec::new());
    if let Some(own) = &person.weights {
        let pool = hosted.registry.pools.iter().find(|pool| Some(short_print(&pool.digest)) == person.pool);
        let Some(pool) = pool else { return Err(changed(id, "the pool")) };
        let weighed = pool.stack.weigh(own).map_err(|error| damaged(&error.to_string()))?;
        adapter = Some(Arc::new(weighed) as Arc<dyn Adapter>);
        weights = pool.names().into_iter().zip(own.iter().copied()).collect();
    }
    match extra {
        Some(Extra::Adapter(file)) => {
            adapter = Some(hosted.own.get(&file, hosted)?);
            weights = vec![(id.to_owned(), 1.0)];
        }
        Some(Extra::Demonstrations(list)) => demonstrations = list,
        None => {}
    }
    Ok(Customization::kept(weights, scope, adapter, demonstrations, person.fits))
}

/// What was kept belongs to something that is not here any more.
fn changed(id: &str, what: &str) -> Refusal {
    let message = format!("{what} that {id:?} was customized with is another one now; customize again");
    Refusal::new(StatusCode::CONFLICT, message).at("model").code("customization_outdated")
}

fn damaged(what: &str) -> Refusal {
    let message = format!("what is kept of this person cannot be used: {what}");
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message).code("store_failed")
}
