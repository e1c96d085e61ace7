//! An answer of the device or of a bigger model on a server. The device's is held back until it is decided, the server's until
//! it is whole: an answer is never mixed from two.

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::http::StatusCode;
use crayon_hybrid::{Decision, Place, Question, RemoteAnswer, RemoteError, Router, Signals};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::http::{Shared, submit};
use crate::prepare::Work;
use crate::refusal::Refusal;
use crate::worker::{Ending, Said};

/// A request that a server may answer.
pub(crate) struct Routed {
    pub(crate) router: Router,
    pub(crate) question: Question,
    /// Cosine between the query and the customised task.
    pub(crate) scope: Option<f32>,
}

/// What the device wrote.
type Draft = (String, Ending);

/// Begins an answer to `work`.
///
/// # Errors
/// When the queue has no place, or too many wait for the server.
pub(crate) fn start(
    shared: &Arc<Shared>,
    client: String,
    work: Work,
    routed: Routed,
) -> Result<UnboundedReceiver<Said>, Refusal> {
    let before = routed.router.before(routed.scope);
    // A full queue is told at once, where the device begins.
    let device = match &before {
        Some(decision) if decision.place == Place::Server => None,
        _ => Some(submit(shared, client.clone(), work.clone())?),
    };
    let (tell, said) = unbounded_channel();
    let shared = shared.clone();
    tokio::spawn(async move {
        let ending = answer(&shared, client, work, routed, before, device, &tell).await;
        // Whoever asked may have gone.
        let _ = tell.send(match ending {
            Ok(ending) => Said::Done(ending),
            Err(refusal) => Said::Refused(refusal),
        });
    });
    Ok(said)
}

async fn answer(
    shared: &Arc<Shared>,
    client: String,
    work: Work,
    routed: Routed,
    before: Option<Decision>,
    device: Option<UnboundedReceiver<Said>>,
    tell: &UnboundedSender<Said>,
) -> Result<Ending, Refusal> {
    let (draft, decision) = match (device, before) {
        (Some(said), Some(decision)) => {
            // The device alone: shown as it comes.
            let (_, ending) = listen(said, tell, true).await?;
            return Ok(Ending { decision: Some(decision), ..ending });
        }
        (Some(said), None) => {
            let (text, ending) = listen(said, tell, false).await?;
            let signals = Signals { confidence: ending.confidence, scope: routed.scope };
            (Some((text, ending)), routed.router.after(&signals))
        }
        (None, decision) => {
            let reason = decision.map(|decision| decision.reason).unwrap_or_default();
            (None, Decision { place: Place::Server, reason })
        }
    };
    if let (Place::Device, Some((text, ending))) = (decision.place, &draft) {
        let _ = tell.send(Said::Text(text.clone()));
        return Ok(Ending { decision: Some(decision), ..ending.clone() });
    }
    let confidence = draft.as_ref().and_then(|(_, ending)| ending.confidence);
    let failed = match ask(shared, routed.question, tell).await? {
        Ok(answer) => {
            let _ = tell.send(Said::Text(answer.text.clone()));
            return Ok(ending(&answer, decision, confidence));
        }
        Err(failed) if !routed.router.may_fall_back() => return Err(refused(&failed)),
        Err(failed) => failed,
    };
    let reason = format!("{}, but the server failed: {failed}", decision.reason);
    let (text, ending): Draft = match draft {
        Some(draft) => draft,
        None => listen(submit(shared, client, work)?, tell, false).await?,
    };
    let _ = tell.send(Said::Text(text));
    Ok(Ending { decision: Some(Decision { place: Place::Device, reason }), ..ending })
}

/// What the worker says, to the end of the answer; passed on at once where it is `shown`.
async fn listen(
    mut said: UnboundedReceiver<Said>,
    tell: &UnboundedSender<Said>,
    shown: bool,
) -> Result<Draft, Refusal> {
    let mut text = String::new();
    loop {
        let news = tokio::select! {
            news = said.recv() => news,
            // Nobody waits any more: what the worker does here ends with its channel.
            () = tell.closed() => return Err(Refusal::stopping()),
        };
        match news {
            Some(Said::Text(piece)) if shown => drop(tell.send(Said::Text(piece))),
            Some(Said::Text(piece)) => text.push_str(&piece),
            Some(Said::Read) => drop(tell.send(Said::Read)),
            Some(Said::Done(ending)) => return Ok((text, ending)),
            Some(Said::Refused(refusal)) => return Err(refusal),
            None => return Err(Refusal::stopping()),
        }
    }
}

/// Asks the server, on a thread of its own; the outer error is ours.
async fn ask(
    shared: &Arc<Shared>,
    question: Question,
    tell: &UnboundedSender<Said>,
) -> Result<Result<RemoteAnswer, RemoteError>, Refusal> {
    let Some(bigger) = &shared.shelf.bigger else { return Err(Refusal::stopping()) };
    let Ok(_place) = shared.asking.try_acquire() else { return Err(Refusal::busy(1)) };
    let (remote, tell) = (bigger.remote.clone(), tell.clone());
    let asked = tokio::task::spawn_blocking(move || {
        remote.ask(&question, &mut |_| match tell.is_closed() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    });
    let failed = |_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the server could not be asked");
    asked.await.map_err(failed)
}

fn ending(answer: &RemoteAnswer, decision: Decision, confidence: Option<f32>) -> Ending {
    Ending {
        finish: match answer.finish.as_str() {
            "length" => "length",
            "content_filter" => "content_filter",
            _ => "stop",
        },
        prompt: answer.prompt_tokens.unwrap_or(0),
        written: answer.written.unwrap_or(0),
        evicted: 0,
        confidence,
        decision: Some(decision),
    }
}

fn refused(error: &RemoteError) -> Refusal {
    let message = format!("the bigger model's server failed: {error}");
    Refusal::new(StatusCode::BAD_GATEWAY, message).code("server_failed")
}
