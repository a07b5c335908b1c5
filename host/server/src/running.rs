//! The parts of a running router. One [`Running`] lives as long as `usher run`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use usher_broker::{Broker, BrokerError};
use usher_router::Router;

use crate::plugins::{Control, Registry};
use crate::project;
use crate::serving::Serving;
use crate::states::Busy;
use usher_config::{Config, LiveConfig};

/// The parts of a running router.
pub(crate) struct Running {
    /// Where events live.
    pub(crate) broker: Arc<dyn Broker>,
    /// What brings them to plugins.
    pub(crate) router: Arc<Router>,
    /// Which plugins there are.
    pub(crate) plugins: Arc<Registry>,
    /// What operators do to them.
    pub(crate) control: Control,
    /// How many connections clients may have.
    pub(crate) max_connections: usize,
    /// What the operator configured, as of the start.
    pub(crate) config: Arc<Config>,
    /// What of it may change, as of now.
    pub(crate) live: Arc<LiveConfig>,
    /// Whether producers are let in.
    pub(crate) intake: Gate,
    /// Whether they were asked to come back later.
    pub(crate) busy: Busy,
    /// Whether everything has started.
    pub(crate) readiness: Readiness,
}

impl Running {
    /// All subscriptions the broker keeps, with whether anything serves them, by name.
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

/// Opens once at start and closes once at shutdown.
#[derive(Debug, Default)]
pub(crate) struct Gate(AtomicBool);

impl Gate {
    /// Lets producers in.
    pub(crate) fn open(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Keeps producers out: what they send from now on is answered with 503.
    pub(crate) fn close(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// Whether producers are let in.
    pub(crate) fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Whether the router is ready to take traffic, and what it waits for where it isn't.
#[derive(Debug)]
pub(crate) struct Readiness(watch::Sender<Result<(), &'static str>>);

impl Readiness {
    /// Not ready, for this reason.
    pub(crate) fn waiting(reason: &'static str) -> Self {
        Self(watch::Sender::new(Err(reason)))
    }

    /// Ready, or the reason why not.
    ///
    /// # Errors
    /// The reason.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        *self.0.borrow()
    }

    /// Changes the answer.
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
