//! Which version of a plugin serves, who is still using an older one, and how a change ended.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use usher_event::{Digest, Listener};

use crate::verdict::EmissionLimits;

/// What installing a listener did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwapOutcome {
    /// Nothing of this name served before; now it does.
    Loaded {
        /// The bytes that serve.
        digest: Digest,
    },
    /// It took over at a delivery boundary; deliveries under way end on the version before.
    Replaced {
        /// The bytes that served.
        from: Digest,
        /// The bytes that serve.
        to: Digest,
    },
    /// The same listener with the same subscriptions serves already.
    Unchanged {
        /// The bytes that serve.
        digest: Digest,
    },
}

/// A listener and the runs that use it.
pub(crate) struct Serving {
    listener: Arc<dyn Listener>,
    emissions: EmissionLimits,
    /// Each run holds a receiver; `true` tells them to abandon what is under way.
    runs: watch::Sender<bool>,
}

/// A run's hold on a version: while it lives the version isn't drained.
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

    /// Holds it.
    pub(crate) fn hold(&self) -> Hold {
        Hold {
            listener: Arc::clone(&self.listener),
            emissions: self.emissions,
            abandon: self.runs.subscribe(),
        }
    }

    /// Waits until no run uses it, then answers `true`; when `deadline` passes first, makes the
    /// rest give their deliveries back and answers `false`.
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

    /// Returns once the deliveries under way must be given back.
    pub(crate) async fn abandoned(&mut self) {
        // The sender can't be gone while the drain waits for this very receiver; if it ever were,
        // nobody would wait for the run either.
        if self.abandon.wait_for(|abandon| *abandon).await.is_err() {
            std::future::pending().await
        }
    }
}

/// The place that says which version of a plugin serves now; shared by all its subscriptions.
pub(crate) struct Slot(Mutex<Arc<Serving>>);

impl Slot {
    pub(crate) fn new(serving: Arc<Serving>) -> Self {
        Self(Mutex::new(serving))
    }

    /// Holds the present version for a run.
    pub(crate) fn hold(&self) -> Hold {
        // Subscribing under the lock: a drain that starts after `replace` sees every run.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).hold()
    }

    /// The present version.
    pub(crate) fn present(&self) -> Arc<Serving> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a version in place and answers the one before.
    pub(crate) fn replace(&self, serving: Arc<Serving>) -> Arc<Serving> {
        std::mem::replace(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), serving)
    }
}
