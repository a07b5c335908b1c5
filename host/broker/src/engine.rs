//! The embedded engine behind the [`Broker`] trait: validates and prepares requests off the
//! committer's thread, and reads from the store what the ledger doesn't hold.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::{oneshot, watch};
use usher_event::limits::{BATCH_MAX_EVENTS, EVENT_MAX_BYTES};
use usher_event::{BlobStore, Event, StateReader, SubscriptionName};
use usher_filter::Filter;

use crate::api::*;
use crate::backup;
use crate::blobs::{Blobs, SharedBlobs};
use crate::committer::Committer;
use crate::flow;
use crate::folder::Folder;
use crate::intake::{Command, Intake, Phase, Reply};
use crate::ledger::{Ledger, LedgerOptions, Recovered};
use crate::load::load;
use crate::log;
use crate::memory::MemoryDisk;
use crate::operate::{Prepared, document_bytes};
use crate::prepare;
use crate::queries::{HasLog, Queries};
use crate::readers::WorkerPool;
use crate::replay;
use crate::room::DiskSpace;
use crate::shared::Shared;
use crate::store::journaled::JournaledStore;
use crate::store::{Store, StoreFailure, Tables, View};
use crate::{OpenError, Options};

/// How often a flow that grows while it is read is read again.
const FLOW_TRIES_MAX: u32 = 8;

/// When to publish again while what keeps the journal is away.
const AWAY_RETRY_AFTER: Duration = Duration::from_secs(2);

/// The in-process engine. Dropping it without [`Lifecycle::close`] is like a crash: writes that were
/// not acknowledged may be lost, everything else is recovered at the next open.
pub struct EmbeddedBroker {
    shared: Arc<Shared>,
    blobs: Arc<Blobs>,
    queries: Queries,
    backups: WorkerPool,
    /// Whether a backup is running.
    is_backing_up: Arc<AtomicBool>,
    data: PathBuf,
    room: Option<DiskSpace>,
    committer: Mutex<Option<JoinHandle<()>>>,
    /// Keeps the data folder locked. Last, so that it is dropped last.
    _folder: Option<Folder>,
}

impl EmbeddedBroker {
    /// Goes on from what a data folder's journal and tables say.
    pub(crate) fn on_folder(
        options: Options,
        folder: Folder,
        store: JournaledStore,
        recovered: Recovered,
        shared: Option<Arc<dyn SharedBlobs>>,
    ) -> Result<Arc<Self>, OpenError> {
        let refused = |source| OpenError::Io {
            what: "cannot use the mark of a copy in",
            path: folder.path(),
            source,
        };
        let is_new_copy = folder.is_new_copy(store.end()).map_err(refused)?;
        let store: Arc<dyn Store> = Arc::new(store);
        let blobs = folder.blobs();
        let opened =
            Blobs::open(crate::blobs::Contents::Disk(blobs.clone()), Arc::clone(&store) as _);
        let refused = |source| OpenError::Io { what: "cannot write to", path: blobs, source };
        let blobs = Arc::new(opened.map_err(refused)?.shared_by(shared));
        Self::start(options, store, recovered, blobs, Some((folder, is_new_copy)))
    }

    /// An engine without persistence, for tests.
    ///
    /// # Errors
    /// A thread can't be started.
    pub fn in_memory(options: Options) -> Result<Arc<Self>, OpenError> {
        Self::on(&MemoryDisk::default(), options)
    }

    /// An engine on a disk in memory, which may hold data of an earlier engine.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn on(disk: &MemoryDisk, options: Options) -> Result<Arc<Self>, OpenError> {
        let opened = JournaledStore::open(
            Arc::new(disk.journal.clone()),
            Arc::clone(&disk.tables) as Arc<dyn Tables>,
        );
        let opened = opened.and_then(|store| {
            store.claim()?;
            Ok(store.with_applier(None)?)
        });
        let store =
            opened.map_err(OpenError::of_store("cannot open the store in", &options.data))?;
        let store: Arc<dyn Store> = Arc::new(store);
        let contents = crate::blobs::Contents::Memory(Arc::clone(&disk.blobs));
        let opened = Blobs::open(contents, Arc::clone(&store) as _);
        let refused =
            |source| OpenError::Io { what: "cannot write to", path: options.data.clone(), source };
        let blobs = Arc::new(opened.map_err(refused)?);
        let recovered = load(&*store.view()).map_err(|failure| OpenError::Damaged {
            path: options.data.clone(),
            reason: failure.0,
        })?;
        Self::start(options, store, recovered, blobs, None)
    }

    fn start(
        options: Options,
        store: Arc<dyn Store>,
        recovered: Recovered,
        blobs: Arc<Blobs>,
        folder: Option<(Folder, bool)>,
    ) -> Result<Arc<Self>, OpenError> {
        let (folder, is_new_copy) = folder.unzip();
        let last = recovered.counters.last_sequence;
        tracing::info!(
            last_sequence = last,
            subscriptions = recovered.subscriptions.len(),
            retries = recovered.retries.len(),
            delayed = recovered.delayed.len(),
            dead_letters = recovered.counters.dead_letters,
            "the broker goes on from what is stored"
        );
        blobs.keeps(recovered.blob_bytes.clone());
        let now_ms = options.clock.now_ms();
        let rules = LedgerOptions::of(&options);
        let mut ledger = Ledger::new(recovered, rules, options.seed, now_ms);
        if is_new_copy.unwrap_or_default() {
            tracing::info!(left_out = ?options.not_in_copies, "the data folder is a backup");
            let gone = |name| Document { name, content: None };
            // Removing some is always possible.
            let _ = ledger.keep(options.not_in_copies.into_iter().map(gone).collect());
        }

        let intake = Intake::new(options.intake_max_commands, options.intake_max_bytes);
        let shared = Arc::new(Shared::new(intake, store, ledger.leases(), last));
        shared.publish(ledger.stats());

        let refused = |source| OpenError::Io {
            what: "cannot start a thread for",
            path: options.data.clone(),
            source,
        };
        let on_disk = folder.is_some();
        let room =
            on_disk.then(|| DiskSpace::new(options.data.clone(), options.disk_reserve_bytes));
        let readers = WorkerPool::start("broker-fetch", 1, usize::MAX).map_err(refused)?;
        let queries = Queries::start(Arc::clone(&shared.store) as _).map_err(refused)?;
        let backups = WorkerPool::start("broker-backup", 1, 1).map_err(refused)?;
        let sweeper = Arc::clone(&blobs);
        queries.submit(move || sweeper.sweep());
        let reclaimer = WorkerPool::start("broker-reclaim", 1, 1).map_err(refused)?;
        let committer = Committer::new(
            ledger,
            Arc::clone(&shared),
            options.clock,
            Arc::clone(&blobs),
            readers,
            reclaimer,
        );
        let thread = std::thread::Builder::new().name("broker-commit".to_owned());
        let thread = thread.spawn(move || committer.run()).map_err(refused)?;
        Ok(Arc::new(Self {
            shared,
            blobs,
            queries,
            backups,
            is_backing_up: Arc::default(),
            data: options.data,
            room,
            committer: Mutex::new(Some(thread)),
            _folder: folder,
        }))
    }

    /// Sends a small command and waits for its reply. Waits for room instead of being refused.
    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, BrokerError> {
        self.send(command, 0).await?.wait(&self.shared).await
    }

    async fn send<T>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command,
        bytes: usize,
    ) -> Result<Pending<T>, BrokerError> {
        let (reply, answer) = oneshot::channel();
        let pushed = self.shared.intake.push(command(reply), bytes).await;
        pushed.map_err(|error| self.refused(error))?;
        Ok(Pending(answer))
    }

    /// The intake is also closed when the broker is poisoned.
    fn refused(&self, error: BrokerError) -> BrokerError {
        match error {
            BrokerError::Closed => self.shared.gone(),
            other => other,
        }
    }

    /// Reads from a view on a query thread.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn View) -> Result<T, StoreFailure> + Send + 'static,
    ) -> Result<T, BrokerError> {
        self.queries()?.read(read).await
    }
}

/// Resets the flag when the backup ends.
struct Running(Arc<AtomicBool>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A reply that hasn't arrived yet.
struct Pending<T>(oneshot::Receiver<Result<T, BrokerError>>);

impl<T> Pending<T> {
    async fn wait(self, shared: &Shared) -> Result<T, BrokerError> {
        self.0.await.unwrap_or_else(|_| Err(shared.gone()))
    }
}

#[async_trait]
impl Deliveries for EmbeddedBroker {
    async fn publish(&self, batch: Vec<Event>) -> Result<Vec<Published>, BrokerError> {
        if batch.len() > BATCH_MAX_EVENTS {
            return Err(BrokerError::BatchTooLong { count: batch.len(), limit: BATCH_MAX_EVENTS });
        }
        let sizes = batch.iter().map(|event| event.encoded().len());
        let bytes = sizes.clone().sum();
        if let Some((member, size_bytes)) = sizes.enumerate().find(|(_, s)| *s > EVENT_MAX_BYTES) {
            let limit_bytes = EVENT_MAX_BYTES;
            return Err(BrokerError::TooLarge { member, size_bytes, limit_bytes });
        }
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let identify = |event: Event| {
            let identity = event.identity();
            (event, identity)
        };
        if let Some(room) = &self.room {
            room.check()?;
        }
        if self.shared.store.is_waiting() {
            return Err(BrokerError::Away { retry_after: AWAY_RETRY_AFTER });
        }
        let events = batch.into_iter().map(identify).collect();
        let (reply, answer) = oneshot::channel();
        let pushed = self.shared.intake.try_push(Command::Publish { events, reply }, bytes);
        pushed.map_err(|error| self.refused(error))?;
        Pending(answer).wait(&self.shared).await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<(), BrokerError> {
        prepare::check_subscription(&subscription)?;
        let first = match subscription.start {
            Start::Time(time_ms) => Some(self.first_since(time_ms).await?),
            Start::Latest | Start::Earliest | Start::Sequence(_) => None,
        };
        self.ask(|reply| Command::Subscribe { subscription, first, reply }).await
    }

    async fn unsubscribe(&self, name: &SubscriptionName) -> Result<bool, BrokerError> {
        let name = name.clone();
        self.ask(|reply| Command::Unsubscribe { name, by: None, reply }).await
    }

    async fn subscriptions(&self) -> Result<Vec<SubscriptionStatus>, BrokerError> {
        let statuses = self.ask(|reply| Command::Statuses { reply }).await?;
        self.read(move |view| log::with_times(view, statuses)).await
    }

    async fn lease(
        &self,
        subscription: &SubscriptionName,
        max: usize,
    ) -> Result<Vec<Lease>, BrokerError> {
        self.shared.leases.named(subscription)?.lease(max).await
    }

    fn when_ready(
        &self,
        subscription: &SubscriptionName,
        call: Box<dyn FnOnce() + Send>,
    ) -> Result<(), BrokerError> {
        self.shared.leases.named(subscription)?.when_ready(call);
        Ok(())
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Result<Vec<Settled>, BrokerError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let bytes = batch.iter().map(Settlement::bytes).sum();
        let prepare = |settlement| prepare::prepare_settlement(settlement, &self.blobs);
        let batch = batch.into_iter().map(prepare).collect();
        self.send(|reply| Command::Settle { batch, reply }, bytes).await?.wait(&self.shared).await
    }
}

#[async_trait]
impl HasLog for EmbeddedBroker {
    fn queries(&self) -> Result<&Queries, BrokerError> {
        if self.shared.poisoned.borrow().is_some() || self.shared.has_ended() {
            return Err(self.shared.gone());
        }
        Ok(&self.queries)
    }

    fn newest(&self) -> &watch::Sender<u64> {
        &self.shared.committed
    }

    fn blob_store(&self) -> Option<Arc<dyn BlobStore>> {
        Some(self.blobs())
    }

    async fn watch_types(&self, filter: &Filter) -> Result<Option<Watch>, BrokerError> {
        if !filter.names_types() {
            return Ok(None);
        }
        let filter = filter.clone();
        self.ask(|reply| Command::Watch { filter, reply }).await.map(Some)
    }
}

#[async_trait]
impl Reader for EmbeddedBroker {
    async fn flow(&self, sequence: u64) -> Result<Option<Flow>, BrokerError> {
        let found = self.read(move |view| flow::members(view, sequence)).await?;
        let Some(mut members) = found else { return Ok(None) };
        let mut tries = 0;
        loop {
            tries += 1;
            let (root, sequences) = (members.root, members.sequences.clone());
            let asked = sequences.clone();
            let standing =
                self.ask(|reply| Command::FlowSnapshot { flow: root, sequences, reply }).await?;
            let is_last = tries == FLOW_TRIES_MAX;
            // The standing doesn't cover events appended since. A delivery is done only together
            // with its emissions, so the members are read again after the standing, not before it.
            let read = move |view: &dyn View| {
                let Some(now) = flow::members(view, root)? else { return Ok(None) };
                if now.sequences != asked && !is_last {
                    return Ok(Some(Err(now)));
                }
                flow::flow(view, now, &asked, &standing).map(|flow| Some(Ok(flow)))
            };
            match self.read(read).await? {
                None => return Ok(None),
                Some(Ok(flow)) => return Ok(Some(flow)),
                Some(Err(grown)) => members = grown,
            }
        }
    }

    async fn explain(
        &self,
        sequence: u64,
        subscription: &SubscriptionName,
    ) -> Result<Option<Explanation>, BrokerError> {
        let subscription = subscription.clone();
        let standing =
            self.ask(|reply| Command::Delivery { subscription, sequence, reply }).await?;
        self.read(move |view| flow::explain(view, sequence, &standing)).await
    }

    async fn replayable(&self, query: ReplayQuery) -> Result<Replayable, BrokerError> {
        Ok(self.read(move |view| replay::find(view, &query)).await??.into())
    }

    async fn schedules(&self) -> Result<Vec<ScheduleStatus>, BrokerError> {
        self.ask(|reply| Command::Schedules { reply }).await
    }

    fn stats(&self) -> BrokerStats {
        let is_disk_full = self.room.as_ref().is_some_and(|room| room.check().is_err());
        let disk_free_bytes = self.room.as_ref().and_then(|room| room.free_bytes(Instant::now()));
        let is_journal_away = self.shared.store.is_waiting();
        BrokerStats { disk_free_bytes, is_disk_full, is_journal_away, ..self.shared.stats() }
    }
}

#[async_trait]
impl Operator for EmbeddedBroker {
    async fn operate(&self, actor: &Actor, operation: Operation) -> Result<Operated, BrokerError> {
        let operation = match operation {
            Operation::Redrive(id) => Prepared::Redrive(id),
            Operation::RedriveEdited { id, edited } => {
                let Some(dead) = self.dead_letter(id).await? else { return Ok(Operated::NotFound) };
                Prepared::redrive_edited(&dead, &edited)?
            }
            Operation::Discard(id) => Prepared::Discard(id),
            Operation::Replay(query) => {
                let subscription = query.subscription.clone();
                let found = self.read(move |view| replay::find(view, &query)).await??;
                Prepared::Replay { subscription, found }
            }
            Operation::Unsubscribe(name) => {
                let by = Some(actor.clone());
                let removed = self.ask(|reply| Command::Unsubscribe { name, by, reply }).await?;
                return Ok(if removed { Operated::Done } else { Operated::NotFound });
            }
            Operation::Record(change) => Prepared::Record(change),
            Operation::Keep(change, documents) => {
                prepare::check_documents(&documents)?;
                Prepared::Keep(change, documents)
            }
        };
        let bytes = operation.bytes();
        let actor = actor.clone();
        let command = |reply| Command::Operate { actor, operation, reply };
        self.send(command, bytes).await?.wait(&self.shared).await
    }

    async fn keep(&self, documents: Vec<Document>) -> Result<(), BrokerError> {
        prepare::check_documents(&documents)?;
        let bytes = document_bytes(&documents);
        self.send(|reply| Command::Keep { documents, reply }, bytes).await?.wait(&self.shared).await
    }

    async fn set_schedules(&self, schedules: Vec<Schedule>) -> Result<(), BrokerError> {
        prepare::check_schedules(&schedules)?;
        self.ask(|reply| Command::SetSchedules { schedules, reply }).await
    }

    async fn backup(
        &self,
        to: PathBuf,
        base: Option<PathBuf>,
        beside: Beside,
    ) -> Result<BackupReport, BrokerError> {
        let busy = || BrokerError::Conflict("another backup is being made; wait for it".to_owned());
        if self.is_backing_up.swap(true, Ordering::AcqRel) {
            return Err(busy());
        }
        let (reply, answer) = oneshot::channel();
        let (shared, blobs) = (Arc::clone(&self.shared), Arc::clone(&self.blobs));
        let (data, running) = (self.data.clone(), Running(Arc::clone(&self.is_backing_up)));
        // Runs to completion even if the caller is gone.
        let submitted = self.backups.submit(move || {
            let made = backup::run(&shared, &blobs, &data, &to, base.as_deref(), beside)
                .map_err(BrokerError::from);
            drop(running);
            let _ = reply.send(made);
        });
        if !submitted {
            return Err(busy());
        }
        answer.await.unwrap_or_else(|_| Err(BrokerError::Backup("it panicked; see the log".into())))
    }
}

impl Stores for EmbeddedBroker {
    fn state(&self) -> Arc<dyn StateReader> {
        Arc::clone(&self.shared.state) as Arc<dyn StateReader>
    }

    fn blobs(&self) -> Arc<dyn BlobStore> {
        Arc::clone(&self.blobs) as Arc<dyn BlobStore>
    }
}

#[async_trait]
impl Lifecycle for EmbeddedBroker {
    fn poisoned(&self) -> watch::Receiver<Option<String>> {
        self.shared.poisoned.subscribe()
    }

    fn wake(&self) {
        self.shared.intake.wake();
    }

    async fn close(&self) -> Result<(), BrokerError> {
        self.shared.intake.close(Phase::Closing);
        let mut ended = self.shared.ended.subscribe();
        // The sender lives as long as `self`.
        let _ = ended.wait_for(|ended| *ended).await;
        match self.shared.gone() {
            BrokerError::Closed => Ok(()),
            poisoned => Err(poisoned),
        }
    }
}

impl std::fmt::Debug for EmbeddedBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedBroker")
            .field("stats", &self.shared.stats())
            .finish_non_exhaustive()
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        self.shared.intake.close(Phase::Abandoned);
        let thread = self.committer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}
