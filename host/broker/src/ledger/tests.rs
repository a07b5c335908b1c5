//! Random histories of the ledger on a store in memory, against a plain model: publishes, leases,
//! settlements of every kind, redrives, discards, a jumping clock, and crashes that lose what was
//! not committed. Numbers in brackets are the invariants of the design.
//!
//! A failure prints its seed; `USHER_SEED=n` runs that one alone.

use std::collections::BTreeMap;
use std::time::Duration;

use usher_event::{Event, Failure, FailureClass};
use usher_filter::Filter;

use super::{Decided, Fetch, Ledger};
use crate::api::*;
use crate::fetch::fetch;
use crate::load::load;
use crate::store::memory::MemoryStore;
use crate::store::rows::DeadRow;
use crate::store::{Space, Store, keys};

const SEEDS: u64 = 24;
const STEPS: u32 = 400;
const WINDOW: usize = 64;
const MAX_ATTEMPTS: u32 = 4;
const TYPES: [&str; 3] = ["a", "b", "c"];

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// How the model thinks a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stands {
    Ready { failures: u32 },
    Waiting { failures: u32, due_tick: u64 },
    Done,
    Dead { id: Option<u64> },
}

/// What the ledger answered to a settlement, and when.
struct Outcome {
    lease: Lease,
    what: &'static str,
    settled: Settled,
    now_ms: u64,
    tick: u64,
}

struct World {
    random: Random,
    store: MemoryStore,
    ledger: Ledger,
    now_ms: u64,
    /// Time that never goes back, as the ledger should see it.
    tick: u64,
    /// Leases nobody has settled, by token.
    leases: BTreeMap<u64, Lease>,
    fetches: Vec<Fetch>,
    /// Settlements that are not committed yet.
    settled: Vec<Outcome>,
    /// What the model knows: committed events, and how their deliveries stand.
    events: Vec<Event>,
    stands: BTreeMap<(String, u64), Stands>,
    next_id: u64,
    delayed: usize,
}

fn subscriptions() -> Vec<Subscription> {
    let make = |name: &str, filter: &str, max_in_flight| Subscription {
        name: name.parse().unwrap(),
        filter: Filter::parse(filter).unwrap(),
        start: Start::Earliest,
        order: Order::None,
        retry: RetryPolicy {
            first_delay: Duration::from_millis(100),
            max_attempts: MAX_ATTEMPTS,
            max_age: Duration::from_secs(1 << 40),
            ..RetryPolicy::default()
        },
        max_in_flight,
    };
    vec![
        make("p/a", r#"{"exact":{"type":"a"}}"#, 3),
        make("q/all", r#"{"prefix":{"source":"/"}}"#, 7),
        make("r/not-a", r#"{"not":{"exact":{"type":"a"}}}"#, 1),
    ]
}

impl World {
    fn new(seed: u64) -> Self {
        let store = MemoryStore::default();
        let ledger = Ledger::new(load(&*store.view()).unwrap(), WINDOW, seed, 1_000_000);
        let mut world = Self {
            random: Random(seed),
            store,
            ledger,
            now_ms: 1_000_000,
            tick: 1_000_000,
            leases: BTreeMap::new(),
            fetches: Vec::new(),
            settled: Vec::new(),
            events: Vec::new(),
            stands: BTreeMap::new(),
            next_id: 0,
            delayed: 0,
        };
        for subscription in subscriptions() {
            world.ledger.subscribe(subscription, None).unwrap();
        }
        world.commit();
        world
    }

    fn step(&mut self) {
        for _ in 0..=self.random.below(3) {
            match self.random.below(10) {
                0..3 => self.publish(),
                3..7 => self.settle(),
                7 => self.pass_time(),
                8 => self.redrive_or_discard(),
                _ => self.answer_fetches(),
            }
        }
        self.ledger.tick(self.now_ms);
        if self.random.below(12) == 0 {
            self.crash();
        } else {
            self.commit();
        }
    }

    fn publish(&mut self) {
        let count = self.random.below(6);
        let mut batch = Vec::new();
        for _ in 0..count {
            // Now and then one that was published before.
            let back = if self.random.below(4) == 0 { self.random.below(40) as u64 } else { 0 };
            let id = self.next_id.saturating_sub(back);
            self.next_id += u64::from(back == 0);
            let ty = TYPES[id as usize % TYPES.len()];
            let event = Event::builder(id.to_string(), "/sim", ty).build().unwrap();
            let identity = event.identity();
            batch.push((event, identity));
        }
        let asked = batch.clone();
        let published = self.ledger.publish(batch, self.now_ms);
        for ((event, _), published) in asked.into_iter().zip(published) {
            // [7] The same event, the same answer.
            if published.duplicate
                && let Some(first) = self.events.get(published.sequence as usize - 1)
            {
                assert_eq!(*first, event, "duplicate of another event");
            }
        }
    }

    /// Settles a lease that is out, in a random way.
    fn settle(&mut self) {
        let position = self.random.below(self.leases.len().max(1));
        let Some(token) = self.leases.keys().nth(position).copied() else { return };
        let lease = self.leases.remove(&token).unwrap();
        let failure = Failure::new(FailureClass::Retry, "no");
        let mut emissions = Vec::new();
        let (what, disposition) = match self.random.below(8) {
            0 => ("retry", Disposition::Retry { failure, after: None }),
            1 => ("reject", Disposition::Reject { failure }),
            2 => ("release", Disposition::Release),
            3 | 4 if lease.delivery.depth < 3 => {
                let id = format!("{}/{}", lease.delivery.sequence, lease.delivery.subscription);
                let event = Event::builder(id, "/plugins/sim", TYPES[self.random.below(3)]);
                let event = event.build().unwrap();
                let delay = (self.random.below(2) == 0).then_some(Duration::from_millis(250));
                emissions.push(NewEvent { event, delay });
                ("ack", Disposition::Ack(Changes { emissions, ..Changes::default() }))
            }
            _ => ("ack", Disposition::Ack(Changes::default())),
        };
        self.hand_in(lease, what, disposition);
    }

    fn hand_in(&mut self, lease: Lease, what: &'static str, disposition: Disposition) {
        let identities = match &disposition {
            Disposition::Ack(changes) => {
                changes.emissions.iter().map(|new| new.event.identity()).collect()
            }
            _ => Vec::new(),
        };
        let settlement = Settlement {
            subscription: lease.delivery.subscription.clone(),
            sequence: lease.delivery.sequence,
            token: lease.token,
            digest: None,
            took: Duration::ZERO,
            disposition,
        };
        let settled = self.ledger.settle(Decided { settlement, identities }, self.now_ms);
        let (now_ms, tick) = (self.now_ms, self.tick);
        self.settled.push(Outcome { lease, what, settled, now_ms, tick });
    }

    fn pass_time(&mut self) {
        let by_ms = self.random.below(2_000) as u64;
        if self.random.below(5) == 0 {
            self.now_ms -= by_ms.min(self.now_ms / 2);
        } else {
            self.now_ms += by_ms;
            self.tick += by_ms;
        }
    }

    fn redrive_or_discard(&mut self) {
        let dead = self.stands.iter().filter_map(|(key, stands)| match stands {
            Stands::Dead { id: Some(id) } => Some((key.clone(), *id)),
            _ => None,
        });
        let dead: Vec<_> = dead.collect();
        let Some((key, id)) = dead.get(self.random.below(dead.len().max(1))).cloned() else {
            return;
        };
        let row = self.store.view().get(Space::Dead, &keys::number(id)).unwrap();
        let row = DeadRow::read(&row.expect("a dead letter is on disk")).unwrap();
        assert_eq!(row.stored.event, self.events[key.1 as usize - 1]);
        assert_eq!(row.attempt_count as usize, row.attempts.len());
        if self.ledger.is_dead_letter_gone(id) {
            return;
        }
        // Committed at once, so that a crash needs no undoing in the model.
        if self.random.below(3) > 0 {
            self.ledger.redrive(id, &row, self.now_ms).unwrap();
            self.stands.insert(key, Stands::Ready { failures: 0 });
        } else {
            self.ledger.discard(id, &row);
            self.stands.insert(key, Stands::Dead { id: None });
        }
        self.commit();
    }

    fn answer_fetches(&mut self) {
        for wanted in std::mem::take(&mut self.fetches) {
            let fetched = fetch(&*self.store.view(), wanted).unwrap();
            self.ledger.fetched(fetched, self.now_ms);
        }
    }

    fn commit(&mut self) {
        self.store.commit(self.ledger.finish()).unwrap();
        self.learn_events();
        for outcome in std::mem::take(&mut self.settled) {
            self.learn(&outcome);
        }
        self.delayed = self.store.view().range(Space::Delayed, &[], None).count();
        let released = self.ledger.release();
        self.fetches.extend(released.fetches);
        for lease in released.grants.into_iter().flat_map(|(_, leases)| leases) {
            self.check_lease(&lease);
            self.leases.insert(lease.token, lease);
        }
        let in_flight: u64 = self.ledger.statuses().iter().map(|status| status.in_flight).sum();
        assert_eq!(in_flight as usize, self.leases.len());
        for status in self.ledger.statuses() {
            assert!(status.in_flight <= u64::from(status.subscription.max_in_flight));
        }
    }

    /// What the log has now, and which deliveries that makes.
    fn learn_events(&mut self) {
        let last = self.ledger.stats().last_sequence;
        for sequence in self.events.len() as u64 + 1..=last {
            // [6] No gap, nothing twice.
            let stored = crate::log::event(&*self.store.view(), sequence).unwrap().unwrap();
            let newest = self.events.len().saturating_sub(WINDOW);
            assert!(!self.events[newest..].contains(&stored.event), "appended twice");
            for subscription in subscriptions() {
                if subscription.filter.matches(&stored.event) {
                    let key = (subscription.name.to_string(), sequence);
                    self.stands.insert(key, Stands::Ready { failures: 0 });
                }
            }
            self.events.push(stored.event);
        }
    }

    fn learn(&mut self, outcome: &Outcome) {
        let Outcome { lease, what, settled, now_ms, tick } = outcome;
        let failures = lease.delivery.attempt;
        let stands = match (*what, settled) {
            ("ack", Settled::Committed) => Stands::Done,
            ("release", Settled::Committed) => Stands::Ready { failures: failures - 1 },
            ("retry", Settled::RetryAt(due_ms)) => {
                // [8] Fewer attempts than allowed so far.
                assert!(failures < MAX_ATTEMPTS);
                Stands::Waiting { failures, due_tick: tick + (due_ms - now_ms) }
            }
            ("retry", Settled::Dead(id)) => {
                assert_eq!(failures, MAX_ATTEMPTS);
                Stands::Dead { id: Some(*id) }
            }
            ("reject", Settled::Dead(id)) => Stands::Dead { id: Some(*id) },
            other => panic!("{other:?}"),
        };
        let key = (lease.delivery.subscription.to_string(), lease.delivery.sequence);
        self.stands.insert(key, stands);
    }

    fn check_lease(&mut self, lease: &Lease) {
        let delivery = &lease.delivery;
        let key = (delivery.subscription.to_string(), delivery.sequence);
        // [2] Only what was accepted, as it was accepted.
        assert_eq!(self.events[delivery.sequence as usize - 1], delivery.event);
        let twice = self.leases.values().any(|other| {
            other.delivery.sequence == delivery.sequence
                && other.delivery.subscription == delivery.subscription
        });
        assert!(!twice, "{key:?} is out twice");
        let failures = match self.stands.get(&key) {
            Some(Stands::Ready { failures }) => *failures,
            Some(Stands::Waiting { failures, due_tick }) => {
                assert!(*due_tick <= self.tick, "{key:?} comes too early");
                *failures
            }
            other => panic!("{key:?} is delivered, but stands {other:?}"),
        };
        // [8] The count survives everything.
        assert_eq!(delivery.attempt, failures + 1, "{key:?}");
    }

    /// Loses what was not committed, and all leases; the rest goes on.
    fn crash(&mut self) {
        self.leases.clear();
        self.fetches.clear();
        self.settled.clear();
        let recovered = load(&*self.store.view()).unwrap();
        self.ledger = Ledger::new(recovered, WINDOW, self.random.next(), self.now_ms);
        // Waits are read as wall time: what the clock was set back by counts again.
        self.tick = self.tick.max(self.now_ms);
        let now_ms = self.now_ms;
        let view = self.store.view();
        let ids: BTreeMap<u32, String> = view
            .range(Space::Subscriptions, &[], None)
            .map(|row| {
                let (key, value) = row.unwrap();
                let row = crate::store::rows::SubscriptionRow::read(&value).unwrap();
                (keys::first_subscription(&key).unwrap(), row.subscription.name.to_string())
            })
            .collect();
        for row in view.range(Space::Retries, &[], None) {
            let (key, value) = row.unwrap();
            let retry = crate::store::rows::RetryRow::read(&value).unwrap();
            let name = ids[&keys::first_subscription(&key).unwrap()].clone();
            let key = (name, keys::last_number(&key).unwrap());
            if let Some(Stands::Waiting { due_tick, .. }) = self.stands.get_mut(&key) {
                *due_tick = self.tick + retry.due_ms.saturating_sub(now_ms);
            }
        }
        drop(view);
        self.commit();
    }

    /// [13] Without faults everything comes to an end.
    fn come_to_rest(&mut self) {
        for _ in 0..100_000 {
            self.now_ms += 500;
            self.tick += 500;
            self.answer_fetches();
            self.ledger.tick(self.now_ms);
            for (_, lease) in std::mem::take(&mut self.leases) {
                self.hand_in(lease, "ack", Disposition::Ack(Changes::default()));
            }
            self.commit();
            let open = |stands: &Stands| !matches!(stands, Stands::Done | Stands::Dead { .. });
            if self.delayed == 0 && !self.stands.values().any(open) {
                return;
            }
        }
        let open = self
            .stands
            .iter()
            .filter(|(_, stands)| !matches!(stands, Stands::Done | Stands::Dead { .. }));
        panic!("no rest: {:?}, {} delayed", open.collect::<Vec<_>>(), self.delayed);
    }

    /// [3] Accepted × matching = done + dead, in memory as on disk.
    fn check_books(&self) {
        for status in self.ledger.statuses() {
            let name = status.subscription.name.to_string();
            let dead = self.stands.iter().filter(|((of, _), stands)| {
                *of == name && matches!(stands, Stands::Dead { id: Some(_) })
            });
            assert_eq!(status.dead as usize, dead.count(), "{name}");
            assert_eq!((status.lag, status.in_flight, status.retrying), (0, 0, 0), "{name}");
            assert_eq!(status.cursor, self.events.len() as u64 + 1, "{name}");
        }
        let view = self.store.view();
        assert_eq!(view.range(Space::Retries, &[], None).count(), 0);
        let letters = view.range(Space::Dead, &[], None).count() as u64;
        assert_eq!(letters, self.ledger.stats().dead_letters);
    }
}

#[test]
fn random_histories_agree_with_the_model() {
    let one: Option<u64> = std::env::var("USHER_SEED").ok().map(|seed| seed.parse().unwrap());
    let seeds = one.map_or(1..=SEEDS, |seed| seed..=seed);
    for seed in seeds {
        println!("seed {seed}");
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.come_to_rest();
        world.check_books();
    }
}
