//! The thread that has the model: takes requests from the queue, reads, writes, tells.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use crayon_answer::{AnswerError, Device, DeviceEvent, Plan, SessionDevice, Written};
use crayon_customize::{CustomizeError, Instantly, Offered, SEED, instant};
use crayon_engine::{Engine, EngineError, Finish, PrefixCache};

use crate::examples::Judging;
use crate::pace::Pace;
use crate::queue::Queue;

/// A request in the queue.
pub(crate) struct Job {
    pub(crate) work: Work,
    /// It has no bound, so that a slow reader does not hold the model; an answer's length is what bounds it.
    pub(crate) tell: Sender<WorkerEvent>,
    /// Whether nobody waits for the answer any more.
    pub(crate) gone: Arc<AtomicBool>,
}

/// What there is to do.
pub(crate) enum Work {
    /// An answer.
    Answer(Box<Plan>),
    /// To judge what examples are worth.
    Judge(Arc<Judging>),
}

/// What comes of it.
pub(crate) enum Done {
    Answer(Box<Written>),
    Judge(Box<Instantly>),
}

/// What the worker tells about a request.
pub(crate) enum WorkerEvent {
    Event(DeviceEvent),
    Ended(Box<Result<Done, AnswerError>>),
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
        let outcome = catch_unwind(AssertUnwindSafe(|| match &job.work {
            Work::Answer(plan) => answer(engine, &job, plan, started, time, cache, pace)
                .map(|written| Done::Answer(Box::new(written))),
            Work::Judge(judging) => {
                judge(engine, &job, judging, started, time, pace).map(|found| Done::Judge(Box::new(found)))
            }
        }));
        let done = outcome.unwrap_or(Err(AnswerError::Crashed));
        pace.last.store(started.elapsed().as_millis() as u64, Ordering::Relaxed);
        // Whoever asked may have gone.
        let _ = job.tell.send(WorkerEvent::Ended(Box::new(done)));
    }
}

fn answer(
    engine: &Engine,
    job: &Job,
    plan: &Plan,
    started: Instant,
    time: Duration,
    cache: Option<&PrefixCache>,
    pace: &Pace,
) -> Result<Written, AnswerError> {
    let (mut session, mut late) = (plan.session(engine)?, false);
    let mut device = SessionDevice { session: &mut session, cache };
    let written = device.write(plan, &mut |event| {
        let _ = job.tell.send(WorkerEvent::Event(event));
        late = started.elapsed() >= time;
        match late || job.is_left() || pace.cut.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    match written {
        Err(AnswerError::Engine(EngineError::Cancelled)) => Err(why(job, late, time)),
        Ok(mut written) if written.answer.finish == Finish::Cancelled => {
            // Time that has run out is a length as well.
            written.answer.finish = Finish::Length;
            Ok(written)
        }
        written => written,
    }
}

/// Judges examples by their answers.
fn judge(
    engine: &Engine,
    job: &Job,
    judging: &Judging,
    started: Instant,
    time: Duration,
    pace: &Pace,
) -> Result<Instantly, AnswerError> {
    let offered = match &judging.pool {
        Some((stack, weights)) => Offered::Stack(stack, weights),
        None => Offered::Nothing,
    };
    let mut late = false;
    let found = instant(engine, &judging.given, &offered, SEED, &mut |_| {
        late = started.elapsed() >= time;
        match late || job.is_left() || pace.cut.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    found.map_err(|error| match error {
        CustomizeError::Engine(EngineError::Cancelled) => why(job, late, time),
        CustomizeError::Engine(error) => error.into(),
        _ => AnswerError::Crashed,
    })
}

/// Why work was broken off.
fn why(job: &Job, late: bool, time: Duration) -> AnswerError {
    match late {
        true => AnswerError::Late { seconds: time.as_secs() },
        false if job.is_left() => AnswerError::Cancelled,
        false => AnswerError::Stopping,
    }
}
