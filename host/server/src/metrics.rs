//! `GET /metrics`, in OpenMetrics text format.
//!
//! HTTP counters are kept here; everything else is read from the broker and the plugin registry on
//! each scrape. Names start with `usher_` and end with their unit. Label values come from fixed
//! sets or are names of plugins and subscriptions, of which at most [`SERIES_MAX`] get series of
//! their own; the rest are summed under [`OTHERS`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use usher_api::{Breaker, Node, NodeState, Plugin, PluginState, Subscription, Timestamp};
use usher_broker::BrokerStats;
use usher_event::TokenName;
use usher_telemetry::SpanCounts;

use crate::states::States;
use usher_config::RouterState;

/// Limit on plugins, and likewise on subscriptions, that get series of their own.
pub(crate) const SERIES_MAX: usize = 100;

/// Label value for the rest. Not a valid plugin name.
pub(crate) const OTHERS: &str = "_others";

/// Methods with series of their own.
const METHODS: [&str; 7] = ["POST", "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"];

type Labels = Vec<(&'static str, String)>;
type Counts = Family<Labels, Counter>;
type Levels = Family<Labels, Gauge<u64, AtomicU64>>;
type Times = Family<Labels, Gauge<f64, AtomicU64>>;
type Seconds = Family<Labels, Counter<f64, AtomicU64>>;
type Requests = Family<Answered, Counter>;
type Durations = Family<[(&'static str, &'static str); 1], Histogram, fn() -> Histogram>;

/// Labels of the requests that are counted. Every request makes one, so it allocates nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: &'static str,
    method: &'static str,
    status: u16,
}

/// Metrics of the HTTP server.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Requests,
    durations: Durations,
    connections: Gauge,
    cut: Counter,
    streams: Gauge,
    refused: Counts,
    tls_failures: Counter,
    duplicates_differing: Counter,
    webhooks: Counts,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("usher");
        let requests = Requests::default();
        registry.register(
            "http_requests",
            "Requests answered, by route, method and status",
            requests.clone(),
        );
        let durations = Durations::new_with_constructor(request_buckets);
        registry.register_with_unit(
            "http_request_duration",
            "Time from a request's header to its answer's header, by route",
            Unit::Seconds,
            durations.clone(),
        );
        let connections = Gauge::default();
        registry.register("http_connections", "Connections open now", connections.clone());
        let cut = Counter::default();
        registry.register(
            "http_connections_cut",
            "Connections ended because others needed what they held and made no use of",
            cut.clone(),
        );
        let streams = Gauge::default();
        registry.register("http_streams", "Event streams open now", streams.clone());
        let refused = Counts::default();
        registry.register(
            "http_auth_failures",
            "Requests refused for want of a valid token or of its scope, by reason",
            refused.clone(),
        );
        let tls_failures = Counter::default();
        registry.register(
            "http_tls_handshake_failures",
            "TLS handshakes that failed or took too long",
            tls_failures.clone(),
        );
        let duplicates_differing = Counter::default();
        registry.register(
            "events_duplicate_differing",
            "Published events that were there before, with other content",
            duplicates_differing.clone(),
        );
        let webhooks = Counts::default();
        registry.register(
            "webhook_requests",
            "Requests to webhooks, by path and what became of them",
            webhooks.clone(),
        );
        Self {
            registry,
            requests,
            durations,
            connections,
            cut,
            streams,
            refused,
            tls_failures,
            duplicates_differing,
            webhooks,
        }
    }
}

/// 0.25 ms to 8 s.
fn request_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
}

/// Why a request was refused for want of access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It has no token.
    Missing,
    /// No token has its secret.
    Unknown,
    /// This token has expired.
    Expired(TokenName),
    /// Its token lacks the scope.
    Scope,
    /// Too many of its address had failed before.
    Limited,
}

impl Refused {
    /// The label's value.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unknown => "unknown",
            Self::Expired(_) => "expired",
            Self::Scope => "scope",
            Self::Limited => "limited",
        }
    }
}

/// Increments a gauge until it is dropped.
pub(crate) struct Open(Gauge);

impl Open {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Counts a request. `route` is a route pattern, never text from the client, so that labels
    /// stay bounded.
    pub(crate) fn request(
        &self,
        route: &'static str,
        method: &Method,
        status: StatusCode,
        took: Duration,
    ) {
        let method = METHODS.into_iter().find(|known| *known == method.as_str()).unwrap_or(OTHERS);
        let answered = Answered { route, method, status: status.as_u16() };
        self.requests.get_or_create(&answered).inc();
        self.durations.get_or_create(&[("route", route)]).observe(took.as_secs_f64());
    }

    /// Counts an open connection until the guard is dropped.
    pub(crate) fn connection(&self) -> Open {
        Open::new(&self.connections)
    }

    /// Counter of connections cut to free what others need.
    pub(crate) fn cut(&self) -> Counter {
        self.cut.clone()
    }

    /// Counts a request that was refused for want of access.
    pub(crate) fn refused(&self, why: &Refused) {
        self.refused.get_or_create(&vec![("reason", why.as_str().to_owned())]).inc();
    }

    /// Counts a request to a webhook; `path` is one of the configuration.
    pub(crate) fn webhook(&self, path: &str, outcome: &'static str) {
        let labels = vec![("webhook", path.to_owned()), ("outcome", outcome.to_owned())];
        self.webhooks.get_or_create(&labels).inc();
    }

    /// Counts a duplicate with other content.
    pub(crate) fn duplicate_differs(&self) {
        self.duplicates_differing.inc();
    }

    /// Counts a failed TLS handshake.
    pub(crate) fn tls_failure(&self) {
        self.tls_failures.inc();
    }

    /// Counts an open event stream until the guard is dropped.
    pub(crate) fn stream(&self) -> Open {
        Open::new(&self.streams)
    }

    /// Renders all metrics as text.
    ///
    /// # Errors
    /// Never in practice: writing to a string doesn't fail.
    pub(crate) fn render(&self, now: Now<'_>) -> Result<String, fmt::Error> {
        let Now { broker, subscriptions, plugins, states, certificate_ends, spans, nodes } = now;
        let mut now = Registry::with_prefix("usher");
        add_broker(&mut now, broker);
        add_subscriptions(&mut now, subscriptions);
        add_plugins(&mut now, plugins);
        add_states(&mut now, states);
        if !nodes.is_empty() {
            add_nodes(&mut now, nodes);
        }
        if let Some(ends) = certificate_ends {
            let gauge = Gauge::<f64, AtomicU64>::default();
            gauge.set(Duration::from_millis(ends.as_ms()).as_secs_f64());
            let help = "When the router's certificate ends, Unix time";
            now.register_with_unit("tls_certificate_expiry_timestamp", help, Unit::Seconds, gauge);
        }
        if let Some(spans) = spans {
            add_spans(&mut now, spans);
        }
        let mut text = String::new();
        encode_registry(&mut text, &now)?;
        encode_registry(&mut text, &self.registry)?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}

/// What metrics are read from when they are asked for.
pub(crate) struct Now<'a> {
    pub(crate) broker: &'a BrokerStats,
    pub(crate) subscriptions: &'a [Subscription],
    pub(crate) plugins: &'a [Plugin],
    pub(crate) states: &'a States,
    pub(crate) certificate_ends: Option<Timestamp>,
    /// `None` where tracing is off.
    pub(crate) spans: Option<SpanCounts>,
    /// Of which there are few; none where the journal is in the data folder.
    pub(crate) nodes: &'a [Node],
}

fn add_nodes(registry: &mut Registry, nodes: &[Node]) {
    let (states, epoch) = (Levels::default(), Gauge::<u64, AtomicU64>::default());
    let (behind, running, deliveries) = (Levels::default(), Levels::default(), Counts::default());
    for state in [NodeState::Owner, NodeState::Standby, NodeState::Drained, NodeState::Silent] {
        let count = nodes.iter().filter(|node| node.state == state).count() as u64;
        states.get_or_create(&vec![("state", state.as_str().to_owned())]).set(count);
    }
    for node in nodes {
        if let Some(now) = node.epoch {
            epoch.set(now);
            continue;
        }
        let labels = vec![("node", node.name.clone())];
        behind.get_or_create(&labels).set(node.behind);
        running.get_or_create(&labels).set(node.running);
        for (outcome, count) in [("handled", node.handled), ("given_up", node.given_up)] {
            let labels = vec![("node", node.name.clone()), ("outcome", outcome.to_owned())];
            deliveries.get_or_create(&labels).inc_by(count);
        }
    }
    registry.register("nodes", "Nodes by what they do", states);
    registry.register("journal_epoch", "How often the journal was taken over", epoch);
    let help = "Records of the journal that a node has yet to take in";
    registry.register("node_behind_records", help, behind);
    registry.register("node_running_deliveries", "Deliveries that a node handles now", running);
    let help = "Deliveries given to a node by this owner, by what became of them";
    registry.register("node_deliveries", help, deliveries);
}

fn add_spans(registry: &mut Registry, spans: SpanCounts) {
    let counts = Family::<[(&str, &str); 1], Counter>::default();
    let SpanCounts { exported, failed, dropped } = spans;
    for (outcome, count) in [("exported", exported), ("failed", failed), ("dropped", dropped)] {
        counts.get_or_create(&[("outcome", outcome)]).inc_by(count);
    }
    registry.register("spans", "Spans by what became of them", counts);
}

fn add_broker(registry: &mut Registry, stats: &BrokerStats) {
    let mut counter = |name: &str, help: &str, value: u64| {
        let counter: Counter = Counter::default();
        counter.inc_by(value);
        registry.register(name, help, counter);
    };
    counter("events_appended", "Events appended to the log", stats.appended);
    counter("events_duplicate", "Published events that were there before", stats.duplicates);
    counter("broker_commits", "Commits, each with one fsync", stats.commits);
    counter("deliveries_acked", "Deliveries acknowledged", stats.acked);
    counter("deliveries_failed", "Failed attempts", stats.failed);
    counter(
        "deliveries_conflicted",
        "Deliveries run again because state they had read had changed",
        stats.conflicts,
    );
    counter(
        "settlements_stale",
        "Settlements ignored because their lease no longer held",
        stats.stale,
    );
    counter(
        "publishes_refused",
        "Batches not published because a subscription was too far behind",
        stats.refused,
    );
    counter(
        "deliveries_held_back",
        "Deliveries run again because a subscription that takes their emissions was too far behind",
        stats.held_back,
    );
    counter("events_expired", "Events that retention let go", stats.expired);
    counter("schedule_ticks", "Ticks of schedules that became events", stats.ticks);
    counter(
        "schedule_ticks_passed_over",
        "Ticks of schedules that were missed and passed over",
        stats.ticks_passed_over,
    );
    let mut gauge = |name: &str, help: &str, value: u64| {
        let gauge: Gauge<u64, AtomicU64> = Gauge::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    };
    gauge("dead_letters", "Dead letters kept", stats.dead_letters);
    gauge("log_last_sequence", "The newest committed sequence", stats.last_sequence);
    gauge("log_first_sequence", "The oldest sequence the log keeps", stats.first_sequence);
    gauge("log_size_bytes", "Size of the events in the log", stats.log_bytes);
    gauge("emissions_delayed", "Emissions that wait for their delay", stats.delayed);
    gauge("broker_waiting_commands", "Commands waiting for the committer", stats.waiting);
}

/// Values of one subscription, or sums over several.
#[derive(Default)]
struct SubscriptionSums {
    lag: u64,
    holds_back: u64,
    in_flight: u64,
    retrying: u64,
    delayed: u64,
    parked: u64,
    stalled_lanes: u64,
    dead: u64,
    acked: u64,
    failed: u64,
    expired: u64,
    superseded: u64,
    /// The earliest of all.
    oldest_unsettled: Option<Timestamp>,
    next_retry: Option<Timestamp>,
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    [a, b].into_iter().flatten().min()
}

fn add_subscriptions(registry: &mut Registry, reports: &[Subscription]) {
    let mut sums: BTreeMap<&str, SubscriptionSums> = BTreeMap::new();
    for (place, report) in reports.iter().enumerate() {
        let name = if place < SERIES_MAX { report.name.as_str() } else { OTHERS };
        let sum = sums.entry(name).or_default();
        sum.lag += report.lag;
        sum.holds_back += u64::from(report.holds_back.is_some());
        sum.in_flight += report.in_flight;
        sum.retrying += report.retrying;
        sum.delayed += report.delayed;
        sum.parked += report.parked;
        sum.stalled_lanes += report.stalled_lanes;
        let recorded = report.oldest_unsettled.and_then(|oldest| oldest.recorded);
        sum.oldest_unsettled = earlier(sum.oldest_unsettled, recorded);
        sum.next_retry = earlier(sum.next_retry, report.next_retry);
        sum.dead += report.dead;
        sum.acked += report.acked;
        sum.failed += report.failed;
        sum.expired += report.expired;
        sum.superseded += report.superseded;
    }
    let mut level = |name: &str, help: &str, value: fn(&SubscriptionSums) -> u64| {
        let levels = Levels::default();
        for (subscription, sum) in &sums {
            levels.get_or_create(&labels("subscription", subscription)).set(value(sum));
        }
        registry.register(name, help, levels);
    };
    level(
        "subscription_lag_events",
        "Events of the log not looked at yet, and deliveries ready that nobody took",
        |sum| sum.lag,
    );
    level(
        "subscription_holds_back_producers",
        "Whether producers are refused because it is too far behind",
        |sum| sum.holds_back,
    );
    level("subscription_in_flight_deliveries", "Deliveries under way", |sum| sum.in_flight);
    level("subscription_retrying_deliveries", "Deliveries waiting to be retried", |sum| {
        sum.retrying
    });
    level("subscription_delayed_emissions", "Emissions that wait for their delay", |sum| {
        sum.delayed
    });
    level(
        "subscription_parked_deliveries",
        "Deliveries waiting for one of the same key before them",
        |sum| sum.parked,
    );
    level(
        "subscription_stalled_lanes",
        "Keys whose first delivery failed and waits to be retried",
        |sum| sum.stalled_lanes,
    );
    level("subscription_dead_letters", "Dead letters kept", |sum| sum.dead);
    let mut time = |name: &str, help: &str, value: fn(&SubscriptionSums) -> Option<Timestamp>| {
        let times = Times::default();
        for (subscription, sum) in &sums {
            if let Some(time) = value(sum) {
                let seconds = Duration::from_millis(time.as_ms()).as_secs_f64();
                times.get_or_create(&labels("subscription", subscription)).set(seconds);
            }
        }
        registry.register_with_unit(name, help, Unit::Seconds, times);
    };
    time(
        "subscription_oldest_unsettled_timestamp",
        "When the oldest event was recorded that is not settled or not looked at, Unix time",
        |sum| sum.oldest_unsettled,
    );
    time("subscription_next_retry_timestamp", "When the next retry is due, Unix time", |sum| {
        sum.next_retry
    });
    let mut count = |name: &str, help: &str, value: fn(&SubscriptionSums) -> u64| {
        let counts = Counts::default();
        for (subscription, sum) in &sums {
            counts.get_or_create(&labels("subscription", subscription)).inc_by(value(sum));
        }
        registry.register(name, help, counts);
    };
    count("subscription_acked_deliveries", "Deliveries acknowledged", |sum| sum.acked);
    count("subscription_failed_attempts", "Failed attempts", |sum| sum.failed);
    count(
        "subscription_expired_deliveries",
        "Deliveries that were not over when retention took their event",
        |sum| sum.expired,
    );
    count("subscription_superseded_deliveries", "Deliveries left out for a newer event", |sum| {
        sum.superseded
    });
}

fn add_plugins(registry: &mut Registry, plugins: &[Plugin]) {
    let named = plugins.iter().filter(|plugin| plugin.name.is_some());
    // Plugins beyond `SERIES_MAX` share a label, so values are added.
    let series: Vec<(Labels, &Plugin)> = named
        .enumerate()
        .map(|(place, plugin)| {
            let own = plugin.name.as_ref().filter(|_| place < SERIES_MAX);
            (labels("plugin", own.map_or(OTHERS, |name| name.as_str())), plugin)
        })
        .collect();

    let mut level = |name: &str, help: &str, value: fn(&Plugin) -> u64| {
        let levels = Levels::default();
        for (label, plugin) in &series {
            levels.get_or_create(label).inc_by(value(plugin));
        }
        registry.register(name, help, levels);
    };
    level("plugin_serving", "Whether the plugin takes deliveries", |plugin| {
        u64::from(plugin.state == PluginState::Serving)
    });
    level("plugin_paused", "Whether an operator paused the plugin", |plugin| {
        u64::from(plugin.state == PluginState::Paused)
    });
    level(
        "plugin_quarantined",
        "Whether the plugin failed too often and gets no deliveries",
        |plugin| u64::from(plugin.state == PluginState::Quarantined),
    );
    level(
        "plugin_breaker_open",
        "Whether the plugin failed in a row and gets single deliveries",
        |plugin| u64::from(plugin.breaker == Breaker::Open),
    );
    level("plugin_instances", "Sandboxes there are, at work or waiting for it", |plugin| {
        plugin.stats.instances
    });
    level(
        "plugin_memory_bytes",
        "Linear memory of a plugin's sandboxes; what they never wrote to is shared",
        |plugin| plugin.stats.memory_bytes,
    );
    let mut count = |name: &str, help: &str, value: fn(&Plugin) -> u64| {
        let counts = Counts::default();
        for (label, plugin) in &series {
            counts.get_or_create(label).inc_by(value(plugin));
        }
        registry.register(name, help, counts);
    };
    count("plugin_handled_deliveries", "Deliveries handled", |plugin| plugin.stats.handled);
    count("plugin_denied_calls", "Host calls denied for want of a grant", |plugin| {
        plugin.stats.denied
    });
    let (failed, busy) = (Counts::default(), Seconds::default());
    for (label, plugin) in &series {
        let time = Duration::from_micros(plugin.stats.handle_time_us);
        busy.get_or_create(label).inc_by(time.as_secs_f64());
        for (class, count) in &plugin.stats.failed {
            let mut label = label.clone();
            label.push(("class", class.clone()));
            failed.get_or_create(&label).inc_by(*count);
        }
    }
    registry.register("plugin_failed_deliveries", "Failed deliveries, by class", failed);
    let time = "plugin_handle_time";
    registry.register_with_unit(time, "Time spent in the plugin", Unit::Seconds, busy);
    let is_refused =
        |plugin: &&Plugin| plugin.state == PluginState::Refused || plugin.refused.is_some();
    let refused: Gauge<u64, AtomicU64> = Gauge::default();
    refused.set(plugins.iter().filter(is_refused).count() as u64);
    registry.register("plugin_refused_files", "Files in the plugins folder not taken", refused);
}

fn add_states(registry: &mut Registry, states: &States) {
    let concerned: Family<Labels, Gauge<u64, AtomicU64>> = Family::default();
    for state in RouterState::ALL {
        let count = states.get(&state).map_or(0, BTreeSet::len);
        concerned.get_or_create(&labels("state", state.as_str())).set(count as u64);
    }
    registry.register(
        "state_concerned",
        "Subscriptions or plugins that a state concerns in which producers are refused or deliveries \
         are held; 1 where it is the router",
        concerned,
    );
}

fn labels(name: &'static str, value: &str) -> Labels {
    vec![(name, value.to_owned())]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use usher_api::{Backpressure, Order, PluginStats, Start, SubscriptionState, Unsettled};

    use crate::project;

    pub(crate) fn subscription(n: usize) -> Subscription {
        let recorded = Some(Timestamp::from_ms(1_500 + n as u64));
        Subscription {
            name: format!("plugin-{n:04}/main").parse().unwrap(),
            plugin: format!("plugin-{n:04}"),
            state: SubscriptionState::Active,
            paused_because: None,
            filter: serde_json::json!({}),
            start: Start::Latest,
            order: Order::None,
            retry: project::retry(usher_broker::RetryPolicy::default()),
            max_per_second: None,
            max_per_second_per_key: None,
            debounce_ms: None,
            debounce_max_ms: None,
            project: None,
            redact: Vec::new(),
            cursor: 1,
            lag: 1,
            holds_back: Some(Backpressure::Producers),
            held_back_by: None,
            oldest_unsettled: Some(Unsettled { sequence: 1, recorded }),
            in_flight: 0,
            retrying: 0,
            next_retry: None,
            delayed: 4,
            parked: 3,
            stalled_lanes: 2,
            acked: 2,
            failed: 0,
            dead: 0,
            expires: true,
            expired: 9,
            superseded: 0,
            max_in_flight: 1,
        }
    }

    pub(crate) fn plugin(name: &str) -> Plugin {
        Plugin {
            name: Some(name.parse().unwrap()),
            version: None,
            summary: None,
            digest: None,
            file: format!("{name}.wasm"),
            state: PluginState::Serving,
            breaker: Breaker::Open,
            reason: None,
            refused: None,
            isolation: None,
            subscriptions: Vec::new(),
            capabilities: Vec::new(),
            stats: PluginStats {
                handled: 7,
                failed: BTreeMap::from([("trap".to_owned(), 2)]),
                denied: 1,
                handle_time_us: 1_500_000,
                instances: 3,
                memory_bytes: 1_048_576,
                limits: Vec::new(),
            },
        }
    }

    fn render(subscriptions: &[Subscription], plugins: &[Plugin]) -> String {
        let metrics = Metrics::default();
        metrics.request("/events", &Method::POST, StatusCode::ACCEPTED, Duration::from_millis(3));
        metrics.request(
            "/events",
            &"BREW".parse().unwrap(),
            StatusCode::METHOD_NOT_ALLOWED,
            Duration::ZERO,
        );
        let _open = metrics.connection();
        drop(metrics.connection());
        let stats = BrokerStats { appended: 12, ..BrokerStats::default() };
        let paused = BTreeSet::from(["printer".to_owned(), "payment".to_owned()]);
        let states = States::from([(RouterState::Paused, paused)]);
        let ends = Some(Timestamp::from_ms(1_800_000_000_000));
        let spans = Some(SpanCounts { exported: 7, failed: 0, dropped: 1 });
        let (broker, states) = (&stats, &states);
        let nodes: Vec<Node> = serde_json::from_value(serde_json::json!([
            {
                "name": "a", "state": "owner", "version": "0.1.0", "epoch": 4, "position": 812,
                "behind": 0, "heard_ms": 0, "running": 0, "handled": 0, "given_up": 0, "plugins": []
            },
            {
                "name": "b", "state": "standby", "version": "0.1.0", "position": 810, "behind": 2,
                "heard_ms": 120, "running": 3, "handled": 90, "given_up": 1, "plugins": []
            }
        ]))
        .unwrap();
        let (certificate_ends, nodes) = (ends, &nodes[..]);
        let now = Now { broker, subscriptions, plugins, states, certificate_ends, spans, nodes };
        metrics.render(now).unwrap()
    }

    #[test]
    fn every_line_has_its_name_and_unit() {
        let text = render(&[subscription(1)], &[plugin("printer")]);
        for line in [
            "usher_events_appended_total 12",
            "usher_nodes{state=\"standby\"} 1",
            "usher_journal_epoch 4",
            "usher_node_behind_records{node=\"b\"} 2",
            "usher_node_running_deliveries{node=\"b\"} 3",
            "usher_node_deliveries_total{node=\"b\",outcome=\"given_up\"} 1",
            "usher_subscription_lag_events{subscription=\"plugin-0001/main\"} 1",
            "usher_subscription_holds_back_producers{subscription=\"plugin-0001/main\"} 1",
            "usher_subscription_delayed_emissions{subscription=\"plugin-0001/main\"} 4",
            "usher_subscription_parked_deliveries{subscription=\"plugin-0001/main\"} 3",
            "usher_subscription_stalled_lanes{subscription=\"plugin-0001/main\"} 2",
            "usher_subscription_oldest_unsettled_timestamp_seconds\
             {subscription=\"plugin-0001/main\"} 1.501",
            "usher_subscription_acked_deliveries_total{subscription=\"plugin-0001/main\"} 2",
            "usher_subscription_expired_deliveries_total{subscription=\"plugin-0001/main\"} 9",
            "usher_plugin_serving{plugin=\"printer\"} 1",
            "usher_state_concerned{state=\"paused\"} 2",
            "usher_state_concerned{state=\"disk_full\"} 0",
            "usher_plugin_quarantined{plugin=\"printer\"} 0",
            "usher_plugin_breaker_open{plugin=\"printer\"} 1",
            "usher_plugin_failed_deliveries_total{plugin=\"printer\",class=\"trap\"} 2",
            "usher_plugin_handle_time_seconds_total{plugin=\"printer\"} 1.5",
            "usher_http_requests_total{route=\"/events\",method=\"POST\",status=\"202\"} 1",
            "usher_http_requests_total{route=\"/events\",method=\"_others\",status=\"405\"} 1",
            "usher_http_connections 1",
            "usher_tls_certificate_expiry_timestamp_seconds 1800000000.0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        assert_eq!(text.matches("# EOF").count(), 1);
    }

    #[test]
    fn series_are_bounded() {
        let many: Vec<_> = (0..250).map(subscription).collect();
        let text = render(&many, &[]);
        assert_eq!(text.matches("usher_subscription_lag_events{").count(), SERIES_MAX + 1);
        let rest = format!("usher_subscription_lag_events{{subscription=\"{OTHERS}\"}} 150");
        assert!(text.contains(&rest), "{text}");
        // Of times, the earliest.
        let rest = format!("_timestamp_seconds{{subscription=\"{OTHERS}\"}} 1.6");
        assert!(text.contains(&rest), "{text}");
        assert!(!text.contains("next_retry_timestamp_seconds{"), "{text}");
    }
}
