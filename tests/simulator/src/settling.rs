//! Settlements of every kind, and what is expected of each.

use std::time::Duration;

use bytes::Bytes;
use usher_event::{
    Delivery, Event, Failure, FailureClass, StateAddress, StateRead, StateWrite, SubscriptionName,
};

use super::model::{Stands, TYPES};
use super::random::Random;
use super::world::{MAX_ATTEMPTS, MAX_TRAPS, Out, World};
use usher_broker::*;

/// Number of state keys over which deliveries conflict.
const STATE_KEYS: usize = 2;

/// The ledger's answer to a settlement, and when it came.
pub(crate) struct Outcome {
    out: Out,
    what: &'static str,
    settled: Settled,
    now_ms: u64,
    tick: u64,
    /// The state key that it incremented.
    counted: Option<String>,
}

impl World {
    /// Settles a random lease in a random way.
    pub(crate) fn settle(&mut self, random: &mut Random) {
        let position = random.below(self.leases.len());
        let Some(token) = self.leases.keys().nth(position).copied() else { return };
        let Some(out) = self.leases.remove(&token) else { return };
        let failure = || Failure::new(FailureClass::Retry, "no");
        let mut counted = None;
        let (what, disposition) = match random.below(13) {
            0 => ("retry", Disposition::Retry { failure: failure(), after: None }),
            11 => {
                let failure = Failure::new(FailureClass::Trap, "unreachable");
                ("trap", Disposition::Retry { failure, after: None })
            }
            12 => {
                let after = Some(RATE_LIMITED_MIN);
                ("busy", Disposition::Retry { failure: failure(), after })
            }
            1 => ("reject", Disposition::Reject { failure: failure() }),
            2 => ("release", Disposition::Release),
            3 | 4 if out.lease.delivery.depth < 3 => {
                let Delivery { subscription, sequence, .. } = &out.lease.delivery;
                let emissions = vec![emission(subscription, *sequence, random)];
                let changes = Changes { emissions, ..Changes::default() };
                ("ack", Disposition::Ack(changes))
            }
            5..8 => {
                let key = format!("k{}", random.below(STATE_KEYS));
                let changes = self.increment(&out, &key);
                counted = Some(key);
                ("ack", Disposition::Ack(changes))
            }
            _ => ("ack", Disposition::Ack(Changes::default())),
        };
        self.hand_in(out, what, disposition, counted);
        if random.once_in(20) {
            self.settle_nonsense(random);
        }
        if random.once_in(10) {
            self.settle_late(random);
        }
    }

    /// Settles something that is not leased, which is ignored.
    fn settle_nonsense(&mut self, random: &mut Random) {
        let names: Vec<_> = self.model.subscriptions.values().map(|s| s.name.clone()).collect();
        let Some(subscription) = names.get(random.below(names.len())).cloned() else { return };
        let sequence = random.below(self.model.events.len() + 5) as u64;
        let token = u64::MAX - random.below(3) as u64;
        self.settle_stale(subscription, sequence, token, Changes::default());
    }

    /// Settles what was settled, or given up, by who had it leased: that is too late, and ignored.
    fn settle_late(&mut self, random: &mut Random) {
        let late = self.given_up.get(random.below(self.given_up.len()));
        let Some((subscription, sequence, token)) = late.cloned() else { return };
        let emissions = vec![emission(&subscription, sequence, random)];
        let changes = Changes { emissions, ..Changes::default() };
        self.settle_stale(subscription, sequence, token, changes);
    }

    fn settle_stale(
        &mut self,
        subscription: SubscriptionName,
        sequence: u64,
        token: u64,
        changes: Changes,
    ) {
        let settlement = Settlement {
            subscription,
            sequence,
            token,
            digest: None,
            version: None,
            took: Duration::ZERO,
            disposition: Disposition::Ack(changes),
        };
        assert_eq!(self.broker.settle(settlement, self.now_ms), Settled::Stale);
    }

    /// Increments a key, based on its value when the delivery began.
    fn increment(&self, out: &Out, key: &str) -> Changes {
        let plugin = out.lease.delivery.subscription.plugin();
        let address =
            StateAddress { plugin: plugin.parse().unwrap(), bucket: "b".into(), key: key.into() };
        let before = out.state.get(&(plugin.to_owned(), key.to_owned())).copied();
        let value = (before.unwrap_or(0) + 1).to_string();
        Changes {
            reads: vec![StateRead::Key { address: address.clone(), version: out.version }],
            writes: vec![StateWrite {
                address,
                value: Some(Bytes::from(value)),
                previous_bytes: before.map(|before| before.to_string().len() as u32),
            }],
            quota: self.quota,
            ..Changes::default()
        }
    }

    /// Whether incrementing this key would exceed the plugin's quota.
    fn is_over_quota(&self, out: &Out, key: &str) -> bool {
        let plugin = out.lease.delivery.subscription.plugin();
        let own = self.model.state.iter().filter(|((of, _), _)| of == plugin);
        let size = |key: &str, value: u64| ("b".len() + key.len() + value.to_string().len()) as u64;
        let bytes: u64 = own.clone().map(|((_, key), value)| size(key, *value)).sum();
        let keys = own.count() as u64;
        let present = self.model.state.get(&(plugin.to_owned(), key.to_owned()));
        let before_bytes = present.map_or(0, |value| size(key, *value));
        let grown_bytes = size(key, present.unwrap_or(&0) + 1) - before_bytes;
        let is_new = present.is_none();
        (is_new && keys >= self.quota.state_keys)
            || (grown_bytes > 0 && bytes + grown_bytes > self.quota.state_bytes)
    }

    pub(crate) fn hand_in(
        &mut self,
        out: Out,
        what: &'static str,
        disposition: Disposition,
        counted: Option<String>,
    ) {
        let settlement = Settlement {
            subscription: out.lease.delivery.subscription.clone(),
            sequence: out.lease.delivery.sequence,
            token: out.lease.token,
            digest: None,
            version: None,
            took: Duration::ZERO,
            disposition,
        };
        let settled = self.broker.settle(settlement, self.now_ms);
        self.give_up([&out.lease]);
        let (now_ms, tick) = (self.now_ms, self.tick);
        self.settled.push(Outcome { out, what, settled, now_ms, tick, counted });
    }

    /// Updates the model with a committed settlement.
    pub(crate) fn learn(&mut self, outcome: &Outcome) {
        let Outcome { out, what, settled, now_ms, tick, counted } = outcome;
        let delivery = &out.lease.delivery;
        let failures = delivery.attempt;
        let key = (delivery.subscription.to_string(), delivery.sequence);
        let is_over = counted.as_ref().is_some_and(|counted| self.is_over_quota(out, counted));
        let stands = match (*what, settled) {
            // Its subscription was removed meanwhile.
            (_, Settled::Stale) if !self.model.stands.contains_key(&key) => return,
            (_, Settled::Stale) if out.round < self.round_of(&key.0) => return,
            ("ack", Settled::Committed) => {
                assert!(!is_over, "{key:?} passed the quota");
                Stands::Done
            }
            ("ack", Settled::Conflict) if counted.is_some() => {
                Stands::Ready { failures: failures - 1 }
            }
            ("release", Settled::Committed) => Stands::Ready { failures: failures - 1 },
            ("ack", Settled::RetryAt(due_ms)) => {
                assert!(is_over, "{key:?} was refused below the quota");
                let (_, others) = self.model.count(&key, "retry");
                assert!(others < MAX_ATTEMPTS, "{key:?}");
                self.played.over_quota += 1;
                Stands::Waiting { failures, due_tick: tick + (due_ms - now_ms) }
            }
            ("ack", Settled::Dead(id)) => {
                assert!(is_over, "{key:?} was refused below the quota");
                assert_eq!(self.model.count(&key, "retry").1, MAX_ATTEMPTS, "{key:?}");
                Stands::Dead { id: Some(*id) }
            }
            ("ack", Settled::HeldBack) => {
                self.played.held_back += 1;
                Stands::Ready { failures: failures - 1 }
            }
            ("retry" | "trap" | "busy", Settled::RetryAt(due_ms)) => {
                // [8] Fewer attempts than the limit so far.
                let (traps, others) = self.model.count(&key, what);
                assert!(traps < MAX_TRAPS && others < MAX_ATTEMPTS, "{key:?}");
                Stands::Waiting { failures, due_tick: tick + (due_ms - now_ms) }
            }
            ("retry" | "trap", Settled::Dead(id)) => {
                let (traps, others) = self.model.count(&key, what);
                assert!(traps == MAX_TRAPS || others == MAX_ATTEMPTS, "{key:?}");
                Stands::Dead { id: Some(*id) }
            }
            ("reject", Settled::Dead(id)) => Stands::Dead { id: Some(*id) },
            ("retry" | "trap" | "busy" | "release" | "ack", Settled::Expired) => {
                let first = self.broker.stats().first_sequence;
                self.model.expire_handed_in(&key, first);
                Stands::Expired
            }
            other => panic!("{key:?}: {other:?}"),
        };
        if let (Settled::Committed, "ack", Some(counted)) = (settled, *what, counted) {
            // [4] No update is lost: each commit builds on the previous one.
            let address = (delivery.subscription.plugin().to_owned(), counted.clone());
            let before = out.state.get(&address).copied().unwrap_or(0);
            let present = self.model.state.entry(address).or_default();
            assert_eq!(*present, before, "{key:?} committed what it read before it changed");
            *present += 1;
        }
        if matches!(settled, Settled::Dead(_)) && !delivery.event.has_system_type() {
            self.model.deaths += 1;
        }
        self.played.deliveries += 1;
        self.tell(format_args!("settled {key:?} {what} {settled:?}"));
        self.model.stands.insert(key, stands);
    }
}

fn emission(subscription: &SubscriptionName, sequence: u64, random: &mut Random) -> NewEvent {
    let id = format!("{sequence}/{subscription}");
    let subject = format!("k{}", random.below(4));
    let event = Event::builder(id, "/plugins/sim", TYPES[random.below(3)]).subject(subject);
    let delay = random.once_in(2).then_some(Duration::from_millis(250));
    NewEvent { event: event.build().unwrap(), delay }
}
