//! Rates and debouncing.

use std::sync::Arc;
use std::time::Duration;

use usher_broker::testing::LocalOperator as _;
use usher_broker::traits::*;
use usher_broker::{
    BlockReason, BrokerError, Debounce, DeliveryState, Disposition, Explanation, Lease, Order,
    Pace, Rate, Settled, Start, Subscription, SubscriptionStatus,
};
use usher_event::Event;

use crate::harness::*;

fn rate(per_second: f64) -> Option<Rate> {
    Some(Rate::per_second(per_second).unwrap())
}

fn paced(pace: Pace) -> Subscription {
    Subscription { pace, ..to_type("p/s", "a") }
}

/// Delivers the newest 100 ms after it came, or 1 s after the first.
fn debounced(order: Order) -> Subscription {
    let debounce = Debounce { quiet: Duration::from_millis(100), max: Duration::from_secs(1) };
    Subscription { order, ..paced(Pace { debounce: Some(debounce), ..Pace::default() }) }
}

fn by_subject() -> Order {
    Order::key("subject").unwrap()
}

/// Publishes an event about each of these subjects.
async fn publish_about(broker: &Arc<dyn Broker>, subjects: &str) {
    let next = broker.stats().last_sequence + 1;
    let about = |(subject, id): (char, u64)| {
        Event::builder(id.to_string(), "/tests", "a").subject(subject.to_string()).build().unwrap()
    };
    soon(broker.publish(subjects.chars().zip(next..).map(about).collect())).await.unwrap();
    settled_down(broker).await;
}

async fn status(broker: &Arc<dyn Broker>) -> SubscriptionStatus {
    broker.subscriptions().await.unwrap().remove(0)
}

/// Leases and acknowledges these deliveries, in whatever order, and no more are ready then.
async fn takes(broker: &Arc<dyn Broker>, expected: &[u64]) {
    let mut taken = Vec::new();
    for _ in expected {
        let lease = lease_one(broker, "p/s").await;
        ack(broker, &lease).await;
        taken.push(lease.delivery.sequence);
    }
    taken.sort_unstable();
    assert_eq!(taken, expected);
    assert!(nothing_ready(broker, "p/s").await, "more than {expected:?}");
}

/// The delivery that is ready after so long.
async fn lease_in(disk: &Disk, broker: &Arc<dyn Broker>, ms: u64) -> Lease {
    disk.advance(broker, ms);
    lease_one(broker, "p/s").await
}

/// Why a pending delivery waits, and whether one that is done may have been superseded.
async fn explained(broker: &Arc<dyn Broker>, sequence: u64) -> (Option<BlockReason>, bool) {
    match broker.explain(sequence, &name("p/s")).await.unwrap().unwrap() {
        Explanation::Delivery { held_up, may_be_superseded, .. } => (held_up, may_be_superseded),
        other => panic!("{other:?}"),
    }
}

pub async fn a_rate_spreads_deliveries(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(paced(Pace { max_rate: rate(2.0), ..Pace::default() })).await.unwrap();
    publish_about(&broker, "aaaaaaaa").await;
    takes(&broker, &[1]).await;
    assert_eq!(explained(&broker, 2).await, (Some(BlockReason::Rate), false));
    disk.advance(&broker, 499);
    takes(&broker, &[]).await;
    disk.advance(&broker, 1);
    takes(&broker, &[2]).await;
    // Nor does what is given back untried count.
    let released = lease_in(&disk, &broker, 500).await;
    settle(&broker, &released, Disposition::Release).await;
    takes(&broker, &[3]).await;
    // What isn't used doesn't gather.
    disk.advance(&broker, 60_000);
    takes(&broker, &[4]).await;
    // Another rate counts at once, and none lets everything go.
    broker.subscribe(paced(Pace { max_rate: rate(0.001), ..Pace::default() })).await.unwrap();
    takes(&broker, &[5]).await;
    broker.subscribe(paced(Pace::default())).await.unwrap();
    takes(&broker, &[6, 7, 8]).await;
}

pub async fn what_nobody_leases_does_not_pile_up(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(paced(Pace { max_rate: rate(10.0), ..Pace::default() })).await.unwrap();
    publish_about(&broker, "aaaaaaaa").await;
    for _ in 0..50 {
        disk.advance(&broker, 100);
        settled_down(&broker).await;
    }
    assert_eq!(status(&broker).await.lag, 8);
    // Also one that takes longer than the rate has others go out beside it.
    let first = lease_one(&broker, "p/s").await;
    assert!(nothing_ready(&broker, "p/s").await);
    disk.advance(&broker, 100);
    let second = lease_one(&broker, "p/s").await;
    assert!(nothing_ready(&broker, "p/s").await);
    ack(&broker, &first).await;
    ack(&broker, &second).await;
    disk.advance(&broker, 100);
    takes(&broker, &[3]).await;
}

pub async fn retries_count_towards_the_rate(disk: Disk) {
    let broker = disk.open();
    let pace = Pace { max_rate: rate(0.1), ..Pace::default() };
    broker.subscribe(paced(pace)).await.unwrap();
    publish_about(&broker, "a").await;
    let first = lease_one(&broker, "p/s").await;
    assert_eq!(settle(&broker, &first, retry()).await, Settled::RetryAt(START_MS + 1_000));
    disk.advance(&broker, 9_999);
    assert!(nothing_ready(&broker, "p/s").await);
    disk.advance(&broker, 1);
    takes(&broker, &[1]).await;
    publish_about(&broker, "a").await;
    assert!(nothing_ready(&broker, "p/s").await);
    disk.advance(&broker, 10_000);
    takes(&broker, &[2]).await;
}

pub async fn a_rate_by_key_holds_up_no_other_key(disk: Disk) {
    let broker = disk.open();
    let pace = Pace { max_rate_per_key: rate(1.0), ..Pace::default() };
    broker.subscribe(Subscription { order: by_subject(), ..paced(pace) }).await.unwrap();
    publish_about(&broker, "xxyxzy").await;
    takes(&broker, &[1, 3, 5]).await;
    assert_eq!(explained(&broker, 2).await, (Some(BlockReason::KeyRate), false));
    disk.advance(&broker, 999);
    takes(&broker, &[]).await;
    publish_about(&broker, "w").await;
    takes(&broker, &[7]).await;
    disk.advance(&broker, 1);
    takes(&broker, &[2, 6]).await;
    disk.advance(&broker, 1_000);
    takes(&broker, &[4]).await;
    disk.advance(&broker, 1_000);
    publish_about(&broker, "x").await;
    takes(&broker, &[8]).await;
    assert_eq!(status(&broker).await.cursor, 9);
}

pub async fn only_the_newest_is_delivered(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(debounced(Order::None)).await.unwrap();
    publish_about(&broker, "aab").await;
    takes(&broker, &[]).await;
    assert_eq!(explained(&broker, 3).await, (Some(BlockReason::Debounce), false));
    disk.advance(&broker, 99);
    takes(&broker, &[]).await;
    publish_about(&broker, "a").await;
    disk.advance(&broker, 99);
    takes(&broker, &[]).await;
    disk.advance(&broker, 1);
    takes(&broker, &[4]).await;
    assert_eq!(explained(&broker, 3).await, (None, true));
    let SubscriptionStatus { superseded, acked, cursor, lag, parked, .. } = status(&broker).await;
    assert_eq!((superseded, acked, cursor, lag, parked), (3, 1, 5, 0, 0));
}

pub async fn each_key_has_its_newest(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(debounced(by_subject())).await.unwrap();
    publish_about(&broker, "xyxyz").await;
    // Without the key there is nothing that would take its place.
    let keyless = Event::builder("6", "/tests", "a").build().unwrap();
    publish(&broker, keyless).await;
    takes(&broker, &[6]).await;
    disk.advance(&broker, 100);
    takes(&broker, &[3, 4, 5]).await;
    assert_eq!(status(&broker).await.superseded, 2);
}

pub async fn events_without_end_delay_nothing_for_long(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(debounced(Order::None)).await.unwrap();
    for event in 1..=20 {
        publish_about(&broker, "a").await;
        disk.advance(&broker, 50);
        takes(&broker, if event == 20 { &[20] } else { &[] }).await;
    }
}

pub async fn a_failure_gives_way_to_what_is_newer(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(debounced(Order::None)).await.unwrap();
    publish_about(&broker, "a").await;
    disk.advance(&broker, 100);
    let first = lease_one(&broker, "p/s").await;
    publish_about(&broker, "aa").await;
    disk.advance(&broker, 100);
    // One at a time.
    assert!(nothing_ready(&broker, "p/s").await);
    // The newer one waits for the time of the next attempt, and takes its place.
    let at = START_MS + 200;
    assert_eq!(settle(&broker, &first, retry()).await, Settled::RetryAt(at + 1_000));
    publish_about(&broker, "a").await;
    disk.advance(&broker, 999);
    assert!(nothing_ready(&broker, "p/s").await);
    disk.advance(&broker, 1);
    takes(&broker, &[4]).await;
    disk.advance(&broker, 10_000);
    takes(&broker, &[]).await;
    let SubscriptionStatus { superseded, acked, retrying, cursor, .. } = status(&broker).await;
    assert_eq!((superseded, acked, retrying, cursor), (3, 1, 0, 5));
    // The last one is retried as ever, and may die.
    publish_about(&broker, "a").await;
    disk.advance(&broker, 100);
    let last = lease_one(&broker, "p/s").await;
    assert!(matches!(settle(&broker, &last, reject()).await, Settled::Dead(_)));
    let id = dead_letters(&broker, None, 1).await[0].id;
    // What an operator asks for doesn't give way, and blocks nothing.
    publish_about(&broker, "a").await;
    broker.redrive(id).await.unwrap();
    let redriven = lease_one(&broker, "p/s").await;
    assert_eq!((redriven.delivery.sequence, redriven.delivery.replay.is_some()), (5, true));
    disk.advance(&broker, 100);
    // Event 6 reports the dead letter.
    takes(&broker, &[7]).await;
}

pub async fn what_is_due_gives_way_until_there_is_room(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(Subscription { max_in_flight: 1, ..debounced(by_subject()) }).await.unwrap();
    publish_about(&broker, "xy").await;
    disk.advance(&broker, 100);
    let x = lease_one(&broker, "p/s").await;
    assert_eq!(x.delivery.sequence, 1);
    // Its rest is over, and still only the newest goes out.
    publish_about(&broker, "yyy").await;
    assert!(nothing_ready(&broker, "p/s").await);
    ack(&broker, &x).await;
    takes(&broker, &[5]).await;
    assert_eq!(status(&broker).await.superseded, 3);
}

pub async fn one_busy_key_leaves_room_for_others(disk: Disk) {
    let broker = disk.open();
    let pace = Pace { max_rate_per_key: rate(0.001), ..Pace::default() };
    broker.subscribe(Subscription { order: by_subject(), ..paced(pace) }).await.unwrap();
    for _ in 0..10 {
        publish_about(&broker, &"x".repeat(500)).await;
    }
    publish_about(&broker, "y").await;
    takes(&broker, &[1, 5_001]).await;
    disk.advance(&broker, 1_000_000);
    takes(&broker, &[2]).await;
    for next in 3..=20 {
        disk.advance(&broker, 1_000_000);
        takes(&broker, &[next]).await;
    }
    assert_eq!(status(&broker).await.parked, 4_980);
}

pub async fn a_restart_delivers_the_newest_at_once(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(debounced(by_subject())).await.unwrap();
    publish_about(&broker, "xyxy").await;
    disk.advance(&broker, 100);
    let taken = lease_many(&broker, "p/s", 2).await;
    assert_eq!(taken.iter().map(|lease| lease.delivery.sequence).sum::<u64>(), 7);
    publish_about(&broker, "xx").await;
    ack(&broker, &taken[1]).await;
    drop(broker);
    let broker = disk.open();
    settled_down(&broker).await;
    disk.advance(&broker, 0);
    settled_down(&broker).await;
    takes(&broker, &[6]).await;
    assert_eq!(status(&broker).await.cursor, 7);
}

pub async fn a_changed_pace_loses_nothing(disk: Disk) {
    let broker = disk.open();
    let earliest = |subscription| Subscription { start: Start::Earliest, ..subscription };
    broker.subscribe(earliest(debounced(by_subject()))).await.unwrap();
    publish_about(&broker, "xxyx").await;
    // Also what was debounced by key and now is as one, or not at all.
    broker.subscribe(debounced(Order::None)).await.unwrap();
    publish_about(&broker, "xy").await;
    disk.advance(&broker, 100);
    takes(&broker, &[3, 4, 6]).await;
    publish_about(&broker, "xyz").await;
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    takes(&broker, &[9]).await;
    assert_eq!(status(&broker).await.cursor, 10);
}

pub async fn what_makes_no_pace_is_refused(disk: Disk) {
    let broker = disk.open();
    let debounce = |quiet_ms, max_ms| {
        let of = Duration::from_millis;
        Pace {
            debounce: Some(Debounce { quiet: of(quiet_ms), max: of(max_ms) }),
            ..Pace::default()
        }
    };
    let per_key = Pace { max_rate_per_key: rate(1.0), ..Pace::default() };
    let both = Pace { debounce: debounce(1, 1).debounce, ..per_key };
    for (order, pace, reason) in [
        (Order::None, per_key, "needs an order by key"),
        (by_subject(), Pace { max_rate_per_key: rate(1_001.0), ..per_key }, "at most 1000"),
        (Order::None, debounce(0, 5), "at least 1"),
        (Order::None, debounce(5, 4), "at least as much"),
        (Order::None, debounce(5, 86_400_001), "at most 86400000"),
        (Order::Total, debounce(5, 5), "one at a time"),
        (by_subject(), both, "limits the rate of each key"),
    ] {
        let refused = broker.subscribe(Subscription { order, ..paced(pace) }).await.unwrap_err();
        let BrokerError::Invalid(found) = &refused else { panic!("{refused}") };
        assert!(found.contains(reason), "{found}");
    }
}

pub async fn paced_deliveries_keep_to_their_state(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(debounced(by_subject())).await.unwrap();
    publish_about(&broker, "xx").await;
    let flow = broker.flow(2).await.unwrap().unwrap();
    let state = flow.events[0].deliveries[0].state.clone();
    assert_eq!(state, DeliveryState::Parked { behind: None });
    let flow = broker.flow(1).await.unwrap().unwrap();
    assert_eq!(flow.events[0].deliveries[0].state, DeliveryState::Done);
}
