//! What the log retains.

use std::sync::Arc;
use std::time::Duration;

use usher_broker::testing::LocalOperator as _;
use usher_broker::traits::*;
use usher_broker::{
    DeliveryState, EventQuery, Explanation, Retention, Settled, Start, Subscription,
};
use usher_event::{Event, Value};

use crate::harness::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub fn by_age() -> Retention {
    Retention { max_age: Some(DAY), max_bytes: None }
}

/// Waits until the log begins at this sequence.
pub async fn begins_at(broker: &Arc<dyn Broker>, disk: &Disk, sequence: u64) {
    let begun = async {
        while broker.stats().first_sequence != sequence {
            // Retention checks are a second apart on the clock that the test advances.
            disk.advance(broker, 1_000);
            settled_down(broker).await;
        }
    };
    soon(begun).await;
}

async fn sequences(broker: &Arc<dyn Broker>) -> Vec<u64> {
    let page =
        broker.events(EventQuery { from: 0, max: 1_000, ..EventQuery::default() }).await.unwrap();
    page.events.iter().map(|stored| stored.sequence).collect()
}

pub async fn old_events_go_and_new_ones_stay(disk: Disk) {
    let disk = disk.with_retention(by_age());
    let broker = disk.open();
    for id in 1..=3 {
        let event = Event::builder(id.to_string(), "/tests", "a")
            .extension("correlationid", Value::String("o-1".into()));
        publish(&broker, event.build().unwrap()).await;
    }
    disk.advance(&broker, 20 * 3_600_000);
    publish(&broker, event("a", 4)).await;
    assert_eq!(broker.stats().first_sequence, 1);
    disk.advance(&broker, 5 * 3_600_000);
    begins_at(&broker, &disk, 4).await;
    assert_eq!(sequences(&broker).await, [4]);
    assert!(broker.event(3).await.unwrap().is_none());
    assert!(broker.flow(3).await.unwrap().is_none());
    assert_eq!(broker.flows_by_correlation("o-1", 10).await.unwrap(), [0u64; 0]);
    assert_eq!(broker.stats().expired, 3);
    // A new subscription starts at the first retained event.
    let earliest = Subscription { start: Start::Earliest, ..to_type("p/s", "a") };
    broker.subscribe(earliest).await.unwrap();
    let lease = lease_one(&broker, "p/s").await;
    assert_eq!(lease.delivery.sequence, 4);
    ack(&broker, &lease).await;
    // The log may become empty; sequences continue.
    disk.advance(&broker, 25 * 3_600_000);
    begins_at(&broker, &disk, 5).await;
    assert_eq!(broker.stats().log_bytes, 0);
    drop(broker);
    let broker = disk.open();
    assert_eq!((broker.stats().first_sequence, broker.stats().last_sequence), (5, 4));
    assert_eq!(publish(&broker, event("a", 5)).await, 5);
    assert_eq!(sequences(&broker).await, [5]);
    assert_eq!(lease_one(&broker, "p/s").await.delivery.sequence, 5);
}

/// Invariant 1: retention never passes an event that a subscription has not settled.
pub async fn what_is_unsettled_stays(disk: Disk) {
    let disk = disk.with_retention(by_age());
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    broker.subscribe(to_type("p/t", "b")).await.unwrap();
    for id in 1..=4 {
        publish(&broker, event("a", id)).await;
    }
    let leases = lease_many(&broker, "p/s", 4).await;
    ack(&broker, &leases[0]).await;
    settle(&broker, &leases[1], retry()).await;
    disk.advance(&broker, 48 * 3_600_000);
    begins_at(&broker, &disk, 2).await;
    let again = lease_one(&broker, "p/s").await;
    assert_eq!((again.delivery.sequence, again.delivery.attempt), (2, 2));
    ack(&broker, &again).await;
    begins_at(&broker, &disk, 3).await;
    for lease in &leases[2..] {
        ack(&broker, lease).await;
    }
    begins_at(&broker, &disk, 5).await;
}

/// A dead letter keeps its event; redriven, it is delivered although the log no longer has the
/// event.
pub async fn a_dead_letter_outlives_its_event(disk: Disk) {
    let disk = disk.with_retention(by_age());
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    publish(&broker, event("a", 1)).await;
    publish(&broker, event("a", 2)).await;
    let leases = lease_many(&broker, "p/s", 2).await;
    assert_eq!(settle(&broker, &leases[0], reject()).await, Settled::Dead(1));
    ack(&broker, &leases[1]).await;
    disk.advance(&broker, 48 * 3_600_000);
    // The third event is the report.
    begins_at(&broker, &disk, 4).await;
    let told = broker.explain(1, &name("p/s")).await.unwrap();
    assert!(
        matches!(told, Some(Explanation::Expired { first_sequence: 4, expires: false })),
        "{told:?}"
    );
    assert!(broker.redrive(1).await.unwrap());
    drop(broker);
    let broker = disk.open();
    disk.advance(&broker, 2_000);
    let lease = lease_one(&broker, "p/s").await;
    let told = broker.explain(1, &name("p/s")).await.unwrap();
    let Some(Explanation::Delivery { status, .. }) = told else { panic!("{told:?}") };
    assert_eq!(status.state, DeliveryState::InFlight { attempt: 1 });
    assert_eq!((lease.delivery.sequence, lease.delivery.event.id()), (1, "1"));
    assert!(lease.delivery.replay.is_some());
    ack(&broker, &lease).await;
    assert!(nothing_ready(&broker, "p/s").await);
    assert!(broker.event(1).await.unwrap().is_none());
}

pub async fn too_many_bytes_push_out_the_oldest(disk: Disk) {
    const EVENT_BYTES: usize = 10_000;
    const MAX_BYTES: u64 = 1_000_000;
    let disk = disk.with_retention(Retention { max_age: None, max_bytes: Some(MAX_BYTES) });
    let broker = disk.open();
    for id in 0..300 {
        let event = Event::builder(id.to_string(), "/tests", "a").data(vec![b'x'; EVENT_BYTES]);
        publish(&broker, event.build().unwrap()).await;
    }
    let shrunk = async {
        while broker.stats().log_bytes > MAX_BYTES {
            disk.advance(&broker, 1_000);
            settled_down(&broker).await;
        }
    };
    soon(shrunk).await;
    let kept = sequences(&broker).await;
    assert_eq!(kept.last(), Some(&300));
    assert!((95..=100).contains(&kept.len()), "{}", kept.len());
    // No more than necessary was removed.
    assert!(broker.stats().log_bytes > MAX_BYTES - 2 * EVENT_BYTES as u64);
}
