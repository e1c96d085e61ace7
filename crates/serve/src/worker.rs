//! The thread that has the model: takes requests from the queue, reads and writes for all of them in common passes, tells.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use crayon_answer::{Allowed, AnswerError, DeviceEvent, Kept, Plan, Writing, Written};
use crayon_customize::{CustomizeError, Instantly, Offered, SEED, instant};
use crayon_engine::{Batch, Engine, EngineError, Finish, Held, Holder, Session, Shortage, Turn};

use crate::examples::Judging;
use crate::hosted::Hosted;
use crate::metrics::Metrics;
use crate::pace::Pace;

/// How often a request that waits for memory looks whether there is some.
const LOOK: Duration = Duration::from_millis(5);

/// A request in the queue.
pub(crate) struct Job {
    pub(crate) work: Work,
    /// It has no bound, so that a slow reader does not hold the model; an answer's length is what bounds it.
    pub(crate) tell: Sender<WorkerEvent>,
    /// Whether nobody waits for the answer any more.
    pub(crate) gone: Arc<AtomicBool>,
    /// When it was put into the queue.
    pub(crate) asked: Instant,
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

    /// Bytes of its session.
    fn bytes(&self, engine: &Engine) -> usize {
        match &self.work {
            Work::Answer(plan) => plan.bytes(engine),
            // Examples are judged between two passes, by small sessions that come and go.
            Work::Judge(_) => 0,
        }
    }

    /// Ends it without an answer.
    pub(crate) fn refuse(&self, error: AnswerError) {
        // Whoever asked may have gone.
        let _ = self.tell.send(WorkerEvent::Ended(Box::new(Err(error))));
    }
}

/// What bounds the work on requests.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// Time for one.
    pub(crate) time: Duration,
    /// How many are answered at once.
    pub(crate) parallel: usize,
}

/// A request that is being answered.
struct Active<'e> {
    job: Job,
    plan: Box<Plan>,
    session: Session<'e>,
    /// Its memory in the account.
    _held: Held,
    writing: Writing<'e>,
    started: Instant,
    /// When its last token was written.
    last: Option<Instant>,
}

/// Serves the queue until it is closed: every pass of the network takes all answers in progress a step further.
pub(crate) fn work(hosted: &Hosted, mut scratch: Held, metrics: &Metrics, bounds: Bounds) {
    let Hosted { engine, queue, pace, cache, prefixes, budget, .. } = hosted;
    let (engine, kept): (&Engine, _) = (engine, Kept { cache: cache.as_ref(), prefixes: Some(prefixes) });
    let mut batch = Batch::new(engine);
    let mut active: Vec<Active<'_>> = Vec::new();
    let reserved = scratch.bytes();
    // Who is next, for want of memory, and their place in the line.
    let (mut next, mut turn): (Option<Job>, Option<Turn>) = (None, None);
    let mut since: Option<Instant> = None;
    loop {
        // Those who have ended count no more, however long nobody else comes.
        pace.active.store(active.len(), Ordering::Relaxed);
        while active.len() < bounds.parallel.max(1) {
            let job = match next.take() {
                Some(job) => Some(job),
                None if active.is_empty() => queue.next(),
                None => queue.next_now(),
            };
            let Some(job) = job.filter(|job| !job.is_left()) else {
                turn = None;
                break;
            };
            if queue.is_closed() {
                job.refuse(AnswerError::Stopping);
                break;
            }
            let needed = job.bytes(engine);
            prefixes.make_room(needed);
            match budget.reserve_in_turn(Holder::Sessions, needed, &mut turn) {
                Ok(held) => {
                    // Whoever comes to an idle model is seen before it is closed.
                    pace.active.store(active.len() + 1, Ordering::Relaxed);
                    admit(engine, job, held, pace, kept, bounds, &mut active);
                }
                // Models that are open for requests of their own may leave no room as long as these wait, too.
                Err(shortage) if since.is_some_and(|since| since.elapsed() >= bounds.time) => {
                    job.refuse(shortage.error("what is held of this conversation").into());
                    (turn, since) = (None, None);
                }
                Err(shortage) => match hosted.allowed().filter(|allowed| needed > allowed.bytes) {
                    Some(Allowed { bytes: free, limit }) => {
                        let shortage = Shortage { needed, free, limit };
                        job.refuse(shortage.error("what is held of this conversation").into());
                        turn = None;
                    }
                    None => {
                        hosted.short.store(shortage.needed, Ordering::Relaxed);
                        turn.get_or_insert_with(|| budget.wait());
                        since.get_or_insert_with(Instant::now);
                        next = Some(job);
                        break;
                    }
                },
            }
        }
        if next.is_none() {
            since = None;
            hosted.short.store(0, Ordering::Relaxed);
        }
        pace.active.store(active.len(), Ordering::Relaxed);
        if active.is_empty() {
            if queue.is_closed() {
                next.iter().for_each(|job| job.refuse(AnswerError::Stopping));
                return;
            }
            if next.is_some() {
                std::thread::sleep(LOOK);
            }
            continue;
        }
        let mut stepped: Vec<_> = active.iter_mut().map(|one| &mut one.session).collect();
        let passed = catch_unwind(AssertUnwindSafe(|| batch.step(&mut stepped)));
        let Ok(passed) = passed else {
            // What the buffers hold after a panic nobody knows.
            batch = Batch::new(engine);
            pace.active.store(0, Ordering::Relaxed);
            active.drain(..).for_each(|one| one.end(Err(AnswerError::Crashed), pace));
            continue;
        };
        scratch.set(batch.scratch_bytes().max(reserved));
        hosted.scratch.store(scratch.bytes(), Ordering::Relaxed);
        // Drawing a token of a large vocabulary takes a good part of a pass, so that the threads share it.
        let mut steps: Vec<_> =
            active.iter_mut().zip(passed).map(|(one, passed)| (one, Some(passed), None)).collect();
        engine.threads().for_each_chunk(&mut steps, 1, |_, steps| {
            for (one, passed, ended) in steps {
                let passed = passed.take().unwrap_or(Ok(()));
                *ended = one.go_on(passed, pace, kept, metrics, bounds.time).transpose();
            }
        });
        let ended: Vec<_> = steps.into_iter().map(|(_, _, ended)| ended).collect();
        let mut over = Vec::new();
        for (at, ended) in ended.into_iter().enumerate().rev() {
            over.extend(ended.map(|ended| (active.remove(at), ended)));
        }
        pace.active.store(active.len(), Ordering::Relaxed);
        for (one, ended) in over {
            one.end(ended.map(|written| Done::Answer(Box::new(written))), pace);
        }
    }
}

/// Begins a request, or does it at once where it is not an answer.
fn admit<'e>(
    engine: &'e Engine,
    job: Job,
    held: Held,
    pace: &Pace,
    kept: Kept<'_>,
    bounds: Bounds,
    active: &mut Vec<Active<'e>>,
) {
    let started = Instant::now();
    match job.work {
        Work::Answer(ref plan) => {
            let plan = plan.clone();
            let begun = catch_unwind(AssertUnwindSafe(|| {
                let mut session = plan.session(engine)?;
                let writing = Writing::begin(&plan, &mut session, kept)?;
                Ok((session, writing))
            }));
            match begun.unwrap_or(Err(AnswerError::Crashed)) {
                Ok((session, writing)) => {
                    active.push(Active { job, plan, session, _held: held, writing, started, last: None })
                }
                Err(error) => {
                    drop(held);
                    pace.active.store(active.len(), Ordering::Relaxed);
                    job.refuse(error);
                }
            }
        }
        Work::Judge(ref judging) => {
            let found =
                catch_unwind(AssertUnwindSafe(|| judge(engine, &job, judging, started, bounds.time, pace)));
            let found = found.unwrap_or(Err(AnswerError::Crashed)).map(|found| Done::Judge(Box::new(found)));
            pace.active.store(active.len(), Ordering::Relaxed);
            // Whoever asked may have gone.
            let _ = job.tell.send(WorkerEvent::Ended(Box::new(found)));
        }
    }
}

impl Active<'_> {
    /// Goes on after a pass that ended so.
    fn go_on(
        &mut self,
        passed: Result<(), EngineError>,
        pace: &Pace,
        kept: Kept<'_>,
        metrics: &Metrics,
        time: Duration,
    ) -> Result<Option<Written>, AnswerError> {
        passed?;
        let Active { job, plan, session, writing, started, last, .. } = self;
        let mut late = false;
        let gone_on = catch_unwind(AssertUnwindSafe(|| {
            writing.go_on(plan, session, kept, &mut |event| {
                match &event {
                    DeviceEvent::Read => metrics.read(plan.prompt.len()),
                    DeviceEvent::Token(_) => {
                        let now = Instant::now();
                        let before = last.replace(now);
                        metrics.token(before.is_none(), now - before.unwrap_or(job.asked));
                    }
                    _ => {}
                }
                let _ = job.tell.send(WorkerEvent::Event(event));
                late = started.elapsed() >= time;
                match late || job.is_left() || pace.cut.load(Ordering::Relaxed) {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            })
        }));
        match gone_on.unwrap_or(Err(AnswerError::Crashed)) {
            Err(AnswerError::Engine(EngineError::Cancelled)) => Err(why(job, late, time)),
            Ok(Some(mut written)) => {
                if written.answer.finish == Finish::Cancelled {
                    // Time that has run out is a length as well.
                    written.answer.finish = Finish::Length;
                }
                Ok(Some(written))
            }
            gone_on => gone_on,
        }
    }

    /// Gives back what it held, then tells what came of it: whoever is told finds the room free.
    fn end(self, done: Result<Done, AnswerError>, pace: &Pace) {
        let Active { job, plan, session, _held: held, writing, started, last: _ } = self;
        drop((plan, writing, session, held));
        pace.last.store(started.elapsed().as_millis() as u64, Ordering::Relaxed);
        // Whoever asked may have gone.
        let _ = job.tell.send(WorkerEvent::Ended(Box::new(done)));
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
