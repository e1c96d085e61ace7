//! The models of a server: which there are, which of them are open, and how one is opened for a request.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;

use crayon_answer::AnswerError;
use crayon_engine::{Budget, Holder, PrefixCache};

use crate::examples::Remembered;
use crate::hosted::Hosted;
use crate::metrics::Metrics;
use crate::model::{Model, Opened, Opener};
use crate::own::Own;
use crate::pace::Pace;
use crate::queue::Queue;
use crate::refusal::Refusal;
use crate::registry::Registry;
use crate::worker::{Bounds, work};
use crate::{Limits, ServeError};

/// All models of a server, the first one the default.
pub(crate) struct Models {
    entries: Vec<Entry>,
    setting: Setting,
    stopping: AtomicBool,
}

/// What all models have in common.
pub(crate) struct Setting {
    pub(crate) limits: Limits,
    pub(crate) cache: Option<PrefixCache>,
    pub(crate) budget: Budget,
    pub(crate) metrics: Arc<Metrics>,
}

/// A model, open or not.
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Names of its pools.
    pub(crate) pools: Vec<String>,
    open: Option<Opener>,
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

impl Entry {
    /// The model, if it is open.
    pub(crate) fn hosted(&self) -> Option<Arc<Hosted>> {
        lock(&self.running).as_ref().map(|running| running.hosted.clone())
    }
}

impl Models {
    /// Makes the models ready that are open.
    pub(crate) fn new(models: Vec<Model>, setting: Setting) -> Result<Models, ServeError> {
        let mut entries = Vec::with_capacity(models.len());
        for Model { name, pools, opened, open, .. } in models {
            let running = opened.map(|opened| setting.host(&name, opened)).transpose()?;
            entries.push(Entry {
                name,
                pools,
                open,
                running: Mutex::new(running),
                opening: Mutex::default(),
            });
        }
        Ok(Models { entries, setting, stopping: AtomicBool::new(false) })
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
        if let Some(hosted) = entry.hosted() {
            return Ok(hosted);
        }
        let _opening = lock(&entry.opening);
        if let Some(hosted) = entry.hosted() {
            return Ok(hosted);
        }
        let failed = || Refusal::not_opened(&entry.name);
        let open = entry.open.as_ref().ok_or_else(failed)?;
        let opened = catch_unwind(AssertUnwindSafe(open)).ok().flatten().ok_or_else(failed)?;
        let mut running = lock(&entry.running);
        if self.is_stopping() {
            return Err(Refusal::stopping());
        }
        let made = self.setting.host(&entry.name, opened).map_err(|_| failed())?;
        Ok(running.insert(made).hosted.clone())
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

    /// The account of memory.
    pub(crate) fn budget(&self) -> &Budget {
        &self.setting.budget
    }
}

impl Setting {
    /// Makes a model ready and gives it a thread to work on.
    fn host(&self, name: &str, Opened { mut engine, offers }: Opened) -> Result<Running, ServeError> {
        let registry = Registry::new(offers, &mut engine, self.limits.queue)?;
        let held = [
            self.budget.hold(Holder::Weights, engine.checkpoint().bytes()),
            self.budget.hold(Holder::Adapters, registry.bytes()),
        ];
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
            budget: self.budget.clone(),
            _held: held,
        });
        let bounds = Bounds { time: self.limits.time, parallel: self.limits.parallel };
        let (theirs, metrics) = (hosted.clone(), self.metrics.clone());
        let thread = std::thread::Builder::new().name("model".to_owned());
        let worker = thread.spawn(move || work(&theirs, &metrics, bounds))?;
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
