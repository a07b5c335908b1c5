//! Subscriptions that let events expire: retention removes unsettled events and counts them.

use std::sync::Arc;
use usher_broker::testing::LocalOperator as _;
use usher_broker::traits::*;
use usher_broker::{
    DeliveryState, Explanation, Order, Retention, RetryPolicy, Settled, Subscription,
    SubscriptionStatus,
};
use usher_event::Event;

use crate::harness::*;
use crate::retention::{begins_at, by_age};

const DAY_MS: u64 = 24 * 3_600_000;

/// A subscription to type `a` that lets events expire.
fn expiring(max_in_flight: u32, order: Order) -> Subscription {
    Subscription { max_in_flight, order, expires: true, ..to_type("p/s", "a") }
}

async fn status(broker: &Arc<dyn Broker>) -> SubscriptionStatus {
    broker.subscriptions().await.unwrap().remove(0)
}

async fn publish_many(broker: &Arc<dyn Broker>, ids: std::ops::Range<usize>) {
    let events: Vec<Event> = ids.map(|id| event("a", id)).collect();
    for batch in events.chunks(500) {
        soon(broker.publish(batch.to_vec())).await.unwrap();
    }
}

async fn explained(broker: &Arc<dyn Broker>, sequence: u64) -> Option<DeliveryState> {
    match broker.explain(sequence, &name("p/s")).await.unwrap().unwrap() {
        Explanation::Expired { expires: true, .. } => None,
        Explanation::Delivery { status, .. } => Some(status.state),
        other => panic!("{other:?}"),
    }
}

/// Invariant 3: done + pending + dead + counted expiries, also after a restart.
pub async fn what_expires_is_counted_and_the_log_goes_on(disk: Disk) {
    let disk = disk.with_retention(by_age());
    let broker = disk.open();
    broker.subscribe(expiring(3, Order::None)).await.unwrap();
    publish_many(&broker, 0..10).await;
    let leases = lease_many(&broker, "p/s", 3).await;
    ack(&broker, &leases[0]).await;
    settle(&broker, &leases[1], reject()).await;
    settle(&broker, &leases[2], retry()).await;
    // Three more are ready but not received: they are leases, too. The report is event 11.
    disk.advance(&broker, 2 * DAY_MS);
    begins_at(&broker, &disk, 12).await;
    let found = status(&broker).await;
    assert_eq!((found.acked, found.dead, found.retrying), (1, 1, 0));
    let out = lease_many(&broker, "p/s", found.lag as usize).await;
    assert_eq!(found.expired + out.len() as u64, 8);
    assert_eq!(explained(&broker, 3).await, None);
    for lease in &out {
        let attempt = lease.delivery.attempt;
        let state = explained(&broker, lease.delivery.sequence).await;
        assert_eq!(state, Some(DeliveryState::InFlight { attempt }));
        assert_eq!(ack(&broker, lease).await, Settled::Committed);
    }
    let expired = status(&broker).await.expired;
    drop(broker);
    let broker = disk.open();
    assert_eq!(status(&broker).await.expired, expired);
    assert!(nothing_ready(&broker, "p/s").await);
    publish_many(&broker, 20..21).await;
    assert_eq!(lease_one(&broker, "p/s").await.delivery.sequence, 12);
}

/// After its event expired, a leased delivery can be acknowledged or become a dead letter; a retry
/// would need the event.
pub async fn what_a_listener_has_may_end(disk: Disk) {
    let disk = disk.with_retention(by_age());
    let broker = disk.open();
    broker.subscribe(expiring(5, Order::None)).await.unwrap();
    publish_many(&broker, 0..5).await;
    let leases = lease_many(&broker, "p/s", 5).await;
    disk.advance(&broker, 2 * DAY_MS);
    begins_at(&broker, &disk, 6).await;
    assert_eq!(status(&broker).await.expired, 0);
    assert_eq!(ack(&broker, &leases[0]).await, Settled::Committed);
    assert_eq!(settle(&broker, &leases[1], reject()).await, Settled::Dead(1));
    assert_eq!(settle(&broker, &leases[2], retry()).await, Settled::Expired);
    let release = usher_broker::Disposition::Release;
    assert_eq!(settle(&broker, &leases[3], release).await, Settled::Expired);
    let found = status(&broker).await;
    assert_eq!((found.expired, found.acked, found.dead, found.in_flight), (2, 1, 1, 1));
    // The last one is leased when the process ends, and the lease is lost with it.
    drop((leases, broker));
    let broker = disk.open();
    let found = status(&broker).await;
    assert_eq!((found.expired, found.in_flight, found.retrying), (3, 0, 0));
    assert!(nothing_ready(&broker, "p/s").await);
}

/// Invariant 5: the next delivery behind an expired one is leased, unless it has expired itself.
pub async fn a_lane_goes_on_behind_what_expired(disk: Disk) {
    let disk = disk.with_retention(by_age());
    let broker = disk.open();
    let subscription = expiring(5, Order::key("subject").unwrap());
    // Longer than retention, or the retry would become due just as the event expires.
    let max_age = std::time::Duration::from_millis(10 * DAY_MS);
    let retry = RetryPolicy { max_age, ..subscription.retry.clone() };
    broker.subscribe(Subscription { retry, ..subscription }).await.unwrap();
    publish_many(&broker, 0..3).await;
    let head = lease_one(&broker, "p/s").await;
    let wait = usher_broker::Disposition::Retry {
        failure: failure("much later"),
        after: Some(std::time::Duration::from_millis(6 * DAY_MS)),
    };
    assert!(matches!(settle(&broker, &head, wait).await, Settled::RetryAt(_)));
    disk.advance(&broker, DAY_MS / 2);
    publish_many(&broker, 3..5).await;
    let found = status(&broker).await;
    assert_eq!((found.retrying, found.parked, found.stalled_lanes), (1, 4, 1));
    disk.advance(&broker, DAY_MS / 2 + 1_000);
    begins_at(&broker, &disk, 4).await;
    let next = lease_one(&broker, "p/s").await;
    assert_eq!(next.delivery.sequence, 4);
    let found = status(&broker).await;
    // The head has been parked, too.
    assert_eq!((found.expired, found.retrying, found.parked), (3, 0, 2));
    ack(&broker, &next).await;
    let next = lease_one(&broker, "p/s").await;
    assert_eq!(next.delivery.sequence, 5);
    ack(&broker, &next).await;
    assert_eq!(status(&broker).await.oldest_unsettled, None);
}

/// Of events older than the in-memory tail, only those that match the filter count as expired.
pub async fn what_was_never_looked_at_expires_too(disk: Disk) {
    const EACH: usize = 10_000;
    const OUT: u64 = 1;
    let retention = Retention { max_age: None, max_bytes: Some(100_000) };
    let disk = disk.with_retention(retention);
    let broker = disk.open();
    broker.subscribe(expiring(OUT as u32, Order::None)).await.unwrap();
    for from in (0..EACH).step_by(250) {
        let pair = |id: usize| [event("a", id), event("b", format!("b{id}"))];
        let batch: Vec<Event> = (from..from + 250).flat_map(pair).collect();
        soon(broker.publish(batch)).await.unwrap();
    }
    let last = 2 * EACH as u64;
    let gone = async {
        while broker.stats().log_bytes > 100_000 {
            disk.advance(&broker, 1_000);
            settled_down(&broker).await;
        }
    };
    soon(gone).await;
    let first = broker.stats().first_sequence;
    assert!(first > last / 2, "{first}");
    // Every other event matches; the very first one is leased.
    let expired = status(&broker).await.expired;
    assert_eq!(expired, first / 2 - OUT);
    ack(&broker, &lease_one(&broker, "p/s").await).await;
    let next = lease_one(&broker, "p/s").await;
    assert_eq!(next.delivery.sequence, first + (first + 1) % 2);
    drop((next, broker));
    let broker = disk.open();
    assert_eq!(status(&broker).await.expired, expired);
}

pub async fn what_was_redriven_does_not_expire(disk: Disk) {
    let disk = disk.with_retention(by_age());
    let broker = disk.open();
    broker.subscribe(expiring(1, Order::None)).await.unwrap();
    publish_many(&broker, 0..1).await;
    let lease = lease_one(&broker, "p/s").await;
    assert_eq!(settle(&broker, &lease, reject()).await, Settled::Dead(1));
    assert!(broker.redrive(1).await.unwrap());
    let lease = lease_one(&broker, "p/s").await;
    assert!(matches!(settle(&broker, &lease, retry()).await, Settled::RetryAt(_)));
    publish_many(&broker, 1..3).await;
    disk.advance(&broker, DAY_MS * 5 / 4);
    begins_at(&broker, &disk, 5).await;
    drop(broker);
    let broker = disk.open();
    disk.advance(&broker, 1_000);
    let again = lease_again(&broker, "p/s", 1).await;
    assert_eq!((again.delivery.attempt, again.delivery.replay.is_some()), (2, true));
    ack(&broker, &again).await;
    assert!(nothing_ready(&broker, "p/s").await);
}

/// An expiring subscription holds no producers back: losing events is preferred to that.
pub async fn what_expires_keeps_nobody_waiting(disk: Disk) {
    let disk = disk.with_backlog(10);
    let broker = disk.open();
    broker.subscribe(expiring(1, Order::None)).await.unwrap();
    for from in 0..10 {
        publish_many(&broker, from * 100..(from + 1) * 100).await;
    }
    assert_eq!(status(&broker).await.holds_back, None);
    // Without `expires` it does.
    broker.subscribe(Subscription { expires: false, ..expiring(1, Order::None) }).await.unwrap();
    settled_down(&broker).await;
    broker.publish(vec![event("a", 2_000)]).await.unwrap_err();
}
