//! The engine one step at a time, for a simulator: the ledger on any journal, with tables in memory, without
//! a thread and a clock of its own. [`crate::EmbeddedBroker`] is the engine of programs.
//!
//! Commands change the ledger only. [`Stepped::persist`] makes them durable, and
//! [`Stepped::release`] hands out what follows from them.

#![allow(clippy::missing_panics_doc, reason = "only tests use it, and tables in memory can't fail")]
#![allow(
    clippy::expect_used,
    reason = "tables in memory can't fail, and no other writes their rows"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use usher_event::SubscriptionName;
use usher_journal::Journal;

use crate::api::*;
use crate::fetch::fetch;
use crate::ledger::{Fetch, Ledger, LedgerOptions, PreparedSettlement};
use crate::load::load;
use crate::operate::{Prepared, operate};
use crate::store::journaled::{JournaledStore, catch_up};
use crate::store::memory::MemoryTables;
use crate::store::{Batch, Space, Store as _, StoreFailure, Tables, Views as _, keys};
use crate::{Options, flow, log, replay};

const READABLE: &str = "tables in memory are readable";

/// Tables whose rows go with events.
const FORGOTTEN: [Space; 4] =
    [Space::Children, Space::Attempts, Space::DeadByDelivery, Space::Events];

/// Tables in memory, of one node. They outlive the engine on them.
#[derive(Clone, Default)]
pub struct SteppedTables(Arc<MemoryTables>);

impl SteppedTables {
    /// A crash: what was applied since the last checkpoint is gone.
    pub fn crash(&self) {
        self.0.crash();
    }

    /// Applies what the journal has, makes it durable, and returns the position it goes up to; does nothing if
    /// something before that was given up.
    ///
    /// # Errors
    /// The journal has lost something.
    pub fn follow(&self, journal: &dyn Journal) -> Result<u64, String> {
        if self.0.applied().next >= journal.start() {
            catch_up(journal, &*self.0, |_| ()).map_err(|failure| failure.to_string())?;
            self.0.checkpoint().expect(READABLE);
        }
        Ok(self.0.applied().next)
    }
}

/// A journal with tables in memory, and the ledger on them.
pub struct Stepped {
    store: JournaledStore,
    ledger: Ledger,
    fetches: Vec<Fetch>,
    /// Rows of events before this one may be gone.
    floor: u64,
}

/// Numbers of rows in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoredCounts {
    /// Emissions that are not due yet.
    pub delayed: usize,
    /// Deliveries that wait for their next attempt.
    pub retries: usize,
    /// Deliveries that wait for another of their lane.
    pub parked: usize,
    /// Dead letters.
    pub dead_letters: usize,
    /// Schedules.
    pub schedules: usize,
}

impl Stepped {
    /// Claims a journal, and goes on with what it has and the tables had. Only `options`' limits are used.
    /// Rows of events before `floor` may be gone.
    ///
    /// # Errors
    /// The journal refuses, or was lost.
    ///
    /// # Panics
    /// Tables that are made anew from the journal are others than those that there were.
    pub fn open(
        journal: &Arc<dyn Journal>,
        tables: &mut SteppedTables,
        options: &Options,
        floor: u64,
        (seed, now_ms): (u64, u64),
    ) -> Result<Self, String> {
        if tables.0.applied().next < journal.start() {
            *tables = SteppedTables::default();
        }
        loop {
            let store = opened(journal, &tables.0)?;
            if store.claim().map_err(|failure| failure.to_string())? {
                let fresh = opened(journal, &Arc::default())?;
                let (found, rebuilt) = (rows(&store, floor), rows(&fresh, floor));
                let other = found.iter().zip(&rebuilt).find(|(one, other)| one != other);
                assert!(other.is_none(), "the journal makes other tables: {other:?}");
                assert_eq!(found.len(), rebuilt.len(), "the journal makes other tables");
                let recovered = load(&*store.view()).expect(READABLE);
                let ledger = Ledger::new(recovered, LedgerOptions::of(options), seed, now_ms);
                return Ok(Self { store, ledger, fetches: Vec::new(), floor });
            }
        }
    }

    /// Rows of events before this one may be gone.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// The position that the next commit gets.
    pub fn end(&self) -> u64 {
        self.store.end()
    }

    /// Gives back room of the journal.
    pub fn compact(&self) {
        self.store.compact().expect(READABLE);
    }

    /// Makes durable what tables have applied.
    pub fn checkpoint(&self) {
        self.store.checkpoint().expect(READABLE);
    }

    /// Commits something that is in no history, on a journal that was told to fail.
    ///
    /// # Panics
    /// It doesn't fail.
    pub fn fail_to_commit(&self) {
        let mut torn = Batch::default();
        torn.put(Space::Meta, &b"torn"[..], &b"torn"[..]);
        self.store.commit(torn).expect_err("it fails");
    }

    /// Looks at the clock.
    pub fn tick(&mut self, now_ms: u64) {
        self.ledger.tick(now_ms);
    }

    /// See [`Deliveries::publish`].
    ///
    /// # Errors
    /// [`BrokerError::Behind`].
    pub fn publish(
        &mut self,
        events: Vec<usher_event::Event>,
        now_ms: u64,
    ) -> Result<Vec<Published>, BrokerError> {
        let identified = |event: usher_event::Event| {
            let identity = event.identity();
            (event, identity)
        };
        self.ledger.publish(events.into_iter().map(identified).collect(), now_ms)
    }

    /// See [`Deliveries::subscribe`]. [`Start::Time`] isn't looked up: it starts with the next event.
    ///
    /// # Errors
    /// [`BrokerError::Invalid`].
    pub fn subscribe(&mut self, subscription: Subscription) -> Result<(), BrokerError> {
        self.ledger.subscribe(subscription, None)
    }

    /// Whether there was such a subscription.
    pub fn unsubscribe(&mut self, name: &SubscriptionName) -> bool {
        self.ledger.unsubscribe(name)
    }

    /// See [`Operator::set_schedules`].
    pub fn set_schedules(&mut self, schedules: Vec<Schedule>, now_ms: u64) {
        self.ledger.set_schedules(schedules, now_ms);
    }

    /// The sequence that a subscription looks at next.
    pub fn next_of(&self, name: &SubscriptionName) -> Option<u64> {
        self.ledger.next_of(name)
    }

    /// See [`Operator::keep`].
    ///
    /// # Errors
    /// [`BrokerError::Conflict`].
    pub fn keep(&mut self, documents: Vec<Document>) -> Result<(), BrokerError> {
        self.ledger.keep(documents)
    }

    /// See [`Log::documents`]: all of them.
    pub fn documents(&self) -> BTreeMap<Box<str>, Bytes> {
        log::documents(&*self.store.view(), "").expect(READABLE)
    }

    /// See [`Deliveries::settle`]. Blobs are not looked up.
    pub fn settle(&mut self, settlement: Settlement, now_ms: u64) -> Settled {
        let identities = match &settlement.disposition {
            Disposition::Ack(changes) => {
                changes.emissions.iter().map(|new| new.event.identity()).collect()
            }
            _ => Vec::new(),
        };
        self.ledger
            .settle(PreparedSettlement { settlement, identities, stored_blobs: Vec::new() }, now_ms)
    }

    /// See [`Operator::operate`]; by the local actor.
    ///
    /// # Errors
    /// [`BrokerError::Behind`] and [`BrokerError::Invalid`].
    pub fn operate(&mut self, operation: Operation, now_ms: u64) -> Result<Operated, BrokerError> {
        let prepared = match operation {
            Operation::Redrive(id) => Prepared::Redrive(id),
            Operation::RedriveEdited { id, edited } => match self.dead_letter(id) {
                Some(dead) => Prepared::redrive_edited(&dead, &edited)?,
                None => return Ok(Operated::NotFound),
            },
            Operation::Discard(id) => Prepared::Discard(id),
            Operation::Replay(query) => {
                let found = self.found(&query)?;
                Prepared::Replay { subscription: query.subscription, found }
            }
            Operation::Unsubscribe(name) => {
                if !self.ledger.unsubscribe(&name) {
                    return Ok(Operated::NotFound);
                }
                self.ledger.record(&name, AuditAction::Unsubscribe, &Actor::local(), now_ms);
                return Ok(Operated::Done);
            }
            Operation::Record(change) => Prepared::Record(change),
            Operation::Keep(change, documents) => Prepared::Keep(change, documents),
        };
        operate(&mut self.ledger, &*self.store.view(), &Actor::local(), prepared, now_ms)
    }

    /// Sequences of the events that a replay would look at.
    ///
    /// # Errors
    /// [`BrokerError::Invalid`].
    pub fn replayable(&self, query: &ReplayQuery) -> Result<Vec<u64>, BrokerError> {
        let found = self.found(query)?;
        Ok(found.candidates.iter().map(|candidate| candidate.stored.sequence).collect())
    }

    /// Reads what the ledger asked for, so that what waits for it can be handed out.
    pub fn fetch(&mut self, now_ms: u64) {
        for wanted in std::mem::take(&mut self.fetches) {
            let fetched = fetch(&*self.store.view(), wanted).expect(READABLE);
            self.ledger.fetched(fetched, now_ms);
        }
    }

    /// Commits what the commands since the last time came to.
    ///
    /// # Errors
    /// It may or may not be committed.
    pub fn persist(&mut self) -> Result<(), String> {
        self.store.commit(self.ledger.finish()).map_err(|StoreFailure(reason)| reason)
    }

    /// Hands out the leases that what is persisted allows.
    pub fn release(&mut self) -> Vec<Lease> {
        let released = self.ledger.release();
        if let Some(sequence) = released.dropped {
            self.floor = self.floor.max(sequence);
            for space in FORGOTTEN {
                self.store.drop_before(space, sequence).expect(READABLE);
            }
            self.store.reclaim(sequence, &|| false).expect(READABLE);
        }
        self.fetches.extend(self.ledger.grant());
        self.ledger.take_offered()
    }

    /// See [`Reader::stats`].
    pub fn stats(&self) -> BrokerStats {
        self.ledger.stats()
    }

    /// See [`Deliveries::subscriptions`].
    pub fn subscriptions(&self) -> Vec<SubscriptionStatus> {
        self.ledger.statuses()
    }

    /// See [`Reader::schedules`].
    pub fn schedules(&self) -> Vec<ScheduleStatus> {
        self.ledger.schedules()
    }

    /// The version of state that a delivery handed out now reads.
    pub fn version(&self) -> u64 {
        self.ledger.committed_version()
    }

    /// An event of the log.
    pub fn event(&self, sequence: u64) -> Option<StoredEvent> {
        log::event(&*self.store.view(), sequence).expect(READABLE)
    }

    /// See [`Reader::dead_letter`].
    pub fn dead_letter(&self, id: u64) -> Option<DeadLetter> {
        log::dead_letter(&*self.store.view(), id).expect(READABLE)
    }

    /// See [`Reader::explain`].
    pub fn explain(&self, subscription: &SubscriptionName, sequence: u64) -> Option<Explanation> {
        let standing = self.ledger.delivery_standing(subscription, sequence)?;
        flow::explain(&*self.store.view(), sequence, &standing).expect(READABLE)
    }

    /// All stored values of state.
    pub fn state(&self) -> Vec<Bytes> {
        let view = self.store.view();
        view.range(Space::State, &[], None).map(|row| row.expect(READABLE).1).collect()
    }

    /// What is stored, counted.
    pub fn counts(&self) -> StoredCounts {
        let view = self.store.view();
        let count = |space| view.range(space, &[], None).count();
        StoredCounts {
            delayed: count(Space::Delayed),
            retries: count(Space::Retries),
            parked: count(Space::Parked),
            dead_letters: count(Space::Dead),
            schedules: count(Space::Schedules),
        }
    }

    fn found(&self, query: &ReplayQuery) -> Result<replay::Found, BrokerError> {
        replay::find(&*self.store.view(), query).expect(READABLE)
    }
}

/// All rows but those that nobody asks for any more.
fn rows(store: &JournaledStore, floor: u64) -> Vec<(Space, Bytes, Bytes)> {
    let view = store.view();
    let of = |space: Space| {
        let rows = view.range(space, &[], None).map(|row| row.expect(READABLE));
        let is_asked_for = |key: &Bytes| {
            !FORGOTTEN.contains(&space) || keys::first_number(key).is_none_or(|n| n >= floor)
        };
        let rows = rows.filter(|(key, _)| is_asked_for(key));
        rows.map(|(key, value)| (space, key, value)).collect::<Vec<_>>()
    };
    Space::ALL.into_iter().flat_map(of).collect()
}

fn opened(
    journal: &Arc<dyn Journal>,
    tables: &Arc<MemoryTables>,
) -> Result<JournaledStore, String> {
    let tables = Arc::clone(tables) as Arc<dyn Tables>;
    JournaledStore::open(Arc::clone(journal), tables).map_err(|failure| failure.to_string())
}
