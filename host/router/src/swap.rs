//! The serving version of a plugin, the runs still using older ones, and the outcome of a swap.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use usher_event::{Digest, Listener};

use crate::verdict::EmissionLimits;

/// Outcome of installing a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwapOutcome {
    /// The plugin wasn't served before.
    Loaded {
        /// Digest of the serving component.
        digest: Digest,
    },
    /// Replaced at a delivery boundary; deliveries in flight finish on the old version.
    Replaced {
        /// Digest of the component that served before.
        from: Digest,
        /// Digest of the serving component.
        to: Digest,
    },
    /// The same listener already serves the same subscriptions.
    Unchanged {
        /// Digest of the serving component.
        digest: Digest,
    },
}

/// A listener and the runs that use it.
pub(crate) struct Serving {
    listener: Arc<dyn Listener>,
    emissions: EmissionLimits,
    /// Each run holds a receiver; `true` tells it to abandon its current delivery.
    runs: watch::Sender<bool>,
}

/// A run's reference to a version; while it lives, the version isn't drained.
pub(crate) struct Hold {
    listener: Arc<dyn Listener>,
    emissions: EmissionLimits,
    abandon: watch::Receiver<bool>,
}

impl Serving {
    pub(crate) fn new(listener: Arc<dyn Listener>, emissions: EmissionLimits) -> Arc<Self> {
        Arc::new(Self { listener, emissions, runs: watch::Sender::new(false) })
    }

    pub(crate) fn listener(&self) -> &Arc<dyn Listener> {
        &self.listener
    }

    /// Takes a hold on this version.
    pub(crate) fn hold(&self) -> Hold {
        Hold {
            listener: Arc::clone(&self.listener),
            emissions: self.emissions,
            abandon: self.runs.subscribe(),
        }
    }

    /// Waits until no run uses this version and returns `true`. At `deadline` makes the remaining
    /// runs release their deliveries and returns `false`.
    pub(crate) async fn drain(&self, deadline: Duration) -> bool {
        if timeout(deadline, self.runs.closed()).await.is_ok() {
            return true;
        }
        self.runs.send_replace(true);
        self.runs.closed().await;
        false
    }
}

impl Hold {
    pub(crate) fn listener(&self) -> &Arc<dyn Listener> {
        &self.listener
    }

    pub(crate) fn emissions(&self) -> EmissionLimits {
        self.emissions
    }

    /// Resolves when the deliveries in flight must be released.
    pub(crate) async fn abandoned(&mut self) {
        // The drain borrows the sender while it waits for this receiver; without a sender there is
        // no drain to wait for.
        if self.abandon.wait_for(|abandon| *abandon).await.is_err() {
            std::future::pending().await
        }
    }
}

/// The serving version of a plugin; shared by all its subscriptions.
pub(crate) struct Slot(Mutex<Arc<Serving>>);

impl Slot {
    pub(crate) fn new(serving: Arc<Serving>) -> Self {
        Self(Mutex::new(serving))
    }

    /// Takes a hold on the serving version.
    pub(crate) fn hold(&self) -> Hold {
        // Subscribing under the lock: a drain that starts after `replace` sees every run.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).hold()
    }

    /// The serving version.
    pub(crate) fn present(&self) -> Arc<Serving> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the serving version and returns the old one.
    pub(crate) fn replace(&self, serving: Arc<Serving>) -> Arc<Serving> {
        std::mem::replace(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), serving)
    }
}
