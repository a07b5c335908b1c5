//! Installs plugins: loads their bytes beside the running version, applies grants and limits, and
//! hands the listener to the router.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;
use usher_broker::{Broker, Clock as _, SystemClock};
use usher_event::{Digest, PluginName};
use usher_executors::{Nodes, Spread};
use usher_router::{EmissionLimits, Installation, RestoredState, Router, Standing, SwapOutcome};
use usher_runtime::{
    CapabilityRequest, CompileError, Description, Grants, LoadError, LoadErrorKind, Loaded,
    Runtime, Settings, capabilities,
};

use super::folder::{self, Unreadable};
use super::load_classes::{BytesPermit, LoadClass, LoadLimits};
use super::optimiser::Optimiser;
use super::outcome::{HistoryEntry, Outcome};
use super::recorder::Recorder;
use super::records::{PluginRecords, Record, Rollback};
use super::refusal::Refusal;
use super::refusal_cache::RefusalCache;
use super::registry::{Configured, Entry, Life, Registry};
use super::subscriptions::{Merged, merge};
use usher_api::Capability;
use usher_config::{LiveConfig, PluginConfig};

/// Time limit on a load, in addition to compiling.
const DESCRIBE_MAX: Duration = Duration::from_secs(30);

/// Loads and installs plugins.
pub struct Installer {
    runtime: Arc<Runtime>,
    router: Arc<Router>,
    broker: Arc<dyn Broker>,
    config: Arc<LiveConfig>,
    records: Arc<PluginRecords>,
    refusal_cache: Arc<RefusalCache>,
    load_limits: LoadLimits,
    is_development: bool,
    /// Who else handles deliveries.
    nodes: Option<Arc<Nodes>>,
}

/// A loaded version that does not serve yet.
pub(super) struct LoadedVersion {
    pub(super) loaded: Loaded,
    bytes: Bytes,
    /// The permit to hold the bytes.
    _room: Option<OwnedSemaphorePermit>,
}

/// Why nothing was loaded.
pub(super) enum NotLoaded {
    /// The file's content has changed.
    Changed,
    /// Compiling exceeded a quick attempt.
    SlowCompile,
    /// The file was refused.
    Refused(Refusal),
}

impl Installer {
    /// Loads with `runtime` and installs into `router`, as `config` says at that moment.
    pub fn new(
        runtime: Arc<Runtime>,
        router: Arc<Router>,
        broker: Arc<dyn Broker>,
        config: Arc<LiveConfig>,
        records: Arc<PluginRecords>,
        refusal_cache: Arc<RefusalCache>,
    ) -> Self {
        Self {
            runtime,
            router,
            broker,
            config,
            records,
            refusal_cache,
            load_limits: LoadLimits::new(),
            is_development: false,
            nodes: None,
        }
    }

    /// The class in which a file is loaded.
    pub(super) fn class_of(&self, digest: &Digest, size_bytes: u64) -> LoadClass {
        LoadClass::of(self.runtime.is_compiled(digest), size_bytes)
    }

    /// A permit to hold a file's bytes; see [`LoadLimits::room`].
    pub(super) fn room(&self, class: LoadClass) -> BytesPermit {
        self.load_limits.room(class)
    }

    /// Why a file with these bytes was refused before, if that is still valid.
    pub(super) fn refused_before(&self, file: &str, digest: &Digest) -> Option<String> {
        self.refusal_cache.reason(digest).map(|reason| format!("{file}: {reason}"))
    }

    /// The task that persists and publishes what the router decides.
    pub(super) fn recorder(&self) -> Recorder {
        Recorder {
            router: Arc::clone(&self.router),
            broker: self.broker.clone(),
            records: Arc::clone(&self.records),
        }
    }

    /// The task that replaces the code of plugins in `registry`.
    pub(super) fn optimiser(&self, registry: Arc<Registry>) -> Optimiser {
        Optimiser {
            runtime: Arc::clone(&self.runtime),
            records: Arc::clone(&self.records),
            registry,
        }
    }

    /// Reads, compiles, validates and describes a file; nothing serves yet. Waits for its permits
    /// before it reads, so that queued files take no memory.
    ///
    /// # Errors
    /// See [`NotLoaded`].
    pub(super) async fn load(
        &self,
        path: PathBuf,
        file: &str,
        digest: Digest,
        class: LoadClass,
        room: BytesPermit,
    ) -> Result<LoadedVersion, NotLoaded> {
        let room = room.await;
        let (loaded, bytes) = self.load_now(path, file, digest, class).await?;
        Ok(LoadedVersion { loaded, bytes, _room: room })
    }

    /// Like [`Installer::load`], for an installation in progress, which must not wait for others.
    async fn load_now(
        &self,
        path: PathBuf,
        file: &str,
        digest: Digest,
        class: LoadClass,
    ) -> Result<(Loaded, Bytes), NotLoaded> {
        let turn = self.load_limits.acquire(class).await;
        let (runtime, refusal_cache) = (Arc::clone(&self.runtime), Arc::clone(&self.refusal_cache));
        let name = file.to_owned();
        // A separate task: the caller may time out, but the permit is held until the work ends.
        let loading = tokio::spawn(async move {
            let _turn = turn;
            let bytes = match folder::read_aside(path).await {
                Ok(content) if content.digest == digest => content.bytes,
                Ok(_) | Err(Unreadable::Changed) => return Err(NotLoaded::Changed),
                Err(Unreadable::Refused(reason) | Unreadable::Failed(reason)) => {
                    let refusal = Refusal::transient(format!("{name} {reason}"));
                    return Err(NotLoaded::Refused(refusal));
                }
            };
            match runtime.load_quickly(bytes.clone(), &name, class.attempt()).await {
                Ok(loaded) => Ok((loaded, bytes)),
                Err(LoadError { kind: LoadErrorKind::Compile(CompileError::NotQuick), .. }) => {
                    Err(NotLoaded::SlowCompile)
                }
                Err(error) => {
                    let reason = error.kind.to_string();
                    let refusal = Refusal::from(error);
                    if refusal.is_costly {
                        let remember = move || refusal_cache.remember(digest, &reason);
                        // Logs its own failures.
                        let _ = tokio::task::spawn_blocking(remember).await;
                    }
                    Err(NotLoaded::Refused(refusal))
                }
            }
        });
        let load_max = Duration::from_millis(self.config.now().compiler.wall_ms) + DESCRIBE_MAX;
        match timeout(load_max, loading).await {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(_)) => {
                Err(NotLoaded::Refused(Refusal::transient(format!("{file} made the loader panic"))))
            }
            Err(_) => Err(NotLoaded::Refused(Refusal::transient(format!(
                "{file} took longer than {} s to load",
                load_max.as_secs()
            )))),
        }
    }

    /// Replaces the previous version with a loaded one, on trial if it can be rolled back.
    ///
    /// # Errors
    /// The version was refused; the previous one keeps serving.
    pub(super) async fn install(
        &self,
        fresh: &LoadedVersion,
        file: &str,
    ) -> Result<(Entry, SwapOutcome), Refusal> {
        let LoadedVersion { loaded, bytes, .. } = fresh;
        let name = &loaded.description().name;
        let before = self.restore_baseline(name, loaded.digest(), file).await;
        let can_go_back = self.router.standings().get(name).is_some_and(|standing| {
            let good = standing.last_good.or(standing.digest);
            good.is_some_and(|good| self.records.kept(name, good).is_some())
        });
        let (plugin, outcome) = self.serve(loaded, file, can_go_back).await?;
        let outcome = match (before, outcome) {
            // The previous version was only brought back to be there for the trial.
            (Some(_), SwapOutcome::Replaced { to, .. }) => SwapOutcome::Loaded { digest: to },
            (_, outcome) => outcome,
        };
        let (version, digest) = (plugin.version.clone(), plugin.digest);
        let past = match outcome {
            SwapOutcome::Unchanged { .. } => Outcome::Unchanged,
            SwapOutcome::Loaded { .. } | SwapOutcome::Replaced { .. } => Outcome::Loaded,
        };
        self.past(name, Some(digest), Some(version), past, |record| record.off = None).await;
        if let Err(error) = self.records.keep(name, digest, bytes.clone()).await {
            tracing::warn!(
                plugin = %name,
                %digest,
                %error,
                "this version can't be kept: the next one can't be rolled back to it"
            );
        }
        Ok((plugin, outcome))
    }

    /// Serves the version that was good when the router stopped if its file holds another one now.
    /// A version that appears while the router is down thus goes on trial as in a hot swap.
    async fn restore_baseline(
        &self,
        name: &PluginName,
        digest: Digest,
        file: &str,
    ) -> Option<Digest> {
        if self.router.standings().contains_key(name) {
            return None;
        }
        let record = self.records.record(name);
        let good = record.good.filter(|good| *good != digest)?;
        // What an operator has removed stays removed.
        if record.history.back().is_some_and(|past| past.outcome == Outcome::Removed) {
            return None;
        }
        self.install_stored(name, good, file).await.ok()?;
        Some(good)
    }

    /// Serves a version from its stored bytes.
    ///
    /// # Errors
    /// The version was refused; what serves keeps serving.
    pub(super) async fn install_stored(
        &self,
        name: &PluginName,
        digest: Digest,
        file: &str,
    ) -> Result<Entry, Refusal> {
        let kept = self.records.kept(name, digest).ok_or_else(|| {
            Refusal::transient(format!("the bytes of {} were not kept", digest.short()))
        })?;
        // It has served before, so its code is most likely still cached.
        let mut class = self.class_of(&digest, 0);
        let loaded = loop {
            match self.load_now(kept.clone(), file, digest, class).await {
                Ok((loaded, _)) => break loaded,
                Err(NotLoaded::SlowCompile) => class = LoadClass::Long,
                Err(NotLoaded::Refused(refusal)) => return Err(refusal),
                Err(NotLoaded::Changed) => {
                    let what = format!("the bytes kept of {} are damaged", digest.short());
                    return Err(Refusal::transient(what));
                }
            }
        };
        self.serve(&loaded, file, false).await.map(|(plugin, _)| plugin)
    }

    /// Appends to a plugin's history and applies `change` to its record. A failed write is logged
    /// and does not undo the outcome.
    pub(super) async fn past(
        &self,
        name: &PluginName,
        digest: Option<Digest>,
        version: Option<String>,
        outcome: Outcome,
        change: impl FnOnce(&mut Record),
    ) {
        let past = HistoryEntry { time_ms: SystemClock.now_ms(), digest, version, outcome };
        let written = self.records.change(name, |record| {
            change(record);
            record.past(past);
        });
        if let Err(error) = written.await {
            tracing::error!(plugin = %name, %error, "the history of a plugin can't be written");
        }
    }

    /// The persistent record of a plugin.
    pub(super) fn record(&self, name: &PluginName) -> Record {
        self.records.record(name)
    }

    /// The plugin of which this version is disabled, and the rollback that disabled it.
    pub(super) fn disabled_by(&self, digest: &Digest) -> Option<(PluginName, Rollback)> {
        self.records.disabled_by(digest)
    }

    /// What holds deliveries back, by plugin.
    pub(super) fn standings(&self) -> BTreeMap<PluginName, Standing> {
        self.router.standings()
    }

    /// For an author: grants each plugin what it asks for, where that takes no setting, and has no
    /// version on trial, so that what fails is seen to fail.
    #[must_use]
    pub fn for_development(self) -> Self {
        Self { is_development: true, ..self }
    }

    /// Has other nodes handle deliveries, too.
    #[must_use]
    pub fn with_nodes(self, nodes: Arc<Nodes>) -> Self {
        Self { nodes: Some(nodes), ..self }
    }

    /// See [`Installer::for_development`].
    pub(super) fn is_for_development(&self) -> bool {
        self.is_development
    }

    /// Notifies when [`Installer::standings`] has to be checked.
    pub(super) fn notices(&self) -> watch::Receiver<u64> {
        self.router.notices()
    }

    async fn serve(
        &self,
        loaded: &Loaded,
        file: &str,
        is_on_trial: bool,
    ) -> Result<(Entry, SwapOutcome), Refusal> {
        let description = loaded.description();
        let name = &description.name;
        if self.config.now().sinks.contains_key(name) {
            let what = format!("[sink.{name}] in the configuration has the same name");
            return Err(Refusal::transient(what));
        }
        let configured = self.config.plugin(name);
        let (config, retry) = configured.clone();
        let Merged { subscriptions, warnings } =
            merge(name, &description.subscriptions, &config, &retry).map_err(Refusal::permanent)?;
        let names = subscriptions.iter().map(|one| one.name.clone()).collect();
        let emissions = emission_limits(&config.limits);
        let PluginConfig { instances, isolation, .. } = *config;
        let grants = match self.is_development {
            true => with_asked(config.grants.clone(), description),
            false => config.grants.clone(),
        };
        let capabilities =
            description.capabilities.iter().map(|asked| status(asked, &grants)).collect();
        let settings = Settings {
            limits: config.limits.clone(),
            grants,
            isolation,
            state: self.broker.state(),
            blobs: self.broker.blobs(),
            script: None,
        };
        let listener =
            loaded.listener(settings).map_err(|errors| Refusal::permanent(errors.to_string()))?;
        let record = self.records.record(name);
        let held = RestoredState {
            is_paused: record.is_paused,
            acked: record.acked,
            quarantine: record.quarantine.map(|kept| kept.quarantine()),
        };
        let installation = Installation {
            listener: match &self.nodes {
                Some(nodes) => Arc::new(Spread::new(listener.clone(), &config, Arc::clone(nodes))),
                None => listener.clone(),
            },
            subscriptions,
            instances,
            emissions,
            breaker: config.breaker,
            trial: config.trial.filter(|_| is_on_trial && !self.is_development),
            held,
        };
        let outcome = self.router.install(installation).await?;
        let plugin = Entry {
            name: name.clone(),
            version: description.version.clone(),
            summary: description.summary.clone(),
            digest: loaded.digest(),
            file: file.to_owned(),
            isolation,
            life: Life::Serving(listener),
            subscriptions: names,
            capabilities,
            warnings,
            configured,
            refused: None,
        };
        Ok((plugin, outcome))
    }

    /// Stops serving a plugin.
    pub(super) async fn remove(&self, name: &PluginName) {
        self.router.remove(name).await;
    }

    /// Plugins named in the current configuration.
    pub(super) fn configured(&self) -> Vec<PluginName> {
        self.config.now().plugin.keys().cloned().collect()
    }

    /// The current configuration of a plugin.
    pub(super) fn config_of(&self, name: &PluginName) -> Configured {
        self.config.plugin(name)
    }

    /// Notifies of changes of the configuration.
    pub(super) fn config_changes(&self) -> watch::Receiver<u64> {
        self.config.changes()
    }
}

/// Limits on a plugin's emissions, for whoever judges its deliveries.
pub fn emission_limits(limits: &usher_runtime::Limits) -> EmissionLimits {
    let size = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
    EmissionLimits {
        max_count: size(limits.emissions),
        max_bytes: size(limits.emission_bytes),
        max_delayed: size(limits.delayed_emissions),
    }
}

/// Grants with what a plugin asks for besides, where it takes no setting: of HTTP, without an address,
/// what stands in for servers.
fn with_asked(grants: Grants, description: &Description) -> Grants {
    let others = [Some("http"), Some("config")];
    let grantable = || capabilities().filter(|about| about.is_flag || others.contains(&about.name));
    description.capabilities.iter().fold(grants, |grants, asked| {
        let name = grantable().filter_map(|about| about.name).find(|name| *name == asked.name);
        match name.filter(|name| !grants.contains(name)) {
            // What isn't set isn't there; the plugin has a default, or says so.
            Some("config") => grants.with_config(BTreeMap::new()),
            Some(name) => {
                tracing::info!(
                    plugin = %description.name,
                    grant = name,
                    "granted here, since the plugin asks for it; a router's usher.toml has to grant it"
                );
                grants.allowing(name)
            }
            None => grants,
        }
    })
}

fn status(asked: &CapabilityRequest, grants: &Grants) -> Capability {
    Capability {
        name: asked.name.clone(),
        reason: asked.reason.clone(),
        granted: grants.contains(&asked.name),
        added: false,
    }
}
