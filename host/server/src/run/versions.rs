//! The versions of plugins on a standby: it has those that the owner may have to roll back to, since it may be
//! the owner next, and has compiled them, so that none waits for that then.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use usher_broker::Log;
use usher_event::{Digest, PluginName};
use usher_executors::fetch_component;
use usher_jetstream::JetStreamJournal;
use usher_plugins::{KeptVersions, wanted_versions};
use usher_runtime::{CompileBudget, Runtime};

/// When what could not be had is asked for again.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// What a standby has versions with.
pub(super) struct Versions<'a> {
    pub(super) data: PathBuf,
    pub(super) runtime: &'a Runtime,
    pub(super) log: &'a dyn Log,
    pub(super) journal: &'a JetStreamJournal,
    /// Those that can't be compiled here.
    pub(super) refused: Mutex<BTreeSet<Digest>>,
}

impl Versions<'_> {
    /// Has them, as records change. Never returns.
    pub(super) async fn follow(self, mut changes: watch::Receiver<u64>) -> Infallible {
        loop {
            changes.mark_unchanged();
            let is_done = match self.look().await {
                Ok(is_done) => is_done,
                Err(error) => {
                    tracing::warn!(%error, "versions of plugins can't be kept here");
                    false
                }
            };
            match is_done {
                // The sender lives as long as what answers clients.
                true => drop(changes.changed().await),
                false => drop(timeout(AGAIN_AFTER, changes.changed()).await),
            }
        }
    }

    /// Gets what is missing; whether nothing is any more.
    async fn look(&self) -> anyhow::Result<bool> {
        if self.log.check().is_err() {
            return Ok(false);
        }
        let wanted = wanted_versions(self.log).await?;
        let data = self.data.clone();
        let kept = spawn_blocking(move || KeptVersions::open(&data)).await??;
        let mut is_done = true;
        for of_plugin in wanted.chunk_by(|(plugin, _), (other, _)| plugin == other) {
            for (plugin, digest) in of_plugin {
                if let Err(reason) = self.have(&kept, plugin, *digest).await {
                    tracing::debug!(%plugin, %digest, reason, "a version of a plugin can't be had now");
                    is_done = false;
                }
            }
            let (kept, of_plugin) = (kept.clone(), of_plugin.to_vec());
            spawn_blocking(move || sweep(&kept, &of_plugin)).await??;
        }
        Ok(is_done)
    }

    fn is_refused(&self, digest: &Digest) -> bool {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).contains(digest)
    }

    /// Keeps and compiles a version.
    async fn have(
        &self,
        kept: &KeptVersions,
        plugin: &PluginName,
        digest: Digest,
    ) -> Result<(), String> {
        let bytes: Bytes = match kept.path(plugin, digest) {
            Some(_) if self.runtime.is_compiled(&digest) || self.is_refused(&digest) => {
                return Ok(());
            }
            Some(path) => {
                let read = spawn_blocking(move || std::fs::read(path)).await;
                read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?.into()
            }
            None => {
                let owner = self.journal.owner().filter(|owner| owner.node != self.journal.node());
                let owner = owner.ok_or("no owner is known")?.node;
                let link = self.journal.link();
                let bytes = fetch_component(&link, &owner, plugin, digest).await?;
                let (kept, name, content) = (kept.clone(), plugin.clone(), bytes.clone());
                let written = spawn_blocking(move || kept.keep(&name, digest, &content)).await;
                written.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
                bytes
            }
        };
        if self.runtime.is_compiled(&digest) {
            return Ok(());
        }
        let file = format!("{plugin}.wasm");
        match self.runtime.load(bytes, &file, CompileBudget::Patient).await {
            Err(error) if !error.kind.is_transient() => {
                let reason = error.to_string();
                tracing::warn!(%plugin, %digest, reason, "a version of a plugin can't be run here");
                self.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(digest);
                Ok(())
            }
            loaded => loaded.map(drop).map_err(|error| error.to_string()),
        }
    }
}

/// Removes other versions of a plugin than these.
fn sweep(kept: &KeptVersions, wanted: &[(PluginName, Digest)]) -> io::Result<()> {
    let Some((plugin, _)) = wanted.first() else { return Ok(()) };
    let digests: Vec<_> = wanted.iter().map(|(_, digest)| *digest).collect();
    kept.sweep(plugin, &digests)
}
