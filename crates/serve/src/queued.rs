//! The device behind a queue: one model that many requests share, one after the other.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crayon_answer::{AnswerError, Device, DeviceEvent, Plan, Written};
use crayon_customize::Instantly;

use crate::examples::Judging;
use crate::hosted::Hosted;
use crate::models::Models;
use crate::queue::NoPlace;
use crate::worker::{Done, Job, Work, WorkerEvent};

/// How often a waiting request looks whether its client is still there.
const LOOK: Duration = Duration::from_millis(50);

/// A place in the queue for one client's request.
pub(crate) struct Queued<'s> {
    pub(crate) hosted: &'s Hosted,
    /// All models, some of which may have to make room.
    pub(crate) models: &'s Models,
    /// Whose turn it is when several wait.
    pub(crate) client: String,
}

/// Tells the worker that nobody waits any more, however the waiting ends.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Queued<'_> {
    /// What examples are worth, in one's turn.
    pub(crate) fn judge(
        &mut self,
        judging: Judging,
        watch: &mut dyn FnMut(DeviceEvent) -> ControlFlow<()>,
    ) -> Result<Instantly, AnswerError> {
        match self.have(Work::Judge(Arc::new(judging)), watch)? {
            Done::Judge(found) => Ok(*found),
            Done::Answer(_) => Err(AnswerError::Crashed),
        }
    }

    /// Waits for one's turn and for what is done then.
    fn have(
        &mut self,
        work: Work,
        watch: &mut dyn FnMut(DeviceEvent) -> ControlFlow<()>,
    ) -> Result<Done, AnswerError> {
        let (tell, told) = channel();
        let waiting = Waiting(Arc::new(AtomicBool::new(false)));
        let job = Job { work, tell, gone: waiting.0.clone(), asked: Instant::now() };
        let pushed = self.hosted.queue.push(self.client.clone(), job, Job::is_left);
        pushed.map_err(|no| match no {
            NoPlace::Full(waiting) => AnswerError::Busy { seconds: self.hosted.pace.seconds(waiting) },
            NoPlace::Closed => AnswerError::Stopping,
        })?;
        let mut flow = watch(DeviceEvent::Waiting);
        loop {
            if flow.is_break() {
                return Err(AnswerError::Cancelled);
            }
            flow = match told.recv_timeout(LOOK) {
                Ok(WorkerEvent::Event(event)) => watch(event),
                Ok(WorkerEvent::Ended(done)) => return *done,
                Err(RecvTimeoutError::Timeout) => {
                    if self.hosted.short.load(Ordering::Relaxed) > 0 {
                        self.models.relieve();
                    }
                    watch(DeviceEvent::Waiting)
                }
                Err(RecvTimeoutError::Disconnected) => return Err(AnswerError::Stopping),
            };
        }
    }
}

impl Device for Queued<'_> {
    fn write(
        &mut self,
        plan: &Plan,
        watch: &mut dyn FnMut(DeviceEvent) -> ControlFlow<()>,
    ) -> Result<Written, AnswerError> {
        match self.have(Work::Answer(Box::new(plan.clone())), watch)? {
            Done::Answer(written) => Ok(*written),
            Done::Judge(_) => Err(AnswerError::Crashed),
        }
    }
}
