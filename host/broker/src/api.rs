//! The engine interface: everything above the broker uses only [`Broker`] and the types here.
//! Nothing here assumes that broker and router share a process.

mod backup;
mod dead_letters;
mod error;
mod explanation;
mod flow;
mod replay;
mod retry;
mod schedules;
mod settlement;
mod stats;
mod stored;
mod subscription;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;
use usher_event::{BlobStore, Digest, Event, PluginName, StateReader, SubscriptionName};

pub use backup::*;
pub use dead_letters::*;
pub use error::*;
pub use explanation::*;
pub use flow::*;
pub use replay::*;
pub use retry::*;
pub use schedules::*;
pub use settlement::*;
pub use stats::*;
pub use stored::*;
pub use subscription::*;

/// A durable log with subscriptions. All methods may be called concurrently.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
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

    /// Waits until a delivery is ready and leases at most `max`, bounded by the subscription's
    /// `max_in_flight`. A lease is held until it is settled or the process ends.
    ///
    /// Cancel-safe: dropping the future leases nothing.
    async fn lease(
        &self,
        subscription: &SubscriptionName,
        max: usize,
    ) -> Result<Vec<Lease>, BrokerError>;

    /// Settles a batch of leased deliveries. Settlements commit in call order; returns after fsync,
    /// with one result per settlement, in order.
    async fn settle(&self, batch: Vec<Settlement>) -> Result<Vec<Settled>, BrokerError>;

    /// One event, by sequence.
    async fn event(&self, sequence: u64) -> Result<Option<StoredEvent>, BrokerError>;

    /// Events from `from` on, in order, at most `max`, and the sequence to continue from.
    async fn events(&self, query: EventQuery) -> Result<EventPage, BrokerError>;

    /// Like [`Broker::events`], but also limited to `max_bytes` of events, which the last event may
    /// exceed. For callers that page through the log with bounded memory.
    ///
    /// # Errors
    /// The engine is poisoned, closed or can't read.
    async fn events_within(
        &self,
        query: EventQuery,
        max_bytes: usize,
    ) -> Result<EventPage, BrokerError> {
        let _ = max_bytes;
        self.events(query).await
    }

    /// The flow that the event `sequence` belongs to.
    async fn flow(&self, sequence: u64) -> Result<Option<Flow>, BrokerError>;

    /// What became of the event `sequence` for a subscription, or why there is no delivery; `None`
    /// if the log hasn't reached that sequence.
    async fn explain(
        &self,
        sequence: u64,
        subscription: &SubscriptionName,
    ) -> Result<Option<Explanation>, BrokerError>;

    /// Root sequences of the newest flows with this `correlationid`, at most `max`, oldest first.
    async fn flows_by_correlation(
        &self,
        correlationid: &str,
        max: usize,
    ) -> Result<Vec<u64>, BrokerError>;

    /// Status of all subscriptions, sorted by name.
    async fn subscriptions(&self) -> Result<Vec<SubscriptionStatus>, BrokerError>;

    /// Dead letters by id, oldest first, and the id to continue after.
    async fn dead_letters(&self, query: DeadLetterQuery) -> Result<DeadLetterPage, BrokerError>;

    /// One dead letter, with its recorded attempts.
    async fn dead_letter(&self, id: u64) -> Result<Option<DeadLetter>, BrokerError>;

    /// Redelivers a dead letter's event to its subscription with a fresh attempt count, and removes
    /// the dead letter. Returns `false` if there is none with this id.
    async fn redrive(&self, id: u64) -> Result<bool, BrokerError>;

    /// Appends `edited` in place of a dead letter's event, delivers it to that subscription only,
    /// and removes the dead letter, all in one commit. Returns the new event's sequence, or `None`
    /// if there is no dead letter with this id.
    ///
    /// `edited` is the dead letter's event with corrections; its `id` and `source` must equal the
    /// original's. The appended event gets the id `OLD/redrive/DEAD-LETTER` and the extension
    /// `redriveof`, set to the old id.
    async fn redrive_edited(&self, id: u64, edited: Event) -> Result<Option<u64>, BrokerError>;

    /// Deletes a dead letter. Returns `false` if there is none with this id.
    async fn discard(&self, id: u64) -> Result<bool, BrokerError>;

    /// Redelivers events of the log to a subscription, marked as a replay, skipping those whose
    /// delivery is still pending; returns after fsync. One call is one step: continue from
    /// [`Replayed::next`].
    ///
    /// # Errors
    /// [`BrokerError::NoSubscription`]; [`BrokerError::ManyRetries`] and [`BrokerError::Behind`]:
    /// repeat the same step once some deliveries have finished.
    async fn replay(&self, query: ReplayQuery) -> Result<Replayed, BrokerError>;

    /// Dry run of one step of [`Broker::replay`]: the events it would consider.
    async fn replayable(&self, query: ReplayQuery) -> Result<Replayable, BrokerError>;

    /// Records an operator's change to a plugin before it is made; returns after fsync.
    async fn record_plugin_change(
        &self,
        plugin: PluginName,
        change: PluginChange,
    ) -> Result<(), BrokerError>;

    /// Audit records with numbers above `after`, oldest first, at most `max`. The newest
    /// [`crate::AUDIT_MAX_RECORDS`] are kept.
    async fn audit(&self, after: Option<u64>, max: usize) -> Result<Vec<AuditRecord>, BrokerError>;

    /// Replaces the set of schedules; returns after fsync. A schedule with a known name continues
    /// from its last handled tick, whatever else has changed; a new one starts now; one no longer
    /// listed is removed, along with its position.
    ///
    /// # Errors
    /// [`BrokerError::Invalid`]: too many schedules, a duplicate name, or an event with a reserved
    /// source or type.
    async fn set_schedules(&self, schedules: Vec<Schedule>) -> Result<(), BrokerError>;

    /// Status of all schedules, sorted by name.
    async fn schedules(&self) -> Result<Vec<ScheduleStatus>, BrokerError>;

    /// Committed state, for running deliveries.
    fn state(&self) -> Arc<dyn StateReader>;

    /// Blobs, for running deliveries and for reading.
    fn blobs(&self) -> Arc<dyn BlobStore>;

    /// Blobs of all plugins by digest, those after `after`, at most `max`.
    async fn list_blobs(
        &self,
        after: Option<Digest>,
        max: usize,
    ) -> Result<Vec<BlobRecord>, BrokerError>;

    /// Copies a snapshot of everything committed so far to a new data folder, which must not exist
    /// yet. Commits continue meanwhile and aren't in the copy. `beside` adds files that others keep
    /// in the data folder.
    ///
    /// # Errors
    /// [`BrokerError::Conflict`]: the folder exists, or another backup is running;
    /// [`BrokerError::Backup`]: it failed, and the partial copy was removed.
    async fn backup(&self, to: PathBuf, beside: Beside) -> Result<BackupReport, BrokerError>;

    /// The newest committed sequence (0 if there is none); changes wake readers of the log.
    fn committed(&self) -> watch::Receiver<u64>;

    /// Counters and sizes.
    fn stats(&self) -> BrokerStats;

    /// Why the engine refuses all work, once it does; wakes the task that stops the process.
    fn poisoned(&self) -> watch::Receiver<Option<String>>;

    /// Stops intake, commits queued commands, fsyncs and closes.
    async fn close(&self) -> Result<(), BrokerError>;
}
