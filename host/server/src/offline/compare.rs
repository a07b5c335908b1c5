//! `usher check --url`: compares the subscriptions that configuration and plugins folder define
//! with those of a running router, and explains the effect on their cursors.

use serde::Serialize;
use serde_json::{Value, json};
use usher_broker as broker;
use usher_event::SubscriptionName;

use crate::project;
use usher_api::{Subscription, Timestamp};
use usher_cli::ui::paint;
use usher_cli::ui::style;
use usher_wording::{count, printable};

/// Differences from a running router's subscriptions.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    url: String,
    /// Sorted by subscription.
    changes: Vec<Change>,
    unchanged: usize,
}

/// A new, removed or changed subscription.
#[derive(Debug, Serialize)]
struct Change {
    subscription: SubscriptionName,
    change: Kind,
    /// The removed counterpart of a new one, or the reverse: same plugin and filter, other name.
    #[serde(skip_serializing_if = "Option::is_none")]
    renamed: Option<SubscriptionName>,
    /// Settings that differ.
    settings: Vec<Setting>,
    /// Its cursor in the running router.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<u64>,
    /// Its lag in the running router, in events.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<u64>,
    /// Effects on its cursor and waiting deliveries, one line each.
    meaning: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    New,
    Gone,
    Changed,
}

/// A setting that differs.
#[derive(Debug, Serialize)]
pub(crate) struct Setting {
    pub(crate) setting: &'static str,
    pub(crate) before: Value,
    pub(crate) after: Value,
}

impl Comparison {
    /// Compares `new` with the subscriptions of the router at `url`.
    pub(crate) fn new(url: &str, new: &[broker::Subscription], running: &[Subscription]) -> Self {
        let known = |name: &SubscriptionName| running.iter().find(|one| one.name == *name);
        let stays = |name: &SubscriptionName| new.iter().any(|one| one.name == *name);
        let gone: Vec<_> = running.iter().filter(|one| !stays(&one.name)).collect();
        let came: Vec<_> = new.iter().filter(|one| known(&one.name).is_none()).collect();
        let is_same = |old: &Subscription, new: &broker::Subscription| {
            old.name.plugin() == new.name.plugin() && old.filter == new.filter.to_json()
        };
        let mut changes = Vec::new();
        for one in new {
            match known(&one.name) {
                None => {
                    let before = gone.iter().find(|old| is_same(old, one)).copied();
                    changes.push(Change::new(one, before));
                }
                Some(old) => changes.extend(Change::between(old, one)),
            }
        }
        for old in &gone {
            let after = came.iter().find(|one| is_same(old, one)).map(|one| &one.name);
            changes.push(Change::gone(old, after));
        }
        changes.sort_by(|a, b| a.subscription.cmp(&b.subscription));
        let unchanged = new.len() + gone.len() - changes.len();
        Self { url: url.to_owned(), changes, unchanged }
    }

    /// Renders it as text.
    pub(crate) fn render(&self) -> String {
        let kinds = self.changes.iter().map(|change| change.change);
        let tally = tally(kinds, self.unchanged);
        let mut text =
            format!("subscriptions of the router at {}: {tally}\n", printable(&self.url));
        for Change { subscription, change, settings, meaning, .. } in &self.changes {
            text.push_str(&told(subscription.as_str(), *change, settings, meaning));
        }
        text
    }
}

/// Counts by kind, as text.
pub(crate) fn tally(kinds: impl Iterator<Item = Kind> + Clone, unchanged: usize) -> String {
    let of = |kind| kinds.clone().filter(|other| *other == kind).count();
    let (new, changed, gone) = (of(Kind::New), of(Kind::Changed), of(Kind::Gone));
    format!("{new} new, {changed} changed, {gone} gone, {unchanged} unchanged")
}

/// Renders one change.
pub(crate) fn told(name: &str, change: Kind, settings: &[Setting], meaning: &[String]) -> String {
    let (word, color) = match change {
        Kind::New => ("new", style::GOOD),
        Kind::Gone => ("gone", style::OPEN),
        Kind::Changed => ("changed", style::OPEN),
    };
    let mut text = format!("\n{}: {}\n", paint(name, style::NAME), paint(word, color));
    for Setting { setting, before, after } in settings {
        let [before, after] = [before, after].map(|value| printable(&value.to_string()));
        text.push_str(&format!("  {setting}: {before} becomes {after}\n"));
    }
    for line in meaning {
        text.push_str(&format!("  {}\n", printable(line)));
    }
    text
}

impl Change {
    fn new(new: &broker::Subscription, before: Option<&Subscription>) -> Self {
        let begins = match new.start {
            broker::Start::Latest => "with the next event".to_owned(),
            broker::Start::Earliest => "with the oldest event in the log".to_owned(),
            broker::Start::Sequence(sequence) => format!("with event {sequence}"),
            broker::Start::Time(time_ms) => {
                let time = Timestamp::from_ms(time_ms);
                format!("with the first event recorded at {time} or later")
            }
        };
        let mut meaning = vec![format!("it begins {begins}")];
        meaning.extend(before.map(|old| {
            format!(
                "it looks like {} under another name, but doesn't take over its place: start = {{ \
                 sequence = {} }} begins where that is",
                old.name, old.cursor
            )
        }));
        Self {
            subscription: new.name.clone(),
            change: Kind::New,
            renamed: before.map(|old| old.name.clone()),
            settings: Vec::new(),
            cursor: None,
            lag: None,
            meaning,
        }
    }

    fn gone(old: &Subscription, after: Option<&SubscriptionName>) -> Self {
        let waits = match waiting(old) {
            0 => String::new(),
            waiting => format!(", and {waiting} of its deliveries wait"),
        };
        let mut meaning = vec![
            format!(
                "nothing serves it any more: it stays at event {}, {} behind{waits}, until it is \
                 served again",
                old.cursor,
                count(usize::try_from(old.lag).unwrap_or(usize::MAX), "event")
            ),
            format!(
                "retention keeps what it has not settled; usher subscriptions remove {} forgets it",
                old.name
            ),
        ];
        meaning.extend(after.map(|name| format!("it looks like {name} is its new name")));
        Self {
            subscription: old.name.clone(),
            change: Kind::Gone,
            renamed: after.cloned(),
            settings: Vec::new(),
            cursor: Some(old.cursor),
            lag: Some(old.lag),
            meaning,
        }
    }

    /// Returns `None` if no setting differs.
    fn between(old: &Subscription, new: &broker::Subscription) -> Option<Self> {
        let waiting = waiting(old);
        let filter = new.filter.to_json();
        let (order, start) = (project::order(new.order.clone()), project::start(new.start));
        let retry = project::retry(new.retry.clone());
        let pace = project::pace(&new.pace);
        let paced = || "its place stays; what waits goes on at the new pace".to_owned();
        let projected = || "its place stays; later attempts get the data like that".to_owned();
        let rows = [
            (
                "filter",
                json!(old.filter),
                filter,
                format!(
                    "it stays at event {}: nothing before is looked at again, what was never handed \
                     to the plugin is judged by the new filter, what has failed ({}) comes again",
                    old.cursor, old.retrying
                ),
            ),
            (
                "order",
                json!(old.order),
                json!(order),
                format!(
                    "what is under way or waits now ({waiting}) is finished without regard to order"
                ),
            ),
            (
                "max_in_flight",
                json!(old.max_in_flight),
                json!(new.max_in_flight),
                "its place stays".to_owned(),
            ),
            (
                "expires",
                json!(old.expires),
                json!(new.expires),
                format!(
                    "its place stays; retention {} take what it has not settled (lag {})",
                    if new.expires { "may now" } else { "may no longer" },
                    old.lag
                ),
            ),
            (
                "retry",
                json!(old.retry),
                json!(retry),
                format!(
                    "its place stays; what waits ({}) follows it from its next failure",
                    old.retrying
                ),
            ),
            ("max_per_second", json!(old.max_per_second), json!(pace.max_per_second), paced()),
            (
                "max_per_second_per_key",
                json!(old.max_per_second_per_key),
                json!(pace.max_per_second_per_key),
                paced(),
            ),
            ("debounce_ms", json!(old.debounce_ms), json!(pace.debounce_ms), paced()),
            ("debounce_max_ms", json!(old.debounce_max_ms), json!(pace.debounce_max_ms), paced()),
            ("project", json!(old.project), json!(new.projection.project()), projected()),
            ("redact", json!(old.redact), json!(new.projection.redact()), projected()),
            (
                "start",
                json!(old.start),
                json!(start),
                format!("that changes nothing: it is known, and goes on at event {}", old.cursor),
            ),
        ];
        let (mut settings, mut meaning) = (Vec::new(), Vec::new());
        for (setting, before, after, means) in rows {
            if before != after {
                meaning.push(format!("{setting}: {means}"));
                settings.push(Setting { setting, before, after });
            }
        }
        (!settings.is_empty()).then(|| Self {
            subscription: new.name.clone(),
            change: Kind::Changed,
            renamed: None,
            settings,
            cursor: Some(old.cursor),
            lag: Some(old.lag),
            meaning,
        })
    }
}

/// Deliveries in flight, retrying or parked.
fn waiting(subscription: &Subscription) -> u64 {
    subscription.in_flight + subscription.retrying + subscription.parked
}

#[cfg(test)]
mod tests {
    use usher_filter::Filter;

    use super::*;

    fn new(name: &str, ty: &str) -> broker::Subscription {
        broker::Subscription {
            name: name.parse().unwrap(),
            filter: Filter::parse(&format!(r#"{{"exact":{{"type":"{ty}"}}}}"#)).unwrap(),
            start: broker::Start::Latest,
            order: broker::Order::None,
            retry: broker::RetryPolicy::default(),
            max_in_flight: 16,
            pace: Default::default(),
            projection: Default::default(),
            expires: false,
        }
    }

    /// As reported by a router that serves it.
    fn running(subscription: broker::Subscription) -> Subscription {
        let status = broker::SubscriptionStatus {
            subscription: subscription.into(),
            first: 1,
            cursor: 18,
            lag: 3,
            in_flight: 2,
            retrying: 1,
            delayed: 0,
            parked: 4,
            stalled_lanes: 1,
            next_retry_ms: None,
            oldest_unsettled: Some(16),
            oldest_unsettled_ms: None,
            acked: 0,
            failed: 0,
            superseded: 0,
            dead: 0,
            expired: 0,
            holds_back: None,
            held_back_by: None,
        };
        project::subscription(status, None)
    }

    fn compared(new: &[broker::Subscription], running: &[Subscription]) -> String {
        let text = Comparison::new("http://127.0.0.1:7171", new, running).render();
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn what_stays_is_only_counted() {
        let all = [new("printer/tickets", "t"), new("sales/all", "u")];
        assert_eq!(
            compared(&all, &all.clone().map(running)),
            "subscriptions of the router at http://127.0.0.1:7171: 0 new, 0 changed, 0 gone, 2 \
             unchanged\n"
        );
    }

    #[test]
    fn each_change_says_what_becomes_of_its_place() {
        let changed = broker::Subscription {
            order: broker::Order::Total,
            start: broker::Start::Earliest,
            max_in_flight: 4,
            retry: broker::RetryPolicy { max_attempts: 3, ..broker::RetryPolicy::default() },
            ..new("printer/tickets", "other")
        };
        let text = compared(
            &[changed, new("sales/new-name", "u"), new("sales/more", "v")],
            &[new("printer/tickets", "t"), new("sales/all", "u"), new("old/one", "t")].map(running),
        );
        for line in [
            ": 2 new, 1 changed, 2 gone, 0 unchanged",
            "printer/tickets: changed",
            r#"  filter: {"exact":{"type":"t"}} becomes {"exact":{"type":"other"}}"#,
            r#"  order: "none" becomes "total""#,
            "  max_in_flight: 16 becomes 4",
            r#"  start: "latest" becomes "earliest""#,
            "  filter: it stays at event 18: nothing before is looked at again, what was never \
             handed to the plugin is judged by the new filter, what has failed (1) comes again",
            "  order: what is under way or waits now (7) is finished without regard to order",
            "  start: that changes nothing: it is known, and goes on at event 18",
            "sales/more: new\n  it begins with the next event\n",
            "sales/new-name: new\n  it begins with the next event\n  it looks like sales/all under \
             another name, but doesn't take over its place: start = { sequence = 18 } begins where \
             that is",
            "sales/all: gone\n  nothing serves it any more: it stays at event 18, 3 events behind, \
             and 7 of its deliveries wait, until it is served again",
            "usher subscriptions remove old/one forgets it",
            "  it looks like sales/new-name is its new name",
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
        assert!(text.contains("\"max_attempts\":3"), "{text}");
    }
}
