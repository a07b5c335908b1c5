//! Which plugins there are and how they stand. The keeper writes it, everyone else reads it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use usher_event::{Digest, PluginName, SubscriptionName};
use usher_router::{DispatchStatus, Router};
use usher_runtime::WasmListener;

use crate::app::{CapabilityStatus, PluginState, PluginStats, PluginStatus, Refused};

/// The plugins of a router.
pub(crate) struct Registry {
    router: Arc<Router>,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    plugins: BTreeMap<PluginName, Plugin>,
    /// Files that aren't a plugin's, by name.
    refused: BTreeMap<String, Refused>,
}

/// A plugin that was installed.
pub(super) struct Plugin {
    pub(super) name: PluginName,
    pub(super) version: String,
    pub(super) summary: String,
    pub(super) digest: Digest,
    pub(super) file: String,
    pub(super) listener: Arc<WasmListener>,
    pub(super) subscriptions: Vec<SubscriptionName>,
    pub(super) capabilities: Vec<CapabilityStatus>,
    /// Settings that have no effect.
    pub(super) warnings: Vec<String>,
    pub(super) removed: bool,
    /// The file that was to take its place.
    pub(super) refused: Option<Refused>,
}

impl Registry {
    pub(crate) fn new(router: Arc<Router>) -> Self {
        Self { router, state: RwLock::default() }
    }

    /// All plugins by name, then the files that did not become one.
    pub(crate) fn status(&self) -> Vec<PluginStatus> {
        let dispatches = self.router.status();
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let plugins = state.plugins.values().map(|plugin| plugin.status(&dispatches));
        plugins.chain(state.refused.values().cloned().map(never_loaded)).collect()
    }

    /// The plugin that a file holds, and its digest, while it serves.
    pub(super) fn served_from(&self, file: &str) -> Option<(PluginName, Digest)> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let mut plugins = state.plugins.values();
        let plugin = plugins.find(|plugin| plugin.file == file && !plugin.removed)?;
        Some((plugin.name.clone(), plugin.digest))
    }

    /// A plugin serves from its file now.
    pub(super) fn serves(&self, plugin: Plugin) {
        self.change(|state| {
            state.refused.remove(&plugin.file);
            state.plugins.insert(plugin.name.clone(), plugin);
        });
    }

    /// A plugin no longer serves; it stays on the list, for its events wait.
    pub(super) fn removed(&self, name: &PluginName) {
        self.change(|state| {
            if let Some(plugin) = state.plugins.get_mut(name) {
                plugin.removed = true;
                plugin.refused = None;
            }
        });
    }

    /// A plugin's file has another name now.
    pub(super) fn moved(&self, name: &PluginName, file: &str) {
        self.change(|state| {
            state.refused.remove(file);
            if let Some(plugin) = state.plugins.get_mut(name) {
                file.clone_into(&mut plugin.file);
                plugin.refused = None;
            }
        });
    }

    /// A file was not taken.
    pub(super) fn refuses(&self, file: &str, digest: Option<Digest>, reason: String) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let refused = Refused { file: file.to_owned(), digest, reason, time_ms };
        self.change(|state| {
            let mut plugins = state.plugins.values_mut();
            match plugins.find(|plugin| plugin.file == file && !plugin.removed) {
                Some(plugin) => plugin.refused = Some(refused),
                None => {
                    state.refused.insert(file.to_owned(), refused);
                }
            }
        });
    }

    /// What was said against a file no longer holds.
    pub(super) fn forgives(&self, file: &str) {
        self.change(|state| {
            state.refused.remove(file);
            for plugin in state.plugins.values_mut().filter(|plugin| plugin.file == file) {
                plugin.refused = None;
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Plugin {
    fn status(&self, dispatches: &[DispatchStatus]) -> PluginStatus {
        let own = || dispatches.iter().filter(|dispatch| dispatch.plugin == self.name);
        let stopped = own().find_map(|dispatch| {
            let reason = dispatch.stopped.as_ref()?;
            Some(format!("subscription {} stopped: {reason}", dispatch.subscription))
        });
        let reason = if self.removed {
            Some("its file is gone; its events wait until it is back".to_owned())
        } else {
            let warnings = (!self.warnings.is_empty()).then(|| self.warnings.join("; "));
            stopped.or(warnings)
        };
        let stats = self.listener.stats();
        let handle_time: std::time::Duration = own().map(|dispatch| dispatch.handle_time).sum();
        PluginStatus {
            name: Some(self.name.clone()),
            version: Some(self.version.clone()),
            summary: Some(self.summary.clone()),
            digest: Some(self.digest),
            file: self.file.clone(),
            state: if self.removed { PluginState::Removed } else { PluginState::Serving },
            reason,
            refused: self.refused.clone(),
            subscriptions: self.subscriptions.clone(),
            capabilities: self.capabilities.clone(),
            stats: PluginStats {
                handled: own().map(|dispatch| dispatch.handled).sum(),
                failed: own().flat_map(|dispatch| &dispatch.failed).fold(
                    BTreeMap::new(),
                    |mut failed, (class, count)| {
                        *failed.entry(class.as_str()).or_default() += count;
                        failed
                    },
                ),
                denied: stats.denied.values().sum(),
                handle_time_us: u64::try_from(handle_time.as_micros()).unwrap_or(u64::MAX),
                instances: stats.instances_idle,
            },
        }
    }
}

fn never_loaded(refused: Refused) -> PluginStatus {
    PluginStatus {
        name: None,
        version: None,
        summary: None,
        digest: refused.digest,
        file: refused.file.clone(),
        state: PluginState::Refused,
        reason: Some(refused.reason.clone()),
        refused: Some(refused),
        subscriptions: Vec::new(),
        capabilities: Vec::new(),
        stats: PluginStats::default(),
    }
}
