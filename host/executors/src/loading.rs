//! The plugins of an executor: fetched from the owner by digest, compiled, and kept.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;
use usher_broker::StandbyStores;
use usher_config::LiveConfig;
use usher_event::{Digest, PluginName};
use usher_runtime::{COMPONENT_MAX_BYTES, CompileBudget, Runtime, Settings, WasmListener};

use crate::VERSION;
use crate::link::Asks;
use crate::report::PluginThere;
use crate::turns::Turns;
use crate::wire::{Answered, Asked, PluginVersion, decode, encode};

/// Versions that are kept of all plugins together, ready or not.
const VERSIONS_MAX: usize = 1_024;

/// Versions that are kept of one plugin: the one that serves, the one on trial, the one before.
const OF_PLUGIN_MAX: usize = 3;

/// Bytes of an answer besides a part of a component.
const ANSWER_MAX_BYTES: usize = 64;

/// How long a part of a component may take.
const PART_TIMEOUT: Duration = Duration::from_secs(5);

/// Capabilities that read what was committed.
const READING: [&str; 2] = ["state", "blobs"];

/// A version on this node.
#[derive(Clone)]
pub(crate) enum Kept {
    /// It isn't there, or not yet.
    NotReady,
    /// It can't be had.
    Failed(String),
    /// It handles deliveries.
    Ready {
        listener: Arc<WasmListener>,
        turns: Arc<Turns>,
        /// Whether it may read state or blobs.
        reads_stores: bool,
    },
}

/// The versions of plugins on this node.
pub(crate) struct Plugins {
    runtime: Arc<Runtime>,
    config: Arc<LiveConfig>,
    stores: StandbyStores,
    /// Each with when it was used last.
    kept: Arc<Mutex<BTreeMap<PluginVersion, (Kept, Instant)>>>,
    /// One is loaded at a time.
    loading: Arc<Semaphore>,
    changed: Arc<Notify>,
}

impl Plugins {
    pub(crate) fn new(
        runtime: Arc<Runtime>,
        config: Arc<LiveConfig>,
        stores: StandbyStores,
        changed: Arc<Notify>,
    ) -> Self {
        let (kept, loading) = (Arc::default(), Arc::new(Semaphore::new(1)));
        Self { runtime, config, stores, kept, loading, changed }
    }

    pub(crate) fn get(&self, version: &PluginVersion) -> Kept {
        match lock(&self.kept).get_mut(version) {
            Some((kept, used)) => {
                *used = Instant::now();
                kept.clone()
            }
            None => Kept::NotReady,
        }
    }

    /// Notifies of changes of the configuration.
    pub(crate) fn config_changes(&self) -> watch::Receiver<u64> {
        self.config.changes()
    }

    /// Forgets all of them: their settings may have changed. Those that are asked for come back.
    pub(crate) fn forget(&self) {
        lock(&self.kept).clear();
    }

    /// What is told of them: all that is ready or has failed.
    pub(crate) fn told(&self) -> Vec<PluginThere> {
        let told = |(version, (kept, _)): (&PluginVersion, &(Kept, Instant))| {
            let problem = match kept {
                Kept::NotReady => return None,
                Kept::Failed(reason) => Some(reason.clone()),
                Kept::Ready { .. } => None,
            };
            let PluginVersion { plugin, digest, settings } = version.clone();
            Some(PluginThere { plugin, digest, settings, problem })
        };
        lock(&self.kept).iter().filter_map(told).collect()
    }

    /// What has a version ready, with the component of the node `from`; `None` if it is, or is under way.
    pub(crate) fn prepare(
        &self,
        version: PluginVersion,
        from: String,
        link: Arc<dyn Asks>,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        {
            let mut kept = lock(&self.kept);
            if kept.contains_key(&version) {
                return None;
            }
            let now = Instant::now();
            let of_plugin = |other: &PluginVersion| other.plugin == version.plugin;
            if kept.keys().filter(|other| of_plugin(other)).count() >= OF_PLUGIN_MAX {
                drop_oldest(&mut kept, of_plugin);
            }
            if kept.len() >= VERSIONS_MAX {
                drop_oldest(&mut kept, |_| true);
            }
            kept.insert(version.clone(), (Kept::NotReady, now));
        }
        let (runtime, config) = (Arc::clone(&self.runtime), Arc::clone(&self.config));
        let (stores, loading) = (self.stores.clone(), Arc::clone(&self.loading));
        let (kept, changed) = (Arc::clone(&self.kept), Arc::clone(&self.changed));
        Some(async move {
            // Never closed.
            let _loading = loading.acquire().await;
            let loaded = load(&runtime, &config, &stores, &version, &from, &*link).await;
            let PluginVersion { plugin, digest, .. } = &version;
            let outcome = match loaded {
                Ok(outcome) => {
                    tracing::info!(%plugin, %digest, owner = from, "plugin ready for the owner");
                    outcome
                }
                Err(Problem::Lasting(reason)) => {
                    tracing::warn!(%plugin, %digest, reason, "the owner's plugin can't be run here");
                    Kept::Failed(reason)
                }
                Err(Problem::Passing(reason)) => {
                    tracing::info!(%plugin, %digest, reason, "the owner's plugin can't be had now");
                    lock(&kept).remove(&version);
                    return;
                }
            };
            if let Some(there) = lock(&kept).get_mut(&version) {
                *there = (outcome, Instant::now());
            }
            changed.notify_one();
        })
    }
}

/// Why a version isn't ready.
enum Problem {
    /// It is asked for again.
    Passing(String),
    /// It stays so.
    Lasting(String),
}

async fn load(
    runtime: &Runtime,
    config: &LiveConfig,
    stores: &StandbyStores,
    version: &PluginVersion,
    from: &str,
    link: &dyn Asks,
) -> Result<Kept, Problem> {
    let PluginVersion { plugin, digest, .. } = version;
    let (config, _) = config.plugin(plugin);
    if PluginVersion::new(plugin, *digest, &config) != *version {
        let words = format!(
            "the owner, {from}, has other settings for it, or is another version of Usher than {VERSION}"
        );
        return Err(Problem::Lasting(words));
    }
    let bytes = fetch_component(link, from, plugin, *digest).await.map_err(Problem::Passing)?;
    let lasting = |reason: String| Problem::Lasting(reason);
    let file = format!("{plugin}.wasm");
    let loaded = runtime.load(bytes, &file, CompileBudget::Patient).await;
    let loaded = loaded.map_err(|error| match error.kind.is_transient() {
        true => Problem::Passing(error.to_string()),
        false => lasting(error.to_string()),
    })?;
    if loaded.description().name != *plugin {
        return Err(lasting(format!("it calls itself {}", loaded.description().name)));
    }
    let settings = Settings {
        limits: config.limits.clone(),
        grants: config.grants.clone(),
        isolation: config.isolation,
        state: stores.state(),
        blobs: stores.blobs(),
        script: None,
    };
    let reads_stores = READING.iter().any(|name| config.grants.contains(name));
    let listener = loaded.listener(settings).map_err(|error| lasting(error.to_string()))?;
    let turns = Arc::new(Turns::new(config.instances));
    Ok(Kept::Ready { listener, turns, reads_stores })
}

/// The bytes of a component that the node `from` keeps, as its digest says.
///
/// # Errors
/// In words: it can't be had now.
pub async fn fetch_component(
    link: &dyn Asks,
    from: &str,
    plugin: &PluginName,
    digest: Digest,
) -> Result<Bytes, String> {
    let mut bytes = BytesMut::new();
    let room = link.message_max_bytes().saturating_sub(ANSWER_MAX_BYTES);
    let max_bytes = u64::try_from(room).unwrap_or(u64::MAX);
    loop {
        let (plugin, offset) = (plugin.clone(), bytes.len() as u64);
        let asked = Asked::Component { plugin, digest, offset, max_bytes };
        let answer = link.ask(from, encode(&asked)?, PART_TIMEOUT).await;
        let answer = answer.map_err(|error| format!("{from} doesn't hand it out: {error}"))?;
        let (total_bytes, part) = match decode(&answer)? {
            Answered::Part { total_bytes, part } => (total_bytes, part),
            Answered::Refused(refused) => return Err(format!("{from}: {refused}")),
            _ => return Err(format!("{from} answered something else")),
        };
        if total_bytes > COMPONENT_MAX_BYTES as u64 {
            return Err(format!("{from} says that it has {total_bytes} bytes"));
        }
        bytes.extend_from_slice(&part);
        if bytes.len() as u64 >= total_bytes {
            break;
        }
        if part.is_empty() {
            return Err(format!("{from} doesn't hand out all of it"));
        }
    }
    let bytes = bytes.freeze();
    let is_it = tokio::task::spawn_blocking({
        let bytes = bytes.clone();
        move || Digest::of(&bytes) == digest
    });
    match is_it.await {
        Ok(true) => Ok(bytes),
        _ => Err(format!("what {from} hands out is another component")),
    }
}

fn drop_oldest(
    kept: &mut BTreeMap<PluginVersion, (Kept, Instant)>,
    of: impl Fn(&PluginVersion) -> bool,
) {
    let of_these = kept.iter().filter(|(version, _)| of(version));
    let oldest = of_these.min_by_key(|(_, (_, used))| *used).map(|(version, _)| version.clone());
    if let Some(version) = oldest {
        kept.remove(&version);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
