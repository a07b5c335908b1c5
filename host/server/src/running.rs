//! The parts of a running router. One [`Running`] lives as long as `usher run`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use usher_broker::{Broker, Clock};
use usher_event::Tracing;
use usher_router::Router;
use usher_telemetry::Exporter;

use crate::cluster::Cluster;
use crate::log_lines::LogLines;
use crate::samples::Samples;
use usher_config::{Config, LiveConfig};
use usher_plugins::{Control, Registry, Sinks};

/// The parts of a running router.
pub(crate) struct Running {
    /// Stores events and tracks deliveries.
    pub(crate) broker: Arc<dyn Broker>,
    /// Dispatches deliveries to plugins.
    pub(crate) router: Arc<Router>,
    /// Installed plugins and refused files.
    pub(crate) plugins: Arc<Registry>,
    /// Tells the time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Sinks of the configuration.
    pub(crate) sinks: Arc<Sinks>,
    /// Operator actions on plugins.
    pub(crate) control: Control,
    /// The configuration as loaded at start.
    pub(crate) config: Arc<Config>,
    /// The current configuration: as at start, with `[plugin.*]`, `[retry]` and
    /// `[token.*]` reloaded.
    pub(crate) live: Arc<LiveConfig>,
    /// Whether producers are admitted.
    pub(crate) intake: Gate,
    /// When a producer was last refused as busy.
    pub(crate) busy: Arc<Busy>,
    /// Samples of the last hour.
    pub(crate) samples: Samples,
    /// Where spans go.
    pub(crate) tracing: Tracing,
    /// What sends them, if tracing is on.
    pub(crate) exporter: Option<Arc<Exporter>>,
    /// The nodes of the router, if its journal isn't in the data folder.
    pub(crate) cluster: Option<Arc<Cluster>>,
    /// What plugins wrote.
    pub(crate) log_lines: LogLines,
    /// Whether startup has finished.
    pub(crate) readiness: Readiness,
}

/// How long the router counts as busy after it refused a producer as busy.
pub(crate) const BUSY_FOR: Duration = Duration::from_secs(10);

/// When a producer was last refused because of load.
#[derive(Debug, Default)]
pub(crate) struct Busy(Mutex<Option<Instant>>);

impl Busy {
    /// Records a refusal now.
    pub(crate) fn note(&self) {
        *self.last() = Some(Instant::now());
    }

    /// Whether one was refused within [`BUSY_FOR`].
    pub(crate) fn is_recent(&self) -> bool {
        self.last().is_some_and(|last| last.elapsed() < BUSY_FOR)
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Admits producers: opened once at start, closed once at shutdown.
#[derive(Debug, Default)]
pub(crate) struct Gate(AtomicBool);

impl Gate {
    /// Admits producers.
    pub(crate) fn open(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Refuses producers: publishing returns 503 from now on.
    pub(crate) fn close(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// Whether producers are admitted.
    pub(crate) fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Whether the router is ready for traffic, or the reason it isn't.
#[derive(Debug)]
pub(crate) struct Readiness(watch::Sender<Result<(), &'static str>>);

impl Readiness {
    /// Starts as not ready, for this reason.
    pub(crate) fn waiting(reason: &'static str) -> Self {
        Self(watch::Sender::new(Err(reason)))
    }

    /// Returns `Ok` when ready.
    ///
    /// # Errors
    /// The reason why not.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        *self.0.borrow()
    }

    /// Replaces what [`Readiness::check`] returns.
    pub(crate) fn set(&self, answer: Result<(), &'static str>) {
        let _before = self.0.send_replace(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_starts_closed() {
        let gate = Gate::default();
        assert!(!gate.is_open());
        gate.open();
        assert!(gate.is_open());
        gate.close();
        assert!(!gate.is_open());
    }
}
