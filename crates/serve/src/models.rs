//! The models of a server: which there are, which of them are open, and how one is opened for a request.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crayon_answer::AnswerError;
use crayon_engine::{Batch, Budget, Held, Holder, PrefixCache, Prefixes};

use crate::examples::Remembered;
use crate::hosted::Hosted;
use crate::metrics::Metrics;
use crate::model::{Model, Opened, Opener};
use crate::own::Own;
use crate::pace::Pace;
use crate::queue::Queue;
use crate::refusal::Refusal;
use crate::registry::Registry;
use crate::shared::Log;
use crate::worker::{Bounds, work};
use crate::{Limits, ServeError};

/// How often those who wait for room look whether there is some.
const LOOK: Duration = Duration::from_millis(50);
/// What is told to need memory.
const WEIGHTS: &str = "the weights";

/// Finds room for a holder's bytes, which belong to what the words say.
type Room<'r> = dyn Fn(Holder, usize, &str) -> Result<Held, ServeError> + 'r;

/// All models of a server, the first one the default.
pub(crate) struct Models {
    entries: Vec<Entry>,
    setting: Setting,
    /// Requests for models so far.
    asked: AtomicU64,
    stopping: AtomicBool,
}

/// What all models have in common.
pub(crate) struct Setting {
    pub(crate) limits: Limits,
    pub(crate) cache: Option<PrefixCache>,
    pub(crate) budget: Budget,
    pub(crate) prefixes: Arc<Prefixes>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) log: Log,
}

/// A model, open or not.
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Names of its pools.
    pub(crate) pools: Vec<String>,
    /// Bytes of its weights.
    bytes: usize,
    open: Option<Opener>,
    /// When it was asked for last, in requests for models.
    used: AtomicU64,
    running: Mutex<Option<Running>>,
    /// Held by who opens it: others wait, and find it open.
    opening: Mutex<()>,
}

/// A model that answers.
struct Running {
    hosted: Arc<Hosted>,
    worker: JoinHandle<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind it is whole after a panic: every change is one assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Running {
    /// Whether nobody but its own thread has a use for it.
    fn is_idle(&self) -> bool {
        let Hosted { queue, pace, .. } = &*self.hosted;
        // One here and one on its thread: requests have more.
        Arc::strong_count(&self.hosted) == 2 && queue.len() == 0 && pace.active.load(Ordering::Relaxed) == 0
    }
}

impl Entry {
    /// The model, if it is open.
    pub(crate) fn hosted(&self) -> Option<Arc<Hosted>> {
        lock(&self.running).as_ref().map(|running| running.hosted.clone())
    }

    /// Whether it could be closed now, and opened again.
    fn is_idle(&self) -> bool {
        self.open.is_some() && lock(&self.running).as_ref().is_some_and(Running::is_idle)
    }

    /// Takes it out, if it is idle: nobody gets hold of it any more.
    fn take_idle(&self) -> Option<Running> {
        let mut running = lock(&self.running);
        if running.as_ref().is_some_and(Running::is_idle) { running.take() } else { None }
    }
}

impl Models {
    /// Makes the models ready that are open.
    pub(crate) fn new(models: Vec<Model>, setting: Setting) -> Result<Models, ServeError> {
        let mut entries = Vec::with_capacity(models.len());
        for Model { name, bytes, pools, opened, open } in models {
            let now = |holder, bytes, what: &str| {
                let reserved = setting.budget.reserve(holder, bytes);
                reserved.map_err(|shortage| ServeError::Memory(shortage.error(format!("{what} of {name}"))))
            };
            let weights = opened.as_ref().map(|_| now(Holder::Weights, bytes, WEIGHTS)).transpose()?;
            let running = match opened.zip(weights) {
                Some((opened, weights)) => Some(setting.host(&name, opened, weights, &now)?),
                None => None,
            };
            entries.push(Entry {
                name,
                pools,
                bytes,
                open,
                used: AtomicU64::new(0),
                running: Mutex::new(running),
                opening: Mutex::default(),
            });
        }
        Ok(Models { entries, setting, asked: AtomicU64::new(0), stopping: AtomicBool::new(false) })
    }

    /// All of them.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The model called `name`, or known by it; the first where nobody is named.
    pub(crate) fn find(&self, name: Option<&str>) -> Result<&Entry, Refusal> {
        let found = match name {
            None => self.entries.first(),
            Some(name) => {
                let exact = self.entries.iter().find(|entry| entry.name == name);
                exact.or_else(|| self.entries.iter().find(|entry| is_called(&entry.name, name)))
            }
        };
        found.ok_or_else(|| {
            let there: Vec<&str> = self.entries.iter().map(|entry| entry.name.as_str()).collect();
            Refusal::no_model(name.unwrap_or_default(), &there)
        })
    }

    /// The open model of `entry`, which is opened where it is not. That may take its time.
    pub(crate) fn open(&self, entry: &Entry) -> Result<Arc<Hosted>, Refusal> {
        entry.used.store(self.asked.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        if let Some(hosted) = entry.hosted() {
            return Ok(hosted);
        }
        let _opening = lock(&entry.opening);
        if let Some(hosted) = entry.hosted() {
            return Ok(hosted);
        }
        let failed = || Refusal::not_opened(&entry.name);
        let open = entry.open.as_ref().ok_or_else(failed)?;
        let refused = |error| match error {
            ServeError::Memory(error) => Refusal::of(error.into(), "model"),
            _ if self.is_stopping() => Refusal::stopping(),
            _ => failed(),
        };
        let room = |holder, bytes, what: &str| self.room(holder, bytes, &format!("{what} of {}", entry.name));
        let weights = room(Holder::Weights, entry.bytes, WEIGHTS).map_err(refused)?;
        let opened = catch_unwind(AssertUnwindSafe(open)).ok().flatten().ok_or_else(failed)?;
        let made = self.setting.host(&entry.name, opened, weights, &room).map_err(refused)?;
        let mut running = lock(&entry.running);
        if self.is_stopping() {
            // Its thread ends with its queue.
            made.hosted.queue.close();
            return Err(Refusal::stopping());
        }
        let hosted = running.insert(made).hosted.clone();
        (self.setting.log)(&format!("opened {}: {}", entry.name, self.setting.budget.told()));
        Ok(hosted)
    }

    /// Bytes for `what`. Models that nobody asks anything are closed for it, and answers in progress waited for.
    fn room(&self, holder: Holder, bytes: usize, what: &str) -> Result<Held, ServeError> {
        let (started, mut turn, budget) = (Instant::now(), None, &self.setting.budget);
        loop {
            // Beginnings of texts give way first.
            self.setting.prefixes.make_room(bytes);
            let shortage = match budget.reserve_in_turn(holder, bytes, &mut turn) {
                Ok(held) => return Ok(held),
                Err(shortage) => shortage,
            };
            if self.relieve() {
                continue;
            }
            let busy = self.hosted().next().is_some() && bytes <= shortage.limit;
            if !busy || self.is_stopping() || started.elapsed() >= self.setting.limits.time {
                return Err(ServeError::Memory(shortage.error(what)));
            }
            turn.get_or_insert_with(|| budget.wait());
            std::thread::sleep(LOOK);
        }
    }

    /// Closes the model that was asked for longest ago among those that have nothing to do; says whether there was one.
    pub(crate) fn relieve(&self) -> bool {
        let idle = self.entries.iter().filter(|entry| entry.is_idle());
        let Some(entry) = idle.min_by_key(|entry| entry.used.load(Ordering::Relaxed)) else { return false };
        let Some(Running { hosted, worker }) = entry.take_idle() else { return false };
        hosted.queue.close();
        drop(hosted);
        // A worker that panicked has nobody to be told.
        let _ = worker.join();
        (self.setting.log)(&format!("closed {}: {}", entry.name, self.setting.budget.told()));
        true
    }

    /// Whether no request is taken any more.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn hosted(&self) -> impl Iterator<Item = Arc<Hosted>> {
        self.entries.iter().filter_map(Entry::hosted)
    }

    /// Takes no more requests; those who wait are told.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for hosted in self.hosted() {
            hosted.queue.close().iter().for_each(|job| job.refuse(AnswerError::Stopping));
        }
    }

    /// Ends what is being written.
    pub(crate) fn cut(&self) {
        self.stop();
        self.hosted().for_each(|hosted| hosted.pace.cut.store(true, Ordering::Relaxed));
    }

    /// Waits until everything has ended.
    pub(crate) fn end(&self) {
        self.cut();
        for entry in &self.entries {
            let running = lock(&entry.running).take();
            // A worker that panicked has nobody to be told.
            let _ = running.map(|running| running.worker.join());
        }
    }

    /// Numbers for those who watch: requests that wait, and answers in progress.
    pub(crate) fn counts(&self) -> (usize, usize) {
        self.hosted().fold((0, 0), |(waiting, active), hosted| {
            (waiting + hosted.queue.len(), active + hosted.pace.active.load(Ordering::Relaxed))
        })
    }

    /// Beginnings of texts that were read.
    pub(crate) fn prefixes(&self) -> &Prefixes {
        &self.setting.prefixes
    }

    /// The account of memory.
    pub(crate) fn budget(&self) -> &Budget {
        &self.setting.budget
    }
}

impl Setting {
    /// Makes a model ready and gives it a thread to work on. `room` finds room for what comes with its weights.
    fn host(
        &self,
        name: &str,
        Opened { mut engine, offers }: Opened,
        mut weights: Held,
        room: &Room<'_>,
    ) -> Result<Running, ServeError> {
        let registry = Registry::new(offers, &mut engine, self.limits.queue)?;
        // Merged adapters make them larger.
        weights.set(engine.checkpoint().bytes());
        let adapters = room(Holder::Adapters, registry.bytes(), "the adapters")?;
        // Without a limit only what is taken counts.
        let buffers = match self.budget.limit() {
            Some(_) => Batch::scratch_for(&engine, self.limits.parallel),
            None => 0,
        };
        let scratch = room(Holder::Scratch, buffers, "the buffers")?;
        let hosted = Arc::new(Hosted {
            name: name.to_owned(),
            engine: Arc::new(engine),
            queue: Queue::new(self.limits.queue),
            pace: Pace::default(),
            registry,
            examples: Remembered::default(),
            guide: OnceLock::new(),
            own: Own::default(),
            cache: self.cache.clone(),
            prefixes: self.prefixes.clone(),
            budget: self.budget.clone(),
            held: [weights, adapters],
            scratch: AtomicUsize::new(scratch.bytes()),
            short: AtomicUsize::new(0),
        });
        let bounds = Bounds { time: self.limits.time, parallel: self.limits.parallel };
        let (theirs, metrics) = (hosted.clone(), self.metrics.clone());
        let thread = std::thread::Builder::new().name("model".to_owned());
        let worker = thread.spawn(move || work(&theirs, scratch, &metrics, bounds))?;
        Ok(Running { hosted, worker })
    }
}

/// Whether `asked` is `name`, without its ending or without what stands in front of its last part.
fn is_called(name: &str, asked: &str) -> bool {
    let whole = name.strip_suffix(".gguf").unwrap_or(name);
    let stem = whole.rsplit('/').next().unwrap_or(whole);
    [name, whole, stem].contains(&asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_lack_its_ending_and_its_owner() {
        for asked in ["small.gguf", "small"] {
            assert!(is_called("small.gguf", asked), "{asked}");
        }
        for asked in ["org/small@main", "small@main"] {
            assert!(is_called("org/small@main", asked), "{asked}");
        }
        for asked in ["", "smal", "small.ggu", "other/small", "small.gguf.gguf", "Small"] {
            assert!(!is_called("small.gguf", asked), "{asked}");
        }
    }
}
