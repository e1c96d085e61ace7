//! Numbers for those who watch over a server, in Prometheus' text format.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crayon_engine::Budget;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Limits of the times to the first token, in seconds.
const FIRST: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Limits of the times between two tokens of one answer, in seconds.
const BETWEEN: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

/// A request that was answered or refused.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Asked {
    path: &'static str,
    status: u16,
}

/// Who holds memory.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Held {
    holder: &'static str,
}

/// All numbers.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Asked, Counter>,
    read: Counter,
    written: Counter,
    first: Histogram,
    between: Histogram,
    sessions: Gauge<i64, AtomicI64>,
    queue: Gauge<i64, AtomicI64>,
    memory: Family<Held, Gauge<u64, AtomicU64>>,
    hits: Counter,
    saved: Counter,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("crayon"),
            requests: Family::default(),
            read: Counter::default(),
            written: Counter::default(),
            first: Histogram::new(FIRST),
            between: Histogram::new(BETWEEN),
            sessions: Gauge::default(),
            queue: Gauge::default(),
            memory: Family::default(),
            hits: Counter::default(),
            saved: Counter::default(),
        };
        let Metrics {
            registry,
            requests,
            read,
            written,
            first,
            between,
            sessions,
            queue,
            memory,
            hits,
            saved,
        } = &mut metrics;
        registry.register("requests", "Requests by path and status", requests.clone());
        registry.register("tokens_read", "Tokens of prompts", read.clone());
        registry.register("tokens_written", "Tokens of answers", written.clone());
        let seconds = Unit::Seconds;
        let help = "Time from a request to the first token of its answer";
        registry.register_with_unit("time_to_first_token", help, seconds.clone(), first.clone());
        let help = "Time between two tokens of an answer";
        registry.register_with_unit("time_between_tokens", help, seconds, between.clone());
        registry.register("sessions", "Answers in progress", sessions.clone());
        registry.register("queue", "Requests that wait", queue.clone());
        registry.register_with_unit("memory", "Memory by holder", Unit::Bytes, memory.clone());
        registry.register("prefix_hits", "Prompts that began as one that was read before", hits.clone());
        registry.register("prefix_tokens", "Tokens of prompts that were not read again", saved.clone());
        metrics
    }
}

impl Metrics {
    /// A request at `path` has got its status.
    pub(crate) fn asked(&self, path: &'static str, status: u16) {
        self.requests.get_or_create(&Asked { path, status }).inc();
    }

    /// A prompt was read.
    pub(crate) fn read(&self, tokens: usize) {
        self.read.inc_by(tokens as u64);
    }

    /// A token was written: the first of its answer so long after it was asked for, or another so long after the one before.
    pub(crate) fn token(&self, first: bool, after: Duration) {
        self.written.inc();
        let times = if first { &self.first } else { &self.between };
        times.observe(after.as_secs_f64());
    }

    /// All of them as text, with what is waiting, in progress and held now.
    pub(crate) fn text(
        &self,
        (waiting, active): (usize, usize),
        budget: &Budget,
        (hits, saved): (usize, usize),
    ) -> String {
        self.queue.set(waiting as i64);
        self.sessions.set(active as i64);
        self.hits.inner().store(hits as u64, Ordering::Relaxed);
        self.saved.inner().store(saved as u64, Ordering::Relaxed);
        for (holder, bytes) in budget.held() {
            self.memory.get_or_create(&Held { holder: holder.name() }).set(bytes as u64);
        }
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use crayon_engine::Holder;

    use super::*;

    #[test]
    fn numbers_come_as_prometheus_reads_them() {
        let metrics = Metrics::default();
        metrics.asked("/v1/models", 200);
        metrics.asked("/v1/models", 200);
        metrics.read(12);
        metrics.token(true, Duration::from_millis(20));
        metrics.token(false, Duration::from_millis(3));
        let budget = Budget::default();
        let _weights = budget.hold(Holder::Weights, 1000);
        let text = metrics.text((3, 2), &budget, (1, 64));
        for line in [
            r#"crayon_requests_total{path="/v1/models",status="200"} 2"#,
            "crayon_tokens_read_total 12",
            "crayon_tokens_written_total 2",
            r#"crayon_time_to_first_token_seconds_bucket{le="0.025"} 1"#,
            "crayon_time_between_tokens_seconds_count 1",
            "crayon_queue 3",
            "crayon_sessions 2",
            "crayon_prefix_hits_total 1",
            "crayon_prefix_tokens_total 64",
            r#"crayon_memory_bytes{holder="weights"} 1000"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
