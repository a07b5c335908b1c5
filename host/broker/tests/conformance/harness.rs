//! A disk that brokers come and go on, and short words for what the tests do.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use usher_broker::traits::*;
use usher_broker::{
    Changes, DeadLetter, DeadLetterQuery, Disposition, EmbeddedBroker, Lease, ManualClock,
    MemoryDisk, NewEvent, Options, Order, Retention, RetryPolicy, Settled, Settlement, Start,
    Subscription,
};
use usher_event::{Digest, Event, Failure, FailureClass, SubscriptionName};
use usher_filter::Filter;

/// When every test begins.
pub(crate) const START_MS: u64 = 1_800_000_000_000;

/// Longest wait for something that must happen; only a failing test takes as long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where brokers keep what must survive them, and the time they live in.
pub(crate) struct Disk {
    kind: Kind,
    pub(crate) clock: ManualClock,
    pub(crate) window: usize,
    pub(crate) window_time: Option<Duration>,
    retention: Retention,
    backlog_max_events: Option<u64>,
}

enum Kind {
    Fjall(TempDir),
    Memory(MemoryDisk),
}

impl Disk {
    pub(crate) fn fjall() -> Self {
        Self::new(Kind::Fjall(tempfile::tempdir().unwrap()))
    }

    pub(crate) fn memory() -> Self {
        Self::new(Kind::Memory(MemoryDisk::default()))
    }

    fn new(kind: Kind) -> Self {
        let clock = ManualClock::at(START_MS);
        let (retention, backlog_max_events) = (Retention::default(), None);
        Self { kind, clock, window: 10_000, window_time: None, retention, backlog_max_events }
    }

    /// The same, whose brokers keep less.
    pub(crate) fn with_retention(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }

    /// The same, whose brokers let subscriptions be so far behind.
    pub(crate) fn with_backlog(self, max_events: u64) -> Self {
        Self { backlog_max_events: Some(max_events), ..self }
    }

    /// Opens a broker. The one before must be dropped.
    pub(crate) fn open(&self) -> Arc<EmbeddedBroker> {
        let mut options = Options::new("unused");
        options.clock = Arc::new(self.clock.clone());
        options.seed = 7;
        options.duplicates_window_events = self.window;
        options.duplicates_window = self.window_time;
        options.retention = self.retention;
        options.backlog_max_events = self.backlog_max_events;
        match &self.kind {
            Kind::Fjall(folder) => {
                options.data = folder.path().to_owned();
                EmbeddedBroker::open(options).unwrap()
            }
            Kind::Memory(disk) => EmbeddedBroker::on(disk, options).unwrap(),
        }
    }

    /// How many blobs have content in files, committed or not; none in memory.
    pub(crate) fn blob_files(&self) -> usize {
        let Kind::Fjall(folder) = &self.kind else { return 0 };
        let shelves = std::fs::read_dir(folder.path().join("blobs")).unwrap();
        shelves.map(|shelf| std::fs::read_dir(shelf.unwrap().path()).unwrap().count()).sum()
    }

    /// Moves the clock.
    pub(crate) fn advance(&self, broker: &EmbeddedBroker, by_ms: u64) {
        self.clock.advance(by_ms);
        broker.wake();
    }
}

/// Fails the test if it takes for ever.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing happened for too long")
}

/// An event of a type, with an id of its own.
pub(crate) fn event(ty: &str, id: impl std::fmt::Display) -> Event {
    Event::builder(id.to_string(), "/tests", ty).subject("s").data("data").build().unwrap()
}

/// An event as a plugin's emission.
pub(crate) fn emission(lease: &Lease, ty: &str, position: usize) -> Event {
    let id = format!("{}/{}/{position}", lease.delivery.sequence, lease.delivery.subscription);
    let source = format!("/plugins/{}", lease.delivery.subscription.plugin());
    Event::builder(id, source, ty).data("emitted").build().unwrap()
}

pub(crate) fn name(name: &str) -> SubscriptionName {
    name.parse().unwrap()
}

/// A subscription to one type, without jitter.
pub(crate) fn to_type(subscription: &str, ty: &str) -> Subscription {
    Subscription {
        name: name(subscription),
        filter: Filter::parse(&format!(r#"{{"exact":{{"type":"{ty}"}}}}"#)).unwrap(),
        start: Start::Latest,
        order: Order::None,
        retry: RetryPolicy { jitter: 0.0, ..RetryPolicy::default() },
        max_in_flight: 16,
        expires: false,
    }
}

/// Publishes one event; answers its sequence.
pub(crate) async fn publish(broker: &EmbeddedBroker, event: Event) -> u64 {
    soon(broker.publish(vec![event])).await.unwrap()[0].sequence
}

/// Dead letters behind this one.
pub(crate) async fn dead_letters(
    broker: &EmbeddedBroker,
    after: Option<u64>,
    max: usize,
) -> Vec<DeadLetter> {
    let query = DeadLetterQuery { after, max, ..DeadLetterQuery::default() };
    broker.dead_letters(query).await.unwrap().letters
}

/// Takes exactly one delivery.
pub(crate) async fn lease_one(broker: &EmbeddedBroker, subscription: &str) -> Lease {
    soon(broker.lease(&name(subscription), 1)).await.unwrap().remove(0)
}

/// Takes exactly so many deliveries.
pub(crate) async fn lease_many(
    broker: &EmbeddedBroker,
    subscription: &str,
    count: usize,
) -> Vec<Lease> {
    let subscription = name(subscription);
    let mut leases = Vec::new();
    while leases.len() < count {
        let more = broker.lease(&subscription, count - leases.len());
        leases.extend(soon(more).await.unwrap());
    }
    leases
}

/// Whether nothing can be leased. The committer has done all that was asked before, since it
/// answers in order.
pub(crate) async fn nothing_ready(broker: &EmbeddedBroker, subscription: &str) -> bool {
    settled_down(broker).await;
    let subscription = name(subscription);
    let mut lease = std::pin::pin!(broker.lease(&subscription, 1));
    tokio::select! {
        biased;
        _ = &mut lease => false,
        () = std::future::ready(()) => true,
    }
}

/// Takes deliveries until the one of this sequence is among them; gives the others back.
pub(crate) async fn lease_again(broker: &EmbeddedBroker, from: &str, sequence: u64) -> Lease {
    let mut others = Vec::new();
    loop {
        let lease = lease_one(broker, from).await;
        if lease.delivery.sequence == sequence {
            for other in &others {
                settle(broker, other, Disposition::Release).await;
            }
            return lease;
        }
        others.push(lease);
    }
}

/// Takes a delivery if one is ready.
pub(crate) async fn lease_if_any(broker: &EmbeddedBroker, subscription: &str) -> Option<Lease> {
    settled_down(broker).await;
    let subscription = name(subscription);
    let mut lease = std::pin::pin!(broker.lease(&subscription, 1));
    tokio::select! {
        biased;
        leases = &mut lease => leases.unwrap().pop(),
        () = std::future::ready(()) => None,
    }
}

/// Waits until the committer has taken back what it had read. Each question makes one turn.
pub(crate) async fn settled_down(broker: &EmbeddedBroker) {
    for _ in 0..3 {
        broker.event(1).await.unwrap();
        broker.subscriptions().await.unwrap();
    }
}

/// A settlement of a lease.
pub(crate) fn settlement(lease: &Lease, disposition: Disposition) -> Settlement {
    Settlement {
        subscription: lease.delivery.subscription.clone(),
        sequence: lease.delivery.sequence,
        token: lease.token,
        digest: Some(Digest::of(b"plugin")),
        version: Some("1.2.0".into()),
        took: Duration::from_micros(42),
        disposition,
    }
}

pub(crate) async fn settle(
    broker: &EmbeddedBroker,
    lease: &Lease,
    disposition: Disposition,
) -> Settled {
    soon(broker.settle(vec![settlement(lease, disposition)])).await.unwrap().remove(0)
}

pub(crate) async fn ack(broker: &EmbeddedBroker, lease: &Lease) -> Settled {
    settle(broker, lease, acknowledged()).await
}

/// Acknowledges with emissions.
pub(crate) async fn ack_with(
    broker: &EmbeddedBroker,
    lease: &Lease,
    emissions: Vec<(Event, Option<Duration>)>,
) -> Settled {
    let emissions = emissions.into_iter().map(|(event, delay)| NewEvent { event, delay });
    let changes = Changes { emissions: emissions.collect(), ..Changes::default() };
    settle(broker, lease, Disposition::Ack(changes)).await
}

pub(crate) fn acknowledged() -> Disposition {
    Disposition::Ack(Changes::default())
}

pub(crate) fn retry() -> Disposition {
    Disposition::Retry { failure: failure("not now"), after: None }
}

pub(crate) fn reject() -> Disposition {
    Disposition::Reject { failure: failure("never") }
}

pub(crate) fn failure(reason: &str) -> Failure {
    Failure { class: FailureClass::Trap, reason: reason.into(), backtrace: Some("0: f".into()) }
}
