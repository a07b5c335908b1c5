//! From a plugin's bytes to a listener that serves: load aside, grant and limit as configured,
//! hand to the router.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use usher_broker::Broker;
use usher_event::{Digest, PluginName};
use usher_router::{EmissionLimits, Held, Installation, Router, SwapOutcome};
use usher_runtime::{CapabilityRequest, Grants, Loaded, Runtime, Settings};

use super::books::Books;
use super::chronicle::Chronicle;
use super::folder::{self, Unreadable};
use super::refusal::Refusal;
use super::registry::{Life, Plugin};
use super::subscriptions::{Merged, merge};
use crate::app::CapabilityStatus;
use crate::config::{Config, PluginConfig};

/// Plugins loaded at once: compiling takes a core.
const LOADS_MAX: usize = 2;
/// How long one may take to load when it is compiled.
const DESCRIBE_MAX: Duration = Duration::from_secs(30);

/// Loads and installs plugins.
pub(crate) struct Installer {
    runtime: Arc<Runtime>,
    router: Arc<Router>,
    broker: Arc<dyn Broker>,
    config: Arc<Config>,
    chronicle: Arc<Chronicle>,
    loads: Arc<Semaphore>,
}

/// Why nothing was loaded.
pub(super) enum NotLoaded {
    /// The file holds something else by now.
    Changed,
    /// It is not a plugin, or not one that works.
    Refused(Refusal),
}

impl Installer {
    pub(crate) fn new(
        runtime: Arc<Runtime>,
        router: Arc<Router>,
        broker: Arc<dyn Broker>,
        config: Arc<Config>,
        chronicle: Arc<Chronicle>,
    ) -> Self {
        let loads = Arc::new(Semaphore::new(LOADS_MAX));
        Self { runtime, router, broker, config, chronicle, loads }
    }

    /// Who keeps the books on what is installed.
    pub(super) fn books(&self) -> Books {
        Books {
            router: Arc::clone(&self.router),
            broker: Arc::clone(&self.broker),
            chronicle: Arc::clone(&self.chronicle),
        }
    }

    /// Reads the file, compiles, checks and asks what it is; nothing serves yet. Waits for its turn
    /// before it reads, so that files that wait take no memory.
    ///
    /// # Errors
    /// See [`NotLoaded`].
    pub(super) async fn load(
        &self,
        path: PathBuf,
        file: &str,
        digest: Digest,
    ) -> Result<Loaded, NotLoaded> {
        // Never closed; loading without a permit would do no harm either.
        let permit = Arc::clone(&self.loads).acquire_owned().await.ok();
        let runtime = Arc::clone(&self.runtime);
        let name = file.to_owned();
        // A task of its own: whoever waits may give up, but the turn is over only when the work is.
        let loading = tokio::spawn(async move {
            let _permit = permit;
            let bytes = match folder::read_aside(path).await {
                Ok(content) if content.digest == digest => content.bytes,
                Ok(_) | Err(Unreadable::Unsettled) => return Err(NotLoaded::Changed),
                Err(Unreadable::Refused(reason) | Unreadable::Failed(reason)) => {
                    let refusal = Refusal::passing(format!("{name} {reason}"));
                    return Err(NotLoaded::Refused(refusal));
                }
            };
            runtime.load(bytes, &name).await.map_err(|error| NotLoaded::Refused(error.into()))
        });
        let load_max = Duration::from_millis(self.config.compiler.wall_ms) + DESCRIBE_MAX;
        match timeout(load_max, loading).await {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(_)) => {
                Err(NotLoaded::Refused(Refusal::passing(format!("{file} made the loader panic"))))
            }
            Err(_) => Err(NotLoaded::Refused(Refusal::passing(format!(
                "{file} took longer than {} s to load",
                load_max.as_secs()
            )))),
        }
    }

    /// Serves what was loaded, in place of the version before.
    ///
    /// # Errors
    /// What served before serves on; the text says why.
    pub(super) async fn install(
        &self,
        loaded: &Loaded,
        file: &str,
    ) -> Result<(Plugin, SwapOutcome), Refusal> {
        let description = loaded.description();
        let name = &description.name;
        let config = self.config.plugin.get(name).cloned().unwrap_or_default();
        let Merged { subscriptions, warnings } =
            merge(name, &description.subscriptions, &config, &self.config.retry)
                .map_err(Refusal::lasting)?;
        let names = subscriptions.iter().map(|one| one.name.clone()).collect();
        let emissions = emission_limits(&config);
        let PluginConfig { instances, isolation, .. } = config;
        let capabilities =
            description.capabilities.iter().map(|asked| status(asked, &config.grants)).collect();
        let settings = Settings {
            limits: config.limits,
            grants: config.grants,
            isolation,
            state: self.broker.state(),
            blobs: self.broker.blobs(),
        };
        let listener =
            loaded.listener(settings).map_err(|errors| Refusal::lasting(errors.to_string()))?;
        let record = self.chronicle.record(name);
        let held = Held {
            is_paused: record.is_paused,
            quarantine: record.quarantine.map(|kept| kept.quarantine()),
        };
        let installation = Installation {
            listener: listener.clone(),
            subscriptions,
            instances,
            emissions,
            breaker: config.breaker,
            held,
        };
        let outcome = self.router.install(installation).await?;
        let plugin = Plugin {
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
            refused: None,
        };
        Ok((plugin, outcome))
    }

    /// Stops serving a plugin.
    pub(super) async fn remove(&self, name: &PluginName) {
        self.router.remove(name).await;
    }

    /// The plugins that are configured.
    pub(super) fn configured(&self) -> impl Iterator<Item = &PluginName> {
        self.config.plugin.keys()
    }
}

fn emission_limits(config: &PluginConfig) -> EmissionLimits {
    let size = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
    EmissionLimits {
        max_count: size(config.limits.emissions),
        max_bytes: size(config.limits.emission_bytes),
    }
}

fn status(asked: &CapabilityRequest, grants: &Grants) -> CapabilityStatus {
    CapabilityStatus {
        name: asked.name.clone(),
        reason: asked.reason.clone(),
        granted: is_granted(&asked.name, grants),
        added: false,
    }
}

/// Whether a plugin that asks for this capability has it.
pub(crate) fn is_granted(capability: &str, grants: &Grants) -> bool {
    match capability {
        "config" => grants.config.is_some(),
        "secrets" => !grants.secrets.is_empty(),
        "state" => grants.state,
        "blobs" => grants.blobs,
        "http" => !grants.http.is_empty(),
        _ => false,
    }
}
