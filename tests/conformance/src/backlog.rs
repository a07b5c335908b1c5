//! Backpressure by subscriptions that are too far behind, and that every wait ends.

use std::sync::Arc;
use usher_broker::testing::LocalOperator as _;
use usher_broker::traits::*;
use usher_broker::{
    Backpressure, BlockReason, BrokerError, Lease, Settled, Start, Subscription, SubscriptionStatus,
};
use usher_event::Event;

use crate::harness::*;

async fn status(broker: &Arc<dyn Broker>, subscription: &str) -> SubscriptionStatus {
    let all = broker.subscriptions().await.unwrap();
    all.into_iter().find(|one| one.subscription.name == name(subscription)).unwrap()
}

fn batch(ty: &str, from: usize, count: usize) -> Vec<Event> {
    (from..from + count).map(|id| event(ty, id)).collect()
}

/// The subscription that a refusal names, its lag and its limit.
fn refusal<T: std::fmt::Debug>(answer: Result<T, BrokerError>) -> (String, u64, u64) {
    match answer {
        Err(BrokerError::Behind { subscription, lag, max_events, .. }) => {
            (subscription.to_string(), lag, max_events)
        }
        other => panic!("{other:?}"),
    }
}

/// Acknowledges deliveries of a subscription until its lag is at most `lag`.
async fn catch_up(broker: &Arc<dyn Broker>, subscription: &str, lag: u64) {
    while status(broker, subscription).await.lag > lag {
        ack(broker, &lease_one(broker, subscription).await).await;
    }
}

pub async fn who_is_too_far_behind_keeps_producers_out(disk: Disk) {
    let disk = disk.with_backlog(20);
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    broker.subscribe(to_type("p/idle", "b")).await.unwrap();
    soon(broker.publish(batch("a", 0, 20))).await.unwrap();
    let leases = lease_many(&broker, "p/s", 16).await;
    soon(broker.publish(batch("a", 20, 17))).await.unwrap();
    assert_eq!(status(&broker, "p/s").await.holds_back, Some(Backpressure::Producers));
    assert_eq!(status(&broker, "p/idle").await.holds_back, None);
    // Nothing of the batch is stored.
    let refused = refusal(broker.publish(batch("b", 100, 3)).await);
    assert_eq!(refused, ("p/s".to_owned(), 21, 20));
    assert_eq!((broker.stats().last_sequence, broker.stats().refused), (37, 1));
    // Still refused after a restart, once the broker has found what is pending.
    drop((leases, broker));
    let broker = disk.open();
    let leases = lease_many(&broker, "p/s", 16).await;
    assert_eq!(refusal(broker.publish(batch("b", 100, 3)).await).0, "p/s");
    // Producers are admitted again once a quarter of the limit is free.
    for lease in &leases[..5] {
        ack(&broker, lease).await;
    }
    assert_eq!(refusal(broker.publish(batch("b", 100, 3)).await).1, 16);
    ack(&broker, &leases[5]).await;
    settled_down(&broker).await;
    soon(broker.publish(batch("b", 100, 3))).await.unwrap();
    // A removed subscription exerts no backpressure.
    soon(broker.publish(batch("a", 200, 20))).await.unwrap();
    refusal(broker.publish(batch("b", 103, 1)).await);
    assert!(broker.unsubscribe(&name("p/s")).await.unwrap());
    soon(broker.publish(batch("b", 103, 1))).await.unwrap();
}

pub async fn emissions_have_a_reserve_and_then_wait(disk: Disk) {
    let disk = disk.with_backlog(20);
    let broker = disk.open();
    broker.subscribe(to_type("p/first", "a")).await.unwrap();
    broker.subscribe(to_type("q/second", "b")).await.unwrap();
    soon(broker.publish(batch("a", 0, 30))).await.unwrap();
    let emissions =
        |lease: &Lease| (0..3).map(|place| (emission(lease, "b", place), None)).collect();
    let mut taken = 0;
    let held_back = loop {
        let lease = lease_one(&broker, "p/first").await;
        match ack_with(&broker, &lease, emissions(&lease)).await {
            Settled::Committed => taken += 1,
            Settled::HeldBack => break lease.delivery.sequence,
            other => panic!("{other:?}"),
        }
        // Emissions are still accepted long after producers are refused.
        if taken > 16 {
            refusal(broker.publish(batch("c", 0, 1)).await);
        }
    };
    // 16 of q/second's are in flight; 40 wait, plus at most the emissions of one settlement.
    assert_eq!(taken, 19);
    assert_eq!(status(&broker, "q/second").await.holds_back, Some(Backpressure::Plugins));
    assert_eq!(status(&broker, "p/first").await.held_back_by, Some(name("q/second")));
    // Deliveries already in flight are held back, too; then no more are leased.
    let mut others = 0;
    while let Some(lease) = lease_if_any(&broker, "p/first").await {
        assert_eq!(ack_with(&broker, &lease, emissions(&lease)).await, Settled::HeldBack);
        others += 1;
    }
    assert_eq!(taken + 1 + others, 30);
    assert_eq!((broker.stats().held_back, broker.stats().failed), (1 + others, 0));
    let told = broker.explain(held_back, &name("p/first")).await.unwrap();
    let Some(usher_broker::Explanation::Delivery { held_up, status: found, .. }) = told else {
        panic!("{told:?}")
    };
    assert_eq!((held_up, found.failures.len()), (Some(BlockReason::Backlog), 0));

    // A redrive to it is refused, too.
    let letter = lease_one(&broker, "q/second").await;
    assert_eq!(settle(&broker, &letter, reject()).await, Settled::Dead(1));
    assert_eq!(refusal(broker.redrive(1).await), ("q/second".to_owned(), 41, 40));

    // Once it has caught up, a held-back delivery is leased again as the same attempt.
    catch_up(&broker, "q/second", 30).await;
    let again = lease_again(&broker, "p/first", held_back).await;
    assert_eq!(again.delivery.attempt, 1);
    assert_eq!(ack_with(&broker, &again, emissions(&again)).await, Settled::Committed);
    assert!(broker.redrive(1).await.unwrap());
    assert_eq!(status(&broker, "p/first").await.failed, 0);
    catch_up(&broker, "q/second", 15).await;
    soon(broker.publish(batch("c", 0, 1))).await.unwrap();
}

/// Invariant 13: two subscriptions that are far behind because each emits what the other takes
/// drain.
pub async fn those_who_feed_each_other_drain(disk: Disk) {
    const ROUNDS: u16 = 6;
    const PUBLISHED: usize = 40;
    let disk = disk.with_backlog(8);
    let broker = disk.open();
    for (subscription, ty) in [("p/ping", "ping"), ("q/pong", "pong"), ("r/all", "pong")] {
        let start = Start::Earliest;
        broker.subscribe(Subscription { start, ..to_type(subscription, ty) }).await.unwrap();
    }
    soon(broker.publish(batch("ping", 0, PUBLISHED))).await.unwrap();
    let (mut acked, mut held_back) = (0, 0);
    loop {
        let mut is_idle = true;
        for (subscription, emits) in [("p/ping", "pong"), ("q/pong", "ping"), ("r/all", "done")] {
            while let Some(lease) = lease_if_any(&broker, subscription).await {
                is_idle = false;
                let goes_on = lease.delivery.depth < ROUNDS;
                let emissions = goes_on.then(|| (emission(&lease, emits, 0), None));
                match ack_with(&broker, &lease, emissions.into_iter().collect()).await {
                    Settled::Committed => acked += 1,
                    Settled::HeldBack => held_back += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
        if is_idle {
            break;
        }
    }
    // ping and pong alternate, and every pong matches two subscriptions.
    let (hops, pongs) = (usize::from(ROUNDS) + 1, usize::from(ROUNDS) / 2);
    assert_eq!(acked, PUBLISHED * (hops + pongs));
    assert_eq!(broker.stats().failed, 0);
    println!("{held_back} held back");
    for one in broker.subscriptions().await.unwrap() {
        assert_eq!((one.lag, one.in_flight), (0, 0), "{}", one.subscription.name);
        assert_eq!((one.holds_back, one.held_back_by), (None, None));
    }
    soon(broker.publish(batch("ping", 1_000, 1))).await.unwrap();
}
