//! What of the configuration may change while the router runs: `[plugin.*]` and `[retry]`.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;
use usher_broker::RetryPolicy;
use usher_event::PluginName;

use super::{Config, PluginConfig};

/// The configuration in force.
pub(crate) struct LiveConfig {
    now: RwLock<Arc<Config>>,
    changes: watch::Sender<u64>,
}

/// What a configuration that was read anew means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Adopted {
    /// Whether something is in force now that was not before.
    pub(crate) is_new: bool,
    /// Whether something else has changed, which takes a restart.
    pub(crate) needs_restart: bool,
}

impl LiveConfig {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Self { now: RwLock::new(config), changes: watch::Sender::new(0) }
    }

    /// What is in force.
    pub(crate) fn now(&self) -> Arc<Config> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes when something else is in force.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// What is in force for one plugin: its own table, and the retries of what has none.
    pub(crate) fn plugin(&self, name: &PluginName) -> (PluginConfig, RetryPolicy) {
        let now = self.now();
        (now.plugin.get(name).cloned().unwrap_or_default(), now.retry.clone())
    }

    /// Puts in force what of another configuration may change.
    pub(crate) fn adopt(&self, other: Config) -> Adopted {
        let now = self.now();
        let Config { plugin, retry, .. } = other.clone();
        let next = Config { plugin, retry, ..(*now).clone() };
        let adopted = Adopted { is_new: next != *now, needs_restart: next != other };
        if adopted.is_new {
            *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
            self.changes.send_modify(|count| *count += 1);
        }
        adopted
    }
}
