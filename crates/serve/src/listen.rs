//! Connections: accepted, bounded in number and patience, and ended in an orderly way.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Extension;
use crayon_answer::AnswerError;
use crayon_engine::Engine;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::examples::Remembered;
use crate::hosted::Hosted;
use crate::http::router;
use crate::metrics::{Holder, Metrics};
use crate::own::Own;
use crate::pace::Pace;
use crate::people::People;
use crate::pools::AT_ONCE;
use crate::queue::Queue;
use crate::registry::Registry;
use crate::shared::{Peer, Shared, now};
use crate::worker::{Bounds, work};
use crate::{ServeError, ServeOptions, customizing, embeddings};

/// How often the wish to stop is looked for.
const LOOK: Duration = Duration::from_millis(50);
/// Threads for connections; the model has its own.
const THREADS: usize = 2;

pub(crate) fn run(
    listener: TcpListener,
    address: SocketAddr,
    mut options: ServeOptions,
    mut engine: Engine,
    stop: Box<dyn Fn() -> bool + Send + Sync>,
    log: Box<dyn Fn(&str) + Send + Sync>,
) -> Result<(), ServeError> {
    let registry = Registry::new(std::mem::take(&mut options.offers), &mut engine, options.limits.queue)?;
    let people = match options.people.take() {
        Some(people) => people,
        None => People::in_memory()?,
    };
    let metrics = Arc::new(Metrics::default());
    metrics.holds(Holder::weights, engine.checkpoint().bytes());
    metrics.holds(Holder::adapters, registry.bytes());
    let hosted = Arc::new(Hosted {
        name: options.model.clone(),
        engine: Arc::new(engine),
        queue: Queue::new(options.limits.queue),
        pace: Pace::default(),
        registry,
        examples: Remembered::default(),
        guide: OnceLock::new(),
        own: Own::default(),
        cache: options.cache.clone(),
    });
    let worker = {
        let (hosted, metrics) = (hosted.clone(), metrics.clone());
        let bounds = Bounds { time: options.limits.time, parallel: options.limits.parallel };
        let thread = std::thread::Builder::new().name("model".to_owned());
        thread.spawn(move || work(&hosted, &metrics, bounds))?
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    let loopback = address.ip().is_loopback();
    let shared = Arc::new(Shared {
        blends: Semaphore::new(AT_ONCE),
        customizing: Semaphore::new(customizing::AT_ONCE),
        embedding: Semaphore::new(embeddings::AT_ONCE),
        people,
        options,
        loopback,
        hosted,
        metrics,
        log,
        began: now(),
    });
    let result = runtime.block_on(serve(listener, shared, stop));
    // What is left are connections whose patience, or ours, has run out.
    runtime.shutdown_timeout(Duration::from_millis(200));
    // The queue is closed, so the worker ends with the requests it has.
    let _ = worker.join();
    result
}

async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    stop: Box<dyn Fn() -> bool + Send + Sync>,
) -> Result<(), ServeError> {
    let result = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => {
            let graceful = GracefulShutdown::new();
            accept(&listener, &shared, &graceful, &stop).await;
            drop(listener);
            for job in shared.hosted.queue.close() {
                job.refuse(AnswerError::Stopping);
            }
            let _ = timeout(shared.options.limits.grace, graceful.shutdown()).await;
            Ok(())
        }
        Err(error) => Err(error.into()),
    };
    shared.hosted.queue.close();
    shared.hosted.pace.cut.store(true, Ordering::Relaxed);
    result
}

/// Takes connections until `stop` says so.
async fn accept(
    listener: &tokio::net::TcpListener,
    shared: &Arc<Shared>,
    graceful: &GracefulShutdown,
    stop: &(dyn Fn() -> bool + Send + Sync),
) {
    let limits = &shared.options.limits;
    let places = Arc::new(Semaphore::new(limits.connections));
    let app = router(shared.clone());
    while !stop() {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = sleep(LOOK) => continue,
        };
        let Ok((stream, peer)) = accepted else {
            // No file handles left, most likely: some connection has to end first.
            sleep(LOOK).await;
            continue;
        };
        // One connection too many is closed at once.
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        // Tokens are small packets, wanted at once.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(app.clone().layer(Extension(Peer(peer.ip()))));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.sending)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A connection that fails has nobody to be told.
            let _ = connection.await;
            drop(place);
        });
    }
}
