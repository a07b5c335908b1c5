//! A plain model of a broker: every event, the state of each of its deliveries, and what plugins'
//! state should hold.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use usher_event::{Event, FailureClass};
use usher_filter::Filter;

use super::random::Random;
use super::world::{MAX_ATTEMPTS, MAX_TRAPS};
use usher_broker::*;

/// State of a delivery according to the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stands {
    Ready {
        failures: u32,
    },
    Waiting {
        failures: u32,
        due_tick: u64,
    },
    /// The filter has changed, and may have changed back before it was evaluated again: may or may
    /// not be delivered.
    Unsure,
    Done,
    Dead {
        id: Option<u64>,
    },
    /// Its event left the log before it was settled.
    Expired,
}

impl Stands {
    /// Whether it can be delivered again without a redrive.
    pub(crate) fn may_come(self) -> bool {
        !matches!(self, Self::Done | Self::Dead { .. } | Self::Expired)
    }

    pub(crate) fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Dead { .. } | Self::Unsure | Self::Expired)
    }
}

/// Subscription name and event sequence.
pub(crate) type Key = (String, u64);

#[derive(Default)]
pub(crate) struct Model {
    /// Committed events, in order; the first has sequence 1.
    pub(crate) events: Vec<Event>,
    /// Times at which `events` were recorded.
    pub(crate) recorded: Vec<u64>,
    /// The subscription of each event that is addressed to one only.
    pub(crate) addressees: BTreeMap<u64, String>,
    /// Reports of dead letters.
    pub(crate) reports: BTreeSet<u64>,
    /// Number of dead letters that must be reported.
    pub(crate) deaths: usize,
    pub(crate) subscriptions: BTreeMap<String, Subscription>,
    pub(crate) stands: BTreeMap<Key, Stands>,
    /// Deliveries repeated out of order on purpose, which block no lane.
    pub(crate) replayed: BTreeSet<Key>,
    /// Deliveries that may have been superseded by a newer one of a debounced subscription, but needn't.
    pub(crate) outdated: BTreeSet<Key>,
    /// Deliveries that were parked or in flight when the order changed.
    pub(crate) unordered: BTreeSet<Key>,
    /// Deliveries that were leased when their event left the log.
    pub(crate) passed: BTreeSet<Key>,
    /// Expired deliveries by subscription: how many for sure, and how many more at most.
    pub(crate) expired: BTreeMap<String, (u64, u64)>,
    /// Failures that count in a delivery's current round: traps, and all others.
    pub(crate) counts: BTreeMap<Key, (u32, u32)>,
    /// Committed state, by plugin and key.
    pub(crate) state: BTreeMap<(String, String), u64>,
    /// Documents by name.
    pub(crate) documents: BTreeMap<Box<str>, Bytes>,
}

impl Model {
    pub(crate) fn event(&self, sequence: u64) -> &Event {
        &self.events[sequence as usize - 1]
    }

    pub(crate) fn append(&mut self, stored: StoredEvent) {
        let sequence = stored.sequence;
        if let Some(addressee) = stored.addressee() {
            let key = (addressee.to_string(), sequence);
            self.addressees.insert(sequence, key.0.clone());
            self.replayed.insert(key.clone());
            self.stands.insert(key, Stands::Ready { failures: 0 });
        }
        if stored.cause.is_some_and(|cause| cause.kind == CauseKind::Report) {
            self.reports.insert(sequence);
        }
        self.recorded.push(stored.recorded_ms);
        self.events.push(stored.event);
        let mut taken = Vec::new();
        for (name, subscription) in &self.subscriptions {
            if self.matches(&subscription.filter, sequence) {
                self.stands.insert((name.clone(), sequence), Stands::Ready { failures: 0 });
                taken.push(name.clone());
            }
        }
        taken.iter().for_each(|name| self.outdate_before(name, sequence));
    }

    /// Marks what this event of a debounced subscription may supersede: what came before the one before it is
    /// marked already.
    fn outdate_before(&mut self, name: &str, sequence: u64) {
        if self.subscriptions.get(name).is_none_or(|of| of.pace.debounce.is_none()) {
            return;
        }
        let Some(lane) = self.lane(name, sequence) else { return };
        let earlier = self.stands.range((name.to_owned(), 0)..(name.to_owned(), sequence)).rev();
        let mut earlier = earlier.filter(|(key, _)| !self.replayed.contains(key));
        let before = earlier.find(|(key, _)| self.lane(name, key.1).as_ref() == Some(&lane));
        let outdated = before.filter(|(_, stands)| stands.may_come()).map(|(key, _)| key.clone());
        self.outdated.extend(outdated);
    }

    /// Whether it needn't be delivered any more.
    pub(crate) fn is_over(&self, key: &Key, stands: Stands) -> bool {
        stands.is_over() || self.outdated.contains(key)
    }

    /// Marks what newer events of a debounced subscription may supersede.
    pub(crate) fn outdate(&mut self, name: &str) {
        let own = self.stands.range((name.to_owned(), 0)..=(name.to_owned(), u64::MAX));
        let own = own.filter(|(key, _)| !self.replayed.contains(key));
        let own: Vec<u64> = own.map(|((_, sequence), _)| *sequence).collect();
        own.into_iter().for_each(|sequence| self.outdate_before(name, sequence));
    }

    /// What the deliveries of one lane have in common; `None` for one that is in no lane.
    pub(crate) fn lane(&self, name: &str, sequence: u64) -> Option<Option<Cow<'_, str>>> {
        let subscription = self.subscriptions.get(name)?;
        match &subscription.order {
            Order::None if subscription.pace.debounce.is_none() => None,
            Order::None | Order::Total => Some(None),
            Order::Key(attribute) => Some(Some(self.event(sequence).attribute(attribute)?)),
        }
    }

    /// Whether it was put out of order on purpose.
    pub(crate) fn is_exempt(&self, key: &Key) -> bool {
        self.replayed.contains(key) || self.unordered.contains(key)
    }

    /// Whether a subscription with this filter takes an event when it reads the log.
    pub(crate) fn matches(&self, filter: &Filter, sequence: u64) -> bool {
        let may_match = !self.addressees.contains_key(&sequence)
            && (!self.reports.contains(&sequence) || filter.selects_type_prefix("dev.usher."));
        may_match && filter.matches(self.event(sequence))
    }

    /// A subscription that takes events from `first` on.
    pub(crate) fn subscribe(&mut self, subscription: Subscription, first: u64) {
        let name = subscription.name.to_string();
        for sequence in first..=self.events.len() as u64 {
            if self.matches(&subscription.filter, sequence) {
                self.stands.insert((name.clone(), sequence), Stands::Ready { failures: 0 });
            }
        }
        self.subscriptions.insert(name.clone(), subscription);
        self.outdate(&name);
    }

    pub(crate) fn unsubscribe(&mut self, name: &str) {
        self.subscriptions.remove(name);
        // Dead letters outlive their subscription.
        self.stands.retain(|(of, _), stands| of != name || stands.is_over());
    }

    /// Changes a subscription's filter; all events before `next` have been handed out.
    pub(crate) fn change_filter(&mut self, name: &str, filter: Filter, next: u64, out: &[u64]) {
        let present = self.subscriptions.get_mut(name).unwrap();
        present.filter = filter.clone();
        for sequence in 1..=self.events.len() as u64 {
            let key = (name.to_owned(), sequence);
            let matches = self.matches(&filter, sequence);
            match self.stands.get(&key) {
                // A delivery that was never attempted and is not leased is matched against the new
                // filter.
                Some(Stands::Ready { failures: 0 })
                    if !matches && !out.contains(&sequence) && !self.replayed.contains(&key) =>
                {
                    let unsure = sequence < next;
                    self.stands.remove(&key);
                    if unsure {
                        self.stands.insert(key, Stands::Unsure);
                    }
                }
                None | Some(Stands::Unsure) if matches && sequence >= next => {
                    self.stands.insert(key, Stands::Ready { failures: 0 });
                }
                _ => {}
            }
        }
        self.outdate(name);
    }

    /// Everything before `first` has left the log. Its deliveries expire if they may, except those
    /// in `out` and redriven ones.
    pub(crate) fn expire(&mut self, first: u64, out: &BTreeSet<Key>) {
        for (key, stands) in &mut self.stands {
            let may_expire = self.passed.contains(key) || self.subscriptions[&key.0].expires;
            if key.1 >= first || !may_expire || self.replayed.contains(key) || !stands.may_come() {
                continue;
            }
            if out.contains(key) {
                self.passed.insert(key.clone());
                continue;
            }
            let (surely, perhaps) = self.expired.entry(key.0.clone()).or_default();
            let is_unsure = *stands == Stands::Unsure || self.outdated.contains(key);
            *(if is_unsure { perhaps } else { surely }) += 1;
            *stands = Stands::Expired;
        }
    }

    /// A leased delivery expired when it was settled.
    pub(crate) fn expire_handed_in(&mut self, key: &Key, first: u64) {
        let may_expire = self.passed.contains(key) || self.subscriptions[&key.0].expires;
        assert!(may_expire && key.1 < first && !self.replayed.contains(key), "{key:?}");
        self.expired.entry(key.0.clone()).or_default().0 += 1;
    }

    /// Invariant 5: an earlier delivery that must be over before this one begins and isn't.
    pub(crate) fn blocker(&self, name: &str, sequence: u64) -> Option<u64> {
        let mine = self.lane(name, sequence)?;
        if self.is_exempt(&(name.to_owned(), sequence)) {
            return None;
        }
        let from = (name.to_owned(), 0);
        let earlier = self.stands.range(from..(name.to_owned(), sequence));
        let open =
            earlier.filter(|(key, stands)| !self.is_over(key, **stands) && !self.is_exempt(key));
        let mut open = open.map(|((_, earlier), _)| *earlier);
        open.find(|earlier| self.lane(name, *earlier).as_ref() == Some(&mine))
    }

    /// Counts a failure; returns traps and all others so far.
    pub(crate) fn count(&mut self, key: &Key, what: &str) -> (u32, u32) {
        let counts = self.counts.entry(key.clone()).or_default();
        match what {
            "trap" => counts.0 += 1,
            "retry" => counts.1 += 1,
            _ => {}
        }
        *counts
    }

    pub(crate) fn is_at_rest(&self) -> bool {
        self.stands.iter().all(|(key, stands)| self.is_over(key, *stands))
    }
}

/// Types for filters to distinguish.
pub(crate) const TYPES: [&str; 3] = ["a", "b", "c"];

pub(crate) fn filters() -> Vec<Filter> {
    let filters = [
        r#"{"exact":{"type":"a"}}"#,
        r#"{"prefix":{"source":"/"}}"#,
        r#"{"not":{"exact":{"type":"a"}}}"#,
        r#"{"any":[{"exact":{"type":"b"}},{"exact":{"subject":"k1"}}]}"#,
        r#"{"any":[{"prefix":{"type":"dev.usher."}},{"exact":{"type":"c"}}]}"#,
    ];
    filters.iter().map(|filter| Filter::parse(filter).unwrap()).collect()
}

pub(crate) fn subscription(
    name: &str,
    filter: usize,
    order: Order,
    in_flight: u32,
) -> Subscription {
    let trap = ClassRetry { max_attempts: Some(MAX_TRAPS), ..ClassRetry::default() };
    Subscription {
        name: name.parse().unwrap(),
        filter: filters()[filter].clone(),
        start: Start::Earliest,
        order,
        retry: RetryPolicy {
            first_delay: Duration::from_millis(100),
            max_attempts: MAX_ATTEMPTS,
            max_age: Duration::from_secs(1 << 40),
            classes: [(FailureClass::Trap, trap)].into(),
            ..RetryPolicy::default()
        },
        max_in_flight: in_flight,
        pace: Default::default(),
        projection: Default::default(),
        expires: false,
    }
}

fn debounced(quiet_ms: u64) -> Pace {
    let quiet = Duration::from_millis(quiet_ms);
    Pace { debounce: Some(Debounce { quiet, max: quiet * 3 }), ..Pace::default() }
}

/// A pace that a subscription with this order may have.
pub(crate) fn any_pace(order: &Order, random: &mut Random) -> Pace {
    let rate = |random: &mut Random| Rate::per_second(2.5 + random.below(8) as f64);
    let by_key = matches!(order, Order::Key(_));
    match random.below(5) {
        0 => Pace { max_rate: rate(random), ..Pace::default() },
        1 if by_key => Pace { max_rate_per_key: rate(random), ..Pace::default() },
        2 if *order != Order::Total => debounced(1 + random.below(2_000) as u64),
        3 if *order != Order::Total => Pace { max_rate: rate(random), ..debounced(500) },
        _ => Pace::default(),
    }
}

pub(crate) fn subscriptions() -> Vec<Subscription> {
    let by_subject = || Order::key("subject").unwrap();
    vec![
        subscription("p/a", 0, Order::None, 3),
        subscription("p/keyed", 1, by_subject(), 5),
        subscription("q/all", 1, Order::None, 7),
        subscription("q/total", 2, Order::Total, 4),
        subscription("r/not-a", 2, Order::None, 1),
        subscription("s/keyed", 3, by_subject(), 9),
        subscription("v/reports", 4, Order::None, 3),
        Subscription { pace: debounced(700), ..subscription("w/newest", 3, Order::None, 2) },
        Subscription { pace: debounced(300), ..subscription("w/keyed", 1, by_subject(), 3) },
    ]
}
