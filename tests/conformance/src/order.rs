//! Ordering: which deliveries wait for others.

use std::sync::Arc;
use usher_broker::testing::LocalOperator as _;
use usher_broker::traits::*;
use usher_broker::{DeliveryState, Lease, Order, Settled, Start, Subscription};
use usher_event::Event;

use crate::harness::*;

fn by_subject(max_in_flight: u32) -> Subscription {
    let order = Order::key("subject").unwrap();
    Subscription { order, max_in_flight, ..to_type("p/s", "a") }
}

fn about(subject: &str, id: u64) -> Event {
    Event::builder(id.to_string(), "/tests", "a").subject(subject).build().unwrap()
}

async fn publish_about(broker: &Arc<dyn Broker>, subjects: &str) {
    let next = broker.stats().last_sequence + 1;
    let events = subjects.chars().zip(next..).map(|(s, id)| about(&s.to_string(), id)).collect();
    soon(broker.publish(events)).await.unwrap();
}

/// State of the only delivery of an event.
async fn state(broker: &Arc<dyn Broker>, sequence: u64) -> DeliveryState {
    let flow = broker.flow(sequence).await.unwrap().unwrap();
    flow.events[0].deliveries[0].state.clone()
}

fn sequences(leases: &[Lease]) -> Vec<u64> {
    let mut sequences: Vec<_> = leases.iter().map(|lease| lease.delivery.sequence).collect();
    sequences.sort_unstable();
    sequences
}

/// Invariant 5: deliveries of one key are sequential, those of different keys concurrent.
pub async fn deliveries_of_one_key_come_one_after_another(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(by_subject(16)).await.unwrap();
    publish_about(&broker, "xyxxz").await;
    let first = lease_many(&broker, "p/s", 3).await;
    assert_eq!(sequences(&first), [1, 2, 5]);
    assert!(nothing_ready(&broker, "p/s").await);
    let x = first.iter().find(|lease| lease.delivery.sequence == 1).unwrap();
    ack(&broker, x).await;
    let second = lease_one(&broker, "p/s").await;
    assert_eq!(second.delivery.sequence, 3);
    assert!(nothing_ready(&broker, "p/s").await);
    ack(&broker, &second).await;
    assert_eq!(lease_one(&broker, "p/s").await.delivery.sequence, 4);
}

/// Invariant 5: a failing key blocks only its own lane, also across restarts.
pub async fn a_failing_key_parks_its_own_lane(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(by_subject(16)).await.unwrap();
    publish_about(&broker, "xxyxy").await;
    let first = lease_many(&broker, "p/s", 2).await;
    assert_eq!(sequences(&first), [1, 3]);
    assert_eq!(state(&broker, 1).await, DeliveryState::InFlight { attempt: 1 });
    assert_eq!(state(&broker, 2).await, DeliveryState::Parked { behind: Some(1) });
    for lease in &first {
        let disposition = if lease.delivery.sequence == 1 { retry() } else { acknowledged() };
        settle(&broker, lease, disposition).await;
    }
    let y = lease_one(&broker, "p/s").await;
    assert_eq!(y.delivery.sequence, 5);
    ack(&broker, &y).await;
    publish_about(&broker, "xz").await;
    let z = lease_one(&broker, "p/s").await;
    assert_eq!(z.delivery.sequence, 7);
    ack(&broker, &z).await;
    let status = broker.subscriptions().await.unwrap().remove(0);
    assert_eq!((status.parked, status.stalled_lanes, status.retrying), (3, 1, 1));
    assert!(matches!(state(&broker, 1).await, DeliveryState::Waiting { .. }));
    for parked in [2, 4, 6] {
        assert_eq!(state(&broker, parked).await, DeliveryState::Parked { behind: Some(1) });
    }
    assert!(status.next_retry_ms.is_some());
    drop(broker);

    let broker = disk.open();
    assert!(nothing_ready(&broker, "p/s").await);
    disk.advance(&broker, 1_000);
    for (sequence, attempt) in [(1, 2), (2, 1), (4, 1), (6, 1)] {
        // Ready, but not leased.
        assert!(!matches!(state(&broker, sequence).await, DeliveryState::InFlight { .. }));
        let lease = lease_one(&broker, "p/s").await;
        assert_eq!((lease.delivery.sequence, lease.delivery.attempt), (sequence, attempt));
        assert_eq!(state(&broker, sequence).await, DeliveryState::InFlight { attempt });
        assert!(nothing_ready(&broker, "p/s").await);
        ack(&broker, &lease).await;
    }
    let status = broker.subscriptions().await.unwrap().remove(0);
    assert_eq!((status.parked, status.stalled_lanes, status.lag, status.cursor), (0, 0, 0, 8));
}

/// After a restart, in-flight deliveries and those parked behind them are leased again in order.
pub async fn lanes_are_found_again_after_a_restart(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(by_subject(16)).await.unwrap();
    publish_about(&broker, "xyxyx").await;
    let first = lease_many(&broker, "p/s", 2).await;
    // The cursor moves past parked deliveries only with a commit.
    ack(&broker, &first[1]).await;
    assert_eq!(lease_one(&broker, "p/s").await.delivery.sequence, 4);
    drop(broker);
    let broker = disk.open();
    publish_about(&broker, "x").await;
    let again = lease_many(&broker, "p/s", 2).await;
    assert_eq!(sequences(&again), [1, 4]);
    assert!(nothing_ready(&broker, "p/s").await);
    let x = again.into_iter().find(|lease| lease.delivery.sequence == 1).unwrap();
    let mut seen = vec![1];
    ack(&broker, &x).await;
    for _ in 0..3 {
        let lease = lease_one(&broker, "p/s").await;
        seen.push(lease.delivery.sequence);
        if lease.delivery.sequence == 6 {
            break;
        }
        ack(&broker, &lease).await;
    }
    assert_eq!(seen, [1, 3, 5, 6]);
}

pub async fn a_dead_letter_holds_nobody_up_and_comes_back_to_its_lane(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(by_subject(16)).await.unwrap();
    publish_about(&broker, "xxx").await;
    let first = lease_one(&broker, "p/s").await;
    assert_eq!(settle(&broker, &first, reject()).await, Settled::Dead(1));
    let second = lease_one(&broker, "p/s").await;
    assert_eq!(second.delivery.sequence, 2);
    assert!(broker.redrive(1).await.unwrap());
    assert!(nothing_ready(&broker, "p/s").await);
    ack(&broker, &second).await;
    for (sequence, replay) in [(1, true), (3, false)] {
        let lease = lease_one(&broker, "p/s").await;
        assert_eq!((lease.delivery.sequence, lease.delivery.replay.is_some()), (sequence, replay));
        ack(&broker, &lease).await;
    }
}

pub async fn an_event_without_the_attribute_waits_for_nobody(disk: Disk) {
    let broker = disk.open();
    let order = Order::key("partitionkey").unwrap();
    broker.subscribe(Subscription { order, ..to_type("p/s", "a") }).await.unwrap();
    publish_about(&broker, "xxx").await;
    assert_eq!(sequences(&lease_many(&broker, "p/s", 3).await), [1, 2, 3]);
}

pub async fn total_order_is_one_after_another(disk: Disk) {
    let broker = disk.open();
    let total = Subscription { order: Order::Total, ..to_type("p/s", "a") };
    broker.subscribe(total).await.unwrap();
    publish_about(&broker, "xyz").await;
    let first = lease_one(&broker, "p/s").await;
    assert!(nothing_ready(&broker, "p/s").await);
    settle(&broker, &first, retry()).await;
    assert!(nothing_ready(&broker, "p/s").await);
    disk.advance(&broker, 1_000);
    for (sequence, attempt) in [(1, 2), (2, 1), (3, 1)] {
        let lease = lease_one(&broker, "p/s").await;
        assert_eq!((lease.delivery.sequence, lease.delivery.attempt), (sequence, attempt));
        assert!(nothing_ready(&broker, "p/s").await);
        ack(&broker, &lease).await;
    }
}

pub async fn a_changed_order_frees_what_waits(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(by_subject(16)).await.unwrap();
    publish_about(&broker, "xxxx").await;
    let first = lease_one(&broker, "p/s").await;
    settle(&broker, &first, retry()).await;
    let none = Subscription { order: Order::None, ..by_subject(16) };
    broker.subscribe(none).await.unwrap();
    assert_eq!(sequences(&lease_many(&broker, "p/s", 3).await), [2, 3, 4]);
}

pub async fn a_start_is_a_sequence_or_a_time(disk: Disk) {
    let broker = disk.open();
    for id in 1..=4 {
        publish(&broker, event("a", id)).await;
        disk.advance(&broker, 1_000);
    }
    let starts = [
        (Start::Sequence(3), 3),
        (Start::Sequence(0), 1),
        (Start::Sequence(99), 5),
        (Start::Time(0), 1),
        (Start::Time(START_MS + 1_500), 3),
        (Start::Time(START_MS + 1_000), 2),
        (Start::Time(START_MS + 60_000), 5),
    ];
    publish(&broker, event("b", 5)).await;
    for (number, (start, first)) in starts.into_iter().enumerate() {
        let name = format!("p/s{number}");
        broker.subscribe(Subscription { start, ..to_type(&name, "a") }).await.unwrap();
        let status = broker.subscriptions().await.unwrap();
        let status = status.iter().find(|status| status.subscription.name.as_str() == name);
        let sequence = match lease_if_any(&broker, &name).await {
            Some(lease) => lease.delivery.sequence,
            None => 5,
        };
        assert_eq!(sequence, first, "{start:?} {status:?}");
    }
}
