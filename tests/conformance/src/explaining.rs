//! Explanations: what became of an event for a subscription, or why it was not delivered.

use std::sync::Arc;
use usher_broker::testing::LocalOperator as _;
use usher_broker::traits::*;
use usher_broker::{
    BlockReason, BrokerError, DeliveryState, Explanation, Order, Settled, Start, Subscription,
};

use crate::harness::*;

async fn explain(broker: &Arc<dyn Broker>, sequence: u64) -> Explanation {
    broker.explain(sequence, &name("p/s")).await.unwrap().unwrap()
}

/// State of a delivery, number of deliveries ahead of it, and what blocks it.
async fn delivery(
    broker: &Arc<dyn Broker>,
    sequence: u64,
) -> (DeliveryState, u64, Option<BlockReason>) {
    match explain(broker, sequence).await {
        Explanation::Delivery { status, ahead, held_up, filter_from: None, .. } => {
            assert_eq!(status.subscription, name("p/s"));
            (status.state, ahead, held_up)
        }
        other => panic!("{other:?}"),
    }
}

pub async fn an_event_may_be_none_of_a_subscriptions_own(disk: Disk) {
    let broker = disk.open();
    publish(&broker, event("a", 1)).await;
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    publish(&broker, event("b", 2)).await;
    let Explanation::BeforeStart { first: 2 } = explain(&broker, 1).await else { panic!() };
    let Explanation::Unmatched(mismatch) = explain(&broker, 2).await else { panic!() };
    assert_eq!(mismatch.path(), "exact.type");
    assert_eq!(mismatch.reason(), r#"type is "b", needs to be "a""#);
    for sequence in [0, 3] {
        assert!(broker.explain(sequence, &name("p/s")).await.unwrap().is_none());
    }
    let gone = broker.explain(1, &name("p/gone")).await.unwrap_err();
    assert!(matches!(gone, BrokerError::NoSubscription(_)));
}

pub async fn a_delivery_is_followed_from_log_to_end(disk: Disk) {
    let broker = disk.open();
    let two = Subscription { max_in_flight: 2, ..to_type("p/s", "a") };
    broker.subscribe(two).await.unwrap();
    for id in 1..=6 {
        publish(&broker, event("a", id)).await;
    }
    // Granted, but not leased by a caller; the others wait for them.
    let pending = DeliveryState::Pending;
    assert_eq!(delivery(&broker, 2).await, (pending.clone(), 1, None));
    assert_eq!(delivery(&broker, 5).await, (pending.clone(), 4, Some(BlockReason::InFlight)));
    let leases = lease_many(&broker, "p/s", 2).await;
    assert_eq!(delivery(&broker, 1).await, (DeliveryState::InFlight { attempt: 1 }, 0, None));
    assert_eq!(delivery(&broker, 3).await, (pending.clone(), 0, Some(BlockReason::InFlight)));
    assert_eq!(delivery(&broker, 5).await, (pending, 2, Some(BlockReason::InFlight)));

    settle(&broker, &leases[0], retry()).await;
    let due_ms = START_MS + 1_000;
    assert_eq!(delivery(&broker, 1).await, (DeliveryState::Waiting { due_ms }, 0, None));
    ack(&broker, &leases[1]).await;
    assert_eq!(delivery(&broker, 2).await, (DeliveryState::Done, 0, None));
    let third = lease_one(&broker, "p/s").await;
    settle(&broker, &third, reject()).await;
    assert_eq!(delivery(&broker, 3).await, (DeliveryState::Dead { id: Some(1) }, 0, None));

    for _ in 4..=6 {
        let other = lease_one(&broker, "p/s").await;
        ack(&broker, &other).await;
    }
    disk.advance(&broker, 1_000);
    let again = lease_one(&broker, "p/s").await;
    assert_eq!(delivery(&broker, 1).await, (DeliveryState::InFlight { attempt: 2 }, 0, None));
    ack(&broker, &again).await;
    let Explanation::Delivery { status, .. } = explain(&broker, 1).await else { panic!() };
    assert_eq!(status.state, DeliveryState::Done);
    assert_eq!(status.failures.len(), 1);
    assert_eq!(status.failures[0].record.reason, "not now");
}

/// Invariant 8, as reported: a redrive restarts the count of attempts.
pub async fn rounds_are_told_apart(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    for id in 1..=2 {
        publish(&broker, event("a", id)).await;
    }
    let told = async |broker: &Arc<dyn Broker>, sequence| {
        let Explanation::Delivery { status, .. } = explain(broker, sequence).await else {
            panic!()
        };
        let failures = status.failures.iter().map(|one| (one.round, one.record.attempt));
        (status.state, status.round, failures.collect::<Vec<_>>())
    };
    for sequence in [1, 2] {
        let lease = lease_one(&broker, "p/s").await;
        assert_eq!(lease.delivery.sequence, sequence);
        settle(&broker, &lease, retry()).await;
    }
    disk.advance(&broker, 1_000);
    let leases = lease_many(&broker, "p/s", 2).await;
    for lease in &leases {
        match lease.delivery.sequence {
            1 => assert_eq!(settle(&broker, lease, reject()).await, Settled::Dead(1)),
            _ => assert_eq!(ack(&broker, lease).await, Settled::Committed),
        }
    }
    let dead = DeliveryState::Dead { id: Some(1) };
    assert_eq!(told(&broker, 1).await, (dead, 1, vec![(1, 1), (1, 2)]));
    // Done at its second attempt, and never redriven.
    assert_eq!(told(&broker, 2).await, (DeliveryState::Done, 1, vec![(1, 1)]));
    assert!(broker.redrive(1).await.unwrap());
    drop(broker);
    let broker = disk.open();
    let lease = lease_one(&broker, "p/s").await;
    let in_flight = DeliveryState::InFlight { attempt: 1 };
    assert_eq!(told(&broker, 1).await, (in_flight, 2, vec![(1, 1), (1, 2)]));
    settle(&broker, &lease, retry()).await;
    let due_ms = START_MS + 2_000;
    let waiting = DeliveryState::Waiting { due_ms };
    assert_eq!(told(&broker, 1).await, (waiting, 2, vec![(1, 1), (1, 2), (2, 1)]));
    disk.advance(&broker, 1_000);
    let lease = lease_one(&broker, "p/s").await;
    assert_eq!(settle(&broker, &lease, reject()).await, Settled::Dead(2));
    assert!(broker.redrive(2).await.unwrap());
    let lease = lease_one(&broker, "p/s").await;
    ack(&broker, &lease).await;
    let failures = vec![(1, 1), (1, 2), (2, 1), (2, 2)];
    assert_eq!(told(&broker, 1).await, (DeliveryState::Done, 3, failures));
}

pub async fn order_names_what_a_delivery_waits_for(disk: Disk) {
    let broker = disk.open();
    let total = Subscription { order: Order::Total, ..to_type("p/s", "a") };
    broker.subscribe(total).await.unwrap();
    for id in 1..=3 {
        publish(&broker, event("a", id)).await;
    }
    let first = lease_one(&broker, "p/s").await;
    settle(&broker, &first, retry()).await;
    let held_up = Some(BlockReason::Total { behind: 1 });
    assert_eq!(delivery(&broker, 3).await, (DeliveryState::Pending, 1, held_up));

    let keyed = Subscription { order: Order::key("subject").unwrap(), ..to_type("p/k", "a") };
    broker.subscribe(Subscription { start: Start::Earliest, ..keyed }).await.unwrap();
    let first = lease_one(&broker, "p/k").await;
    settle(&broker, &first, retry()).await;
    let told = broker.explain(2, &name("p/k")).await.unwrap();
    let Some(Explanation::Delivery { status, held_up, .. }) = told else { panic!() };
    assert_eq!((status.state, held_up), (DeliveryState::Parked { behind: Some(1) }, None));
}

/// An event that an earlier filter passed over is not reported as certainly done, also after a
/// restart.
pub async fn a_changed_filter_is_told(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    publish(&broker, event("b", 1)).await;
    publish(&broker, event("a", 2)).await;
    let taken = lease_one(&broker, "p/s").await;
    broker.subscribe(to_type("p/s", "b")).await.unwrap();
    publish(&broker, event("b", 3)).await;
    let third = lease_one(&broker, "p/s").await;
    ack(&broker, &third).await;
    // In flight, whatever the filter is now.
    assert_eq!(delivery(&broker, 2).await, (DeliveryState::InFlight { attempt: 1 }, 0, None));
    ack(&broker, &taken).await;
    drop(broker);
    let broker = disk.open();
    let Explanation::Delivery { status, filter_from: Some(3), .. } = explain(&broker, 1).await
    else {
        panic!()
    };
    assert_eq!(status.state, DeliveryState::Done);
    let Explanation::Unmatched(_) = explain(&broker, 2).await else { panic!() };
    assert_eq!(delivery(&broker, 3).await, (DeliveryState::Done, 0, None));
}
