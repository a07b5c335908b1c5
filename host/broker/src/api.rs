//! The seam for engines: everything above speaks [`Broker`] and the types here. Nothing in it
//! assumes that broker and router share a process.

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

/// A durable log with subscriptions. Every method may be called from many tasks at once.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Appends events, all or none; returns after fsync, one answer for each event in order.
    ///
    /// # Errors
    /// See [`BrokerError`]; nothing of the batch is stored then.
    async fn publish(&self, batch: Vec<Event>) -> Result<Vec<Published>, BrokerError>;

    /// Makes a subscription, or changes the one with this name; returns after fsync. Its cursor
    /// stays where it is when only the specification changes.
    async fn subscribe(&self, subscription: Subscription) -> Result<(), BrokerError>;

    /// Removes a subscription with its cursor and pending retries (dead letters stay). Answers
    /// whether there was one.
    async fn unsubscribe(&self, name: &SubscriptionName) -> Result<bool, BrokerError>;

    /// Waits until a delivery is ready and takes at most `max`. What is taken is held until
    /// settled or until the process ends; never more than the subscription's `max_in_flight`.
    ///
    /// Dropping the future takes nothing.
    async fn lease(
        &self,
        subscription: &SubscriptionName,
        max: usize,
    ) -> Result<Vec<Lease>, BrokerError>;

    /// Hands over what became of deliveries. They are committed in the order of the calls;
    /// the answer comes after fsync, one for each settlement.
    async fn settle(&self, batch: Vec<Settlement>) -> Result<Vec<Settled>, BrokerError>;

    /// One event, by sequence.
    async fn event(&self, sequence: u64) -> Result<Option<StoredEvent>, BrokerError>;

    /// Events from `from` on in order, at most `max`, and where to read on.
    async fn events(&self, query: EventQuery) -> Result<EventPage, BrokerError>;

    /// The same, of at most so many bytes of events or one event; for those who read on and on and
    /// hold little at a time.
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

    /// What became of the event `sequence` for a subscription, or why nothing did; `None` if the log
    /// hasn't come to that sequence yet.
    async fn explain(
        &self,
        sequence: u64,
        subscription: &SubscriptionName,
    ) -> Result<Option<Explanation>, BrokerError>;

    /// Sequences of the first events of the newest flows whose `correlationid` this is, at most
    /// `max`, oldest first.
    async fn flows_by_correlation(
        &self,
        correlationid: &str,
        max: usize,
    ) -> Result<Vec<u64>, BrokerError>;

    /// All subscriptions and where they stand, by name.
    async fn subscriptions(&self) -> Result<Vec<SubscriptionStatus>, BrokerError>;

    /// Dead letters by id, oldest first, and where to read on.
    async fn dead_letters(&self, query: DeadLetterQuery) -> Result<DeadLetterPage, BrokerError>;

    /// One dead letter, with all its attempts.
    async fn dead_letter(&self, id: u64) -> Result<Option<DeadLetter>, BrokerError>;

    /// Delivers a dead letter's event to its subscription again, with a fresh attempt count, and
    /// removes the dead letter. `false` where there is none with this id.
    async fn redrive(&self, id: u64) -> Result<bool, BrokerError>;

    /// Appends `edited` in place of a dead letter's event, delivers it to that subscription and no
    /// other, and removes the dead letter, all in one commit. Answers the new event's sequence;
    /// `None` where there is no dead letter with this id.
    ///
    /// `edited` is the dead letter's event with whatever has to be mended; `id` and `source` are
    /// those of the old one, by which it is recognised. The event that is appended gets the id
    /// `OLD/redrive/DEAD-LETTER` and the extension `redriveof`, the old id.
    async fn redrive_edited(&self, id: u64, edited: Event) -> Result<Option<u64>, BrokerError>;

    /// Removes a dead letter for good. `false` where there is none with this id.
    async fn discard(&self, id: u64) -> Result<bool, BrokerError>;

    /// Has events of the log delivered to a subscription that are not to be delivered anyway, marked
    /// as a replay; returns after fsync. One step of it: go on from [`Replayed::next`].
    ///
    /// # Errors
    /// [`BrokerError::NoSubscription`]; [`BrokerError::ManyRetries`] and
    /// [`BrokerError::Behind`]: go on with the same step when some are over.
    async fn replay(&self, query: ReplayQuery) -> Result<Replayed, BrokerError>;

    /// The events that [`Broker::replay`] would look at in one step; nothing is done.
    async fn replayable(&self, query: ReplayQuery) -> Result<Replayable, BrokerError>;

    /// Records for the audit what an operator is about to do to a plugin; returns after fsync.
    async fn record_plugin_change(
        &self,
        plugin: PluginName,
        change: PluginChange,
    ) -> Result<(), BrokerError>;

    /// What operators did, oldest first: the records after the one with this number, at most
    /// `max`. The newest [`crate::AUDIT_MAX_RECORDS`] are kept.
    async fn audit(&self, after: Option<u64>, max: usize) -> Result<Vec<AuditRecord>, BrokerError>;

    /// Makes these the schedules there are; returns after fsync. One whose name is known goes on
    /// from the tick it has come to, whatever else has changed; a new one begins now; one that is
    /// not among them any more is forgotten.
    ///
    /// # Errors
    /// [`BrokerError::Invalid`]: too many, two of one name, or an event that poses as another's.
    async fn set_schedules(&self, schedules: Vec<Schedule>) -> Result<(), BrokerError>;

    /// All schedules and where they stand, by name.
    async fn schedules(&self) -> Result<Vec<ScheduleStatus>, BrokerError>;

    /// Committed state, for running deliveries.
    fn state(&self) -> Arc<dyn StateReader>;

    /// Blobs, for running deliveries and for reading.
    fn blobs(&self) -> Arc<dyn BlobStore>;

    /// Blobs by digest, whoever put them, those after `after`, at most `max`.
    async fn list_blobs(
        &self,
        after: Option<Digest>,
        max: usize,
    ) -> Result<Vec<BlobRecord>, BrokerError>;

    /// Copies everything that is committed now to a new data folder, which must not be there yet.
    /// What goes on meanwhile is not in the copy, and doesn't wait for it. `beside` adds what else
    /// belongs into the folder.
    ///
    /// # Errors
    /// [`BrokerError::Conflict`]: the folder is there, or a copy is being made;
    /// [`BrokerError::Backup`]: it failed, and nothing is left of it.
    async fn backup(&self, to: PathBuf, beside: Beside) -> Result<BackupReport, BrokerError>;

    /// The newest committed sequence (0 when there is none); changes wake readers of the log.
    fn committed(&self) -> watch::Receiver<u64>;

    /// Counters and sizes.
    fn stats(&self) -> BrokerStats;

    /// Why the broker refuses everything, once it does; wakes whoever has to stop the process.
    fn poisoned(&self) -> watch::Receiver<Option<String>>;

    /// Stops intake, commits what has arrived, fsyncs, and closes.
    async fn close(&self) -> Result<(), BrokerError>;
}
