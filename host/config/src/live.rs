//! The part of the configuration that is reloadable at run time: `[plugin.*]`, `[sink.*]`,
//! `[retry]` and `[token.*]`.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;
use usher_broker::RetryPolicy;
use usher_event::PluginName;

use super::{Config, PluginConfig};

/// The configuration in effect.
pub struct LiveConfig {
    now: RwLock<Arc<Config>>,
    changes: watch::Sender<u64>,
}

/// Result of adopting a reloaded configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// Whether the configuration in effect changed.
    pub is_new: bool,
    /// Whether there are changes that only a restart applies.
    pub needs_restart: bool,
}

impl LiveConfig {
    /// Starts with the configuration that the router started with.
    pub fn new(config: Arc<Config>) -> Self {
        Self { now: RwLock::new(config), changes: watch::Sender::new(0) }
    }

    /// Returns the configuration in effect.
    pub fn now(&self) -> Arc<Config> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notifies when the configuration in effect changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Returns one plugin's configuration and the default retry policy.
    pub fn plugin(&self, name: &PluginName) -> (Arc<PluginConfig>, RetryPolicy) {
        let now = self.now();
        (now.plugin.get(name).cloned().unwrap_or_default(), now.retry.clone())
    }

    /// Applies the reloadable part of `other`; no-op if that is unchanged.
    pub fn adopt(&self, other: Config) -> Adopted {
        let now = self.now();
        let Config { plugin, retry, sinks, tokens, .. } = other.clone();
        let next = Config { plugin, retry, sinks, tokens, ..(*now).clone() };
        let adopted = Adopted { is_new: next != *now, needs_restart: next != other };
        if adopted.is_new {
            *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
            self.changes.send_modify(|count| *count += 1);
        }
        adopted
    }
}
