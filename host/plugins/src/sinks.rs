//! Installs the sinks of the configuration beside the plugins, and keeps them as it says.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use usher_api::{self as api, Breaker, PluginState};
use usher_broker::{Actor, RetryPolicy, Subscription};
use usher_config::{LiveConfig, SinkConfig};
use usher_event::{PluginName, SubscriptionName};
use usher_filter::Filter;
use usher_router::{EmissionLimits, Installation, RestoredState, Router};
use usher_sinks::Sink;

use super::control::{Control, ControlError};
use super::records::PluginRecords;
use super::registry::{Registry, failures};

/// The part of a sink's subscription behind the slash.
const SUBSCRIPTION: &str = "sink";

/// Limit on news of servers that want no more events.
const GONE_MAX: usize = 256;

/// Delay before a sink that could not be installed is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Who pauses a sink whose server wants no more events.
const ROUTER: &str = "usher";

/// The sinks of a router.
pub struct Sinks {
    router: Arc<Router>,
    registry: Arc<Registry>,
    records: Arc<PluginRecords>,
    config: Arc<LiveConfig>,
    installed: Mutex<BTreeMap<PluginName, Standing>>,
    gone: mpsc::Sender<PluginName>,
}

/// How it is with one sink.
struct Standing {
    configured: (SinkConfig, RetryPolicy),
    /// Why it does not serve.
    refused: Option<String>,
    /// Why it was paused by the router.
    gone: bool,
}

impl Sinks {
    /// None yet; [`Sinks::run`] installs them.
    pub fn new(
        router: Arc<Router>,
        registry: Arc<Registry>,
        records: Arc<PluginRecords>,
        config: Arc<LiveConfig>,
    ) -> (Self, mpsc::Receiver<PluginName>) {
        let (gone, news) = mpsc::channel(GONE_MAX);
        let installed = Mutex::default();
        (Self { router, registry, records, config, installed, gone }, news)
    }

    /// Installs what the configuration names, now and whenever it changes, and pauses sinks whose
    /// servers want no more events. Never returns.
    pub async fn run(&self, control: &Control, mut gone: mpsc::Receiver<PluginName>) -> Infallible {
        let mut changes = self.config.changes();
        loop {
            changes.mark_unchanged();
            let is_complete = self.apply().await;
            let again = async {
                match is_complete {
                    true => std::future::pending().await,
                    false => tokio::time::sleep(AGAIN_AFTER).await,
                }
            };
            tokio::pin!(again);
            loop {
                tokio::select! {
                    // The sender is part of the configuration that `self` holds.
                    _ = changes.changed() => break,
                    () = &mut again => break,
                    Some(name) = gone.recv() => self.pause(control, &name).await,
                }
            }
        }
    }

    /// Brings the router to what the configuration says; false if something has to be tried again.
    async fn apply(&self) -> bool {
        let config = self.config.now();
        let wanted: BTreeMap<_, _> =
            config.sinks.iter().filter(|(_, sink)| sink.subscription.enabled).collect();
        let before: Vec<PluginName> = self.installed().keys().cloned().collect();
        for name in before.iter().filter(|name| !wanted.contains_key(name)) {
            let was_served =
                self.installed().remove(name).is_some_and(|standing| standing.refused.is_none());
            if was_served && self.router.remove(name).await {
                tracing::info!(sink = %name, "sink removed; its events wait");
            }
        }
        let mut is_complete = true;
        for (name, sink) in wanted {
            let configured = (sink.clone(), config.retry.clone());
            let is_same = self.installed().get(name).is_some_and(|standing| {
                standing.configured == configured && standing.refused.is_none()
            });
            if is_same {
                continue;
            }
            let refused = self.install(name, &configured).await.err();
            match &refused {
                None => tracing::info!(sink = %name, url = %shown(sink), "sink installed"),
                Some(reason) => {
                    is_complete = false;
                    tracing::error!(sink = %name, reason, "a sink can't be installed; it will be tried again");
                }
            }
            self.installed().insert(name.clone(), Standing { configured, refused, gone: false });
        }
        is_complete
    }

    async fn install(
        &self,
        name: &PluginName,
        (sink, retry): &(SinkConfig, RetryPolicy),
    ) -> Result<(), String> {
        if let Some(file) = self.registry.file_of(name) {
            return Err(format!("{file} is a plugin of the same name; rename the sink"));
        }
        let (target, gone) = (sink.target.clone(), self.gone.clone());
        let own = name.clone();
        let made = tokio::task::spawn_blocking(move || Sink::new(own, target, gone)).await;
        let listener =
            made.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let record = self.records.record(name);
        let settings = &sink.subscription;
        let max_in_flight = settings.max_in_flight.unwrap_or(1);
        let subscription = Subscription {
            name: SubscriptionName::new(name, SUBSCRIPTION).map_err(|error| error.to_string())?,
            filter: settings.filter.clone().unwrap_or_else(Filter::everything),
            start: settings.start,
            order: settings.order.clone(),
            retry: settings.retry.clone().unwrap_or_else(|| retry.clone()),
            max_in_flight,
            pace: settings.pace,
            projection: settings.projection.clone(),
            expires: settings.expires,
        };
        let installation = Installation {
            listener: Arc::new(listener),
            subscriptions: vec![subscription],
            instances: usize::try_from(max_in_flight).unwrap_or(1),
            emissions: EmissionLimits::default(),
            breaker: sink.breaker,
            trial: None,
            held: RestoredState {
                is_paused: record.is_paused,
                acked: record.acked,
                quarantine: record.quarantine.map(|kept| kept.quarantine()),
            },
        };
        self.router.install(installation).await.map(drop).map_err(|error| error.to_string())
    }

    /// Pauses a sink whose server returned 410.
    async fn pause(&self, control: &Control, name: &PluginName) {
        let paused = control.pause(&Actor::named(ROUTER), name).await;
        match paused {
            // Several deliveries may have met the same.
            Err(ControlError::Conflict(_)) => {}
            Err(error) => tracing::error!(sink = %name, %error, "a sink can't be paused"),
            Ok(_) => {
                tracing::warn!(
                    sink = %name,
                    "the server wants no more events (410); the sink is paused until it is resumed"
                );
                if let Some(standing) = self.installed().get_mut(name) {
                    standing.gone = true;
                }
            }
        }
    }

    /// All sinks, by name.
    pub fn status(&self) -> Vec<api::Sink> {
        let (dispatches, standings) = (self.router.status(), self.router.standings());
        let sinks = self.config.now();
        let installed = self.installed();
        let status = |(name, sink): (&PluginName, &SinkConfig)| {
            let standing = standings.get(name);
            let own = installed.get(name);
            let dispatch = dispatches.iter().find(|dispatch| dispatch.plugin == *name);
            let held = standing.filter(|_| own.is_some_and(|own| own.refused.is_none()));
            let open = held.and_then(|standing| standing.open.clone());
            let (state, reason) = match (own, held) {
                (None, _) => {
                    let reason = match sink.subscription.enabled {
                        true => "it is being installed",
                        false => "enabled = false in the configuration",
                    };
                    (PluginState::Removed, Some(reason.to_owned()))
                }
                (Some(Standing { refused: Some(reason), .. }), _) => {
                    (PluginState::Refused, Some(reason.clone()))
                }
                (_, Some(standing)) if standing.quarantine.is_some() => (
                    PluginState::Quarantined,
                    Some(format!(
                        "it failed too often; `usher plugins release {name}` lets it go on"
                    )),
                ),
                (Some(own), Some(standing)) if standing.is_paused => {
                    let who = match own.gone {
                        true => "its server returned 410: it wants no more events",
                        false => "an operator paused it",
                    };
                    let what = format!("{who}; `usher plugins resume {name}` lets it go on");
                    (PluginState::Paused, Some(what))
                }
                _ => {
                    let stopped = dispatch.and_then(|dispatch| dispatch.stopped.clone());
                    let open = open.as_ref().map(|why| format!("breaker open: {why}"));
                    (PluginState::Serving, stopped.or(open))
                }
            };
            api::Sink {
                name: name.clone(),
                url: shown(sink),
                mode: sink.target.mode.as_str().to_owned(),
                subscription: SubscriptionName::new(name, SUBSCRIPTION).ok(),
                state,
                breaker: Breaker::from_is_open(open.is_some()),
                reason,
                handled: dispatch.map_or(0, |dispatch| dispatch.handled),
                failed: failures(dispatch.into_iter()),
            }
        };
        sinks.sinks.iter().map(status).collect()
    }

    fn installed(&self) -> MutexGuard<'_, BTreeMap<PluginName, Standing>> {
        self.installed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The URL without its query, which may hold a secret.
fn shown(sink: &SinkConfig) -> String {
    format!("{}{}", sink.target.origin, sink.target.url.path())
}
