//! Whether a subscription is served and, if not, why. Combines the state of the router, the plugin
//! registry and the configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use usher_api::{Plugin, PluginState, Sink, Subscription};
use usher_broker::{BrokerError, SubscriptionStatus};
use usher_config::Config;
use usher_event::SubscriptionName;

use crate::project;
use crate::running::Running;

/// Limit on refused files named in one reason.
const REFUSED_MAX: usize = 3;

/// All subscriptions in the broker, by name, each with whether a plugin serves it.
///
/// # Errors
/// The broker can't be read.
pub(crate) async fn subscriptions(running: &Running) -> Result<Vec<Subscription>, BrokerError> {
    let statuses = running.broker.subscriptions().await?.into_iter();
    let serving = Serving::now(running);
    let report = |status: SubscriptionStatus| {
        let paused_because = serving.paused_because(&status.subscription.name);
        project::subscription(status, paused_because)
    };
    Ok(statuses.map(report).collect())
}

/// A snapshot of everything that decides whether a subscription is served.
pub(crate) struct Serving {
    /// Subscriptions that have a dispatcher, and why it stopped, if it did.
    active: BTreeMap<SubscriptionName, Option<String>>,
    plugins: Vec<Plugin>,
    sinks: Vec<Sink>,
    config: Arc<Config>,
    readiness: Result<(), &'static str>,
}

impl Serving {
    /// Takes a snapshot.
    pub(crate) fn now(running: &Running) -> Self {
        let active = running.router.status().into_iter();
        Self {
            active: active.map(|dispatch| (dispatch.subscription, dispatch.stopped)).collect(),
            plugins: running.plugins.status(),
            sinks: running.sinks.status(),
            config: running.live.now(),
            readiness: running.readiness.check(),
        }
    }

    /// Why nothing serves this subscription; `None` while a plugin does.
    pub(crate) fn paused_because(&self, name: &SubscriptionName) -> Option<String> {
        match self.active.get(name) {
            Some(None) => self.held(name),
            Some(Some(stopped)) => Some(format!("its deliveries stopped: {stopped}")),
            None => Some(self.why_inactive(name)),
        }
    }

    /// Why its plugin is installed but gets no deliveries.
    fn held(&self, name: &SubscriptionName) -> Option<String> {
        if let Some(sink) = self.sink_of(name) {
            let is_held = sink.state != PluginState::Serving;
            let reason = sink.reason.as_deref().filter(|_| is_held)?;
            return Some(format!("sink {} is {}: {reason}", sink.name, sink.state.as_str()));
        }
        let own = self.plugin_of(name)?;
        let is_held = matches!(own.state, PluginState::Paused | PluginState::Quarantined);
        let reason = own.reason.as_deref().filter(|_| is_held)?;
        Some(format!("plugin {} is {}: {reason}", name.plugin(), own.state.as_str()))
    }

    fn plugin_of(&self, name: &SubscriptionName) -> Option<&Plugin> {
        self.plugins.iter().find(|status| {
            status.name.as_ref().is_some_and(|plugin| plugin.as_str() == name.plugin())
        })
    }

    fn sink_of(&self, name: &SubscriptionName) -> Option<&Sink> {
        self.sinks.iter().find(|sink| sink.subscription.as_ref() == Some(name))
    }

    fn why_inactive(&self, name: &SubscriptionName) -> String {
        if let Some(sink) = self.sink_of(name) {
            let reason = sink.reason.as_deref().unwrap_or("it is being installed");
            return format!("sink {} does not serve: {reason}", sink.name);
        }
        let plugin = name.plugin();
        match self.plugin_of(name) {
            Some(own) if own.state.is_installed() => {
                if self.is_switched_off(name) {
                    return format!("enabled = false in [plugin.{plugin}.subscription]");
                }
                format!("plugin {plugin} no longer asks for it")
            }
            Some(own) => {
                let reason = own.reason.as_deref().unwrap_or("its file is gone");
                format!("plugin {plugin} does not serve: {reason}")
            }
            None => match self.readiness {
                Err(reason) => reason.to_owned(),
                Ok(()) => format!("no file is plugin {plugin}{}", self.refused()),
            },
        }
    }

    fn is_switched_off(&self, name: &SubscriptionName) -> bool {
        let mut plugins = self.config.plugin.iter();
        let own = plugins.find(|(plugin, _)| plugin.as_str() == name.plugin());
        let changes = own.and_then(|(_, own)| own.subscriptions.get(name.local()));
        changes.is_some_and(|changes| !changes.enabled)
    }

    /// Lists refused files, since one of them may be the missing plugin.
    fn refused(&self) -> String {
        let refused = || self.plugins.iter().filter(|status| status.name.is_none());
        let told: Vec<String> = refused()
            .take(REFUSED_MAX)
            .map(|file| {
                let reason = file.reason.as_deref().unwrap_or_default();
                match reason.starts_with(&file.file) {
                    true => reason.to_owned(),
                    false => format!("{}: {reason}", file.file),
                }
            })
            .collect();
        match (told.len(), refused().count() - told.len()) {
            (0, _) => String::new(),
            (_, 0) => format!("; refused: {}", told.join("; ")),
            (_, more) => format!("; refused: {}; and {more} more", told.join("; ")),
        }
    }
}
