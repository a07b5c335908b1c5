//! What a running router consists of, as the HTTP API, the metrics and the command line see it,
//! and the reports they serve. One [`App`] lives as long as `usher run`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use tokio::sync::watch;
use usher_broker::{Broker, BrokerError, HoldsBack, Order, RetryPolicy, Start, SubscriptionStatus};
use usher_event::{Digest, PluginName, SubscriptionName};
use usher_router::Router;
use usher_runtime::Isolation;

use crate::config::{Config, LiveConfig};
use crate::plugins::{Control, Registry};
use crate::serving::{Served, Serving};
use crate::states::Busy;

/// The parts of a running router.
pub(crate) struct App {
    /// Where events live.
    pub(crate) broker: Arc<dyn Broker>,
    /// What brings them to plugins.
    pub(crate) router: Arc<Router>,
    /// Which plugins there are.
    pub(crate) plugins: Arc<Registry>,
    /// What operators do to them.
    pub(crate) control: Control,
    /// How many connections clients may have.
    pub(crate) max_connections: usize,
    /// What the operator configured, as of the start.
    pub(crate) config: Arc<Config>,
    /// What of it may change, as of now.
    pub(crate) live: Arc<LiveConfig>,
    /// Whether producers are let in.
    pub(crate) intake: Gate,
    /// Whether they were asked to come back later.
    pub(crate) busy: Busy,
    /// Whether everything has started.
    pub(crate) readiness: Readiness,
}

impl App {
    /// All subscriptions the broker keeps, with whether anything serves them, by name.
    ///
    /// # Errors
    /// The broker can't be read.
    pub(crate) async fn subscriptions(&self) -> Result<Vec<SubscriptionReport>, BrokerError> {
        let statuses = self.broker.subscriptions().await?;
        let serving = Serving::now(self);
        let report = |status: SubscriptionStatus| {
            let served = serving.of(&status.subscription.name);
            SubscriptionReport::new(status, served)
        };
        Ok(statuses.into_iter().map(report).collect())
    }
}

/// Opens once at start and closes once at shutdown.
#[derive(Debug, Default)]
pub(crate) struct Gate(AtomicBool);

impl Gate {
    /// Lets producers in.
    pub(crate) fn open(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Keeps producers out: what they send from now on is answered with 503.
    pub(crate) fn close(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// Whether producers are let in.
    pub(crate) fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Whether the router is ready to take traffic, and what it waits for where it isn't.
#[derive(Debug)]
pub(crate) struct Readiness(watch::Sender<Result<(), &'static str>>);

impl Readiness {
    /// Not ready, for this reason.
    pub(crate) fn waiting(reason: &'static str) -> Self {
        Self(watch::Sender::new(Err(reason)))
    }

    /// Ready, or the reason why not.
    ///
    /// # Errors
    /// The reason.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        *self.0.borrow()
    }

    /// Changes the answer.
    pub(crate) fn set(&self, answer: Result<(), &'static str>) {
        let _before = self.0.send_replace(answer);
    }
}

/// One plugin, as `GET /plugins` shows it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PluginStatus {
    /// Its name; absent for a file that never loaded.
    pub(crate) name: Option<PluginName>,
    /// The author's version.
    pub(crate) version: Option<String>,
    /// The author's line about it.
    pub(crate) summary: Option<String>,
    /// Which bytes serve, or served last.
    pub(crate) digest: Option<Digest>,
    /// The file's name in the plugins folder.
    pub(crate) file: String,
    /// How it stands.
    pub(crate) state: PluginState,
    /// Whether nothing but single deliveries is taken because it fails.
    pub(crate) is_breaker_open: bool,
    /// Why it stands so, where there is something to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The newer file that was refused while this version serves on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<Refused>,
    /// How long its instances live; absent for a file that never loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) isolation: Option<Isolation>,
    /// The subscriptions it serves.
    pub(crate) subscriptions: Vec<SubscriptionName>,
    /// What it would like to have, and whether the operator granted it.
    pub(crate) capabilities: Vec<CapabilityStatus>,
    /// What it has done.
    pub(crate) stats: PluginStats,
}

/// How a plugin stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PluginState {
    /// It takes deliveries.
    Serving,
    /// An operator paused it; its events wait.
    Paused,
    /// It failed too often; its events wait.
    Quarantined,
    /// Its file is gone; its subscriptions are paused and its events wait.
    Removed,
    /// Its file could not be loaded and no version before it serves.
    Refused,
}

impl PluginState {
    /// The name used in JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Paused => "paused",
            Self::Quarantined => "quarantined",
            Self::Removed => "removed",
            Self::Refused => "refused",
        }
    }

    /// Whether there is a plugin, with or without deliveries.
    pub(crate) fn is_installed(self) -> bool {
        matches!(self, Self::Serving | Self::Paused | Self::Quarantined)
    }
}

/// A file that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Refused {
    /// Its name in the plugins folder.
    pub(crate) file: String,
    /// Its digest, where it could be read.
    pub(crate) digest: Option<Digest>,
    /// Why it was not taken.
    pub(crate) reason: String,
    /// When.
    #[serde(rename = "time", serialize_with = "serialize_time")]
    pub(crate) time_ms: u64,
}

/// A capability a plugin asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CapabilityStatus {
    /// `config`, `secrets`, `state`, `blobs` or `http`.
    pub(crate) name: String,
    /// What for, in the author's words.
    pub(crate) reason: String,
    /// Whether the configuration grants it.
    pub(crate) granted: bool,
    /// Whether the version before did not ask for it.
    pub(crate) added: bool,
}

/// What a plugin has done since it began to serve, whatever its versions since; what a removed one
/// had done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct PluginStats {
    /// Deliveries handled, failed ones included.
    pub(crate) handled: u64,
    /// Failed deliveries by class; classes without any are left out.
    pub(crate) failed: BTreeMap<&'static str, u64>,
    /// Host calls denied to its present version for want of a grant.
    pub(crate) denied: u64,
    /// Time spent in the plugin altogether, microseconds.
    pub(crate) handle_time_us: u64,
    /// Sandboxes of its present version, at work or waiting for it.
    pub(crate) instances: u64,
}

/// One subscription, as `GET /subscriptions` shows it.
#[derive(Clone, Debug)]
pub(crate) struct SubscriptionReport {
    /// Its full name, `PLUGIN/NAME`.
    pub(crate) name: SubscriptionName,
    /// Whether anything serves it.
    pub(crate) served: Served,
    /// Its filter, as of the CloudEvents Subscriptions API.
    pub(crate) filter: serde_json::Value,
    /// Where it would begin if it were new.
    pub(crate) start: Start,
    /// Which deliveries wait for others.
    pub(crate) order: Order,
    /// What becomes of failed deliveries.
    pub(crate) retry: RetryPolicy,
    /// Everything that matches before this sequence is settled or waits for a retry.
    pub(crate) cursor: u64,
    /// Events of the log it hasn't looked at, and deliveries ready that nobody took.
    pub(crate) lag: u64,
    /// Whom it keeps waiting because that is too many.
    pub(crate) holds_back: Option<HoldsBack>,
    /// The subscription that has to catch up before it gets any more.
    pub(crate) held_back_by: Option<SubscriptionName>,
    /// The oldest event it is not done with or has not looked at.
    pub(crate) oldest_unsettled: Option<u64>,
    /// When that was recorded, Unix milliseconds.
    pub(crate) oldest_unsettled_ms: Option<u64>,
    /// Deliveries under way.
    pub(crate) in_flight: u64,
    /// Deliveries that wait for another attempt.
    pub(crate) retrying: u64,
    /// When the next of those is due, Unix milliseconds.
    pub(crate) next_retry_ms: Option<u64>,
    /// Emissions of its deliveries that wait for their delay.
    pub(crate) delayed: u64,
    /// Deliveries that wait for one of the same key before them.
    pub(crate) parked: u64,
    /// Keys whose first delivery failed and waits for another attempt.
    pub(crate) stalled_lanes: u64,
    /// Acknowledged since the router started.
    pub(crate) acked: u64,
    /// Failed attempts since the router started.
    pub(crate) failed: u64,
    /// Dead letters it has.
    pub(crate) dead: u64,
    /// Whether retention may take what it has not settled.
    pub(crate) expires: bool,
    /// How many deliveries expired so.
    pub(crate) expired: u64,
    /// Deliveries that may be under way at once.
    pub(crate) max_in_flight: u32,
}

impl SubscriptionReport {
    /// What the broker says of a subscription, and whether it is served.
    pub(crate) fn new(status: SubscriptionStatus, served: Served) -> Self {
        Self {
            filter: status.subscription.filter.to_json(),
            start: status.subscription.start,
            order: status.subscription.order,
            retry: status.subscription.retry,
            expires: status.subscription.expires,
            expired: status.expired,
            max_in_flight: status.subscription.max_in_flight,
            name: status.subscription.name,
            served,
            cursor: status.cursor,
            lag: status.lag,
            holds_back: status.holds_back,
            held_back_by: status.held_back_by,
            oldest_unsettled: status.oldest_unsettled,
            oldest_unsettled_ms: status.oldest_unsettled_ms,
            in_flight: status.in_flight,
            retrying: status.retrying,
            next_retry_ms: status.next_retry_ms,
            delayed: status.delayed,
            parked: status.parked,
            stalled_lanes: status.stalled_lanes,
            acked: status.acked,
            failed: status.failed,
            dead: status.dead,
        }
    }
}

/// Unix milliseconds as RFC 3339 in UTC, `2026-01-31T12:00:00.000Z`.
pub(crate) fn rfc3339(time_ms: u64) -> String {
    let nanos = i128::from(time_ms) * 1_000_000;
    let time =
        OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, clock) = (time.date(), time.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second(),
        clock.millisecond(),
    )
}

/// [`rfc3339`] for `#[serde(serialize_with)]`.
pub(crate) fn serialize_time<S: Serializer>(
    time_ms: &u64,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_with_milliseconds() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_769_860_800_007), "2026-01-31T12:00:00.007Z");
    }

    #[test]
    fn a_gate_starts_closed() {
        let gate = Gate::default();
        assert!(!gate.is_open());
        gate.open();
        assert!(gate.is_open());
        gate.close();
        assert!(!gate.is_open());
    }
}
