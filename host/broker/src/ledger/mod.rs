//! The ledger: a pure state machine that holds all delivery semantics. It takes commands and a
//! timestamp, and produces a batch of writes, replies, leases and read requests. No I/O, no clock,
//! no threads, so that a test can drive it through any history.
//!
//! The committer applies any number of commands, calls [`Ledger::finish`] for the batch to commit,
//! and once that is durable acts on the result of [`Ledger::release`] and has [`Ledger::grant`] offer
//! leases to callers. Nothing uncommitted leaves the ledger in any other way.

mod append;
mod audit;
mod backlog;
mod blobs;
mod dead;
mod delay;
mod documents;
mod duplicates;
mod exclusive;
mod expiring;
mod hops;
mod lanes;
mod leases;
mod outgoing;
mod pacing;
mod parking;
mod recovery;
mod replay;
mod retention;
mod retry;
mod scanning;
mod schedules;
mod settle;
mod standing;
mod state;
mod subscribe;
mod subscription;
mod tail;
mod timeline;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use usher_event::{Identity, SubscriptionName};
use usher_filter::FilterIndex;

use crate::api::{AttemptRecord, BrokerStats, Lease, Settlement, StoredEvent};
use crate::store::Batch;
use crate::store::rows::Counters;
use backlog::Backlog;
use blobs::BlobLedger;
pub(crate) use blobs::ReleasedBlobs;
use delay::Delayed;
use documents::Documents;
use duplicates::Duplicates;
use exclusive::ExclusiveQueue;
pub(crate) use leases::{LeaseQueue, LeaseQueues};
use outgoing::Outgoing;
pub(crate) use recovery::{DelayedEmission, LedgerOptions, Recovered};
use retention::Expiry;
pub(crate) use retention::{Expired, Unseen};
use scanning::Scans;
pub(crate) use scanning::{Behind, SCAN_MAX_LOOKED_AT, ScanFound};
use schedules::Schedules;
pub(crate) use standing::{DeliverySnapshot, FlowSnapshot, SubscriptionSnapshot};
use state::StateLedger;
use subscription::{Room, Sub};
use tail::Tail;
use timeline::Timeline;

/// All engine state that isn't only on disk.
pub(crate) struct Ledger {
    counters: Counters,
    written_counters: Counters,
    timeline: Timeline,
    /// Number of the commit being assembled; counts from 1 in every process.
    commit: u64,
    duplicates: Duplicates,
    tail: Tail,
    subs: BTreeMap<u32, Sub>,
    names: HashMap<SubscriptionName, u32>,
    /// What callers lease from.
    leases: Arc<LeaseQueues>,
    /// Subscriptions that were added, with their queue, or removed by the batch being assembled.
    announced: Vec<(SubscriptionName, Option<Arc<LeaseQueue>>)>,
    index: FilterIndex<u32>,
    /// Types that others than subscriptions wait for.
    watched: FilterIndex<u64>,
    /// First match of each in the batch being assembled.
    marks: BTreeMap<u64, u64>,
    /// When retries are due: tick, subscription, sequence.
    due: BTreeSet<(u64, u32, u64)>,
    /// When the pace of subscriptions allows more: tick, subscription. One that is over does no harm.
    paced: BTreeSet<(u64, u32)>,
    delayed: Delayed,
    schedules: Schedules,
    documents: Documents,
    state: StateLedger,
    jitter: retry::Jitter,
    next_token: u64,
    /// Subscriptions that may have something to take or to hand out.
    touched: BTreeSet<u32>,
    /// Subscriptions whose cursor row has to be written.
    unsaved: BTreeSet<u32>,
    outgoing: Outgoing,
    fetches: Vec<Fetch>,
    scans: Scans,
    blobs: BlobLedger,
    alone: ExclusiveQueue,
    backlog: Backlog,
    expiry: Expiry,
    /// Set when the events before this sequence were just removed from the log.
    dropped: Option<u64>,
    /// Dead letters removed by the batch being assembled.
    removed_dead: BTreeSet<u64>,
    next_audit: u64,
    stats: Counts,
}

/// Counters since the process started.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    appended: u64,
    duplicates: u64,
    acked: u64,
    failed: u64,
    conflicts: u64,
    stale: u64,
    expired: u64,
    ticks: u64,
    ticks_passed_over: u64,
    refused: u64,
    held_back: u64,
}

/// A settlement, with what could be computed before it reached the committer.
pub(crate) struct PreparedSettlement {
    pub(crate) settlement: Settlement,
    /// Identities of the emissions, in order.
    pub(crate) identities: Vec<Identity>,
    /// Stored size of each of the plugin's blobs that change, bytes, in order; `None` if the plugin
    /// doesn't keep it. As of the newest commit.
    pub(crate) stored_blobs: Vec<Option<u64>>,
}

/// What may leave the ledger once the batch is durable.
#[derive(Default)]
pub(crate) struct Released {
    /// Watches with a match, and the sequence of the first.
    pub(crate) marks: BTreeMap<u64, u64>,
    pub(crate) blobs: ReleasedBlobs,
    /// Events before this one have left the log.
    pub(crate) dropped: Option<u64>,
}

/// A store read that the ledger needs. `epoch` is returned with the result; results of an outdated
/// epoch are ignored.
#[derive(Clone, Debug)]
pub(crate) enum Fetch {
    /// Events of the log before `to`, for subscriptions that are behind.
    Scan { parts: Vec<Behind>, to: u64 },
    /// Single deliveries: events with their failed attempts.
    Deliveries { subscription: u32, epoch: u64, sequences: Vec<u64> },
    /// Emissions whose delay has elapsed: due time and number.
    Delayed { keys: Vec<(u64, u64)> },
    /// Which events from `from` on, before `to`, to remove: those recorded before `older_than_ms`,
    /// and as many of the oldest as make up `excess_bytes`; and which of them `watched` would take.
    Expired { from: u64, to: u64, older_than_ms: u64, excess_bytes: u64, watched: Vec<Behind> },
}

/// The result of a [`Fetch`].
#[derive(Debug)]
pub(crate) enum Fetched {
    Scan { found: Vec<ScanFound> },
    Deliveries { subscription: u32, epoch: u64, deliveries: Vec<FetchedDelivery> },
    Delayed { emissions: Vec<FetchedEmission> },
    Expired(Expired),
}

/// An event to redeliver.
#[derive(Debug)]
pub(crate) struct FetchedDelivery {
    pub(crate) sequence: u64,
    /// `None` if the log no longer has it.
    pub(crate) stored: Option<StoredEvent>,
    /// Its failed attempts in all rounds, oldest first, numbered across rounds.
    pub(crate) attempts: Vec<(u32, AttemptRecord)>,
}

/// An emission whose delay has elapsed; the sequence of `stored` is meaningless.
#[derive(Debug)]
pub(crate) struct FetchedEmission {
    pub(crate) key: (u64, u64),
    pub(crate) stored: Option<(StoredEvent, Identity)>,
}

impl Ledger {
    /// Takes the result of a read.
    pub(crate) fn fetched(&mut self, fetched: Fetched, now_ms: u64) {
        match fetched {
            Fetched::Scan { found } => self.scanned(found),
            Fetched::Deliveries { subscription, epoch, deliveries } => {
                if let Some(sub) = self.subs.get_mut(&subscription)
                    && sub.epoch == epoch
                {
                    let mut has_changed = false;
                    for delivery in deliveries {
                        has_changed |= sub.fetched(delivery, &mut self.outgoing);
                    }
                    self.touched.insert(subscription);
                    if has_changed {
                        self.unsaved.insert(subscription);
                    }
                }
            }
            Fetched::Delayed { emissions } => self.delays_over(emissions, now_ms),
            Fetched::Expired(expired) => self.expired(expired),
        }
    }

    /// Fires all timers that are due. Returns the milliseconds until the next one.
    pub(crate) fn tick(&mut self, now_ms: u64) -> Option<u64> {
        let tick = self.timeline.tick(now_ms);
        if self.timeline.was_set_back() {
            self.rebase_due_times(tick, now_ms);
        }
        while let Some((due, id, sequence)) = self.due.first().copied() {
            if due > tick {
                break;
            }
            self.due.pop_first();
            if let Some(sub) = self.subs.get_mut(&id) {
                if sub.retry_due(sequence, &mut self.outgoing) {
                    self.unsaved.insert(id);
                }
                self.touched.insert(id);
            }
        }
        self.go_on(tick);
        self.fetches.extend(self.delayed.take_due(tick));
        let next_scheduled_ms = self.run_schedules(now_ms);
        self.expire(tick, now_ms);
        let next = [
            self.due.first().map(|(due, ..)| *due),
            self.delayed.next_due(),
            self.expiry.next_due(),
        ];
        let next = next.into_iter().flatten().map(|due| due.saturating_sub(tick));
        // Schedules follow the wall clock, not elapsed time.
        next.chain(next_scheduled_ms.map(|due_ms| due_ms.saturating_sub(now_ms))).min()
    }

    /// Recomputes the due times of retries after a clock setback; their timers are unaffected.
    fn rebase_due_times(&mut self, tick: u64, now_ms: u64) {
        for (due_tick, id, sequence) in &self.due {
            let sub = self.subs.get_mut(id);
            if let Some(retry) = sub.and_then(|sub| sub.retries.get_mut(sequence)) {
                retry.row.due_ms = now_ms.saturating_add(due_tick.saturating_sub(tick));
                retry.row.first_ms = retry.row.first_ms.min(now_ms);
            }
        }
    }

    /// Returns the batch with everything applied since the last call.
    pub(crate) fn finish(&mut self) -> Batch {
        self.save_idle_cursors();
        for id in std::mem::take(&mut self.unsaved) {
            if let Some(sub) = self.subs.get_mut(&id) {
                let row = sub.cursor(self.counters.last_sequence);
                self.outgoing.put_cursor(id, &row);
                sub.written_next = row.next;
            }
        }
        if self.counters != self.written_counters {
            self.outgoing.put_counters(&self.counters);
            self.written_counters = self.counters;
        }
        self.state.save_usage(&mut self.outgoing);
        self.commit += 1;
        self.removed_dead.clear();
        self.outgoing.take(&mut self.duplicates)
    }

    /// Returns what may happen now that the batch is durable.
    pub(crate) fn release(&mut self) -> Released {
        for (name, queue) in self.announced.drain(..) {
            match queue {
                Some(queue) => self.leases.open(name, queue),
                None => self.leases.remove(&name),
            }
        }
        Released {
            marks: std::mem::take(&mut self.marks),
            blobs: self.blobs.release(),
            dropped: self.dropped.take(),
        }
    }

    /// Offers deliveries to callers, now that the batch is durable. Returns the store reads to execute.
    pub(crate) fn grant(&mut self) -> Vec<Fetch> {
        self.grant_alone();
        self.grant_touched();
        // What was granted may unblock other subscriptions.
        while self.watch_backlog() {
            self.grant_touched();
        }
        let scan = self.next_scan();
        self.fetches.extend(scan);
        std::mem::take(&mut self.fetches)
    }

    fn grant_touched(&mut self) {
        let (room, tick) = (Room::of_each(self.subs.len()), self.timeline.now());
        for id in std::mem::take(&mut self.touched) {
            let Some(sub) = self.subs.get_mut(&id) else { continue };
            let is_held_back = self.backlog.holds_back(id);
            if is_held_back || self.alone.blocks(sub.subscription().name.plugin()) {
                continue;
            }
            let mut has_changed = sub.grant(tick, &mut self.next_token, &mut self.outgoing);
            // If everything ready was parked, there may be more.
            loop {
                let more = sub.refill(&self.tail, self.counters.last_sequence, room);
                self.fetches.extend(more.fetch);
                if more.needs_scan {
                    self.scans.ask(id);
                }
                if !more.filled {
                    break;
                }
                has_changed |= sub.grant(tick, &mut self.next_token, &mut self.outgoing);
            }
            if has_changed {
                self.unsaved.insert(id);
            }
            self.paced.extend(sub.paced_until().map(|due| (due, id)));
        }
    }

    /// Leases everything that is offered, without waiting.
    pub(crate) fn take_offered(&self) -> Vec<Lease> {
        self.subs.values().flat_map(|sub| sub.queue.take_all()).collect()
    }

    /// What callers lease from.
    pub(crate) fn leases(&self) -> Arc<LeaseQueues> {
        Arc::clone(&self.leases)
    }

    /// By how much the clock was set back; reported once per setback of more than a step.
    pub(crate) fn take_set_back_ms(&mut self) -> Option<u64> {
        self.timeline.take_set_back_ms()
    }

    /// The number of the last commit assembled by [`Ledger::finish`].
    pub(crate) fn committed_version(&self) -> u64 {
        self.commit.saturating_sub(1)
    }

    /// Counters and sizes, as far as the ledger knows them.
    pub(crate) fn stats(&self) -> BrokerStats {
        BrokerStats {
            appended: self.stats.appended,
            duplicates: self.stats.duplicates,
            commits: 0,
            acked: self.stats.acked,
            failed: self.stats.failed,
            conflicts: self.stats.conflicts,
            stale: self.stats.stale,
            dead_letters: self.counters.dead_letters,
            last_sequence: self.counters.last_sequence,
            delayed: self.delayed.len() as u64,
            first_sequence: self.counters.first_sequence,
            log_bytes: self.counters.log_bytes,
            expired: self.stats.expired,
            ticks: self.stats.ticks,
            ticks_passed_over: self.stats.ticks_passed_over,
            refused: self.stats.refused,
            held_back: self.stats.held_back,
            newest_recorded_ms: self.timeline.newest_ms(),
            disk_free_bytes: None,
            is_disk_full: false,
            is_journal_away: false,
            waiting: 0,
        }
    }

    /// Writes all cursors with the next batch, so that the next start rescans nothing.
    pub(crate) fn save_all_cursors(&mut self) {
        let last = self.counters.last_sequence;
        let stale = self.subs.values().filter(|sub| sub.next(last) != sub.written_next);
        self.unsaved.extend(stale.map(|sub| sub.id));
    }

    /// Writes the cursors of subscriptions without matches from time to time; they would rescan the
    /// log after a restart. The more there are, the less often, so that an event costs a part of a row.
    fn save_idle_cursors(&mut self) {
        const EVERY_EVENTS: u64 = 8_192;
        const EVENTS_PER_ROW: u64 = 32;
        let every = EVERY_EVENTS.max(self.subs.len() as u64 * EVENTS_PER_ROW);
        let last = self.counters.last_sequence;
        if last / every == self.written_counters.last_sequence / every {
            return;
        }
        let stale = self.subs.values().filter(|sub| sub.next(last) > sub.written_next + every);
        self.unsaved.extend(stale.map(|sub| sub.id));
    }
}
