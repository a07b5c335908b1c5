//! The scripted history: everything that makes a broker write, one commit per step.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use usher_broker::testing::LocalOperator as _;
use usher_broker::traits::*;
use usher_broker::{
    Actor, BrokerError, BrokerStats, Change, Changes, Disposition, EmbeddedBroker, Lease,
    ManualClock, NewEvent, OpenError, Operation, Options, Order, Retention, RetryPolicy,
    Settlement, Start, Subscription,
};
use usher_event::{
    BlobChange, BlobInfo, Digest, Event, Failure, FailureClass, StateAddress, StateRead,
    StateWrite, StoreError, SubscriptionName,
};
use usher_filter::Filter;

/// When every history starts; with the clock set back to it, nothing becomes due.
pub(crate) const START_MS: u64 = 1_800_000_000_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// Timeout for anything that must happen; only a failing test takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A step of the history.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Opens the data folder; an open broker is dropped, as if the process had ended.
    Open,
    /// Closes the broker in order, and opens it again.
    Reopen,
    /// Adds or changes a subscription: its name, the type it selects, its order.
    Subscribe(&'static str, &'static str, Order),
    Unsubscribe(&'static str),
    /// Events of these types; the id is type and number.
    Publish(&'static [(&'static str, usize)]),
    /// One event with that much data.
    PublishLarge(&'static str, usize),
    /// Leases the next delivery of this subscription and settles it.
    Settle(&'static str, Verdict),
    Redrive(u64),
    Discard(u64),
    /// Waits until the journal's first segment is gone.
    Trimmed,
    /// Waits for something that the clock causes.
    Until(fn(&BrokerStats) -> bool),
}

/// How a delivery is settled.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    Ack,
    /// Acknowledged, with an emission, a counter read and incremented, and a blob.
    AckWithAll,
    /// Acknowledged, with a value that is a fifth of a segment, in place of the one before.
    AckWithMuch,
    /// Acknowledged, with an emission delayed by a minute.
    AckWithDelay,
    /// Acknowledged; deletes what [`Verdict::AckWithAll`] stored.
    AckWithDeletes,
    Retry,
    Reject,
}

/// Every step, and how far the clock advances before it.
pub(crate) fn steps() -> Vec<(u64, Step)> {
    use Step::*;
    use Verdict::*;
    let by_subject = Order::key("subject").unwrap();
    vec![
        (0, Open),
        (0, Subscribe("p/plain", "a", Order::None)),
        (0, Subscribe("p/keyed", "k", by_subject)),
        (0, Subscribe("q/sink", "b", Order::None)),
        (1, Publish(&[("a", 1), ("a", 2), ("k", 1)])),
        // One is a duplicate.
        (1, Publish(&[("k", 2), ("a", 2), ("a", 3)])),
        (1, PublishLarge("a", 40_000)),
        (1, Settle("p/plain", AckWithAll)),
        (1, Settle("p/plain", AckWithAll)),
        (1, Settle("p/plain", AckWithDelay)),
        (1, Settle("p/plain", Retry)),
        (1, Settle("p/keyed", Retry)),
        (1, Settle("q/sink", Reject)),
        (1_000, Settle("p/plain", Reject)),
        (0, Redrive(2)),
        (1, Settle("p/plain", Ack)),
        (0, Discard(1)),
        (0, Open),
        (1, Settle("p/keyed", Ack)),
        (1, Settle("p/keyed", AckWithDelay)),
        (0, Subscribe("q/sink", "c", Order::Total)),
        (60_000, Until(|stats| stats.delayed == 0)),
        (0, Publish(&[("a", 4), ("a", 5), ("c", 1)])),
        (0, Settle("p/plain", AckWithDeletes)),
        (0, Settle("p/plain", Retry)),
        (0, Unsubscribe("p/keyed")),
        (0, Reopen),
        (2_000, Settle("p/plain", Ack)),
        (0, Settle("q/sink", Ack)),
        // Retention.
        (40 * DAY_MS, Until(|stats| stats.first_sequence > stats.last_sequence)),
        (0, Publish(&[("a", 6)])),
        (0, Open),
        (0, Settle("p/plain", AckWithAll)),
    ]
}

/// Steps that fill segments of the journal with state, each in place of the one before: it is rolled,
/// checkpointed, compacted, and in the end trimmed.
pub(crate) fn growing_steps() -> Vec<(u64, Step)> {
    use Step::*;
    let mut steps = vec![(0, Open), (0, Subscribe("p/plain", "a", Order::None))];
    for part in 0..8 {
        steps.push((1, Publish(&MANY[part * 4..part * 4 + 4])));
        steps.extend((0..4).map(|_| (1, Settle("p/plain", Verdict::AckWithMuch))));
        if part == 3 {
            steps.push((0, Open));
        }
    }
    steps.extend([
        (0, Reopen),
        (40 * DAY_MS, Until(|stats| stats.first_sequence > stats.last_sequence)),
        (0, Publish(&[("a", 100)])),
        (0, Trimmed),
        (0, Reopen),
        (0, Settle("p/plain", Verdict::AckWithMuch)),
    ]);
    steps
}

const MANY: [(&str, usize); 32] = {
    let mut many = [("a", 0); 32];
    let mut number = 0;
    while number < many.len() {
        many[number].1 = number;
        number += 1;
    }
    many
};

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error(transparent)]
    Open(OpenError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Blob(StoreError),
}

/// Plays steps on one data folder.
pub(crate) struct Player {
    folder: PathBuf,
    pub(crate) clock: ManualClock,
    pub(crate) broker: Option<Arc<EmbeddedBroker>>,
}

impl Player {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, clock: ManualClock::at(START_MS), broker: None }
    }

    pub(crate) fn open(&mut self) -> Result<Arc<EmbeddedBroker>, OpenError> {
        // A data folder has one broker at a time.
        self.broker = None;
        let mut options = Options::new(&self.folder);
        options.clock = Arc::new(self.clock.clone());
        options.seed = 7;
        options.duplicates_window_events = 1_000;
        options.disk_reserve_bytes = 0;
        // Segments of 1 MiB.
        let (max_age, max_bytes) = (Duration::from_millis(30 * DAY_MS), 8 * 1_024 * 1_024);
        options.retention = Retention { max_age: Some(max_age), max_bytes: Some(max_bytes) };
        let broker = EmbeddedBroker::open(options)?;
        self.broker = Some(Arc::clone(&broker));
        Ok(broker)
    }

    fn broker(&self) -> &Arc<EmbeddedBroker> {
        self.broker.as_ref().expect("it is open")
    }

    pub(crate) async fn step(&mut self, (advance_ms, step): &(u64, Step)) -> Result<(), Failed> {
        self.clock.advance(*advance_ms);
        if let (Some(broker), 1..) = (&self.broker, *advance_ms) {
            broker.wake();
        }
        soon(self.play(step)).await
    }

    async fn play(&mut self, step: &Step) -> Result<(), Failed> {
        match step {
            Step::Open => {
                self.open().map_err(Failed::Open)?;
            }
            Step::Reopen => {
                self.broker().close().await?;
                self.open().map_err(Failed::Open)?;
            }
            Step::Subscribe(name, ty, order) => {
                self.broker().subscribe(subscription(name, ty, order.clone())).await?;
            }
            Step::Unsubscribe(name) => {
                assert!(self.broker().unsubscribe(&self::name(name)).await?);
            }
            Step::Publish(events) => {
                let events = events.iter().map(|(ty, number)| event(ty, *number, 10));
                self.broker().publish(events.collect()).await?;
            }
            Step::PublishLarge(ty, len) => {
                self.broker().publish(vec![event(ty, *len, *len)]).await?;
            }
            Step::Settle(from, verdict) => {
                let lease = self.broker().lease(&name(from), 1).await?.remove(0);
                self.settle(&lease, *verdict).await?;
            }
            Step::Redrive(id) => assert!(self.broker().redrive(*id).await?),
            Step::Discard(id) => assert!(self.broker().discard(*id).await?),
            Step::Trimmed => {
                let first = self.folder.join("journal/00000000000000000000.segment");
                for turn in 1.. {
                    if !first.exists() {
                        break;
                    }
                    self.broker().subscriptions().await?;
                    // Reclaiming that failed isn't tried again before there is more, but a disk that
                    // has failed is noticed with the next commit.
                    if turn % 100 == 0 {
                        let change = Change::Backup { folder: "none".to_owned() };
                        let noted = Operation::Record(change);
                        self.broker().operate(&Actor::local(), noted).await?;
                    }
                }
            }
            Step::Until(is_so) => {
                // Each answer follows a commit.
                while !is_so(&self.broker().stats()) {
                    self.broker().subscriptions().await?;
                }
            }
        }
        Ok(())
    }

    pub(crate) async fn settle(&self, lease: &Lease, verdict: Verdict) -> Result<(), Failed> {
        let failure = || Failure {
            class: FailureClass::Trap,
            reason: "no".into(),
            backtrace: None,
            recording: None,
        };
        let disposition = match verdict {
            Verdict::Ack => Disposition::Ack(Changes::default()),
            Verdict::AckWithAll => Disposition::Ack(self.all(lease)?),
            Verdict::AckWithMuch => {
                let snapshot = self.broker().state().snapshot();
                let before = snapshot.get(&address()).map_err(Failed::Blob)?;
                let writes = vec![StateWrite {
                    address: address(),
                    value: Some(vec![lease.delivery.sequence as u8; 200_000].into()),
                    previous_bytes: before.map(|value| value.len() as u32),
                }];
                Disposition::Ack(Changes { writes, ..Changes::default() })
            }
            Verdict::AckWithDelay => {
                let delay = Some(Duration::from_secs(60));
                let emissions = vec![NewEvent { event: emission(lease), delay }];
                Disposition::Ack(Changes { emissions, ..Changes::default() })
            }
            Verdict::AckWithDeletes => Disposition::Ack(Changes {
                writes: vec![StateWrite {
                    address: address(),
                    value: None,
                    previous_bytes: Some(1),
                }],
                blobs: vec![BlobChange::Delete(Digest::of(&content(1)))],
                ..Changes::default()
            }),
            Verdict::Retry => Disposition::Retry { failure: failure(), after: None },
            Verdict::Reject => Disposition::Reject { failure: failure() },
        };
        self.broker().settle(vec![settlement(lease, disposition)]).await?;
        Ok(())
    }

    /// An emission, an incremented counter, and a blob, which is on disk already.
    fn all(&self, lease: &Lease) -> Result<Changes, Failed> {
        let snapshot = self.broker().state().snapshot();
        let before = snapshot.get(&address()).map_err(Failed::Blob)?;
        let number = before.as_ref().map_or(0, |value| value[0]) + 1;
        let content = content(lease.delivery.sequence);
        let staged = self.broker().blobs().write(&content).map_err(Failed::Blob)?;
        let digest = staged.digest();
        Ok(Changes {
            emissions: vec![NewEvent { event: emission(lease), delay: None }],
            reads: vec![StateRead::Key { address: address(), version: snapshot.version() }],
            writes: vec![StateWrite {
                address: address(),
                value: Some(Bytes::from(vec![number])),
                previous_bytes: before.map(|value| value.len() as u32),
            }],
            blobs: vec![BlobChange::Put(BlobInfo {
                digest,
                size_bytes: content.len() as u64,
                content_type: "text/plain".into(),
            })],
            staged: vec![staged],
            ..Changes::default()
        })
    }
}

/// Fails the test if the future takes too long.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing happened for too long")
}

pub(crate) fn name(name: &str) -> SubscriptionName {
    name.parse().unwrap()
}

pub(crate) fn subscription(name: &str, ty: &str, order: Order) -> Subscription {
    Subscription {
        name: self::name(name),
        filter: Filter::parse(&format!(r#"{{"exact":{{"type":"{ty}"}}}}"#)).unwrap(),
        start: Start::Earliest,
        order,
        retry: RetryPolicy { jitter: 0.0, ..RetryPolicy::default() },
        max_in_flight: 16,
        pace: Default::default(),
        projection: Default::default(),
        expires: false,
    }
}

pub(crate) fn event(ty: &str, number: usize, len: usize) -> Event {
    let event = Event::builder(format!("{ty}{number}"), "/io", ty).subject("s");
    event.data(vec![b'x'; len]).build().unwrap()
}

fn emission(lease: &Lease) -> Event {
    let id = format!("{}/{}", lease.delivery.sequence, lease.delivery.subscription);
    Event::builder(id, "/plugins/p", "b").data("emitted").build().unwrap()
}

fn address() -> StateAddress {
    StateAddress { plugin: "p".parse().unwrap(), bucket: "b".into(), key: "count".into() }
}

fn content(sequence: u64) -> Vec<u8> {
    format!("the blob of {sequence}").repeat(100).into_bytes()
}

fn settlement(lease: &Lease, disposition: Disposition) -> Settlement {
    Settlement {
        subscription: lease.delivery.subscription.clone(),
        sequence: lease.delivery.sequence,
        token: lease.token,
        digest: None,
        version: None,
        took: Duration::ZERO,
        disposition,
    }
}
