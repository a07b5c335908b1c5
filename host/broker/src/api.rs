//! The seam for engines: everything above speaks [`Broker`] and the types here. Nothing in it
//! assumes that broker and router share a process.

mod dead_letters;
mod replay;
mod schedules;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use usher_event::{
    BlobChange, BlobStore, Delivery, Digest, Event, Failure, FailureClass, PluginName, Quota,
    SYSTEM_TYPE_PREFIX, StagedBlob, StateRead, StateReader, StateWrite, SubscriptionName,
};
use usher_filter::{Filter, Mismatch};

use crate::DELAYED_MAX;

pub use dead_letters::*;
pub use replay::*;
pub use schedules::*;

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

/// Writes into the folder of a copy in the making what others keep in the data folder, and has it
/// fsynced; answers how many bytes. Called before the copy of the store begins: what it tells is
/// never newer than the log. May block.
pub type Beside = Box<dyn FnOnce(&Path) -> std::io::Result<u64> + Send>;

/// What became of a published event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its place in the log; for a duplicate, that of the first.
    pub sequence: u64,
    /// Whether an event with the same source and id was there before.
    pub duplicate: bool,
}

/// What an engine needs to know of a subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// Its name; the plugin it is bound to is part of it.
    pub name: SubscriptionName,
    /// Which events it takes.
    pub filter: Filter,
    /// Where a new one starts.
    pub start: Start,
    /// Which deliveries wait for others.
    pub order: Order,
    /// What to do with failed deliveries.
    pub retry: RetryPolicy,
    /// How many deliveries may be under way at once.
    pub max_in_flight: u32,
    /// Whether retention may let go of events that it has not settled. They are counted; its
    /// deliveries of them are over.
    pub expires: bool,
}

/// Which deliveries of a subscription wait for others. An event goes before another where it comes
/// before it in the log; a delivery is over once it is acknowledged or a dead letter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// None: as many side by side as may be in flight.
    #[default]
    None,
    /// Those whose event has the same value of this attribute: each begins when the one before it
    /// is over, however often that is tried. An event without the attribute waits for nobody.
    Key(String),
    /// All: one after another. While one waits for another attempt, so does the subscription.
    Total,
}

impl Order {
    /// By an attribute; `None` if no attribute can have this name (CloudEvents 1.0.2, section
    /// "Naming conventions").
    pub fn key(attribute: &str) -> Option<Self> {
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let valid = !attribute.is_empty() && attribute.bytes().all(is_name);
        valid.then(|| Self::Key(attribute.to_owned()))
    }
}

/// Where a new subscription starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the first event after its making.
    #[default]
    Latest,
    /// With the oldest event in the log.
    Earliest,
    /// With the event of this sequence; where the log doesn't reach it yet, with the next one.
    Sequence(u64),
    /// With the first event recorded at this time or later, Unix milliseconds.
    Time(u64),
}

/// Exponential backoff: `first_delay × factor^(attempt − 1)`, at most `max_delay`, spread by
/// ± `jitter`; a dead letter after `max_attempts` or once `max_age` has passed since the first.
///
/// A kind of failure with settings of its own is counted by itself; all others are counted
/// together. A listener that answers `retry` and asks for a wait of [`crate::RATE_LIMITED_MIN`] or
/// more tells that it is busy, not that it failed: that doesn't count, and only `max_age` ends it.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Wait before the second attempt.
    pub first_delay: Duration,
    /// Growth from one wait to the next; at least 1.
    pub factor: f64,
    /// The longest wait.
    pub max_delay: Duration,
    /// Spread as a fraction of the wait, 0 to 1.
    pub jitter: f64,
    /// Attempts in all, the first included; at least 1.
    pub max_attempts: u32,
    /// How long after the first failure the last attempt may start.
    pub max_age: Duration,
    /// What is different for some kinds of failure.
    pub classes: BTreeMap<FailureClass, ClassRetry>,
}

/// What of a [`RetryPolicy`] is different for one kind of failure; the rest is as in the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClassRetry {
    /// Wait before the second attempt.
    pub first_delay: Option<Duration>,
    /// Growth from one wait to the next; at least 1.
    pub factor: Option<f64>,
    /// The longest wait.
    pub max_delay: Option<Duration>,
    /// Failures of this kind at which it ends; at least 1.
    pub max_attempts: Option<u32>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first_delay: Duration::from_secs(1),
            factor: 2.0,
            max_delay: Duration::from_secs(30 * 60),
            jitter: 0.2,
            max_attempts: 60,
            max_age: Duration::from_secs(24 * 60 * 60),
            classes: BTreeMap::new(),
        }
    }
}

/// A delivery that is the holder's until settled.
#[derive(Debug)]
pub struct Lease {
    /// What to deliver.
    pub delivery: Delivery,
    /// Tells this lease from earlier ones of the same delivery; goes back with the settlement.
    pub token: u64,
}

/// What became of a leased delivery.
#[derive(Debug)]
pub struct Settlement {
    /// The subscription it was leased from.
    pub subscription: SubscriptionName,
    /// The event's sequence.
    pub sequence: u64,
    /// The lease's token.
    pub token: u64,
    /// Which bytes handled it.
    pub digest: Option<Digest>,
    /// Their author's version; of use only where it failed.
    pub version: Option<Box<str>>,
    /// How long the listener took.
    pub took: Duration,
    /// What became of it.
    pub disposition: Disposition,
}

impl Settlement {
    /// About how much memory it holds on to, bytes.
    pub fn bytes(&self) -> usize {
        const ITSELF_BYTES: usize = 128;
        let carried = match &self.disposition {
            Disposition::Ack(changes) => {
                let events = changes.emissions.iter().map(|new| new.event.encoded().len());
                let values = changes.writes.iter().filter_map(|write| write.value.as_ref());
                events.sum::<usize>() + values.map(|value| value.len()).sum::<usize>()
            }
            Disposition::Retry { failure, .. } | Disposition::Reject { failure } => {
                failure.reason.len() + failure.backtrace.as_ref().map_or(0, String::len)
            }
            Disposition::Release => 0,
        };
        ITSELF_BYTES + carried
    }
}

/// The decision, with what is to be committed along with it.
#[derive(Debug)]
pub enum Disposition {
    /// Done: commit the acknowledgement and all of this at once.
    Ack(Changes),
    /// Try again later by the retry policy, not before `after` has passed.
    Retry {
        /// Why.
        failure: Failure,
        /// The shortest wait.
        after: Option<Duration>,
    },
    /// Dead letter now.
    Reject {
        /// Why.
        failure: Failure,
    },
    /// Never ran, or was cut short by the host: ready again at once, no attempt counted.
    Release,
}

/// Effects in the form the broker commits.
#[derive(Debug)]
pub struct Changes {
    /// Events to append, in order.
    pub emissions: Vec<NewEvent>,
    /// What was read from state; all of it must still hold, or the delivery runs again.
    pub reads: Vec<StateRead>,
    /// State writes.
    pub writes: Vec<StateWrite>,
    /// Blobs put or deleted by the subscription's plugin.
    pub blobs: Vec<BlobChange>,
    /// Keeps the content of the blobs put where it is until they are committed.
    pub staged: Vec<StagedBlob>,
    /// What the plugin may keep. Where it would keep more afterwards than this and than before, the
    /// delivery fails instead, with the class [`FailureClass::Limit`].
    pub quota: Quota,
    /// How many emissions of the subscription's plugin may wait for their delay at a time, these
    /// included. Where it would be more, the delivery fails and nothing of it is committed.
    pub delayed_max: usize,
}

impl Default for Changes {
    /// Nothing, by a plugin that has all the room there is.
    fn default() -> Self {
        Self {
            emissions: Vec::new(),
            reads: Vec::new(),
            writes: Vec::new(),
            blobs: Vec::new(),
            staged: Vec::new(),
            quota: Quota::default(),
            delayed_max: DELAYED_MAX,
        }
    }
}

/// An event to append, perhaps later.
#[derive(Debug)]
pub struct NewEvent {
    /// The event, complete.
    pub event: Event,
    /// How long after the commit it is appended; `None` for at once.
    pub delay: Option<Duration>,
}

impl NewEvent {
    /// How long it waits, if it does.
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.delay.filter(|delay| !delay.is_zero())
    }
}

/// What the broker did with a settlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Committed as asked.
    Committed,
    /// A retry is due at this time (Unix milliseconds).
    RetryAt(u64),
    /// Became the dead letter with this id.
    Dead(u64),
    /// State it read has changed since: dropped, will run again; no attempt counted.
    Conflict,
    /// A subscription that would take what it emits is too far behind: dropped, will run again once
    /// that has caught up; no attempt counted.
    HeldBack,
    /// Retention has let go of the event since, so it can't come again: counted as expired.
    Expired,
    /// The lease no longer holds (redriven, unsubscribed…): dropped.
    Stale,
}

/// An event in the log.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    /// Its place in the log.
    pub sequence: u64,
    /// When it was appended, Unix milliseconds.
    pub recorded_ms: u64,
    /// The first event of its flow.
    pub flow: u64,
    /// How many emissions lie between the flow's first event and this one.
    pub depth: u16,
    /// How it came about, unless a producer published it.
    pub cause: Option<Cause>,
    /// The event.
    pub event: Event,
}

impl StoredEvent {
    /// The only subscription it is for, where it is for one.
    pub fn addressee(&self) -> Option<&SubscriptionName> {
        let cause = self.cause.as_ref()?;
        (cause.kind == CauseKind::Redrive).then_some(&cause.subscription)
    }

    /// Why a subscription doesn't take it; `None` where it does.
    pub(crate) fn mismatch(&self, subscription: &Subscription) -> Option<Mismatch> {
        match self.addressee() {
            None if self.matches(&subscription.filter) => None,
            None => subscription.filter.explain(&self.event).or_else(|| {
                Some(Mismatch::because(format!(
                    "it is the router's own, and the filter names no type that begins with \
                     {SYSTEM_TYPE_PREFIX}"
                )))
            }),
            Some(addressee) => (*addressee != subscription.name).then(|| {
                Mismatch::because(format!(
                    "it is for {addressee} alone, in place of the event of a dead letter"
                ))
            }),
        }
    }

    /// Whether a subscription with this filter takes it as it comes by in the log. One that has an
    /// addressee goes there by itself; the router's own are for those that ask for them.
    pub(crate) fn matches(&self, filter: &Filter) -> bool {
        let may_match = match self.cause.as_ref().map(|cause| cause.kind) {
            Some(CauseKind::Redrive) => false,
            _ => self.is_for_all() || filter.names_types(SYSTEM_TYPE_PREFIX),
        };
        may_match && filter.matches(&self.event)
    }

    /// Whether it is for whoever has a filter that matches, as what producers and plugins append.
    pub(crate) fn is_for_all(&self) -> bool {
        match self.cause.as_ref().map(|cause| cause.kind) {
            // Nobody but the router publishes with its source.
            None => !self.event.has_system_source(),
            Some(CauseKind::Emission) => true,
            Some(CauseKind::Redrive | CauseKind::Report) => false,
        }
    }
}

/// The delivery that an event came of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// How it came of it.
    pub kind: CauseKind,
    /// The event that was delivered.
    pub parent: u64,
    /// To which subscription.
    pub subscription: SubscriptionName,
    /// At which attempt.
    pub attempt: u32,
    /// How long the listener took, microseconds.
    pub took_us: u64,
}

/// How an event came of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CauseKind {
    /// The listener emitted it.
    Emission,
    /// The delivery became a dead letter, and an operator redrove it with this event in place of
    /// its own. It is for that subscription alone.
    Redrive,
    /// The delivery became a dead letter, which this event of the router's own reports.
    Report,
}

impl CauseKind {
    /// The name used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Emission => "emission",
            Self::Redrive => "redrive",
            Self::Report => "report",
        }
    }
}

/// Which part of the log to read.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// First sequence to look at.
    pub from: u64,
    /// At most so many events; an engine may return fewer and say where to read on.
    pub max: usize,
    /// Only events that match.
    pub filter: Option<Filter>,
}

/// Part of the log.
#[derive(Clone, Debug)]
pub struct EventPage {
    /// The events, in order.
    pub events: Vec<StoredEvent>,
    /// The next sequence to ask for.
    pub next: u64,
}

/// An event and all that it caused.
#[derive(Clone, Debug)]
pub struct Flow {
    /// The first event's sequence.
    pub root: u64,
    /// All its events by sequence; a parent comes before its children. At most
    /// [`crate::FLOW_MAX_EVENTS`].
    pub events: Vec<FlowEvent>,
    /// Emissions that wait for their delay, soonest first.
    pub delayed: Vec<DelayedEvent>,
    /// Whether events were left out because the flow is too large.
    pub truncated: bool,
}

/// One event of a flow, with all its deliveries.
#[derive(Clone, Debug)]
pub struct FlowEvent {
    /// The event.
    pub stored: StoredEvent,
    /// Its deliveries, by subscription.
    pub deliveries: Vec<DeliveryStatus>,
}

/// An emission that waits for its delay.
#[derive(Clone, Debug)]
pub struct DelayedEvent {
    /// When it will be appended, Unix milliseconds.
    pub due_ms: u64,
    /// How it came about.
    pub cause: Cause,
    /// The event.
    pub event: Event,
}

/// Where one delivery stands.
#[derive(Clone, Debug)]
pub struct DeliveryStatus {
    /// To which subscription.
    pub subscription: SubscriptionName,
    /// How it stands.
    pub state: DeliveryState,
    /// Which round it is in: 1, and one more each time it was redriven or replayed. Attempts are
    /// counted by round. A replay that was acknowledged without a failure leaves no trace here.
    pub round: u32,
    /// The failed attempts of all rounds, oldest first.
    pub failures: Vec<PastAttempt>,
}

/// How a delivery stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// Not handed out yet, or about to be again.
    Pending,
    /// Handed out: the listener has it.
    InFlight {
        /// Which attempt this is; the first is 1.
        attempt: u32,
    },
    /// Waits for one of the same key before it.
    Parked {
        /// The head of its lane, which has to be over first; `None` while that is being found
        /// after a restart.
        behind: Option<u64>,
    },
    /// Failed; the next attempt is due at this time (Unix milliseconds).
    Waiting {
        /// When.
        due_ms: u64,
    },
    /// Acknowledged.
    Done,
    /// Became a dead letter.
    Dead {
        /// Its id, unless it was redriven or discarded since.
        id: Option<u64>,
    },
}

/// What became of an event for a subscription, or why nothing did.
#[derive(Clone, Debug)]
pub enum Explanation {
    /// Retention let the event go. The subscription didn't need it any more, or lets its events
    /// expire.
    Expired {
        /// The oldest sequence the log still has.
        first_sequence: u64,
        /// Whether the subscription lets them expire.
        expires: bool,
    },
    /// It was there before the subscription, which began later in the log.
    BeforeStart {
        /// The first sequence the subscription takes.
        first: u64,
    },
    /// The subscription's filter says no.
    Unmatched(Mismatch),
    /// There is a delivery.
    Delivery {
        /// Where it stands.
        status: DeliveryStatus,
        /// While it is pending: at most so many deliveries come before it.
        ahead: u64,
        /// While it is pending: why none of those it waits for goes out now, if so.
        held_up: Option<HeldUp>,
        /// Where it counts as done, but an earlier filter of the subscription may have passed it
        /// over: the sequence from which the present one has been applied.
        filter_from: Option<u64>,
    },
}

/// Why a subscription hands out nothing more for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldUp {
    /// As many deliveries as may be are under way, or ready and nobody takes them.
    InFlight,
    /// Its order is total, and this delivery is not over.
    Total {
        /// The event's sequence.
        behind: u64,
    },
    /// As many deliveries as may be wait for another attempt: [`crate::RETRIES_MAX`].
    Retrying,
    /// As many deliveries as may be are parked: [`crate::PARKED_MAX`].
    Parked,
    /// The events under way or behind the heads of their lanes take as much memory as may be.
    Memory,
    /// A delivery of its plugin runs alone because state changed under it too often.
    Alone,
    /// A subscription that would take what it emits is too far behind.
    Backlog,
}

/// A failed attempt, and in which round it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastAttempt {
    /// The round; the first is 1.
    pub round: u32,
    /// The attempt.
    pub record: AttemptRecord,
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Which attempt of its round; the first is 1.
    pub attempt: u32,
    /// When it ended, Unix milliseconds.
    pub time_ms: u64,
    /// How long it took, microseconds.
    pub took_us: u64,
    /// What kind of failure.
    pub class: FailureClass,
    /// What happened.
    pub reason: String,
    /// The guest's call stack, where there is one.
    pub backtrace: Option<String>,
    /// Which bytes handled it.
    pub digest: Option<Digest>,
    /// Their author's version.
    pub version: Option<String>,
    /// Whether it counts towards the most attempts.
    pub counted: bool,
    /// The wait the listener asked for, milliseconds, where that was longer than it may be.
    pub asked_ms: Option<u64>,
    /// Whether the delivery was given up with it. What comes after belongs to the next round.
    pub ended: bool,
}

/// Where a subscription stands.
#[derive(Clone, Debug)]
pub struct SubscriptionStatus {
    /// What it is.
    pub subscription: Subscription,
    /// The sequence it began with: events before it are none of its own.
    pub first: u64,
    /// Every matching event before this sequence is settled or waits for a retry.
    pub cursor: u64,
    /// What waits: events of the log it has not looked at yet, and deliveries ready that nobody
    /// took.
    pub lag: u64,
    /// Whom it keeps waiting because it is too far behind.
    pub holds_back: Option<HoldsBack>,
    /// The subscription that has to catch up before it gets any more.
    pub held_back_by: Option<SubscriptionName>,
    /// Deliveries under way.
    pub in_flight: u64,
    /// Deliveries that wait for another attempt.
    pub retrying: u64,
    /// Deliveries that wait for one of the same key before them.
    pub parked: u64,
    /// Keys whose first delivery failed and waits for another attempt.
    pub stalled_lanes: u64,
    /// When the next attempt of a failed delivery is due, Unix milliseconds.
    pub next_retry_ms: Option<u64>,
    /// Emissions of its deliveries that wait for their delay.
    pub delayed: u64,
    /// The oldest event it is not done with or has not looked at.
    pub oldest_unsettled: Option<u64>,
    /// When that was recorded, Unix milliseconds.
    pub oldest_unsettled_ms: Option<u64>,
    /// Deliveries acknowledged since the process started.
    pub acked: u64,
    /// Failed attempts since the process started.
    pub failed: u64,
    /// Dead letters it has now.
    pub dead: u64,
    /// Deliveries that were not over when retention let their event go, since it was made.
    pub expired: u64,
}

/// Whom a subscription that is too far behind keeps waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldsBack {
    /// Producers: nothing is published.
    Producers,
    /// Producers, and plugins whose emissions it would take.
    Plugins,
}

/// A blob and who put it.
#[derive(Clone, Debug)]
pub struct BlobRecord {
    /// Digest, size, type.
    pub info: usher_event::BlobInfo,
    /// The plugin that put it.
    pub plugin: PluginName,
    /// When it was committed, Unix milliseconds.
    pub created_ms: u64,
}

/// Counters since start and present sizes.
#[derive(Clone, Debug, Default)]
pub struct BrokerStats {
    /// Events appended.
    pub appended: u64,
    /// Published events that were there before.
    pub duplicates: u64,
    /// Commits (each one fsync).
    pub commits: u64,
    /// Deliveries acknowledged.
    pub acked: u64,
    /// Failed attempts.
    pub failed: u64,
    /// Settlements dropped because state had changed.
    pub conflicts: u64,
    /// Settlements ignored because their lease no longer held: settled before, unsubscribed…
    pub stale: u64,
    /// Dead letters now.
    pub dead_letters: u64,
    /// The newest committed sequence.
    pub last_sequence: u64,
    /// The oldest sequence the log still has; one above the newest if it has none.
    pub first_sequence: u64,
    /// Size of the events in the log, as they are encoded.
    pub log_bytes: u64,
    /// Events that retention let go since the process started.
    pub expired: u64,
    /// Batches that were not published because a subscription was too far behind.
    pub refused: u64,
    /// Settlements dropped because a subscription that takes their emissions was too far behind.
    pub held_back: u64,
    /// Emissions that wait for their delay.
    pub delayed: u64,
    /// Ticks of schedules that became events since the process started.
    pub ticks: u64,
    /// Ticks of schedules that were missed and passed over since then.
    pub ticks_passed_over: u64,
    /// Commands waiting for the committer.
    pub waiting: u64,
}

/// A copy that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupReport {
    /// Where it is.
    pub folder: PathBuf,
    /// The newest event in it.
    pub last_sequence: u64,
    /// Rows of all tables.
    pub rows: u64,
    /// Blobs in it.
    pub blobs: u64,
    /// Size of rows, blobs and what came beside them.
    pub bytes: u64,
}

/// Why the broker did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BrokerError {
    /// An event is larger than the log takes.
    #[error("event {member} has {size_bytes} bytes, the limit is {limit_bytes}")]
    TooLarge {
        /// Its place in the batch; the first is 0.
        member: usize,
        /// Its encoded size.
        size_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// Too many events in one batch.
    #[error("the batch has {count} events, the limit is {limit}")]
    BatchTooLong {
        /// How many there are.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// More has arrived than the disk can take; try again after the given time.
    #[error("the broker is busy; try again in {} s", retry_after.as_secs().max(1))]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The disk is about to be full: nothing is published until there is more room.
    #[error(
        "only {free_bytes} bytes of the disk are free, {reserve_bytes} are kept for what is \
         under way; make room, or let the log keep less"
    )]
    Full {
        /// What is free.
        free_bytes: u64,
        /// What has to be.
        reserve_bytes: u64,
        /// When to try again.
        retry_after: Duration,
    },
    /// A subscription is so far behind that nothing is added until it has caught up.
    #[error(
        "subscription {subscription} is {lag} events of the log behind, the limit is {max_events}; \
         usher subscriptions shows whether anything serves it: let it catch up, remove it if \
         nothing will, or raise broker.backlog_max_events"
    )]
    Behind {
        /// Which subscription; where it is several, the one that is furthest behind.
        subscription: SubscriptionName,
        /// How far.
        lag: u64,
        /// How far it may be.
        max_events: u64,
        /// When to try again.
        retry_after: Duration,
    },
    /// A subscription has as many deliveries waiting for another attempt as it may have.
    #[error(
        "{subscription} has {} deliveries waiting for another attempt; try again when there are \
         fewer",
        crate::RETRIES_MAX
    )]
    ManyRetries {
        /// Which subscription.
        subscription: SubscriptionName,
        /// When to try again.
        retry_after: Duration,
    },
    /// There is no subscription of that name.
    #[error("there is no subscription {0}")]
    NoSubscription(SubscriptionName),
    /// Something in the request can't be right.
    #[error("{0}")]
    Invalid(String),
    /// What is there stands against it.
    #[error("{0}")]
    Conflict(String),
    /// A copy could not be made; nothing is left of it.
    #[error("the backup failed: {0}")]
    Backup(String),
    /// A commit failed. What the disk holds is unknown until the next start, which recovers.
    #[error("the store failed and refuses all work until restarted: {0}")]
    Poisoned(String),
    /// Reading failed.
    #[error("the store can't be read: {0}")]
    Read(String),
    /// The broker is shut down.
    #[error("the broker is closed")]
    Closed,
}
