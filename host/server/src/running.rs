//! The parts of a running router. One [`Running`] lives as long as `usher run`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use usher_broker::{Broker, BrokerError};
use usher_router::Router;

use crate::project;
use crate::serving::Serving;
use crate::states::Busy;
use usher_config::{Config, LiveConfig};
use usher_plugins::{Control, Registry};

/// The parts of a running router.
pub(crate) struct Running {
    /// Stores events and tracks deliveries.
    pub(crate) broker: Arc<dyn Broker>,
    /// Dispatches deliveries to plugins.
    pub(crate) router: Arc<Router>,
    /// Installed plugins and refused files.
    pub(crate) plugins: Arc<Registry>,
    /// Operator actions on plugins.
    pub(crate) control: Control,
    /// Limit on client connections.
    pub(crate) max_connections: usize,
    /// The configuration as loaded at start.
    pub(crate) config: Arc<Config>,
    /// The current configuration: as at start, with `[plugin.*]` and `[retry]` reloaded.
    pub(crate) live: Arc<LiveConfig>,
    /// Whether producers are admitted.
    pub(crate) intake: Gate,
    /// When a producer was last refused as busy.
    pub(crate) busy: Busy,
    /// Whether startup has finished.
    pub(crate) readiness: Readiness,
}

impl Running {
    /// All subscriptions in the broker, by name, each with whether a plugin serves it.
    ///
    /// # Errors
    /// The broker can't be read.
    pub(crate) async fn subscriptions(&self) -> Result<Vec<usher_api::Subscription>, BrokerError> {
        let statuses = self.broker.subscriptions().await?.into_iter();
        let serving = Serving::now(self);
        let report = |status: usher_broker::SubscriptionStatus| {
            let paused_because = serving.paused_because(&status.subscription.name);
            project::subscription(status, paused_because)
        };
        Ok(statuses.map(report).collect())
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
