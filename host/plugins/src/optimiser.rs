//! Replaces baseline code by optimised code, one plugin after the other, while no file is being loaded.
//! Until then a plugin serves with code that was compiled in less than half the time.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;
use usher_event::PluginName;
use usher_runtime::{Loaded, Runtime};

use super::folder::{self, Unreadable};
use super::records::PluginRecords;
use super::registry::Registry;

/// How often it is looked whether files are still being loaded.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Plugins that serve with baseline code.
#[derive(Default)]
pub(super) struct Waiting {
    plugins: Mutex<BTreeMap<PluginName, Loaded>>,
    added: Notify,
}

impl Waiting {
    /// Adds a version that serves, in place of the plugin's earlier one, unless its code is optimised.
    pub(super) fn add(&self, loaded: &Loaded) {
        let name = loaded.description().name.clone();
        let mut plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.is_optimised() {
            plugins.remove(&name);
        } else {
            plugins.insert(name, loaded.clone());
            self.added.notify_one();
        }
    }

    async fn next(&self) -> (PluginName, Loaded) {
        loop {
            let first = self.plugins.lock().unwrap_or_else(PoisonError::into_inner).pop_first();
            match first {
                Some(first) => return first,
                None => self.added.notified().await,
            }
        }
    }
}

/// The task that replaces code. Cancel-safe: what isn't replaced is compiled again after the next
/// start.
pub(super) struct Optimiser {
    pub(super) waiting: Arc<Waiting>,
    pub(super) runtime: Arc<Runtime>,
    pub(super) records: Arc<PluginRecords>,
    pub(super) registry: Arc<Registry>,
}

impl Optimiser {
    /// Never returns.
    pub(super) async fn run(self) -> Infallible {
        loop {
            let (name, loaded) = self.waiting.next().await;
            while !self.registry.loading().is_empty() {
                sleep(LOOK_EVERY).await;
            }
            // Replaced or removed meanwhile.
            if self.registry.digest_of(&name) != Some(loaded.digest()) {
                continue;
            }
            let begun = Instant::now();
            match self.optimise(&name, &loaded).await {
                Ok(()) => tracing::info!(
                    plugin = %name,
                    digest = %loaded.digest(),
                    took_ms = usher_event::millis(begun.elapsed()),
                    "plugin serving with optimised code"
                ),
                Err(reason) => {
                    tracing::warn!(plugin = %name, reason, "the plugin goes on with baseline code");
                }
            }
        }
    }

    async fn optimise(&self, name: &PluginName, loaded: &Loaded) -> Result<(), String> {
        let kept = self.records.kept(name, loaded.digest()).ok_or("its bytes are not kept")?;
        let content = folder::read_aside(kept).await.map_err(|error| match error {
            Unreadable::Changed => "its kept bytes are changing".to_owned(),
            Unreadable::Refused(reason) | Unreadable::Failed(reason) => reason,
        })?;
        let optimised = self.runtime.optimise(loaded, content.bytes).await;
        optimised.map_err(|error| error.to_string())
    }
}
