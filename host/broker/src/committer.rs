//! The committer: one thread that drains the intake, applies commands to the ledger, commits, and
//! then acts. Batches form by themselves while the disk is busy.
//!
//! It ends when the intake is closed and empty, or when a commit fails; pending replies then fail.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use usher_event::{BlobChange, BlobInfo, Failure, FailureClass};
use usher_filter::Filter;

use crate::Clock;
use crate::api::{AuditAction, BrokerError, Changes, Disposition, WATCHES_MAX, Watch, Watched};
use crate::blobs::Blobs;
use crate::fetch::fetch;
use crate::intake::{Command, Phase, RETRY_AFTER, Reply};
use crate::ledger::{Fetch, Ledger, PreparedSettlement, ReleasedBlobs};
use crate::operate::operate;
use crate::readers::WorkerPool;
use crate::shared::Shared;
use crate::state::Written;
use crate::store::{Space, StoreFailure, keys, schema};

/// Longest wait between two clock checks while a timer runs: the system clock may be set forward.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// Sends a reply, given the outcome of the commit.
type Answer = Box<dyn FnOnce(Result<(), BrokerError>) + Send>;

/// Owns the ledger and runs the commit loop.
pub(crate) struct Committer {
    ledger: Ledger,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    blobs: Arc<Blobs>,
    readers: WorkerPool,
    reclaimer: WorkerPool,
    answers: Vec<Answer>,
    watches: BTreeMap<u64, Watched>,
    next_watch: u64,
    commits: u64,
    /// Nobody needs events before this one any more.
    expired_before: Arc<AtomicU64>,
    /// Whether producers are currently refused because of backlog.
    is_refusing: bool,
}

impl Committer {
    /// Creates a committer; [`Committer::run`] starts it.
    pub(crate) fn new(
        ledger: Ledger,
        shared: Arc<Shared>,
        clock: Arc<dyn Clock>,
        blobs: Arc<Blobs>,
        readers: WorkerPool,
        reclaimer: WorkerPool,
    ) -> Self {
        let (answers, is_refusing) = (Vec::new(), false);
        let (watches, next_watch, commits) = (BTreeMap::new(), 0, 0);
        let expired_before = Arc::new(AtomicU64::new(ledger.disposable()));
        Self {
            ledger,
            shared,
            clock,
            blobs,
            readers,
            reclaimer,
            answers,
            watches,
            next_watch,
            commits,
            expired_before,
            is_refusing,
        }
    }

    /// Runs until the intake is closed or a commit fails.
    pub(crate) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let outcome = catch_unwind(AssertUnwindSafe(|| self.work()));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => shared.poison(&failure.0),
            Err(_) => shared.poison("the committer panicked; the log has the details"),
        }
        // Commands without a reply may or may not be durable.
        for answer in self.answers.drain(..) {
            answer(Err(shared.gone()));
        }
        shared.leases.close(&shared.gone());
        shared.ended.send_replace(true);
    }

    fn work(&mut self) -> Result<(), StoreFailure> {
        let mut commands = Vec::new();
        // The first iteration hands out what was ready before the restart.
        let mut wait = Some(Duration::ZERO);
        loop {
            let phase = self.shared.intake.take(&mut commands, wait);
            if phase == Phase::Abandoned {
                return Ok(());
            }
            let now_ms = self.clock.now_ms();
            for command in commands.drain(..) {
                self.apply(command, now_ms)?;
            }
            let passed_over = self.ledger.stats().ticks_passed_over;
            let due_in_ms = self.ledger.tick(now_ms);
            self.log_clock(passed_over);
            if phase == Phase::Closing {
                self.ledger.save_all_cursors();
            }
            self.commit()?;
            if phase == Phase::Closing {
                return Ok(());
            }
            // What was just handed out may have to be waited for.
            let due_in_ms = due_in_ms.into_iter().chain(self.ledger.paced_in_ms()).min();
            wait = due_in_ms.map(|due_in_ms| Duration::from_millis(due_in_ms).min(LOOK_MAX));
        }
    }

    /// Commits what was applied, then acts on it.
    fn commit(&mut self) -> Result<(), StoreFailure> {
        let batch = self.ledger.finish();
        let written = Written::by(&batch);
        if batch.is_empty() {
            self.shared.store.check()?;
        } else {
            self.shared.store.commit(batch)?;
            self.commits += 1;
        }
        let mut stats = self.ledger.stats();
        stats.commits = self.commits;
        self.shared.state.committed(self.ledger.committed_version(), written);
        self.shared.publish(stats);
        let released = self.ledger.release();
        let ReleasedBlobs { staged, deleted, kept_bytes } = released.blobs;
        // First, as blobs that are both staged and kept would count twice against the quota.
        drop(staged);
        self.blobs.keeps(kept_bytes);
        let fetches = self.ledger.grant();
        // After `publish`: who is told of a match may read it.
        for (id, sequence) in released.marks {
            match self.watches.get(&id) {
                Some(watched) if !watched.is_over() => watched.mark(sequence),
                _ => {
                    self.watches.remove(&id);
                    self.ledger.unwatch(id);
                }
            }
        }
        for wanted in fetches {
            self.read(wanted);
        }
        for answer in self.answers.drain(..) {
            answer(Ok(()));
        }
        if let Some(sequence) = released.dropped {
            self.drop_expired_rows(sequence);
            self.expired_before.store(sequence, Ordering::Release);
        }
        if released.dropped.is_some() || self.shared.store.is_reclaim_due() {
            self.reclaim();
        }
        for digest in deleted {
            self.blobs.forget(digest);
        }
        if self.blobs.has_garbage() {
            let blobs = Arc::clone(&self.blobs);
            self.readers.submit(move || blobs.collect_garbage());
        }
        self.log_backpressure();
        Ok(())
    }

    /// Logs clock setbacks and skipped schedule ticks.
    fn log_clock(&mut self, passed_over_before: u64) {
        if let Some(set_back_ms) = self.ledger.take_set_back_ms() {
            tracing::warn!(
                set_back_ms,
                "the clock was set back: it was ahead before, or is behind now; retries, delayed \
                 emissions and schedules wait no longer than they should, counted from now"
            );
        }
        let passed_over = self.ledger.stats().ticks_passed_over - passed_over_before;
        if passed_over > 0 {
            tracing::warn!(
                ticks = passed_over,
                "ticks of schedules were missed and are passed over, as configured; see `usher \
                 schedules`"
            );
        }
    }

    /// Logs when publishing starts and stops being refused.
    fn log_backpressure(&mut self) {
        let refusal = self.ledger.refusal();
        match &refusal {
            Some(reason) if !self.is_refusing => {
                tracing::warn!(%reason, "nothing is published until a subscription has caught up");
            }
            None if self.is_refusing => tracing::info!("events are published again"),
            _ => {}
        }
        self.is_refusing = refusal.is_some();
    }

    /// Removes rows of events that have left the log, before later commits may write such rows again.
    /// Best effort: nothing else depends on it.
    fn drop_expired_rows(&self, sequence: u64) {
        for space in [Space::Children, Space::Attempts, Space::DeadByDelivery, Space::Events] {
            if let Err(failure) = self.shared.store.drop_before(space, sequence) {
                tracing::warn!(table = space.name(), %failure, "space is not given back");
            }
        }
    }

    /// Frees the journal's room, best effort.
    fn reclaim(&self) {
        let (shared, expired) = (Arc::clone(&self.shared), Arc::clone(&self.expired_before));
        // Refused if the same is waiting already.
        self.reclaimer.submit(move || {
            let is_stopping = || shared.has_ended();
            let sequence = expired.load(Ordering::Acquire);
            if let Err(failure) = shared.store.reclaim(sequence, &is_stopping) {
                tracing::warn!(%failure, "room of the journal is not given back");
                // The store may have failed with it.
                shared.intake.wake();
            }
        });
    }

    fn read(&self, wanted: Fetch) {
        let shared = Arc::clone(&self.shared);
        self.readers.submit(move || {
            let read = || fetch(&*shared.store.view(), wanted).map_err(|failure| failure.0);
            let fetched = catch_unwind(AssertUnwindSafe(read));
            let panicked = || Err("reading panicked; the log has the details".to_owned());
            shared.intake.push_fetched(fetched.unwrap_or_else(|_| panicked()));
        });
    }

    fn apply(&mut self, command: Command, now_ms: u64) -> Result<(), StoreFailure> {
        match command {
            Command::Publish { events, reply } => {
                let published = self.ledger.publish(events, now_ms);
                self.answer(reply, published);
            }
            Command::Settle { batch, reply } => {
                let settle = |mut decided| {
                    self.look_up_blobs(&mut decided);
                    self.ledger.settle(decided, now_ms)
                };
                let settled = batch.into_iter().map(settle).collect();
                self.answer(reply, Ok(settled));
            }
            Command::Subscribe { subscription, first, reply } => {
                let made = self.ledger.subscribe(subscription, first);
                self.answer(reply, made);
            }
            Command::Unsubscribe { name, by, reply } => {
                let removed = self.ledger.unsubscribe(&name);
                if let (true, Some(actor)) = (removed, by) {
                    self.ledger.record(&name, AuditAction::Unsubscribe, &actor, now_ms);
                }
                self.answer(reply, Ok(removed));
            }
            Command::Statuses { reply } => {
                let statuses = self.ledger.statuses();
                self.answer(reply, Ok(statuses));
            }
            Command::FlowSnapshot { flow, sequences, reply } => {
                let standing = self.ledger.standing(flow, &sequences);
                self.answer(reply, Ok(standing));
            }
            Command::Delivery { subscription, sequence, reply } => {
                let standing = self.ledger.delivery_standing(&subscription, sequence);
                self.answer(reply, standing.ok_or(BrokerError::NoSubscription(subscription)));
            }
            Command::Operate { actor, operation, reply } => {
                let view = self.shared.store.view();
                let answer = operate(&mut self.ledger, &*view, &actor, operation, now_ms);
                self.answer(reply, answer);
            }
            Command::Keep { documents, reply } => {
                let kept = self.ledger.keep(documents);
                self.answer(reply, kept);
            }
            Command::SetSchedules { schedules, reply } => {
                self.ledger.set_schedules(schedules, now_ms);
                self.answer(reply, Ok(()));
            }
            Command::Watch { filter, reply } => {
                let watch = self.watch(&filter);
                self.answer(reply, watch);
            }
            Command::Schedules { reply } => {
                let schedules = self.ledger.schedules();
                self.answer(reply, Ok(schedules));
            }
            Command::Fetched(fetched) => {
                self.ledger.fetched(fetched.map_err(StoreFailure)?, now_ms);
            }
        }
        Ok(())
    }

    /// Begins a watch; those that have ended make room first.
    fn watch(&mut self, filter: &Filter) -> Result<Watch, BrokerError> {
        for (id, _) in self.watches.extract_if(.., |_, watched| watched.is_over()) {
            self.ledger.unwatch(id);
        }
        if self.watches.len() >= WATCHES_MAX {
            return Err(BrokerError::Busy { retry_after: RETRY_AFTER });
        }
        let (watched, watch) = Watch::begin();
        self.next_watch += 1;
        self.ledger.watch(self.next_watch, filter);
        self.watches.insert(self.next_watch, watched);
        Ok(watch)
    }

    /// Defers a reply until the batch is durable.
    fn answer<T: Send + 'static>(&mut self, reply: Reply<T>, answer: Result<T, BrokerError>) {
        self.answers.push(Box::new(move |committed| {
            // The caller may have gone; the command still takes effect.
            let _ = reply.send(committed.and(answer));
        }));
    }

    /// Looks up the stored sizes of the blobs that a delivery changes. Done here because only the
    /// committer is sure to see the latest commit.
    fn look_up_blobs(&self, decided: &mut PreparedSettlement) {
        let PreparedSettlement { settlement, stored_blobs, .. } = decided;
        let plugin = settlement.subscription.plugin();
        let Disposition::Ack(Changes { blobs, .. }) = &settlement.disposition else { return };
        if blobs.is_empty() {
            return;
        }
        let view = self.shared.store.view();
        let size = |change: &BlobChange| {
            let (BlobChange::Put(BlobInfo { digest, .. }) | BlobChange::Delete(digest)) = change;
            let blob = view.row::<schema::Blobs>(keys::blob(digest, plugin))?;
            Ok(blob.map(|(info, _)| info.size_bytes))
        };
        match blobs.iter().map(size).collect::<Result<_, StoreFailure>>() {
            Ok(sizes) => *stored_blobs = sizes,
            Err(StoreFailure(reason)) => {
                let failure = Failure::new(FailureClass::Host, reason);
                settlement.disposition = Disposition::Retry { failure, after: None };
            }
        }
    }
}
