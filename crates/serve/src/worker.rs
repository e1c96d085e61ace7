//! The thread that has the model: takes requests from the queue, reads, writes, tells.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use crayon_answer::{AnswerError, Device, DeviceEvent, Plan, SessionDevice, Written};
use crayon_engine::{Engine, EngineError, Finish, PrefixCache};

use crate::pace::Pace;
use crate::queue::Queue;

/// A request in the queue.
pub(crate) struct Job {
    pub(crate) plan: Plan,
    /// It has no bound, so that a slow reader does not hold the model; an answer's length is what bounds it.
    pub(crate) tell: Sender<WorkerEvent>,
    /// Whether nobody waits for the answer any more.
    pub(crate) gone: Arc<AtomicBool>,
}

/// What the worker tells about a request.
#[derive(Debug)]
pub(crate) enum WorkerEvent {
    Event(DeviceEvent),
    Ended(Box<Result<Written, AnswerError>>),
}

impl Job {
    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_left(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Ends it without an answer.
    pub(crate) fn refuse(&self, error: AnswerError) {
        // Whoever asked may have gone.
        let _ = self.tell.send(WorkerEvent::Ended(Box::new(Err(error))));
    }
}

/// Serves the queue until it is closed.
pub(crate) fn work(
    engine: &Engine,
    queue: &Queue<Job>,
    pace: &Pace,
    cache: Option<&PrefixCache>,
    time: Duration,
) {
    while let Some(job) = queue.next() {
        if job.is_left() {
            continue;
        }
        let started = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| answer(engine, &job, started, time, cache, pace)));
        let written = outcome.unwrap_or(Err(AnswerError::Crashed));
        pace.last.store(started.elapsed().as_millis() as u64, Ordering::Relaxed);
        // Whoever asked may have gone.
        let _ = job.tell.send(WorkerEvent::Ended(Box::new(written)));
    }
}

fn answer(
    engine: &Engine,
    job: &Job,
    started: Instant,
    time: Duration,
    cache: Option<&PrefixCache>,
    pace: &Pace,
) -> Result<Written, AnswerError> {
    let (mut session, mut late) = (job.plan.session(engine)?, false);
    let mut device = SessionDevice { session: &mut session, cache };
    let written = device.write(&job.plan, &mut |event| {
        let _ = job.tell.send(WorkerEvent::Event(event));
        late = started.elapsed() >= time;
        match late || job.is_left() || pace.cut.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    match written {
        Err(AnswerError::Engine(EngineError::Cancelled)) if late => {
            Err(AnswerError::Late { seconds: time.as_secs() })
        }
        Err(AnswerError::Engine(EngineError::Cancelled)) if job.is_left() => Err(AnswerError::Cancelled),
        Err(AnswerError::Engine(EngineError::Cancelled)) => Err(AnswerError::Stopping),
        Ok(mut written) if written.answer.finish == Finish::Cancelled => {
            // Time that has run out is a length as well.
            written.answer.finish = Finish::Length;
            Ok(written)
        }
        written => written,
    }
}
