//! The engine under test, and helpers for the tests.

use std::sync::Arc;
use std::time::Duration;

use usher_broker::traits::*;
use usher_broker::{
    Changes, Clock, DeadLetter, DeadLetterQuery, Disposition, Lease, ManualClock, NewEvent,
    Options, Order, Pace, Retention, RetryPolicy, Settled, Settlement, Start, Subscription,
};
use usher_event::{Digest, Event, Failure, FailureClass, SubscriptionName};
use usher_filter::{Filter, Projection};

/// The time at which every test starts.
pub const START_MS: u64 = 1_800_000_000_000;

/// Timeout for anything that must happen; only a failing test takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// An engine under test.
pub trait Engine: Send + Sync {
    /// Opens a broker on the data of the previous one, which has been dropped.
    fn open(&self, limits: Limits) -> Arc<dyn Broker>;

    /// Whether what it needs is on this machine.
    fn is_there(&self) -> bool {
        true
    }
}

/// Configuration of a broker.
#[derive(Clone)]
pub struct Limits {
    /// Its time source.
    pub clock: Arc<dyn Clock>,
    /// Seeds the jitter of retries.
    pub seed: u64,
    /// Size of the duplicates window, in events.
    pub duplicates_window_events: usize,
    /// Maximum age of an event in the window.
    pub duplicates_window: Option<Duration>,
    /// What the log retains.
    pub retention: Retention,
    /// How many events a subscription may be behind before publishing is refused.
    pub backlog_max_events: Option<u64>,
}

impl Limits {
    /// Options of an embedded engine with these limits.
    pub fn options(self) -> Options {
        Options {
            clock: self.clock,
            seed: self.seed,
            duplicates_window_events: self.duplicates_window_events,
            duplicates_window: self.duplicates_window,
            retention: self.retention,
            backlog_max_events: self.backlog_max_events,
            ..Options::new("unused")
        }
    }
}

/// What survives the brokers of one test, and the clock they share.
pub struct Disk {
    engine: Box<dyn Engine>,
    pub clock: ManualClock,
    pub window: usize,
    pub window_time: Option<Duration>,
    retention: Retention,
    backlog_max_events: Option<u64>,
}

impl Disk {
    pub fn new(engine: impl Engine + 'static) -> Self {
        Self {
            engine: Box::new(engine),
            clock: ManualClock::at(START_MS),
            window: 10_000,
            window_time: None,
            retention: Retention::default(),
            backlog_max_events: None,
        }
    }

    /// Whether there is an engine.
    pub fn is_there(&self) -> bool {
        self.engine.is_there()
    }

    /// The same, with this retention.
    pub fn with_retention(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }

    /// The same, with this backlog limit.
    pub fn with_backlog(self, max_events: u64) -> Self {
        Self { backlog_max_events: Some(max_events), ..self }
    }

    /// Opens a broker. The previous one must have been dropped.
    pub fn open(&self) -> Arc<dyn Broker> {
        self.engine.open(Limits {
            clock: Arc::new(self.clock.clone()),
            seed: 7,
            duplicates_window_events: self.window,
            duplicates_window: self.window_time,
            retention: self.retention,
            backlog_max_events: self.backlog_max_events,
        })
    }

    /// Advances the clock and wakes the broker.
    pub fn advance(&self, broker: &Arc<dyn Broker>, by_ms: u64) {
        self.clock.advance(by_ms);
        broker.wake();
    }
}

/// Fails the test if the future takes too long.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing happened for too long")
}

/// An event of this type and id.
pub fn event(ty: &str, id: impl std::fmt::Display) -> Event {
    Event::builder(id.to_string(), "/tests", ty).subject("s").data("data").build().unwrap()
}

/// An event as a plugin emits it.
pub fn emission(lease: &Lease, ty: &str, position: usize) -> Event {
    let id = format!("{}/{}/{position}", lease.delivery.sequence, lease.delivery.subscription);
    let source = format!("/plugins/{}", lease.delivery.subscription.plugin());
    Event::builder(id, source, ty).data("emitted").build().unwrap()
}

pub fn name(name: &str) -> SubscriptionName {
    name.parse().unwrap()
}

/// A subscription to one type, with retries without jitter.
pub fn to_type(subscription: &str, ty: &str) -> Subscription {
    Subscription {
        name: name(subscription),
        filter: Filter::parse(&format!(r#"{{"exact":{{"type":"{ty}"}}}}"#)).unwrap(),
        start: Start::Latest,
        order: Order::None,
        retry: RetryPolicy { jitter: 0.0, ..RetryPolicy::default() },
        max_in_flight: 16,
        pace: Pace::default(),
        projection: Projection::default(),
        expires: false,
    }
}

/// Publishes one event; returns its sequence.
pub async fn publish(broker: &Arc<dyn Broker>, event: Event) -> u64 {
    soon(broker.publish(vec![event])).await.unwrap()[0].sequence
}

/// Dead letters after this id.
pub async fn dead_letters(
    broker: &Arc<dyn Broker>,
    after: Option<u64>,
    max: usize,
) -> Vec<DeadLetter> {
    let query = DeadLetterQuery { after, max, ..DeadLetterQuery::default() };
    broker.dead_letters(query).await.unwrap().letters
}

/// Leases exactly one delivery.
pub async fn lease_one(broker: &Arc<dyn Broker>, subscription: &str) -> Lease {
    soon(broker.lease(&name(subscription), 1)).await.unwrap().remove(0)
}

/// Leases exactly `count` deliveries.
pub async fn lease_many(broker: &Arc<dyn Broker>, subscription: &str, count: usize) -> Vec<Lease> {
    let subscription = name(subscription);
    let mut leases = Vec::new();
    while leases.len() < count {
        let more = soon(broker.lease(&subscription, count - leases.len())).await.unwrap();
        assert!(!more.is_empty(), "a lease call waits until there is a delivery");
        leases.extend(more);
    }
    leases
}

/// Whether nothing can be leased. The committer answers in order, so it has processed all earlier
/// requests.
pub async fn nothing_ready(broker: &Arc<dyn Broker>, subscription: &str) -> bool {
    settled_down(broker).await;
    let subscription = name(subscription);
    let mut lease = std::pin::pin!(broker.lease(&subscription, 1));
    tokio::select! {
        biased;
        _ = &mut lease => false,
        () = std::future::ready(()) => true,
    }
}

/// Leases deliveries until it gets the one of this sequence; gives the others back.
pub async fn lease_again(broker: &Arc<dyn Broker>, from: &str, sequence: u64) -> Lease {
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

/// Leases a delivery if one is ready.
pub async fn lease_if_any(broker: &Arc<dyn Broker>, subscription: &str) -> Option<Lease> {
    settled_down(broker).await;
    let subscription = name(subscription);
    let mut lease = std::pin::pin!(broker.lease(&subscription, 1));
    tokio::select! {
        biased;
        leases = &mut lease => leases.unwrap().pop(),
        () = std::future::ready(()) => None,
    }
}

/// Waits until the committer has received what it was reading. Each query takes one of its turns.
pub async fn settled_down(broker: &Arc<dyn Broker>) {
    for _ in 0..3 {
        broker.event(1).await.unwrap();
        broker.subscriptions().await.unwrap();
    }
}

/// A settlement of a lease.
pub fn settlement(lease: &Lease, disposition: Disposition) -> Settlement {
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

pub async fn settle(broker: &Arc<dyn Broker>, lease: &Lease, disposition: Disposition) -> Settled {
    soon(broker.settle(vec![settlement(lease, disposition)])).await.unwrap().remove(0)
}

pub async fn ack(broker: &Arc<dyn Broker>, lease: &Lease) -> Settled {
    settle(broker, lease, acknowledged()).await
}

/// Acknowledges with emissions.
pub async fn ack_with(
    broker: &Arc<dyn Broker>,
    lease: &Lease,
    emissions: Vec<(Event, Option<Duration>)>,
) -> Settled {
    let emissions = emissions.into_iter().map(|(event, delay)| NewEvent { event, delay });
    let changes = Changes { emissions: emissions.collect(), ..Changes::default() };
    settle(broker, lease, Disposition::Ack(changes)).await
}

pub fn acknowledged() -> Disposition {
    Disposition::Ack(Changes::default())
}

pub fn retry() -> Disposition {
    Disposition::Retry { failure: failure("not now"), after: None }
}

pub fn reject() -> Disposition {
    Disposition::Reject { failure: failure("never") }
}

pub fn failure(reason: &str) -> Failure {
    Failure {
        class: FailureClass::Trap,
        reason: reason.into(),
        backtrace: Some("0: f".into()),
        recording: Some("{}".into()),
    }
}
