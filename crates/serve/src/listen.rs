//! Connections: accepted, bounded in number and patience, and ended in an orderly way.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use crayon_engine::{Budget, Holder, Prefixes};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::http::router;
use crate::metrics::Metrics;
use crate::model::Model;
use crate::models::{Models, Setting};
use crate::people::People;
use crate::pools::AT_ONCE;
use crate::shared::{Log, Peer, Shared, now};
use crate::{ServeError, ServeOptions, customizing, embeddings};

/// How often the wish to stop is looked for.
const LOOK: Duration = Duration::from_millis(50);
/// Threads for connections; the model has its own.
const THREADS: usize = 2;

pub(crate) fn run(
    listener: TcpListener,
    address: SocketAddr,
    mut options: ServeOptions,
    models: Vec<Model>,
    stop: Box<dyn Fn() -> bool + Send + Sync>,
    log: Log,
) -> Result<(), ServeError> {
    let people = match options.people.take() {
        Some(people) => people,
        None => People::in_memory()?,
    };
    let metrics = Arc::new(Metrics::default());
    let budget = Budget::new(options.memory);
    let _program = budget.hold(Holder::Program, options.program);
    let setting = Setting {
        limits: options.limits.clone(),
        cache: options.cache.take(),
        prefixes: Arc::new(Prefixes::new(&budget)),
        budget,
        metrics: metrics.clone(),
        log: log.clone(),
    };
    let models = Models::new(models, setting)?;
    if options.memory.is_some() {
        log(&format!("memory: {}", models.budget().told()));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    let loopback = address.ip().is_loopback();
    let shared = Arc::new(Shared {
        blends: Semaphore::new(AT_ONCE),
        customizing: Semaphore::new(customizing::AT_ONCE),
        embedding: Semaphore::new(embeddings::AT_ONCE),
        people,
        options,
        loopback,
        models,
        metrics,
        log,
        began: now(),
    });
    let result = runtime.block_on(serve(listener, &shared, stop));
    // What is left are connections whose patience, or ours, has run out.
    runtime.shutdown_timeout(Duration::from_millis(200));
    shared.models.end();
    result
}

async fn serve(
    listener: TcpListener,
    shared: &Arc<Shared>,
    stop: Box<dyn Fn() -> bool + Send + Sync>,
) -> Result<(), ServeError> {
    let result = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => {
            let graceful = GracefulShutdown::new();
            accept(&listener, shared, &graceful, &stop).await;
            drop(listener);
            shared.models.stop();
            let _ = timeout(shared.options.limits.grace, graceful.shutdown()).await;
            Ok(())
        }
        Err(error) => Err(error.into()),
    };
    shared.models.cut();
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
