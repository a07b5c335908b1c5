//! `[sink.NAME]`: servers that events are delivered to.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use http::Uri;
use usher_broker::{Order, RetryPolicy};
use usher_event::{PluginName, millis};
use usher_outbound::{AddressRange, Origin};
use usher_router::BreakerPolicy;
use usher_sinks::{BatchRule, Mode, Target};

use super::plugin::{SubscriptionConfig, roots, subscription_of};
use super::table::{At, Table};
use super::{breaker, headers, webhooks};

/// Limit on sinks.
const SINKS_MAX: usize = 256;
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
const TIMEOUT_MAX_MS: u64 = 120_000;
/// Default of `max_in_flight`: requests to one server at a time.
const IN_FLIGHT_DEFAULT: u32 = 16;

const MODES: [(&str, Mode); 3] =
    [("binary", Mode::Binary), ("structured", Mode::Structured), ("batch", Mode::Batch)];

/// A sink.
#[derive(Clone, Debug, PartialEq)]
pub struct SinkConfig {
    /// Where it delivers, and how.
    pub target: Target,
    /// What it delivers.
    pub subscription: SubscriptionConfig,
    /// When it is left alone for a while.
    pub breaker: BreakerPolicy,
}

/// A server that can't be reached comes back by itself: no quarantine, and longer waits.
const BREAKER_DEFAULT: BreakerPolicy = BreakerPolicy {
    failures: 5,
    first_wait: Duration::from_millis(500),
    max_wait: Duration::from_secs(30),
    quarantine_failures: u32::MAX,
    quarantine_window: Duration::from_secs(60),
};

pub(super) fn read_all(
    table: &Table<'_>,
    folder: &Path,
    default_retry: &RetryPolicy,
    is_plugin: impl Fn(&PluginName) -> bool,
) -> BTreeMap<PluginName, SinkConfig> {
    let mut sinks = BTreeMap::new();
    for (At { value, span }, table) in table.tables() {
        let source = table.source();
        let name = value.parse::<PluginName>();
        match &name {
            Err(error) => source.problem(&span, error, Some("rename it".to_owned())),
            Ok(name) if is_plugin(name) => {
                let what = format!("[sink.{name}] and [plugin.{name}] have the same name");
                source.problem(&span, what, Some("rename the sink".to_owned()));
            }
            Ok(_) => {}
        }
        if sinks.len() >= SINKS_MAX {
            source.problem(&span, format!("there are more than {SINKS_MAX} sinks"), None);
            break;
        }
        if let (Some(sink), Ok(name)) = (read(table, &span, folder, default_retry), name) {
            sinks.insert(name, sink);
        }
    }
    sinks
}

fn read(
    table: Table<'_>,
    at: &std::ops::Range<usize>,
    folder: &Path,
    default_retry: &RetryPolicy,
) -> Option<SinkConfig> {
    let url = url(&table, at);
    let has_secret = table.value("secret").is_some() || table.value("secrets").is_some();
    let keys = match has_secret {
        true => webhooks::standard_keys(&table, at, folder),
        false => Some(Vec::new()),
    };
    let mut subscription = subscription_of(&table, default_retry);
    let mode = table.choice("mode", &MODES).unwrap_or_default();
    let batch = batch(&table, mode, &mut subscription);
    subscription.max_in_flight.get_or_insert(IN_FLIGHT_DEFAULT);
    let roots = roots(&table, folder);
    let added = table.table("headers").map(|table| headers::read(&table, folder));
    let breaker = table.table("breaker").map(|table| breaker::read(table, BREAKER_DEFAULT));
    let timeout = table.millis("timeout_ms", 100..=TIMEOUT_MAX_MS).unwrap_or(TIMEOUT_DEFAULT);
    let addresses = addresses(&table);
    table.finish();
    let (url, origin) = url?;
    let headers = added.unwrap_or_default();
    let keys = keys?;
    let target = Target { url, origin, addresses, roots, mode, batch, headers, timeout, keys };
    Some(SinkConfig { target, subscription, breaker: breaker.unwrap_or(BREAKER_DEFAULT) })
}

/// Reads `batch`. As many events may be under way as a batch has.
fn batch(table: &Table<'_>, mode: Mode, subscription: &mut SubscriptionConfig) -> BatchRule {
    let default = BatchRule::default();
    let (Some(at), Some(inner)) = (table.value("batch"), table.table("batch")) else {
        return default;
    };
    let max_events = inner.size("max", 1..=BatchRule::MAX_EVENTS).unwrap_or(default.max_events);
    let wait = inner.millis("wait_ms", 0..=millis(BatchRule::MAX_WAIT)).unwrap_or(default.wait);
    inner.finish();
    let refuse = |what: &str, hint: &str| {
        table.source().problem(&at.span(), what, Some(hint.to_owned()));
    };
    if mode != Mode::Batch {
        refuse("batch needs mode = \"batch\"", "add it, or leave batch out");
    }
    let wanted = u32::try_from(max_events).unwrap_or(u32::MAX);
    if *subscription.max_in_flight.get_or_insert(wanted.max(IN_FLIGHT_DEFAULT)) < wanted {
        refuse(
            "a batch can't have more events than may be under way",
            "raise max_in_flight, or leave it out",
        );
    }
    if subscription.order == Order::Total && max_events > 1 {
        refuse(
            "a batch of a total order has one event",
            "order by key, or leave the order or batch out",
        );
    }
    BatchRule { max_events, wait }
}

fn url(table: &Table<'_>, at: &std::ops::Range<usize>) -> Option<(Uri, Origin)> {
    let hint = || Some("write url = \"https://crm.example.com/events\"".to_owned());
    if table.value("url").is_none() {
        table.source().problem(at, format!("[{}] needs a url", table.name()), hint());
    }
    let At { value, span } = table.string("url")?;
    let url = value.parse::<Uri>().ok().filter(|_| !value.contains('#'));
    let both = url.and_then(|url| Origin::of(&url).map(|origin| (url, origin)));
    if both.is_none() {
        table.source().problem(&span, format!("url can't be {value:?}"), hint());
    }
    both
}

fn addresses(table: &Table<'_>) -> Vec<AddressRange> {
    let range = |At { value, span }: At<&str>| {
        let hint = "write addresses = [\"10.0.0.0/8\"]".to_owned();
        let range = value.parse::<AddressRange>();
        range.map_err(|error| table.source().problem(&span, error, Some(hint))).ok()
    };
    table.strings("addresses").into_iter().filter_map(range).collect()
}
