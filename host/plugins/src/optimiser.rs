//! Replaces baseline code by optimised code, one plugin after the other, while no file is being loaded.
//! Until then a plugin serves with code that was compiled in less than half the time.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use usher_event::{Digest, Listener as _, PluginName};
use usher_runtime::{Runtime, WasmListener};

use super::folder::{self, Unreadable};
use super::records::PluginRecords;
use super::registry::Registry;

/// How often it is looked whether files are still being loaded.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Versions that are remembered not to be tried again.
const FAILED_MAX: usize = 1_000;

/// The task that replaces code. Cancel-safe: what isn't replaced is compiled again after the next
/// start.
pub(super) struct Optimiser {
    pub(super) runtime: Arc<Runtime>,
    pub(super) records: Arc<PluginRecords>,
    pub(super) registry: Arc<Registry>,
}

impl Optimiser {
    /// Never returns.
    pub(super) async fn run(self) -> Infallible {
        let mut failed: BTreeSet<Digest> = BTreeSet::new();
        loop {
            if !self.registry.loading().is_empty() {
                sleep(LOOK_EVERY).await;
                continue;
            }
            let Some((name, listener)) = self.registry.baseline(&failed) else {
                self.registry.served().await;
                continue;
            };
            let begun = Instant::now();
            match self.optimise(&name, &listener).await {
                Ok(()) => tracing::info!(
                    plugin = %name,
                    digest = %listener.digest(),
                    took_ms = usher_event::millis(begun.elapsed()),
                    "plugin serving with optimised code"
                ),
                Err(reason) => {
                    tracing::warn!(plugin = %name, reason, "the plugin goes on with baseline code");
                    if failed.len() >= FAILED_MAX {
                        failed.pop_first();
                    }
                    failed.insert(listener.digest());
                }
            }
        }
    }

    async fn optimise(&self, name: &PluginName, listener: &WasmListener) -> Result<(), String> {
        let kept = self.records.kept(name, listener.digest()).ok_or("its bytes are not kept")?;
        let content = folder::read_aside(kept).await.map_err(|error| match error {
            Unreadable::Changed => "its kept bytes are changing".to_owned(),
            Unreadable::Refused(reason) | Unreadable::Failed(reason) => reason,
        })?;
        let optimised = self.runtime.optimise(listener, content.bytes).await;
        optimised.map_err(|error| error.to_string())
    }
}
