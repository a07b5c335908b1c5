//! The engine interface, in narrow traits by who uses them; [`Broker`] is all of them. Nothing here
//! assumes that broker and router share a process.

mod audit;
mod backup;
mod dead_letters;
mod documents;
mod error;
mod explanation;
mod flow;
mod operate;
mod replay;
mod retry;
mod schedules;
mod settlement;
mod stats;
mod stored;
mod subscription;
mod watches;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use usher_event::{BlobInfo, BlobStore, Digest, Event, PluginName, StateReader, SubscriptionName};
use usher_filter::Filter;

pub use audit::*;
pub use backup::*;
pub use dead_letters::*;
pub use documents::*;
pub use error::*;
pub use explanation::*;
pub use flow::*;
pub use operate::*;
pub use replay::*;
pub use retry::*;
pub use schedules::*;
pub use settlement::*;
pub use stats::*;
pub use stored::*;
pub use subscription::*;
pub use watches::*;

/// What a router needs: events in, deliveries out, verdicts back. All methods may be called
/// concurrently, here and below.
#[async_trait]
pub trait Deliveries: Send + Sync + 'static {
    /// Appends a batch of events atomically; returns after fsync, one result per event, in order.
    ///
    /// # Errors
    /// See [`BrokerError`]; on error nothing of the batch is stored.
    async fn publish(&self, batch: Vec<Event>) -> Result<Vec<Published>, BrokerError>;

    /// Creates a subscription, or updates the one with this name; returns after fsync. An update
    /// keeps the cursor.
    async fn subscribe(&self, subscription: Subscription) -> Result<(), BrokerError>;

    /// Removes a subscription with its cursor and pending retries; dead letters are kept. Returns
    /// `false` if there is none with this name.
    async fn unsubscribe(&self, name: &SubscriptionName) -> Result<bool, BrokerError>;

    /// Status of all subscriptions, sorted by name.
    async fn subscriptions(&self) -> Result<Vec<SubscriptionStatus>, BrokerError>;

    /// Waits until a delivery is ready and leases at most `max`, bounded by the subscription's
    /// `max_in_flight`. A lease is held until it is settled or the process ends.
    ///
    /// Cancel-safe: dropping the future leases nothing.
    async fn lease(
        &self,
        subscription: &SubscriptionName,
        max: usize,
    ) -> Result<Vec<Lease>, BrokerError>;

    /// Calls `call` once when a delivery is ready to be leased, at once if one is; or when nothing will be any
    /// more, so that leasing fails. Replaces what an earlier call for the subscription left. `call` must not
    /// block. For subscriptions that are idle for long: none needs a waiting task.
    ///
    /// # Errors
    /// There is no such subscription.
    fn when_ready(
        &self,
        subscription: &SubscriptionName,
        call: Box<dyn FnOnce() + Send>,
    ) -> Result<(), BrokerError>;

    /// Settles a batch of leased deliveries. Settlements commit in call order; returns after fsync,
    /// with one result per settlement, in order.
    async fn settle(&self, batch: Vec<Settlement>) -> Result<Vec<Settled>, BrokerError>;
}

/// Reading what is committed. A node that doesn't own the journal does so as well, as far as it has come.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// One event, by sequence.
    async fn event(&self, sequence: u64) -> Result<Option<StoredEvent>, BrokerError>;

    /// Events from `from` on, in order, at most `max`, and the sequence to continue from.
    async fn events(&self, query: EventQuery) -> Result<EventPage, BrokerError> {
        self.events_within(query, usize::MAX).await
    }

    /// Like [`Log::events`], but also limited to `max_bytes` of events, which the last event may
    /// exceed. For callers that page through the log with bounded memory.
    ///
    /// # Errors
    /// The engine is poisoned, closed or can't read.
    async fn events_within(
        &self,
        query: EventQuery,
        max_bytes: usize,
    ) -> Result<EventPage, BrokerError>;

    /// Watches for events that are committed from now on and have a type that `filter` may match;
    /// `None` if it may match any type, or the engine can't tell. Cheap for it: the filter isn't evaluated.
    ///
    /// # Errors
    /// [`BrokerError::Busy`] with [`WATCHES_MAX`] watches; the engine is poisoned or closed.
    async fn watch(&self, filter: &Filter) -> Result<Option<Watch>, BrokerError>;

    /// Root sequences of the newest flows with this `correlationid`, at most `max`, oldest first.
    async fn flows_by_correlation(
        &self,
        correlationid: &str,
        max: usize,
    ) -> Result<Vec<u64>, BrokerError>;

    /// Dead letters by id, oldest first, and the id to continue after.
    async fn dead_letters(&self, query: DeadLetterQuery) -> Result<DeadLetterPage, BrokerError>;

    /// One dead letter, with its recorded attempts.
    async fn dead_letter(&self, id: u64) -> Result<Option<DeadLetter>, BrokerError>;

    /// What the last attempt of a dead letter was told, as the listener recorded it; `None` if it
    /// recorded nothing, or there is no such dead letter.
    async fn recording(&self, dead_letter: u64) -> Result<Option<Bytes>, BrokerError>;

    /// Audit records with numbers above `after`, oldest first, at most `max`. The newest
    /// [`crate::AUDIT_MAX_RECORDS`] are kept.
    async fn audit(&self, after: Option<u64>, max: usize) -> Result<Vec<AuditRecord>, BrokerError>;

    /// Blobs of all plugins by digest, those after `after`, at most `max`.
    async fn list_blobs(
        &self,
        after: Option<Digest>,
        max: usize,
    ) -> Result<Vec<BlobRecord>, BrokerError>;

    /// A blob with its content; `None` if no plugin keeps it. Blocks on the disk, or on what nodes share.
    ///
    /// # Errors
    /// The engine is poisoned or closed; the content can't be had, or is damaged.
    fn read_blob(&self, digest: &Digest) -> Result<Option<(BlobInfo, Bytes)>, BrokerError>;

    /// Committed state of a plugin by bucket and key, what follows `after`, at most `max`; an engine
    /// may return fewer. With `at`, as it stood once the event with this sequence was appended;
    /// [`BrokerError::Invalid`] if that isn't known.
    async fn list_state(
        &self,
        plugin: &PluginName,
        after: Option<(String, String)>,
        max: usize,
        at: Option<u64>,
    ) -> Result<Vec<StateRecord>, BrokerError>;

    /// The first sequence recorded at this time, Unix milliseconds, or later; one above the newest
    /// if there is none. If the clock was set back, one of those at which the time is passed.
    async fn first_since(&self, time_ms: u64) -> Result<u64, BrokerError>;

    /// Documents whose names begin with `prefix`, by name: see [`Operator::keep`].
    async fn documents(&self, prefix: &str) -> Result<BTreeMap<Box<str>, Bytes>, BrokerError>;

    /// Whether it can be read.
    ///
    /// # Errors
    /// The engine is poisoned or closed.
    fn check(&self) -> Result<(), BrokerError>;

    /// The newest committed sequence (0 if there is none); changes wake readers of the log.
    fn committed(&self) -> watch::Receiver<u64>;
}

/// What only the engine itself knows of events, deliveries and subscriptions.
#[async_trait]
pub trait Reader: Log {
    /// The flow that the event `sequence` belongs to.
    async fn flow(&self, sequence: u64) -> Result<Option<Flow>, BrokerError>;

    /// What became of the event `sequence` for a subscription, or why there is no delivery; `None`
    /// if the log hasn't reached that sequence.
    async fn explain(
        &self,
        sequence: u64,
        subscription: &SubscriptionName,
    ) -> Result<Option<Explanation>, BrokerError>;

    /// Dry run of one step of [`Operation::Replay`]: the events it would consider.
    async fn replayable(&self, query: ReplayQuery) -> Result<Replayable, BrokerError>;

    /// Status of all schedules, sorted by name.
    async fn schedules(&self) -> Result<Vec<ScheduleStatus>, BrokerError>;

    /// Counters and sizes.
    fn stats(&self) -> BrokerStats;
}

/// What operators do.
#[async_trait]
pub trait Operator: Send + Sync + 'static {
    /// Does something and records it, with who did it, in one commit; returns after fsync.
    ///
    /// # Errors
    /// [`BrokerError::NoSubscription`]; [`BrokerError::ManyRetries`] and [`BrokerError::Behind`]:
    /// repeat the same operation once some deliveries have finished; [`BrokerError::Invalid`]: the
    /// edited event is not the dead letter's.
    async fn operate(&self, actor: &Actor, operation: Operation) -> Result<Operated, BrokerError>;

    /// Replaces documents, all or none; returns after fsync. Not recorded: see [`Operation::Keep`].
    ///
    /// # Errors
    /// [`BrokerError::Invalid`]: a name or a document is too long; [`BrokerError::Conflict`]: there would be
    /// too many.
    async fn keep(&self, documents: Vec<Document>) -> Result<(), BrokerError>;

    /// Replaces the set of schedules; returns after fsync. A schedule with a known name continues
    /// from its last handled tick, whatever else has changed; a new one starts now; one no longer
    /// listed is removed, along with its position.
    ///
    /// # Errors
    /// [`BrokerError::Invalid`]: too many schedules, a duplicate name, or an event with a reserved
    /// source or type.
    async fn set_schedules(&self, schedules: Vec<Schedule>) -> Result<(), BrokerError>;

    /// Copies a snapshot of everything committed so far to a new data folder, which must not exist
    /// yet. Commits continue meanwhile and aren't in the copy. Files that `base`, an earlier copy, has as
    /// well are shared with it. `beside` adds files that others keep in the data folder.
    ///
    /// # Errors
    /// [`BrokerError::Invalid`]: `base` is no earlier copy, or `to` no place for one;
    /// [`BrokerError::Conflict`]: the folder exists, or another backup is running;
    /// [`BrokerError::Backup`]: it failed, and the partial copy was removed.
    async fn backup(
        &self,
        to: PathBuf,
        base: Option<PathBuf>,
        beside: Beside,
    ) -> Result<BackupReport, BrokerError>;
}

/// What running deliveries read besides their event.
pub trait Stores: Send + Sync + 'static {
    /// Committed state, for running deliveries.
    fn state(&self) -> Arc<dyn StateReader>;

    /// Blobs, for running deliveries and for reading.
    fn blobs(&self) -> Arc<dyn BlobStore>;
}

/// How an engine ends.
#[async_trait]
pub trait Lifecycle: Send + Sync + 'static {
    /// Why the engine refuses all work, once it does; wakes the task that stops the process.
    fn poisoned(&self) -> watch::Receiver<Option<String>>;

    /// Has the engine look at its clock at once, after it was moved.
    fn wake(&self);

    /// Stops intake, commits queued commands, fsyncs and closes.
    async fn close(&self) -> Result<(), BrokerError>;
}

/// A durable log with subscriptions: all that an engine does.
pub trait Broker: Deliveries + Reader + Operator + Stores + Lifecycle {}

impl<T: Deliveries + Reader + Operator + Stores + Lifecycle> Broker for T {}
