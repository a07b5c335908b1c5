//! The engine one step at a time, for a simulator: the ledger on a store in memory, without a thread
//! and a clock. [`crate::EmbeddedBroker`] is the engine of programs.
//!
//! Commands change the ledger only. [`Stepped::persist`] makes them durable, and
//! [`Stepped::release`] hands out what follows from them.

#![allow(
    clippy::missing_panics_doc,
    reason = "only tests use it, and a store in memory can't fail"
)]
#![allow(
    clippy::expect_used,
    reason = "a store in memory can't fail, and no other writes its rows"
)]

use std::sync::Arc;

use bytes::Bytes;
use usher_event::SubscriptionName;
use usher_journal::MemoryJournal;

use crate::api::*;
use crate::fetch::fetch;
use crate::ledger::{Fetch, Ledger, LedgerOptions, PreparedSettlement};
use crate::load::load;
use crate::operate::{Prepared, operate};
use crate::store::journaled::JournaledStore;
use crate::store::memory::MemoryTables;
use crate::store::rows::RetryRow;
use crate::store::schema::{self, Entry};
use crate::store::{Batch, Space, Store as _, Tables, Views as _, keys};
use crate::{Options, flow, log, replay};

const READABLE: &str = "a store in memory is readable";

/// Tables whose rows go with events.
const FORGOTTEN: [Space; 4] =
    [Space::Children, Space::Attempts, Space::DeadByDelivery, Space::Events];

/// A store in memory, and the ledger on it.
pub struct Stepped {
    journal: MemoryJournal,
    tables: Arc<MemoryTables>,
    store: JournaledStore,
    rules: LedgerOptions,
    ledger: Ledger,
    fetches: Vec<Fetch>,
    /// Rows of events before this one may be gone.
    floor: u64,
}

/// A delivery that waits for its next attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRetry {
    /// The subscription.
    pub subscription: SubscriptionName,
    /// The event.
    pub sequence: u64,
    /// When it is due, Unix milliseconds.
    pub due_ms: u64,
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
    /// An empty engine with the limits of `options`; its clock and its folder are not used.
    pub fn new(options: &Options, now_ms: u64) -> Self {
        let (journal, tables) = (MemoryJournal::default(), Arc::<MemoryTables>::default());
        let (store, rules) = (opened(&journal, &tables), LedgerOptions::of(options));
        let ledger = recovered(&store, rules, options.seed, now_ms);
        Self { journal, tables, store, rules, ledger, fetches: Vec::new(), floor: 0 }
    }

    /// A crash and a restart: only what was persisted is left. The seed chooses where the crash was:
    /// before or after tables were checkpointed, or while a commit was appended.
    ///
    /// # Panics
    /// Tables that are made anew from the journal are others than those that there were.
    pub fn restart(&mut self, seed: u64, now_ms: u64) {
        self.fetches.clear();
        if seed.is_multiple_of(5) {
            self.store.compact().expect(READABLE);
        }
        match seed % 4 {
            0 => {}
            1 => self.store.checkpoint().expect(READABLE),
            2 => {
                let mut torn = Batch::default();
                torn.put(Space::Meta, &b"torn"[..], &b"torn"[..]);
                self.journal.fail_next_sync();
                self.store.commit(torn).expect_err("it fails");
            }
            _ => self.journal.fail_next_append(),
        }
        self.journal.crash(0);
        self.tables.crash();
        let anew = Arc::<MemoryTables>::default();
        self.store = opened(&self.journal, &anew);
        let rebuilt = rows(&self.store, self.floor);
        self.store = opened(&self.journal, &self.tables);
        let (found, rebuilt) = (rows(&self.store, self.floor), rebuilt);
        let differs = |row: &&(Space, Bytes, Bytes), other: &[_]| !other.contains(*row);
        let lost = found.iter().find(|row| differs(row, &rebuilt));
        let more = rebuilt.iter().find(|row| differs(row, &found));
        assert!(lost.or(more).is_none(), "the journal makes other tables: {lost:?}, {more:?}");
        if seed.is_multiple_of(3) {
            self.tables = anew;
            self.store = opened(&self.journal, &self.tables);
        }
        self.ledger = recovered(&self.store, self.rules, seed, now_ms);
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
    pub fn persist(&mut self) {
        self.store.commit(self.ledger.finish()).expect(READABLE);
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

    /// The stored retries.
    pub fn retries(&self) -> Vec<StoredRetry> {
        let view = self.store.view();
        let stored = |row: Entry<schema::Retries>| {
            let ((id, sequence), RetryRow { due_ms, .. }) = row.expect(READABLE);
            let owner = view.row::<schema::Subscriptions>(keys::subscription(id)).expect(READABLE);
            let subscription = owner.expect(READABLE).subscription.name.clone();
            StoredRetry { subscription, sequence, due_ms }
        };
        view.rows::<schema::Retries>().map(stored).collect()
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

fn opened(journal: &MemoryJournal, tables: &Arc<MemoryTables>) -> JournaledStore {
    let tables = Arc::clone(tables) as Arc<dyn Tables>;
    let store = JournaledStore::open(Arc::new(journal.clone()), tables).expect(READABLE);
    store.claim().expect(READABLE);
    store
}

fn recovered(store: &JournaledStore, rules: LedgerOptions, seed: u64, now_ms: u64) -> Ledger {
    Ledger::new(load(&*store.view()).expect(READABLE), rules, seed, now_ms)
}
