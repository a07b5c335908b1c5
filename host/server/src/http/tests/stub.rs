//! A broker that has one of everything, and fails when it is told to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use usher_broker::{
    Actor, AttemptRecord, AuditAction, AuditRecord, AuditedDeadLetter, Backpressure, BackupReport,
    Beside, BlobRecord, BlockReason, BrokerError, BrokerStats, Calendar, Cause, CauseKind, Change,
    DeadLetter, DeadLetterPage, DeadLetterQuery, DelayedEvent, Deliveries, DeliveryState,
    DeliveryStatus, Document, EventPage, EventQuery, Explanation, Flow, FlowEvent, Lease,
    Lifecycle, Log, Missed, Operated, Operation, Operator, Order, PastAttempt, PluginChange,
    Published, Reader, ReplayQuery, Replayable, Replayed, RetryPolicy, Schedule, ScheduleStatus,
    Settled, Settlement, Start, StateRecord, StoredEvent, Stores, Subscription, SubscriptionStatus,
    TokenChange, Watch,
};
use usher_event::{
    BlobChange, BlobInfo, BlobStore, Delivery, Digest, Effects, Emission, Event, FailureClass,
    Given, Listener, Outcome, PluginName, Recording, StagedBlob, StateAddress, StateReader,
    StateSnapshot, StateWrite, StoreError, SubscriptionName, Verdict,
};
use usher_filter::Filter;
use usher_router::{BreakerPolicy, EmissionLimits, Installation, RestoredState};

/// The content of the only blob.
pub(super) const CONTENT: &[u8] = b"%PDF-";

/// See above.
pub(super) struct Stub {
    /// Answered by every call, once there.
    pub(super) fails: Mutex<Option<BrokerError>>,
    /// The reason of the poison, once there.
    pub(super) poisoned: watch::Sender<Option<String>>,
    /// What was published.
    pub(super) published: Mutex<Vec<Event>>,
    /// While true, the committer waits for servers.
    pub(super) is_away: watch::Sender<bool>,
    committed: watch::Sender<u64>,
}

impl Stub {
    /// One that works.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            fails: Mutex::default(),
            poisoned: watch::Sender::new(None),
            published: Mutex::default(),
            is_away: watch::Sender::new(false),
            committed: watch::Sender::new(2),
        })
    }

    /// One that fails.
    pub(super) fn failing(error: BrokerError) -> Arc<Self> {
        let stub = Self::new();
        *stub.fails.lock().unwrap() = Some(error);
        stub
    }

    fn works(&self) -> Result<(), BrokerError> {
        self.fails.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

fn name(text: &str) -> SubscriptionName {
    text.parse().unwrap()
}

fn subscription() -> Subscription {
    Subscription {
        name: name("printer/tickets"),
        filter: Filter::parse(r#"{"exact":{"type":"t"}}"#).unwrap(),
        start: Start::Latest,
        order: Order::None,
        retry: RetryPolicy::default(),
        max_in_flight: 16,
        pace: Default::default(),
        projection: Default::default(),
        expires: false,
    }
}

fn plugin() -> PluginName {
    "printer".parse().unwrap()
}

fn cause() -> Cause {
    let kind = CauseKind::Emission;
    Cause { kind, parent: 1, subscription: name("printer/tickets"), attempt: 2, took_us: 900 }
}

fn stored(sequence: u64, cause: Option<Cause>) -> StoredEvent {
    StoredEvent {
        sequence,
        recorded_ms: 1_769_860_800_000,
        flow: 1,
        depth: u16::from(cause.is_some()),
        cause,
        event: Event::builder(sequence.to_string(), "/s", "t")
            .datacontenttype("application/json")
            .data(Bytes::from_static(b"{\"a\":1}"))
            .build()
            .unwrap(),
    }
}

fn attempt(attempt: u32, backtrace: Option<&str>) -> AttemptRecord {
    AttemptRecord {
        attempt,
        time_ms: 1_769_860_801_000,
        took_us: 900,
        class: FailureClass::Trap,
        reason: "unreachable".to_owned(),
        backtrace: backtrace.map(str::to_owned),
        digest: backtrace.map(|text| Digest::of(text.as_bytes())),
        version: backtrace.map(|_| "1.2.3".to_owned()),
        counted: backtrace.is_some(),
        asked_ms: backtrace.map(|_| 315_360_000_000),
        ended: false,
    }
}

fn delivery(subscription: &str, state: DeliveryState) -> DeliveryStatus {
    DeliveryStatus {
        subscription: name(subscription),
        state,
        round: 2,
        failures: vec![
            PastAttempt { round: 1, record: attempt(1, None) },
            PastAttempt { round: 2, record: attempt(1, Some("draw\nhandle")) },
        ],
    }
}

fn dead(id: u64) -> DeadLetter {
    DeadLetter {
        id,
        time_ms: 1_769_860_802_000,
        subscription: name("printer/tickets"),
        stored: stored(1, None),
        attempts: vec![attempt(1, None), attempt(3, Some("draw"))],
        attempt_count: 3,
    }
}

fn info() -> BlobInfo {
    BlobInfo {
        digest: Digest::of(CONTENT),
        size_bytes: CONTENT.len() as u64,
        content_type: "application/pdf".to_owned(),
    }
}

#[async_trait]
impl Deliveries for Stub {
    async fn publish(&self, batch: Vec<Event>) -> Result<Vec<Published>, BrokerError> {
        self.works()?;
        let answers = (3..)
            .zip(&batch)
            .map(|(sequence, event)| Published { sequence, duplicate: event.id() == "again" });
        let answers = answers.collect();
        self.published.lock().unwrap().extend(batch);
        Ok(answers)
    }

    async fn subscribe(&self, _: Subscription) -> Result<(), BrokerError> {
        self.works()
    }

    async fn unsubscribe(&self, which: &SubscriptionName) -> Result<bool, BrokerError> {
        self.works().map(|()| *which == name("printer/tickets"))
    }

    async fn subscriptions(&self) -> Result<Vec<SubscriptionStatus>, BrokerError> {
        self.is_away.subscribe().wait_for(|is_away| !is_away).await.unwrap();
        self.works()?;
        Ok(vec![SubscriptionStatus {
            subscription: Arc::new(Subscription {
                name: name("printer/tickets"),
                filter: Filter::parse(r#"{"exact":{"type":"t"}}"#).unwrap(),
                start: Start::Latest,
                order: Order::key("subject").unwrap(),
                retry: RetryPolicy::default(),
                max_in_flight: 16,
                pace: Default::default(),
                projection: Default::default(),
                expires: false,
            }),
            first: 1,
            cursor: 3,
            lag: 0,
            holds_back: Some(Backpressure::Producers),
            held_back_by: Some(name("printer/receipts")),
            in_flight: 1,
            retrying: 2,
            delayed: 8,
            parked: 6,
            stalled_lanes: 1,
            next_retry_ms: Some(1_769_860_860_000),
            oldest_unsettled: Some(1),
            oldest_unsettled_ms: Some(1_769_860_800_000),
            acked: 3,
            failed: 4,
            dead: 5,
            expired: 6,
            superseded: 7,
        }])
    }

    fn when_ready(
        &self,
        _: &SubscriptionName,
        _: Box<dyn FnOnce() + Send>,
    ) -> Result<(), BrokerError> {
        // Nothing is ever ready.
        Ok(())
    }

    async fn lease(&self, _: &SubscriptionName, _: usize) -> Result<Vec<Lease>, BrokerError> {
        std::future::pending().await
    }

    async fn settle(&self, _: Vec<Settlement>) -> Result<Vec<Settled>, BrokerError> {
        self.works().map(|()| Vec::new())
    }
}

#[async_trait]
impl Log for Stub {
    fn check(&self) -> Result<(), BrokerError> {
        match &*self.poisoned.borrow() {
            Some(reason) => Err(BrokerError::Poisoned(reason.clone())),
            None => Ok(()),
        }
    }

    async fn event(&self, sequence: u64) -> Result<Option<StoredEvent>, BrokerError> {
        self.works()?;
        Ok(match sequence {
            1 => Some(stored(1, None)),
            2 => Some(stored(2, Some(cause()))),
            _ => None,
        })
    }

    async fn events_within(&self, query: EventQuery, _: usize) -> Result<EventPage, BrokerError> {
        self.works()?;
        let events = [stored(1, None), stored(2, Some(cause()))]
            .into_iter()
            .filter(|stored| stored.sequence >= query.from)
            .filter(|stored| query.filter.as_ref().is_none_or(|f| f.matches(&stored.event)))
            .take(query.max);
        Ok(EventPage { events: events.collect(), next: query.from.max(3) })
    }

    async fn watch(&self, _: &Filter) -> Result<Option<Watch>, BrokerError> {
        self.works().map(|()| None)
    }

    async fn list_state(
        &self,
        _: &PluginName,
        after: Option<(String, String)>,
        _: usize,
        _: Option<u64>,
    ) -> Result<Vec<StateRecord>, BrokerError> {
        self.works()?;
        let value = |key: &str, value| StateRecord {
            bucket: "orders".to_owned(),
            key: key.to_owned(),
            value: Bytes::from_static(value),
        };
        let all = vec![value("1", b"paid"), value("2", b"\xff\x00")];
        Ok(if after.is_some() { Vec::new() } else { all })
    }

    async fn first_since(&self, _: u64) -> Result<u64, BrokerError> {
        self.works().map(|()| 1)
    }

    async fn flows_by_correlation(&self, id: &str, _: usize) -> Result<Vec<u64>, BrokerError> {
        self.works()?;
        Ok(if id == "order 1" { vec![1] } else { Vec::new() })
    }

    async fn dead_letters(&self, query: DeadLetterQuery) -> Result<DeadLetterPage, BrokerError> {
        self.works()?;
        let is_behind = query.after.is_some_and(|after| after >= 7);
        let letters = if is_behind { Vec::new() } else { vec![dead(7)] };
        Ok(DeadLetterPage { letters, next: None, last: 7 })
    }

    async fn recording(&self, dead_letter: u64) -> Result<Option<Bytes>, BrokerError> {
        self.works()?;
        let given = Given { sequence: Some(1), ..Given::default() };
        let recording = Recording::write(Digest::of(b"printer"), "1.0.0", given, 1_000);
        Ok((dead_letter == 7).then_some(recording))
    }

    async fn dead_letter(&self, id: u64) -> Result<Option<DeadLetter>, BrokerError> {
        self.works()?;
        Ok((id == 7).then(|| dead(7)))
    }

    async fn audit(&self, after: Option<u64>, _: usize) -> Result<Vec<AuditRecord>, BrokerError> {
        self.works()?;
        let audited = || AuditedDeadLetter {
            id: 7,
            time_ms: 1_769_860_802_000,
            class: Some(FailureClass::Trap),
            sequence: 1,
            source: "/s".to_owned(),
            event_id: "1".to_owned(),
            ty: "t".to_owned(),
        };
        let record = |number, action| AuditRecord {
            number,
            time_ms: 1_769_860_803_000,
            actor: Actor::local(),
            subscription: Some(name("printer/tickets")),
            action,
        };
        let (plugin, change) = (plugin(), PluginChange::Release);
        let outside = |number, change| AuditRecord {
            subscription: None,
            ..record(number, AuditAction::Change(change))
        };
        let token = "shop".to_owned();
        let records = [
            record(1, AuditAction::Redrive(audited())),
            record(2, AuditAction::RedriveEdited { dead: audited(), sequence: 3 }),
            record(3, AuditAction::Discard(audited())),
            record(4, AuditAction::Replay { first: 1, last: 2, events: 2 }),
            outside(5, Change::Plugin { plugin, change }),
            outside(6, Change::Token { token, change: TokenChange::Create }),
            outside(7, Change::Backup { folder: "/copy".to_owned() }),
            record(8, AuditAction::Unsubscribe),
        ];
        let after = after.unwrap_or(0);
        Ok(records.into_iter().filter(|record| record.number > after).collect())
    }

    fn read_blob(&self, digest: &Digest) -> Result<Option<(BlobInfo, Bytes)>, BrokerError> {
        self.works()?;
        self.blobs().read(digest).map_err(|error| BrokerError::Read(error.0))
    }

    async fn list_blobs(
        &self,
        after: Option<Digest>,
        _: usize,
    ) -> Result<Vec<BlobRecord>, BrokerError> {
        self.works()?;
        let record = BlobRecord { info: info(), plugin: plugin(), created_ms: 1_769_860_800_000 };
        Ok(if after.is_some() { Vec::new() } else { vec![record] })
    }

    fn committed(&self) -> watch::Receiver<u64> {
        self.committed.subscribe()
    }

    async fn documents(&self, _: &str) -> Result<BTreeMap<Box<str>, Bytes>, BrokerError> {
        self.works().map(|()| BTreeMap::new())
    }
}

#[async_trait]
impl Reader for Stub {
    async fn flow(&self, sequence: u64) -> Result<Option<Flow>, BrokerError> {
        self.works()?;
        if !(1..=2).contains(&sequence) {
            return Ok(None);
        }
        let due_ms = 1_769_860_860_000;
        let deliveries = vec![
            delivery("a/one", DeliveryState::Pending),
            delivery("b/two", DeliveryState::Waiting { due_ms }),
            delivery("c/three", DeliveryState::Dead { id: Some(7) }),
            delivery("d/four", DeliveryState::Dead { id: None }),
            delivery("e/five", DeliveryState::InFlight { attempt: 3 }),
            delivery("f/six", DeliveryState::Parked { behind: Some(1) }),
            delivery("printer/tickets", DeliveryState::Done),
        ];
        Ok(Some(Flow {
            root: 1,
            events: vec![
                FlowEvent { stored: stored(1, None), deliveries },
                FlowEvent { stored: stored(2, Some(cause())), deliveries: Vec::new() },
            ],
            delayed: vec![DelayedEvent { due_ms, cause: cause(), event: stored(9, None).event }],
            truncated: false,
        }))
    }

    async fn explain(
        &self,
        sequence: u64,
        subscription: &SubscriptionName,
    ) -> Result<Option<Explanation>, BrokerError> {
        self.works()?;
        if *subscription != name("printer/tickets") {
            return Err(BrokerError::NoSubscription(subscription.clone()));
        }
        let delivery = |state, ahead, held_up, filter_from| Explanation::Delivery {
            status: delivery("printer/tickets", state),
            ahead,
            held_up,
            filter_from,
            may_be_superseded: false,
        };
        let total = BlockReason::Total { behind: 1 };
        let wanted = Filter::parse(r#"{"exact":{"type":"other"}}"#).unwrap();
        let due_ms = 1_769_860_860_000;
        Ok(Some(match sequence {
            1 => delivery(DeliveryState::Pending, 7, Some(total), None),
            2 => delivery(DeliveryState::InFlight { attempt: 3 }, 0, None, None),
            3 => delivery(DeliveryState::Parked { behind: Some(1) }, 0, None, None),
            4 => delivery(DeliveryState::Waiting { due_ms }, 0, None, None),
            5 => delivery(DeliveryState::Done, 0, None, Some(6)),
            6 => delivery(DeliveryState::Dead { id: Some(7) }, 0, None, None),
            7 => Explanation::Expired { first_sequence: 8, expires: true },
            8 => Explanation::BeforeStart { first: 9 },
            9 => Explanation::Unmatched(wanted.explain(&stored(9, None).event).unwrap()),
            _ => return Ok(None),
        }))
    }

    async fn replayable(&self, query: ReplayQuery) -> Result<Replayable, BrokerError> {
        self.works()?;
        if query.subscription != name("printer/tickets") {
            return Err(BrokerError::NoSubscription(query.subscription));
        }
        Ok(Replayable { events: vec![stored(1, None)], to: 2, next: None })
    }

    async fn schedules(&self) -> Result<Vec<ScheduleStatus>, BrokerError> {
        self.works()?;
        let status = |name: &str, last_ms| ScheduleStatus {
            schedule: Schedule {
                name: name.parse().unwrap(),
                calendar: Calendar::new("0 3 * * *", "Europe/Berlin").unwrap(),
                missed: Missed::Once,
                event: stored(1, None).event,
            },
            next_ms: Some(1_769_911_200_000),
            last_ms,
            emitted: 3,
            passed_over: 1,
        };
        Ok(vec![status("nightly", Some(1_769_824_800_000)), status("weekly", None)])
    }

    fn stats(&self) -> BrokerStats {
        let is_journal_away = *self.is_away.borrow();
        BrokerStats { appended: 2, last_sequence: 2, is_journal_away, ..BrokerStats::default() }
    }
}

#[async_trait]
impl Operator for Stub {
    async fn operate(&self, _: &Actor, operation: Operation) -> Result<Operated, BrokerError> {
        self.works()?;
        Ok(match operation {
            Operation::Redrive(7) | Operation::Discard(7) => Operated::Done,
            Operation::RedriveEdited { id: 7, .. } => Operated::Appended(3),
            Operation::Redrive(_) | Operation::Discard(_) | Operation::RedriveEdited { .. } => {
                Operated::NotFound
            }
            Operation::Replay(query) if query.subscription != name("printer/tickets") => {
                return Err(BrokerError::NoSubscription(query.subscription));
            }
            Operation::Replay(_) => Operated::Replayed(Replayed {
                events: 1,
                pending: 2,
                dead: 3,
                to: 9,
                next: Some(5),
            }),
            Operation::Unsubscribe(which) if which != name("printer/tickets") => Operated::NotFound,
            Operation::Record(_) | Operation::Keep(..) | Operation::Unsubscribe(_) => {
                Operated::Done
            }
        })
    }

    async fn keep(&self, _: Vec<Document>) -> Result<(), BrokerError> {
        self.works()
    }

    async fn set_schedules(&self, _: Vec<Schedule>) -> Result<(), BrokerError> {
        self.works()
    }

    async fn backup(
        &self,
        to: PathBuf,
        _: Option<PathBuf>,
        _: Beside,
    ) -> Result<BackupReport, BrokerError> {
        self.works()?;
        Ok(BackupReport {
            folder: to,
            last_sequence: 2,
            segments: 9,
            blobs: 1,
            bytes: 4_096,
            linked_bytes: 0,
        })
    }
}

impl Stores for Stub {
    fn state(&self) -> Arc<dyn StateReader> {
        Arc::new(Nothing)
    }

    fn blobs(&self) -> Arc<dyn BlobStore> {
        match self.works() {
            Ok(()) => Arc::new(OneBlob),
            Err(_) => Arc::new(Nothing),
        }
    }
}

#[async_trait]
impl Lifecycle for Stub {
    fn poisoned(&self) -> watch::Receiver<Option<String>> {
        self.poisoned.subscribe()
    }

    fn wake(&self) {}

    async fn close(&self) -> Result<(), BrokerError> {
        self.works()
    }
}

/// Has the one blob.
struct OneBlob;

impl BlobStore for OneBlob {
    fn write(&self, content: &[u8]) -> Result<StagedBlob, StoreError> {
        Ok(StagedBlob::new(Digest::of(content), ()))
    }

    fn read(&self, digest: &Digest) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        Ok((*digest == info().digest).then(|| (info(), Bytes::from_static(CONTENT))))
    }

    fn list(
        &self,
        _: &PluginName,
        _: Option<&Digest>,
        _: usize,
    ) -> Result<Vec<BlobInfo>, StoreError> {
        Ok(vec![info()])
    }

    fn kept_bytes(&self, _: &PluginName) -> Result<u64, StoreError> {
        Ok(info().size_bytes)
    }
}

/// Can't be read.
struct Nothing;

impl BlobStore for Nothing {
    fn write(&self, _: &[u8]) -> Result<StagedBlob, StoreError> {
        Err(StoreError("broken".to_owned()))
    }

    fn read(&self, _: &Digest) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        Err(StoreError("broken".to_owned()))
    }

    fn list(
        &self,
        _: &PluginName,
        _: Option<&Digest>,
        _: usize,
    ) -> Result<Vec<BlobInfo>, StoreError> {
        Err(StoreError("broken".to_owned()))
    }

    fn kept_bytes(&self, _: &PluginName) -> Result<u64, StoreError> {
        Err(StoreError("broken".to_owned()))
    }
}

impl StateReader for Nothing {
    fn snapshot(&self) -> Box<dyn StateSnapshot> {
        unreachable!("the HTTP API does not read state")
    }
}

/// A plugin that serves the only subscription.
pub(super) fn printer() -> Installation {
    Installation {
        listener: Arc::new(Printer(plugin())),
        subscriptions: vec![subscription()],
        instances: 1,
        emissions: EmissionLimits::default(),
        breaker: BreakerPolicy::default(),
        trial: None,
        held: RestoredState::default(),
    }
}

/// Only dry runs reach it: the broker leases no deliveries.
struct Printer(PluginName);

#[async_trait]
impl Listener for Printer {
    fn name(&self) -> &PluginName {
        &self.0
    }

    fn version(&self) -> &str {
        "1.2.3"
    }

    fn digest(&self) -> Digest {
        Digest::of(b"printer")
    }

    async fn handle(&self, delivery: &Delivery) -> Outcome {
        assert!(delivery.is_dry_run, "nothing is leased");
        let address = StateAddress { plugin: plugin(), bucket: "b".into(), key: "k".into() };
        let effects = Effects {
            emissions: vec![Emission { ty: "t".to_owned(), ..Emission::default() }],
            reads: Vec::new(),
            writes: vec![StateWrite {
                address,
                value: Some(Bytes::from_static(CONTENT)),
                previous_bytes: None,
            }],
            blobs: vec![BlobChange::Put(info()), BlobChange::Delete(info().digest)],
            ..Effects::default()
        };
        Outcome { effects, ..Outcome::without_effects(Verdict::Ack, Duration::from_micros(7)) }
    }
}

/// A broker that asks to wait.
pub(super) fn busy() -> BrokerError {
    BrokerError::Busy { retry_after: Duration::from_millis(2_500) }
}

/// A broker whose disk is about to be full.
pub(super) fn full() -> BrokerError {
    let retry_after = Duration::from_secs(10);
    BrokerError::Full { free_bytes: 7, reserve_bytes: 8, retry_after }
}
