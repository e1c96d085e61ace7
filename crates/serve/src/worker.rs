//! The thread that has the model: takes requests from the queue, reads, writes, tells.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use crayon_engine::{Engine, EngineError, Event, Finish, Session};
use crayon_hybrid::Decision;
use tokio::sync::mpsc::UnboundedSender;

use crate::prepare::Work;
use crate::queue::Queue;
use crate::refusal::Refusal;

/// A request in the queue.
pub(crate) struct Job {
    pub(crate) work: Work,
    /// Closed when nobody waits for the answer any more. It has no bound, so that a slow reader does not hold the
    /// model; an answer's length is what bounds it.
    pub(crate) tell: UnboundedSender<Said>,
}

/// What the worker says about a request.
#[derive(Debug)]
pub(crate) enum Said {
    /// Its turn has come and its prompt is read: text follows.
    Read,
    Text(String),
    Done(Ending),
    Refused(Refusal),
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ending {
    /// `stop`, `length`, or `content_filter` of a server.
    pub(crate) finish: &'static str,
    /// Tokens read.
    pub(crate) prompt: usize,
    /// Tokens written.
    pub(crate) written: usize,
    /// Tokens of the prompt that a pot distilled away.
    pub(crate) evicted: usize,
    /// `exp` of the mean log-probability of the answer's tokens.
    pub(crate) confidence: Option<f32>,
    /// Who answered why, where there was a choice.
    pub(crate) decision: Option<Decision>,
}

/// What handlers ask the worker's state for.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Milliseconds the last request took.
    last: AtomicU64,
    /// The server has no more patience: what is being written ends.
    pub(crate) cut: AtomicBool,
}

impl Pace {
    /// Seconds until a place among `waiting` requests is likely to be free.
    pub(crate) fn seconds(&self, waiting: usize) -> u64 {
        let millis = self.last.load(Ordering::Relaxed).saturating_mul(waiting as u64 / 2 + 1);
        millis.div_ceil(1000).clamp(1, 60)
    }
}

/// Serves the queue until it is closed.
pub(crate) fn work(engine: &Engine, queue: &Queue<Job>, pace: &Pace, time: Duration) {
    while let Some(job) = queue.next() {
        if job.tell.is_closed() {
            continue;
        }
        let started = Instant::now();
        let until = started + time;
        let outcome = catch_unwind(AssertUnwindSafe(|| answer(engine, &job, until, time, pace)));
        let said = match outcome {
            Ok(Ok(ending)) => Said::Done(ending),
            Ok(Err(refusal)) => Said::Refused(refusal),
            Err(_) => {
                let message = "the model failed on this request; others are not affected";
                Said::Refused(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message))
            }
        };
        pace.last.store(started.elapsed().as_millis() as u64, Ordering::Relaxed);
        // Whoever asked may have gone.
        let _ = job.tell.send(said);
    }
}

fn answer(
    engine: &Engine,
    job: &Job,
    until: Instant,
    time: Duration,
    pace: &Pace,
) -> Result<Ending, Refusal> {
    let Work { prompt, options, pot, .. } = &job.work;
    let late = || Instant::now() >= until || pace.cut.load(Ordering::Relaxed);
    let flow = || match job.tell.is_closed() || late() {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    let mut session = session(engine, job)?;
    match session.feed(prompt, &mut |_| flow()) {
        Err(EngineError::Cancelled) if pace.cut.load(Ordering::Relaxed) => return Err(Refusal::stopping()),
        Err(EngineError::Cancelled) => {
            let message = format!("reading the prompt took longer than {} s", time.as_secs());
            return Err(Refusal::invalid(message).code("time_limit"));
        }
        other => other?,
    }
    let _ = job.tell.send(Said::Read);
    let answer = session.generate(options, &mut |event| {
        if let Event::Text(text) = event {
            let _ = job.tell.send(Said::Text(text));
        }
        flow()
    })?;
    let evicted = match pot {
        None => 0,
        Some(_) => (session.pot().tokens_read() - session.pot().kept()).min(prompt.len()),
    };
    Ok(Ending {
        finish: match answer.finish {
            Finish::End | Finish::Stop => "stop",
            // Time that has run out is a length as well.
            Finish::Length | Finish::Full | Finish::Cancelled => "length",
        },
        prompt: prompt.len(),
        written: answer.tokens.len(),
        evicted,
        confidence: answer.confidence,
        decision: None,
    })
}

fn session<'e>(engine: &'e Engine, job: &Job) -> Result<Session<'e>, Refusal> {
    let Work { prompt, options, pot, adapter } = &job.work;
    let mut session = match pot {
        None => engine.session(prompt.len() + options.max_tokens)?,
        Some((shape, pins)) => {
            let pinned = pins.iter().map(|place| place.len()).sum();
            let mut session = engine.pot_session(shape.clone(), pinned)?;
            session.pin(pins.clone())?;
            session
        }
    };
    if let Some(adapter) = adapter {
        session.set_adapter(Some(adapter.clone()));
    }
    Ok(session)
}
