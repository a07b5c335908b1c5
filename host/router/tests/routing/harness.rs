//! A router on an in-memory broker, and scripted listeners.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what fails here fails the test that called it"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use usher_broker::traits::*;
use usher_broker::{
    EmbeddedBroker, EventQuery, ManualClock, Options, Order, RetryPolicy, Start, Subscription,
    SubscriptionStatus,
};
use usher_event::{
    Delivery, Digest, Effects, Emission, Event, Listener, Outcome, PluginName, Verdict,
};
use usher_filter::Filter;
use usher_router::{BreakerPolicy, EmissionLimits, Installation, RestoredState, Router};

/// Timeout for anything that must happen. No test waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(30);

/// The output of `future`, which must complete soon.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it should have happened by now")
}

/// What a listener does with a delivery.
pub(crate) type Act = dyn Fn(&Delivery) -> Step + Send + Sync;

/// One action.
pub(crate) enum Step {
    /// Acknowledge, emitting these types.
    Emit(Vec<&'static str>),
    /// Return this verdict.
    Say(Verdict),
    /// Wait until the gate admits one more delivery, then acknowledge.
    Pass(Arc<Semaphore>),
    /// Panic.
    Panic,
}

/// A scripted listener that records what it saw.
pub(crate) struct Puppet {
    name: PluginName,
    digest: Digest,
    act: Box<Act>,
    pub(crate) begun: watch::Sender<Vec<u64>>,
}

impl Puppet {
    pub(crate) fn new(
        version: u8,
        act: impl Fn(&Delivery) -> Step + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: "puppet".parse().unwrap(),
            digest: Digest::from_bytes([version; 32]),
            act: Box::new(act),
            begun: watch::Sender::new(Vec::new()),
        })
    }

    /// A listener that acknowledges everything.
    pub(crate) fn willing(version: u8) -> Arc<Self> {
        Self::new(version, |_| Step::Emit(Vec::new()))
    }

    /// Sequences of the deliveries it has begun.
    pub(crate) fn begun(&self) -> Vec<u64> {
        self.begun.borrow().clone()
    }

    /// Waits until it has begun `count` deliveries.
    pub(crate) async fn has_begun(&self, count: usize) {
        soon(self.begun.subscribe().wait_for(|begun| begun.len() >= count)).await.unwrap();
    }
}

#[async_trait]
impl Listener for Puppet {
    fn name(&self) -> &PluginName {
        &self.name
    }

    fn version(&self) -> &str {
        "1.2.3"
    }

    fn digest(&self) -> Digest {
        self.digest
    }

    async fn handle(&self, delivery: &Delivery) -> Outcome {
        let step = (self.act)(delivery);
        self.begun.send_modify(|begun| begun.push(delivery.sequence));
        let took = Duration::from_micros(5);
        match step {
            Step::Emit(types) => {
                let emission = |ty: &str| Emission { ty: ty.to_owned(), ..Emission::default() };
                let emissions = types.into_iter().map(emission).collect();
                let effects = Effects { emissions, ..Effects::default() };
                Outcome { effects, ..Outcome::without_effects(Verdict::Ack, took) }
            }
            Step::Say(verdict) => Outcome::without_effects(verdict, took),
            Step::Pass(gate) => {
                gate.acquire().await.unwrap().forget();
                Outcome::without_effects(Verdict::Ack, took)
            }
            Step::Panic => panic!("as it was told"),
        }
    }
}

/// Broker, clock and router.
pub(crate) struct World {
    pub(crate) broker: Arc<EmbeddedBroker>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) router: Router,
}

impl World {
    pub(crate) fn new(drain: Duration) -> Self {
        let clock = Arc::new(ManualClock::at(1_000_000));
        let options = Options { clock: Arc::clone(&clock) as _, seed: 7, ..Options::new("") };
        let broker = EmbeddedBroker::in_memory(options).unwrap();
        let router = Router::new(Arc::clone(&broker) as _, Handle::current()).with_drain(drain);
        Self { broker, clock, router }
    }

    /// Publishes `count` events of a type, with ids from `first` on.
    pub(crate) async fn publish(&self, ty: &str, first: u64, count: u64) {
        let ids: Vec<u64> = (first..first + count).collect();
        for ids in ids.chunks(1_000) {
            let event = |id: &u64| Event::builder(id.to_string(), "/test", ty).build().unwrap();
            soon(self.broker.publish(ids.iter().map(event).collect())).await.unwrap();
        }
    }

    pub(crate) async fn status(&self, subscription: &str) -> SubscriptionStatus {
        let all = soon(self.broker.subscriptions()).await.unwrap();
        let found = all.into_iter().find(|one| one.subscription.name.as_str() == subscription);
        found.expect("the subscription is there")
    }

    /// Waits until a subscription's status meets the condition.
    pub(crate) async fn until(
        &self,
        subscription: &str,
        condition: impl Fn(&SubscriptionStatus) -> bool,
    ) -> SubscriptionStatus {
        soon(async {
            loop {
                let status = self.status(subscription).await;
                if condition(&status) {
                    return status;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    /// Number of events of each type in the log.
    pub(crate) async fn types(&self) -> BTreeMap<String, u64> {
        let mut types = BTreeMap::new();
        let mut from = 1;
        loop {
            let query = EventQuery { from, max: 1_000, ..EventQuery::default() };
            let page = soon(self.broker.events(query)).await.unwrap();
            if page.events.is_empty() {
                return types;
            }
            for stored in &page.events {
                *types.entry(stored.event.ty().to_owned()).or_default() += 1;
            }
            from = page.next;
        }
    }
}

/// A subscription of the puppet to one type.
pub(crate) fn to_type(local: &str, ty: &str) -> Subscription {
    Subscription {
        name: format!("puppet/{local}").parse().unwrap(),
        filter: Filter::parse(&format!(r#"{{"exact":{{"type":"{ty}"}}}}"#)).unwrap(),
        start: Start::Latest,
        order: Order::None,
        retry: RetryPolicy { jitter: 0.0, ..RetryPolicy::default() },
        max_in_flight: 256,
        pace: Default::default(),
        projection: Default::default(),
        expires: false,
    }
}

/// What to install.
pub(crate) fn installation(puppet: &Arc<Puppet>, subscriptions: &[Subscription]) -> Installation {
    Installation {
        listener: Arc::clone(puppet) as _,
        subscriptions: subscriptions.to_vec(),
        instances: 4,
        emissions: EmissionLimits::default(),
        breaker: BreakerPolicy::default(),
        trial: None,
        held: RestoredState::default(),
    }
}

/// A gate that admits no delivery yet.
pub(crate) fn gate() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(0))
}

/// Plenty of time to drain.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// No time to drain at all.
pub(crate) const NONE: Duration = Duration::ZERO;

/// Checks that the sequences are exactly `1..=count`, each once.
pub(crate) fn assert_each_once(mut sequences: Vec<u64>, count: u64) {
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=count).collect::<Vec<_>>());
}
