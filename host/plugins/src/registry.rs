//! Installed plugins, refused files, and their status. Only the reconciler writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use usher_api::{
    self as api, Breaker, Capability, Loading, PluginState, PluginStats, Refused, Timestamp,
};
use usher_broker::{Clock as _, RetryPolicy, SystemClock};
use usher_event::{Digest, PluginName, SubscriptionName};
use usher_router::{DispatchStatus, Quarantine, Router, Standing};
use usher_runtime::{Isolation, LimitUse, WasmListener};

use usher_config::PluginConfig;

/// The plugins of a router.
pub struct Registry {
    router: Arc<Router>,
    state: RwLock<Contents>,
    /// Notifies when a version serves that did not.
    served: Notify,
}

#[derive(Default)]
struct Contents {
    plugins: BTreeMap<PluginName, Entry>,
    /// Refused files from which no plugin serves, by name.
    refused: BTreeMap<String, Refused>,
    /// Files that are being loaded, by name.
    loading: BTreeMap<String, Loading>,
}

/// A plugin's configuration, and the retry policy of subscriptions without one.
pub(super) type Configured = (Arc<PluginConfig>, RetryPolicy);

/// A plugin that was installed.
pub(super) struct Entry {
    pub(super) name: PluginName,
    pub(super) version: String,
    pub(super) summary: String,
    pub(super) digest: Digest,
    pub(super) file: String,
    pub(super) isolation: Isolation,
    pub(super) life: Life,
    pub(super) subscriptions: Vec<SubscriptionName>,
    pub(super) capabilities: Vec<Capability>,
    /// Settings that have no effect.
    pub(super) warnings: Vec<String>,
    /// The configuration it was installed with.
    pub(super) configured: Configured,
    /// The refusal of the file that was to replace it.
    pub(super) refused: Option<Refused>,
}

/// Whether a plugin serves.
pub(super) enum Life {
    /// Serves, with this listener.
    Serving(Arc<WasmListener>),
    /// Removed, with its final counters. Code and instances are dropped, since it may never come
    /// back.
    Removed(PluginStats),
}

impl Registry {
    /// No plugins yet; what they have done is read from `router`.
    pub fn new(router: Arc<Router>) -> Self {
        Self { router, state: RwLock::default(), served: Notify::new() }
    }

    /// All plugins by name, then the refused files.
    pub fn status(&self) -> Vec<api::Plugin> {
        let dispatches = self.router.status();
        let standings = self.router.standings();
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let plugins = state
            .plugins
            .values()
            .map(|plugin| plugin.status(&dispatches, standings.get(&plugin.name)));
        plugins.chain(state.refused.values().cloned().map(never_loaded)).collect()
    }

    /// Files that are being loaded, by name.
    pub fn loading(&self) -> Vec<Loading> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.loading.values().cloned().collect()
    }

    /// The plugin that serves from `file`, and its digest.
    pub(super) fn served_from(&self, file: &str) -> Option<(PluginName, Digest)> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let mut plugins = state.plugins.values();
        let plugin = plugins.find(|plugin| plugin.file == file && plugin.serves())?;
        Some((plugin.name.clone(), plugin.digest))
    }

    /// Returns once a version serves that did not at the last call.
    pub(super) async fn served(&self) {
        self.served.notified().await;
    }

    /// The first plugin that serves with baseline code, but for some versions.
    pub(super) fn baseline(
        &self,
        except: &BTreeSet<Digest>,
    ) -> Option<(PluginName, Arc<WasmListener>)> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.plugins.values().find_map(|plugin| match &plugin.life {
            Life::Serving(listener)
                if !listener.is_optimised() && !except.contains(&plugin.digest) =>
            {
                Some((plugin.name.clone(), Arc::clone(listener)))
            }
            Life::Serving(_) | Life::Removed(_) => None,
        })
    }

    /// The file that a plugin serves from, if it serves.
    pub(super) fn file_of(&self, name: &PluginName) -> Option<String> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let plugin = state.plugins.get(name).filter(|plugin| plugin.serves())?;
        Some(plugin.file.clone())
    }

    /// What a plugin's deliveries are given whatever the event, if it serves.
    pub fn settings(&self, name: &PluginName) -> Option<api::PluginSettings> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let plugin = state.plugins.get(name)?;
        let Life::Serving(listener) = &plugin.life else { return None };
        Some(api::PluginSettings {
            name: name.clone(),
            version: plugin.version.clone(),
            digest: plugin.digest,
            given: listener.given().clone(),
        })
    }

    /// The refusal of the file that was to replace a plugin.
    pub(super) fn refused_of(&self, name: &PluginName) -> Option<Refused> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.plugins.get(name).and_then(|plugin| plugin.refused.clone())
    }

    /// Serving plugins, each with its digest, its file and the configuration it was installed with.
    pub(super) fn installed(&self) -> Vec<(PluginName, Digest, String, Configured)> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let serving = state.plugins.values().filter(|plugin| plugin.serves());
        serving
            .map(|plugin| {
                let Entry { name, digest, file, configured, .. } = plugin;
                (name.clone(), *digest, file.clone(), configured.clone())
            })
            .collect()
    }

    /// The digest that a plugin serves, or served last.
    pub(super) fn digest_of(&self, name: &PluginName) -> Option<Digest> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.plugins.get(name).map(|plugin| plugin.digest)
    }

    /// Plugins that serve `digest`, by name, each with its file.
    pub(super) fn serving(&self, digest: &Digest) -> Vec<(PluginName, String)> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let plugins = state.plugins.values();
        plugins
            .filter(|plugin| plugin.digest == *digest && plugin.serves())
            .map(|plugin| (plugin.name.clone(), plugin.file.clone()))
            .collect()
    }

    /// Why a file is refused, if it still is.
    pub(super) fn refusal_of(&self, file: &str) -> Option<String> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let mut of_plugins = state.plugins.values().filter_map(|plugin| plugin.refused.as_ref());
        let refused = state.refused.get(file);
        let refused = refused.or_else(|| of_plugins.find(|refused| refused.file == file))?;
        Some(refused.reason.clone())
    }

    /// Records that a file is being loaded; in a second attempt the first one's time stays.
    pub(super) fn set_loading(&self, file: &str, digest: Digest) {
        let since = Timestamp::from_ms(SystemClock.now_ms());
        let loading = || Loading { file: file.to_owned(), digest, since };
        self.change(|state| {
            state.loading.entry(file.to_owned()).or_insert_with(loading).digest = digest;
        });
    }

    /// Records that a file is loaded or refused.
    pub(super) fn clear_loading(&self, file: &str) {
        self.change(|state| drop(state.loading.remove(file)));
    }

    /// Records that a plugin serves from its file.
    pub(super) fn set_serving(&self, mut plugin: Entry) {
        self.change(|state| {
            state.refused.remove(&plugin.file);
            if let Some(before) = state.plugins.get(&plugin.name) {
                plugin.note_added(before);
            }
            let file = plugin.file.clone();
            let before = state.plugins.insert(plugin.name.clone(), plugin);
            // A refusal of the file that had the name before stays valid.
            if let Some(refused) = before.and_then(|before| before.refused)
                && refused.file != file
            {
                state.refused.insert(refused.file.clone(), refused);
            }
        });
        self.served.notify_one();
    }

    /// Records that a plugin no longer serves. It stays listed, since its events wait.
    pub(super) fn set_removed(&self, name: &PluginName) {
        let dispatches = self.router.status();
        self.change(|state| {
            if let Some(plugin) = state.plugins.get_mut(name) {
                let stats =
                    PluginStats { instances: 0, memory_bytes: 0, ..plugin.stats(&dispatches) };
                plugin.life = Life::Removed(stats);
                plugin.refused = None;
            }
        });
    }

    /// Records that a plugin's file was renamed to `file`.
    pub(super) fn set_file(&self, name: &PluginName, file: &str) {
        self.change(|state| {
            state.refused.remove(file);
            if let Some(plugin) = state.plugins.get_mut(name) {
                file.clone_into(&mut plugin.file);
                plugin.refused = None;
            }
        });
    }

    /// Records that a file was refused.
    pub(super) fn set_refused(&self, file: &str, digest: Option<Digest>, reason: String) {
        let time = Timestamp::from_ms(SystemClock.now_ms());
        let refused = Refused { file: file.to_owned(), digest, reason, time };
        self.change(|state| {
            let mut plugins = state.plugins.values_mut();
            match plugins.find(|plugin| plugin.file == file && plugin.serves()) {
                Some(plugin) => plugin.refused = Some(refused),
                None => {
                    state.refused.insert(file.to_owned(), refused);
                }
            }
        });
    }

    /// Clears the refusal of a file.
    pub(super) fn clear_refusal(&self, file: &str) {
        self.change(|state| {
            state.refused.remove(file);
            for plugin in state.plugins.values_mut().filter(|plugin| plugin.file == file) {
                plugin.refused = None;
            }
        });
    }

    /// Capabilities that a plugin requests and its previous version did not.
    pub(super) fn added(&self, name: &PluginName) -> Vec<Capability> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let asked = state.plugins.get(name).map(|plugin| plugin.capabilities.iter());
        asked.into_iter().flatten().filter(|asked| asked.added).cloned().collect()
    }

    /// Weak reference to the listener of a serving plugin.
    #[cfg(test)]
    pub(super) fn listener_of(&self, name: &PluginName) -> std::sync::Weak<WasmListener> {
        match &self.state.read().unwrap().plugins[name].life {
            Life::Serving(listener) => Arc::downgrade(listener),
            Life::Removed(_) => std::sync::Weak::new(),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Contents)) {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Entry {
    fn serves(&self) -> bool {
        matches!(self.life, Life::Serving(_))
    }

    fn status(&self, dispatches: &[DispatchStatus], standing: Option<&Standing>) -> api::Plugin {
        let held = standing.and_then(|standing| held(&self.name, standing));
        let open = standing.and_then(|standing| standing.open.as_ref());
        let (state, reason) = match &self.life {
            Life::Removed(_) => {
                let reason = "its file is gone; its events wait until it is back";
                (PluginState::Removed, Some(reason.to_owned()))
            }
            Life::Serving(_) => held.unwrap_or_else(|| {
                let open = open.map(|why| {
                    format!("breaker open: {why}; one delivery at a time until one is answered")
                });
                let trial = standing.and_then(|standing| standing.last_good).map(|good| {
                    let (good, name) = (good.short(), &self.name);
                    format!(
                        "on trial; {good} stands in where it fails: see usher plugins \
                             recordings {name}"
                    )
                });
                let warnings = (!self.warnings.is_empty()).then(|| self.warnings.join("; "));
                (PluginState::Serving, self.stopped(dispatches).or(open).or(warnings).or(trial))
            }),
        };
        api::Plugin {
            name: Some(self.name.clone()),
            version: Some(self.version.clone()),
            summary: Some(self.summary.clone()),
            digest: Some(self.digest),
            file: self.file.clone(),
            state,
            breaker: Breaker::from_is_open(open.is_some()),
            reason,
            refused: self.refused.clone(),
            isolation: Some(self.isolation.as_str().to_owned()),
            subscriptions: self.subscriptions.clone(),
            capabilities: self.capabilities.clone(),
            stats: self.stats(dispatches),
        }
    }

    /// Marks the capabilities that the previous version did not request.
    fn note_added(&mut self, before: &Self) {
        for asked in &mut self.capabilities {
            let known = before.capabilities.iter().find(|known| known.name == asked.name);
            // Reinstalling the same bytes adds nothing.
            let is_same = before.digest == self.digest;
            asked.added = known.map_or(!is_same, |known| is_same && known.added);
        }
    }

    fn own<'a>(&self, all: &'a [DispatchStatus]) -> impl Iterator<Item = &'a DispatchStatus> {
        all.iter().filter(|dispatch| dispatch.plugin == self.name)
    }

    /// Why one of its subscriptions stopped, if one did.
    fn stopped(&self, dispatches: &[DispatchStatus]) -> Option<String> {
        self.own(dispatches).find_map(|dispatch| {
            let reason = dispatch.stopped.as_ref()?;
            Some(format!("subscription {} stopped: {reason}", dispatch.subscription))
        })
    }

    fn stats(&self, dispatches: &[DispatchStatus]) -> PluginStats {
        let serving = match &self.life {
            Life::Serving(serving) => serving,
            Life::Removed(stats) => return stats.clone(),
        };
        let (listener, limits) = (serving.stats(), serving.limits().into_iter());
        let own = || self.own(dispatches);
        let handle_time: Duration = own().map(|dispatch| dispatch.handle_time).sum();
        PluginStats {
            handled: own().map(|dispatch| dispatch.handled).sum(),
            failed: failures(own()),
            denied: listener.denied.values().sum(),
            handle_time_us: usher_event::micros(handle_time),
            instances: listener.instances,
            memory_bytes: listener.memory_bytes,
            limits: limits
                .map(|LimitUse { name, limit, peak }| api::LimitUse {
                    name: name.to_owned(),
                    limit,
                    peak,
                })
                .collect(),
        }
    }
}

/// Failed deliveries by class.
pub(super) fn failures<'a>(
    dispatches: impl Iterator<Item = &'a DispatchStatus>,
) -> BTreeMap<String, u64> {
    let mut failed = BTreeMap::new();
    for (class, count) in dispatches.flat_map(|dispatch| &dispatch.failed) {
        *failed.entry(class.as_str().to_owned()).or_default() += count;
    }
    failed
}

/// State of an installed plugin that gets no deliveries, with the reason and what to do. `None` if
/// it gets them.
fn held(name: &PluginName, standing: &Standing) -> Option<(PluginState, Option<String>)> {
    let paused = "an operator paused it; its events wait";
    if let Some(failed) = &standing.failed_trial {
        let reason = format!("it failed its trial; {} is being brought back", failed.good.short());
        return Some((PluginState::Paused, Some(reason)));
    }
    if let Some(quarantine) = &standing.quarantine {
        let Quarantine { time_ms, failures, window, class, reason, .. } = quarantine;
        let (time, window_s) = (Timestamp::from_ms(*time_ms), window.as_secs());
        let also = if standing.is_paused { format!("; also, {paused}") } else { String::new() };
        let reason = format!(
            "{failures} events failed within {window_s} s, the last at {time}: {class}: {reason}; \
             its events wait: put a mended version into the folder, or let it try again with \
             `usher plugins release {name}`{also}"
        );
        return Some((PluginState::Quarantined, Some(reason)));
    }
    let reason = format!("{paused}; `usher plugins resume {name}` lets it go on");
    standing.is_paused.then_some((PluginState::Paused, Some(reason)))
}

fn never_loaded(refused: Refused) -> api::Plugin {
    api::Plugin {
        name: None,
        version: None,
        summary: None,
        digest: refused.digest,
        file: refused.file.clone(),
        state: PluginState::Refused,
        breaker: Breaker::Closed,
        reason: Some(refused.reason.clone()),
        refused: Some(refused),
        isolation: None,
        subscriptions: Vec::new(),
        capabilities: Vec::new(),
        stats: PluginStats::default(),
    }
}
