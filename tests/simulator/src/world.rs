//! The ledger with its store, a clock, and everything that happens to them.

mod checks;
mod subscriptions;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use usher_event::{Event, Quota, SubscriptionName};

use super::Played;
use super::machine::{Machine, OVERTAKEN};
use super::model::{Key, Model, Stands, TYPES, subscriptions};
use super::random::Random;
use super::schedules::Clockwork;
use super::settling::Outcome;
use usher_broker::stepped::{Stepped, StoredCounts};
use usher_broker::*;

const WINDOW: usize = 64;

/// Maximum age of an event in the duplicates window, where it is limited.
const WINDOW_TIME: Duration = Duration::from_secs(3);

/// The log retains about two hundred events.
const RETENTION: Retention = Retention { max_age: None, max_bytes: Some(12_000) };

/// The backlog limit, where there is one.
const BACKLOG_MAX_EVENTS: u64 = 20;

/// The state quota of a plugin, where there is one: two counters of five digits together.
const STATE_MAX_BYTES: u64 = 11;

const HOUR_MS: u64 = 3_600_000;

/// Leases whose holders may answer although they were given up.
const GIVEN_UP_MAX: usize = 8;

pub(crate) const MAX_ATTEMPTS: u32 = 4;

/// Traps have a limit of their own.
pub(crate) const MAX_TRAPS: u32 = 2;

/// Maximum number of turns, half a second each and later more, until everything is at rest.
const REST_MAX_TURNS: u32 = 3_000;

/// A lease that is out, with the state its listener read.
pub(crate) struct Out {
    pub(crate) lease: Lease,
    pub(crate) version: u64,
    pub(crate) state: BTreeMap<(String, String), u64>,
    /// Distinguishes successive subscriptions of the same name.
    pub(crate) round: u64,
}

pub(crate) struct World {
    pub(crate) broker: Stepped,
    machine: Machine,
    /// The broker's options.
    options: Options,
    /// The quota of each plugin.
    pub(crate) quota: Quota,
    pub(crate) now_ms: u64,
    /// The latest value of `now_ms` so far.
    latest_ms: u64,
    /// Monotonic time, as the ledger should see it.
    pub(crate) tick: u64,
    /// Unsettled leases, by token.
    pub(crate) leases: BTreeMap<u64, Out>,
    /// Leases that were settled, or given up, by subscription, sequence and token: who has them may still
    /// answer.
    pub(crate) given_up: Vec<(SubscriptionName, u64, u64)>,
    /// Settlements that are not committed yet.
    pub(crate) settled: Vec<Outcome>,
    pub(crate) model: Model,
    /// Expected schedules: with the uncommitted batch, and without it.
    pub(crate) expected: Clockwork,
    pub(crate) committed: Clockwork,
    next_id: u64,
    rounds: BTreeMap<String, u64>,
    /// Dead letters whose subscription was removed.
    orphans: usize,
    pub(crate) played: Played,
    /// Whether every step is printed.
    is_told: bool,
}

impl World {
    pub(crate) fn new(seed: u64, is_told: bool) -> Self {
        let now_ms = 1_000_000;
        // With some seeds, a backlog limit holds producers and plugins back.
        let backlog_max_events = seed.is_multiple_of(3).then_some(BACKLOG_MAX_EVENTS);
        let options = Options {
            seed,
            duplicates_window_events: WINDOW,
            duplicates_window: (seed % 4 == 1).then_some(WINDOW_TIME),
            retention: RETENTION,
            backlog_max_events,
            ..Options::new("")
        };
        let none = Quota::default();
        let quota = match seed % 10 {
            2 => Quota { state_bytes: STATE_MAX_BYTES, ..none },
            7 => Quota { state_keys: 1, ..none },
            _ => none,
        };
        let mut random = Random::of_step(seed, u32::MAX - 1);
        let mut machine = Machine::new(options.clone(), &mut random);
        let mut world = Self {
            broker: machine.start(&mut random, now_ms),
            machine,
            options,
            quota,
            now_ms,
            latest_ms: now_ms,
            tick: now_ms,
            leases: BTreeMap::new(),
            given_up: Vec::new(),
            settled: Vec::new(),
            model: Model::default(),
            expected: Clockwork::from(now_ms),
            committed: Clockwork::from(now_ms),
            next_id: 0,
            rounds: BTreeMap::new(),
            orphans: 0,
            played: Played::default(),
            is_told,
        };
        let mut random = Random::of_step(seed, u32::MAX);
        for mut subscription in subscriptions() {
            subscription.expires = random.once_in(2);
            world.broker.subscribe(subscription.clone()).unwrap();
            world.model.subscribe(subscription, 1);
        }
        world.broker.set_schedules(world.expected.configured(), now_ms);
        world.commit();
        world
    }

    /// Lets the ledger read the clock.
    fn look(&mut self) {
        self.broker.tick(self.now_ms);
        self.expected.look(self.now_ms);
    }

    /// Prints what happens, if the history is traced.
    pub(crate) fn tell(&self, what: std::fmt::Arguments<'_>) {
        if self.is_told {
            println!("{:>8} {what}", self.tick - 1_000_000);
        }
    }

    pub(crate) fn played(&self) -> Played {
        let happened = self.machine.happened();
        let faults = self.played.faults + happened.served.faults;
        let played = Played { faults, happened, ..self.played };
        if self.is_limited() {
            // Refused producers may publish little: leave such a history out of the minimum.
            return Played { events: usize::MAX, expired: usize::MAX, ..played };
        }
        let superseded = self.broker.subscriptions().iter().map(|one| one.superseded).sum::<u64>();
        let expired = self.broker.stats().first_sequence as usize - 1;
        let unsettled: u64 = self.model.expired.values().map(|(surely, _)| surely).sum();
        let events = self.model.events.len();
        Played {
            events,
            expired,
            expired_unsettled: unsettled as usize,
            superseded: superseded as usize,
            ..played
        }
    }

    fn is_limited(&self) -> bool {
        self.options.backlog_max_events.is_some()
    }

    pub(crate) fn round_of(&self, name: &str) -> u64 {
        self.rounds.get(name).copied().unwrap_or_default()
    }

    pub(crate) fn step(&mut self, mut random: Random) {
        self.machine.step(&mut random, self.now_ms);
        for _ in 0..=random.below(3) {
            match random.below(25) {
                0..7 => self.publish(&mut random),
                7..17 => self.settle(&mut random),
                17 => self.pass_time(&mut random),
                18 | 19 => self.redrive_or_discard(&mut random),
                20 => self.change_subscriptions(&mut random),
                21 => self.replay(&mut random),
                22 => self.keep(&mut random),
                _ => self.answer_fetches(),
            }
        }
        self.latest_ms = self.latest_ms.max(self.now_ms);
        self.look();
        match random.below(40) {
            0 | 1 => self.crash(&mut random, None),
            // The batch is persisted, but its callers get no answer; or it isn't known whether it was.
            2 | 3 => {
                let is_cut_off = random.once_in(2) && self.machine.cut_off_owner();
                let end = self.broker.end();
                match self.broker.persist() {
                    Ok(()) => {
                        self.learn_all();
                        self.crash(&mut random, None);
                    }
                    Err(reason) => {
                        assert!(is_cut_off, "{reason}");
                        self.crash(&mut random, Some(end));
                    }
                }
            }
            _ => self.commit(),
        }
    }

    fn publish(&mut self, random: &mut Random) {
        let mut batch = Vec::new();
        for _ in 0..random.below(6) {
            // Now and then an event that was published before.
            let back = if random.once_in(4) { random.below(40) as u64 } else { 0 };
            let id = self.next_id.saturating_sub(back);
            self.next_id += u64::from(back == 0);
            let ty = TYPES[id as usize % TYPES.len()];
            let mut event = Event::builder(id.to_string(), "/sim", ty);
            // Some events have no ordering key.
            if id % 7 != 0 {
                event = event.subject(format!("k{}", id * 31 % 5));
            }
            batch.push(event.build().unwrap());
        }
        let asked = batch.clone();
        let last = self.broker.stats().last_sequence;
        let published = match self.broker.publish(batch, self.now_ms) {
            Ok(published) => published,
            Err(refusal) => {
                self.tell(format_args!("refused: {refusal}"));
                let BrokerError::Behind { lag, max_events, .. } = refusal else {
                    panic!("{refusal}")
                };
                assert!(lag > max_events - max_events / 4);
                assert_eq!(self.broker.stats().last_sequence, last, "some of it was appended");
                self.played.refused += 1;
                // Plugins are not refused.
                for _ in 0..3 {
                    self.settle(random);
                }
                return;
            }
        };
        for (event, published) in asked.into_iter().zip(published) {
            self.tell(format_args!("publish {published:?} {} {:?}", event.ty(), event.subject()));
            // [7] A duplicate refers to an equal event.
            if published.duplicate
                && let Some(first) = self.model.events.get(published.sequence as usize - 1)
            {
                assert_eq!(*first, event, "duplicate of another event");
            }
        }
    }

    fn pass_time(&mut self, random: &mut Random) {
        let by_ms = random.below(2_000) as u64;
        if random.once_in(5) {
            self.played.faults += 1;
            self.now_ms -= by_ms.min(self.now_ms / 2);
        } else if random.once_in(40) {
            // A jump of one day.
            self.played.faults += 1;
            self.now_ms += 24 * 3_600_000;
            self.tick += 24 * 3_600_000;
        } else {
            self.now_ms += by_ms;
            self.tick += by_ms;
        }
    }

    /// Committed at once, like all changes of subscriptions, so that a crash needs no rollback in
    /// the model.
    fn redrive_or_discard(&mut self, random: &mut Random) {
        self.commit();
        let dead = self.model.stands.iter().filter_map(|(key, stands)| match stands {
            Stands::Dead { id: Some(id) } => Some((key.clone(), *id)),
            _ => None,
        });
        let dead: Vec<_> = dead.collect();
        let Some((key, id)) = dead.get(random.below(dead.len())).cloned() else { return };
        let letter = self.broker.dead_letter(id).expect("a dead letter is stored");
        assert_eq!(letter.stored.event, *self.model.event(key.1));
        assert_eq!(letter.attempt_count as usize, letter.attempts.len());
        self.tell(format_args!("redrive or discard {key:?}"));
        match random.below(6) {
            0..3 => {
                if let Err(refusal) = self.broker.operate(Operation::Redrive(id), self.now_ms) {
                    assert!(matches!(refusal, BrokerError::Behind { .. }), "{refusal}");
                    return;
                }
                self.model.replayed.insert(key.clone());
                self.model.counts.remove(&key);
                self.model.stands.insert(key, Stands::Ready { failures: 0 });
            }
            3 => {
                let old = &letter.stored.event;
                let edited = Event::builder(old.id(), old.source(), TYPES[random.below(3)]);
                let edited = edited.subject(format!("k{}", random.below(5))).build().unwrap();
                let operation = Operation::RedriveEdited { id, edited };
                if let Err(refusal) = self.broker.operate(operation, self.now_ms) {
                    assert!(matches!(refusal, BrokerError::Behind { .. }), "{refusal}");
                    return;
                }
                self.model.stands.insert(key, Stands::Dead { id: None });
            }
            _ => {
                self.broker.operate(Operation::Discard(id), self.now_ms).unwrap();
                self.model.stands.insert(key, Stands::Dead { id: None });
            }
        }
        self.commit();
    }

    /// Replaces documents. Committed at once, like a redrive.
    fn keep(&mut self, random: &mut Random) {
        self.commit();
        let mut documents = BTreeMap::new();
        for _ in 0..=random.below(2) {
            let name: Box<str> = format!("d{}", random.below(4)).into();
            let content = Bytes::from(vec![b'x'; random.below(64)]);
            documents.insert(name, Some(content).filter(|_| !random.once_in(3)));
        }
        self.tell(format_args!("keep {:?}", documents.keys()));
        for (name, content) in &documents {
            match content.clone() {
                Some(content) => self.model.documents.insert(name.clone(), content),
                None => self.model.documents.remove(name),
            };
        }
        let documents = documents.into_iter().map(|(name, content)| Document { name, content });
        self.broker.keep(documents.collect()).unwrap();
        self.commit();
    }

    /// Committed at once, like a redrive.
    fn replay(&mut self, random: &mut Random) {
        self.commit();
        let Some(subscription) = self.any_subscription(random) else { return };
        let name = subscription.name.to_string();
        let from = 1 + random.below(self.model.events.len() + 1) as u64;
        let query = ReplayQuery {
            subscription: subscription.name.clone(),
            from,
            to: Some(from + random.below(20) as u64),
            filter: None,
            max: 1 + random.below(8),
        };
        let found = self.broker.replayable(&query).unwrap();
        let keys: Vec<Key> = found.into_iter().map(|sequence| (name.clone(), sequence)).collect();
        for (_, sequence) in &keys {
            let is_addressed = self.model.addressees.get(sequence) == Some(&name);
            assert!(is_addressed || self.model.matches(&subscription.filter, *sequence));
        }
        let stands = |key: &Key| self.model.stands.get(key).copied();
        let is_unsure =
            |key: &Key| stands(key) == Some(Stands::Unsure) || self.model.outdated.contains(key);
        if keys.iter().any(is_unsure) {
            return;
        }
        let is_new = |key: &&Key| match stands(key) {
            None | Some(Stands::Done | Stands::Dead { id: None }) => true,
            Some(_) => false,
        };
        let new: Vec<Key> = keys.iter().filter(is_new).cloned().collect();
        self.tell(format_args!("replay {new:?} of {keys:?}"));
        let replayed = match self.broker.operate(Operation::Replay(query), self.now_ms) {
            Ok(Operated::Replayed(replayed)) => replayed,
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => {
                assert!(matches!(refusal, BrokerError::Behind { .. }), "{refusal}");
                return;
            }
        };
        assert_eq!(replayed.events as usize, new.len(), "{new:?} of {keys:?}: {replayed:?}");
        for key in new {
            self.model.replayed.insert(key.clone());
            self.model.counts.remove(&key);
            self.model.stands.insert(key, Stands::Ready { failures: 0 });
        }
        self.commit();
    }

    fn answer_fetches(&mut self) {
        self.broker.fetch(self.now_ms);
    }

    /// Keeps leases whose holders may still answer.
    pub(crate) fn give_up<'a>(&mut self, leases: impl IntoIterator<Item = &'a Lease>) {
        let ids = leases.into_iter().map(|Lease { token, delivery }| {
            (delivery.subscription.clone(), delivery.sequence, *token)
        });
        self.given_up.extend(ids);
        let surplus = self.given_up.len().saturating_sub(GIVEN_UP_MAX);
        self.given_up.drain(..surplus);
    }

    /// Updates the model with what the store holds now.
    fn learn_all(&mut self) {
        let known = self.model.events.len();
        self.learn_events();
        let new = self.model.events[known..].to_vec();
        self.check_ticks(&new);
        for outcome in std::mem::take(&mut self.settled) {
            self.learn(&outcome);
        }
        self.model.expire(self.broker.stats().first_sequence, &self.out());
    }

    /// The deliveries that are leased.
    fn out(&self) -> BTreeSet<Key> {
        let out = self.leases.values().map(|out| &out.lease.delivery);
        out.map(|delivery| (delivery.subscription.to_string(), delivery.sequence)).collect()
    }

    pub(crate) fn commit(&mut self) {
        self.broker.persist().expect("it is the owner");
        self.learn_all();
        for lease in self.broker.release() {
            self.check_lease(&lease);
            let round = self.round_of(lease.delivery.subscription.as_str());
            let (version, state) = (self.broker.version(), self.model.state.clone());
            self.leases.insert(lease.token, Out { lease, version, state, round });
        }
        let rounds = &self.rounds;
        self.leases.retain(|_, out| {
            let name = out.lease.delivery.subscription.as_str();
            out.round == rounds.get(name).copied().unwrap_or_default()
        });
        let statuses = self.broker.subscriptions();
        let in_flight: u64 = statuses.iter().map(|status| status.in_flight).sum();
        assert_eq!(in_flight as usize, self.leases.len());
        // [1] No event with an open delivery leaves the log, unless the delivery may expire.
        let first = self.broker.stats().first_sequence;
        let out = self.out();
        let open = self.model.stands.iter();
        let open = open.filter(|(key, stands)| !self.model.is_over(key, **stands));
        for (key, _) in open.filter(|((_, sequence), _)| *sequence < first) {
            let was_passed = out.contains(key) && self.model.passed.contains(key);
            assert!(
                was_passed || self.model.replayed.contains(key),
                "{key:?} is open, the log begins at {first}"
            );
        }
        for status in statuses {
            assert!(status.in_flight <= u64::from(status.subscription.max_in_flight));
            assert!(status.cursor <= self.model.events.len() as u64 + 1);
            // [3] Expired deliveries are counted, across crashes too.
            let name = status.subscription.name.as_str();
            let (surely, perhaps) = self.model.expired.get(name).copied().unwrap_or_default();
            let expected = surely..=surely + perhaps;
            assert!(expected.contains(&status.expired), "{name}: {} {expected:?}", status.expired);
        }
        self.check_explanations();
    }

    /// Learns the log's new events and the deliveries they make.
    fn learn_events(&mut self) {
        let last = self.broker.stats().last_sequence;
        let window_ms = self.options.duplicates_window.map(|window| window.as_millis() as u64);
        for sequence in self.model.events.len() as u64 + 1..=last {
            // [6] No gaps, no repetitions.
            let stored = self.broker.event(sequence).unwrap();
            let newest = self.model.events.len().saturating_sub(WINDOW);
            let latest_ms = self.latest_ms.max(stored.recorded_ms);
            let is_remembered = |recorded_ms: u64| {
                window_ms.is_none_or(|window_ms| recorded_ms + window_ms > latest_ms)
            };
            let mut known = self.model.events.iter().zip(&self.model.recorded).skip(newest);
            let is_twice = known.any(|(event, at)| *event == stored.event && is_remembered(*at));
            assert!(!is_twice, "appended twice");
            assert_ne!(stored.event.source(), OVERTAKEN, "appended by a former owner");
            self.model.append(stored);
        }
    }

    /// Loses all leases and everything that is not committed. If there was a commit of which it isn't known
    /// whether it was made, this is where it began.
    fn crash(&mut self, random: &mut Random, unknown_from: Option<u64>) {
        self.tell(format_args!("crash"));
        self.played.faults += 1;
        // Another machine's clock, perhaps.
        match random.below(12) {
            0 => {
                self.now_ms += HOUR_MS;
                self.tick += HOUR_MS;
            }
            // Schedules repeat ticks once the clock is behind by more than two hours.
            1 if self.latest_ms < self.now_ms + HOUR_MS / 2 => {
                self.now_ms = self.now_ms.saturating_sub(HOUR_MS);
            }
            _ => {}
        }
        self.machine.restart(&mut self.broker, random, self.now_ms);
        // [1] Nor is a document lost.
        assert_eq!(self.broker.documents(), self.model.documents);
        if unknown_from.is_some_and(|from| self.broker.end() > from) {
            self.learn_all();
        }
        self.settled.clear();
        let leases = std::mem::take(&mut self.leases);
        self.give_up(leases.values().map(|out| &out.lease));
        self.expected = self.committed.clone();
        if random.once_in(3) {
            self.expected.reconfigure(self.now_ms, random);
        }
        self.broker.set_schedules(self.expected.configured(), self.now_ms);
        // A delivery that was in flight and no longer matches is not delivered again.
        let model = &self.model;
        let is_unsure = |(key, stands): &(&Key, &Stands)| {
            let is_new =
                **stands == Stands::Ready { failures: 0 } && !model.replayed.contains(*key);
            is_new && !model.matches(&model.subscriptions[&key.0].filter, key.1)
        };
        let unsure: Vec<Key> =
            model.stands.iter().filter(is_unsure).map(|(key, _)| key.clone()).collect();
        for key in unsure {
            self.model.stands.insert(key, Stands::Unsure);
        }
        self.commit();
    }

    /// Invariant 13: without faults, everything comes to rest.
    pub(crate) fn come_to_rest(&mut self) {
        self.end_schedules();
        for turn in 0..REST_MAX_TURNS {
            // What a clock was set back by is waited for.
            let by_ms = if turn < REST_MAX_TURNS / 3 { 500 } else { 10_000 };
            self.now_ms += by_ms;
            self.tick += by_ms;
            self.answer_fetches();
            self.look();
            for (_, out) in std::mem::take(&mut self.leases) {
                self.hand_in(out, "ack", Disposition::Ack(Changes::default()), None);
            }
            self.commit();
            let left = self.broker.counts();
            // One that was parked and matches no more is let go once it is read back; one that may be
            // superseded needn't be.
            if self.model.is_at_rest() && (left.delayed, left.parked, left.retries) == (0, 0, 0) {
                return;
            }
        }
        let open = self.model.stands.iter();
        let open = open.filter(|(key, stands)| !self.model.is_over(key, **stands));
        let open: Vec<_> = open.take(5).collect();
        panic!("no rest: {open:?}, {:?}", self.broker.counts());
    }

    /// Invariant 3: accepted × matching = done + dead + expired, in memory and on disk.
    /// Invariant 4: state is what was committed.
    pub(crate) fn check_books(&self) {
        for status in self.broker.subscriptions() {
            let name = status.subscription.name.to_string();
            let dead = self.model.stands.iter().filter(|((of, _), stands)| {
                *of == name && matches!(stands, Stands::Dead { id: Some(_) })
            });
            assert_eq!(status.dead as usize, dead.count(), "{name}");
            let open = (status.lag, status.in_flight, status.retrying, status.parked);
            assert_eq!(open, (0, 0, 0, 0), "{name}");
            assert_eq!(status.cursor, self.model.events.len() as u64 + 1, "{name}");
        }
        // Each dead letter is reported once, except those of reports.
        assert_eq!(self.model.reports.len(), self.model.deaths);
        // [1] Retained events are unchanged.
        let first = self.broker.stats().first_sequence;
        assert!(first > 1 || self.is_limited(), "nothing has expired");
        for sequence in 1..=self.model.events.len() as u64 {
            let stored = self.broker.event(sequence).map(|stored| stored.event);
            let expected = (sequence >= first).then(|| self.model.event(sequence).clone());
            assert_eq!(stored, expected, "{sequence}, the log begins at {first}");
        }
        let letters = self.broker.counts().dead_letters;
        let only_letters = StoredCounts { dead_letters: letters, ..StoredCounts::default() };
        assert_eq!(self.broker.counts(), only_letters);
        assert_eq!(letters as u64, self.broker.stats().dead_letters);
        let dead = self.model.stands.values();
        let dead = dead.filter(|stands| matches!(stands, Stands::Dead { id: Some(_) })).count();
        assert_eq!(letters, dead + self.orphans);
        let value = |value: &Bytes| std::str::from_utf8(value).unwrap().parse().unwrap();
        let mut stored: Vec<u64> = self.broker.state().iter().map(value).collect();
        let mut expected: Vec<u64> = self.model.state.values().copied().collect();
        stored.sort_unstable();
        expected.sort_unstable();
        assert_eq!(stored, expected);
    }
}
