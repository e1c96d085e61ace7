//! A small thread pool for short parallel sections: a network runs hundreds of them for one token.
//!
//! By hand: rayon's queues cost more than such a section takes.
//!
//! Workers look for the next section for a few microseconds before they sleep, so that a token meets awake
//! threads and an idle program burns nothing. A worker may join a section only while it is open; the caller takes
//! part, closes the section when no task is left to claim and waits for those who joined. A worker that the
//! system did not schedule in time is therefore never waited for.

use std::any::Any;
use std::cell::Cell;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a worker looks for the next section before it sleeps, and a caller for the last worker.
const SPIN: Duration = Duration::from_micros(40);
/// Busy checks between two looks at the clock; after the first round the thread also yields its core.
const CHECKS: u32 = 64;

/// A section is open: workers may join it.
const OPEN: u64 = 1 << 31;
/// The low bits count the workers inside; the high half counts sections.
const JOINED: u64 = OPEN - 1;

thread_local! {
    /// Whether this thread is inside a section, of any pool: a nested `run` goes inline.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// A fixed set of threads, the caller included.
pub struct Threads {
    shared: Arc<Shared>,
    /// Held by the caller of the running section.
    owner: Mutex<()>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    /// `section << 32 | OPEN | joined`.
    state: AtomicU64,
    /// The section's closure, as `*const &(dyn Fn(usize) + Sync)`; valid while the section is open or joined.
    job: AtomicUsize,
    tasks: AtomicUsize,
    next: AtomicUsize,
    panicked: Mutex<Option<Box<dyn Any + Send>>>,
    quit: AtomicBool,
    /// Workers asleep or about to be.
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
    done: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one of these locks is held, and none guards data that could be half written.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Busy-waits for `ready`, yielding the core in between; false when the budget ran out first.
fn spin_until(ready: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    loop {
        for _ in 0..CHECKS {
            if ready() {
                return true;
            }
            std::hint::spin_loop();
        }
        if start.elapsed() > SPIN {
            return ready();
        }
        std::thread::yield_now();
    }
}

impl Threads {
    /// A pool of `threads` threads (at least 1), the caller being one of them: `new(1)` starts none.
    pub fn new(threads: usize) -> Threads {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            job: AtomicUsize::new(0),
            tasks: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            panicked: Mutex::new(None),
            quit: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
            done: Condvar::new(),
        });
        let workers = (1..threads.max(1))
            .filter_map(|i| {
                let shared = Arc::clone(&shared);
                // A system that refuses a thread leaves a smaller pool, which computes the same.
                std::thread::Builder::new().name(format!("crayon-{i}")).spawn(move || shared.work()).ok()
            })
            .collect();
        Threads { shared, owner: Mutex::new(()), workers }
    }

    /// Threads that take part, the caller included.
    pub fn count(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `f(0)`, ..., `f(tasks - 1)`, each once, spread over the threads, and returns when all are done.
    ///
    /// A panic in a task is passed on to the caller; tasks not yet begun are then skipped. Called from inside a
    /// task, all runs on the calling thread. Calls from several threads take turns.
    pub fn run(&self, tasks: usize, f: impl Fn(usize) + Sync) {
        if tasks <= 1 || self.workers.is_empty() || INSIDE.get() {
            (0..tasks).for_each(f);
            return;
        }
        let owner = lock(&self.owner);
        let job: &(dyn Fn(usize) + Sync) = &f;
        let shared = &*self.shared;
        shared.job.store((&raw const job).expose_provenance(), Ordering::Relaxed);
        shared.tasks.store(tasks, Ordering::Relaxed);
        shared.next.store(0, Ordering::Relaxed);
        // No worker is inside and none can enter, so the state is ours; SeqCst pairs with `sleepers` below.
        let section = (shared.state.load(Ordering::Relaxed) >> 32).wrapping_add(1) << 32;
        shared.state.store(section | OPEN, Ordering::SeqCst);
        if shared.sleepers.load(Ordering::SeqCst) > 0 {
            drop(lock(&shared.sleep));
            shared.wake.notify_all();
        }
        shared.claim(job);
        shared.close();
        let panicked = lock(&shared.panicked).take();
        drop(owner);
        if let Some(payload) = panicked {
            resume_unwind(payload);
        }
    }
}

impl Shared {
    /// Claims and runs tasks until none is left. A panic is kept for the caller and ends the claiming.
    fn claim(&self, job: &(dyn Fn(usize) + Sync)) {
        let tasks = self.tasks.load(Ordering::Relaxed);
        let outer = INSIDE.replace(true);
        let result = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let task = self.next.fetch_add(1, Ordering::Relaxed);
                if task >= tasks {
                    break;
                }
                job(task);
            }
        }));
        INSIDE.set(outer);
        if let Err(payload) = result {
            self.next.store(tasks, Ordering::Relaxed);
            lock(&self.panicked).get_or_insert(payload);
        }
    }

    /// Lets no more workers in and waits for those inside.
    fn close(&self) {
        self.state.fetch_and(!OPEN, Ordering::AcqRel);
        let empty = || self.state.load(Ordering::Acquire) & JOINED == 0;
        if spin_until(empty) {
            return;
        }
        let mut guard = lock(&self.sleep);
        while !empty() {
            guard = self.done.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Enters the open section, if there is one newer than `last`; its number.
    fn join(&self, last: u64) -> Option<u64> {
        let mut state = self.state.load(Ordering::Acquire);
        while state & OPEN != 0 && state >> 32 != last {
            match self.state.compare_exchange_weak(state, state + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(state >> 32),
                Err(now) => state = now,
            }
        }
        None
    }

    /// A worker's life.
    fn work(&self) {
        let mut last = 0;
        loop {
            let ready = || {
                let state = self.state.load(Ordering::SeqCst);
                (state & OPEN != 0 && state >> 32 != last) || self.quit.load(Ordering::SeqCst)
            };
            if !spin_until(ready) {
                self.sleepers.fetch_add(1, Ordering::SeqCst);
                let mut guard = lock(&self.sleep);
                while !ready() {
                    guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
                }
                drop(guard);
                self.sleepers.fetch_sub(1, Ordering::SeqCst);
            }
            if self.quit.load(Ordering::SeqCst) {
                return;
            }
            let Some(section) = self.join(last) else { continue };
            last = section;
            let job = std::ptr::with_exposed_provenance::<&(dyn Fn(usize) + Sync)>(
                self.job.load(Ordering::Relaxed),
            );
            // SAFETY: `run` keeps the closure alive until every worker that joined has left.
            self.claim(unsafe { *job });
            let before = self.state.fetch_sub(1, Ordering::AcqRel);
            if before & (OPEN | JOINED) == 1 {
                drop(lock(&self.sleep));
                self.done.notify_all();
            }
        }
    }
}

/// A slice whose parts several tasks write, each its own.
pub(crate) struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    life: PhantomData<&'a mut [T]>,
}

// SAFETY: access goes through `slice`, whose callers promise that no two tasks touch the same part.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Disjoint<'a, T> {
        Disjoint { start: slice.as_mut_ptr(), len: slice.len(), life: PhantomData }
    }

    /// The part `[at, at + len)`; panics when it leaves the slice.
    ///
    /// # Safety
    /// While the part is borrowed, nobody else may ask for any of it.
    #[expect(clippy::mut_from_ref, reason = "exclusive by the caller's promise")]
    #[inline(always)]
    pub(crate) unsafe fn slice(&self, at: usize, len: usize) -> &mut [T] {
        assert!(at <= self.len && len <= self.len - at, "part of a shared slice");
        // SAFETY: inside the slice, and exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), len) }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.quit.store(true, Ordering::SeqCst);
        drop(lock(&self.shared.sleep));
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // Workers catch their tasks' panics, so there is nothing to report here.
            let _ = worker.join();
        }
    }
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Threads({} threads)", self.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        for threads in [1, 2, 3, 8] {
            let pool = Threads::new(threads);
            assert_eq!(pool.count(), threads);
            for round in 0..400 {
                let tasks = round % 37;
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, |i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(
                    counts.iter().all(|c| c.load(Ordering::Relaxed) == 1),
                    "{threads} threads, {tasks} tasks"
                );
                if round % 100 == 0 {
                    // Long enough for the workers to fall asleep.
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }
    }

    #[test]
    fn nested_and_concurrent_runs_finish() {
        let pool = Threads::new(3);
        let count = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        pool.run(5, |_| {
                            pool.run(7, |_| {
                                count.fetch_add(1, Ordering::Relaxed);
                            })
                        });
                    }
                });
            }
        });
        assert_eq!(count.load(Ordering::Relaxed), 4 * 50 * 35);
    }

    #[test]
    fn panics_reach_the_caller_and_leave_the_pool_usable() {
        let pool = Threads::new(3);
        for bad in 0..40 {
            let caught =
                catch_unwind(AssertUnwindSafe(|| pool.run(40, |i| assert_ne!(i, bad, "task {bad}"))));
            let payload = caught.expect_err("the panic must arrive");
            let text = payload.downcast_ref::<String>().expect("assert messages are strings");
            assert!(text.contains(&format!("task {bad}")), "{text}");
            let count = AtomicUsize::new(0);
            pool.run(9, |_| {
                count.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(count.load(Ordering::Relaxed), 9);
        }
    }
}
