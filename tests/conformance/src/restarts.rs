//! What survives a restart.

use std::sync::Arc;
use std::time::Duration;

use usher_broker::testing::LocalOperator as _;
use usher_broker::{BrokerError, Published, Settled, Start, Subscription};

use crate::harness::*;

/// Invariant 1: acknowledged events survive unchanged.
pub async fn what_was_acknowledged_is_there(disk: Disk) {
    let broker = disk.open();
    for id in 0..50 {
        publish(&broker, event("a", id)).await;
    }
    drop(broker);
    let broker = disk.open();
    assert_eq!(*broker.committed().borrow(), 50);
    assert_eq!(broker.stats().last_sequence, 50);
    for sequence in 1..=50 {
        let stored = broker.event(sequence).await.unwrap().unwrap();
        assert_eq!(stored.event, event("a", sequence - 1));
    }
    assert_eq!(publish(&broker, event("a", 50)).await, 51);
}

/// Invariant 7: within the window, whose time a restart doesn't reset.
pub async fn the_duplicates_window_ends_with_its_time(mut disk: Disk) {
    disk.window_time = Some(Duration::from_secs(60));
    let broker = disk.open();
    assert_eq!(publish(&broker, event("a", 1)).await, 1);
    disk.advance(&broker, 30_000);
    assert_eq!(publish(&broker, event("a", 2)).await, 2);
    assert_eq!(publish(&broker, event("a", 1)).await, 1);
    drop(broker);
    let broker = disk.open();
    disk.advance(&broker, 29_999);
    assert_eq!(publish(&broker, event("a", 1)).await, 1);
    disk.advance(&broker, 1);
    // A minute old, so forgotten, although it is one of the newest two.
    assert_eq!(publish(&broker, event("a", 1)).await, 3);
    assert_eq!(publish(&broker, event("a", 2)).await, 2);
    drop(broker);
    let broker = disk.open();
    assert_eq!(publish(&broker, event("a", 1)).await, 3);
    disk.advance(&broker, 3_600_000);
    assert_eq!(publish(&broker, event("a", 2)).await, 4);
}

/// Invariant 7, across a restart.
pub async fn the_duplicates_window_survives(disk: Disk) {
    let mut disk = disk;
    disk.window = 8;
    let broker = disk.open();
    for batch in 0..5 {
        let batch = (0..4).map(|id| event("a", batch * 4 + id)).collect();
        soon(broker.publish(batch)).await.unwrap();
    }
    drop(broker);
    let broker = disk.open();
    let again = soon(broker.publish(vec![event("a", 19), event("a", 12)])).await.unwrap();
    assert_eq!(again[0], Published { sequence: 20, duplicate: true });
    assert_eq!(again[1], Published { sequence: 13, duplicate: true });
    // Long out of the window, so a new event.
    assert_eq!(publish(&broker, event("a", 0)).await, 21);
}

/// Invariant 3: settled deliveries stay settled, and all others are still due.
pub async fn open_deliveries_come_again_and_settled_ones_do_not(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    for id in 0..12 {
        publish(&broker, event("a", id)).await;
    }
    let leases = lease_many(&broker, "p/s", 8).await;
    for settled in [1, 2, 5, 7] {
        ack(&broker, &leases[settled]).await;
    }
    drop(broker);
    let broker = disk.open();
    let mut again: Vec<u64> = lease_many(&broker, "p/s", 8)
        .await
        .iter()
        .map(|lease| {
            assert_eq!(lease.delivery.attempt, 1);
            lease.delivery.sequence
        })
        .collect();
    again.sort_unstable();
    assert_eq!(again, [1, 4, 5, 7, 9, 10, 11, 12]);
    assert!(nothing_ready(&broker, "p/s").await);
}

/// Invariant 8: the attempt count survives a restart.
pub async fn retries_go_on_where_they_stopped(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    publish(&broker, event("a", 1)).await;
    let lease = lease_one(&broker, "p/s").await;
    settle(&broker, &lease, retry()).await;
    disk.advance(&broker, 1_000);
    let lease = lease_one(&broker, "p/s").await;
    assert_eq!(settle(&broker, &lease, retry()).await, Settled::RetryAt(START_MS + 3_000));
    drop(broker);
    let broker = disk.open();
    assert!(nothing_ready(&broker, "p/s").await);
    disk.advance(&broker, 1_999);
    assert!(nothing_ready(&broker, "p/s").await);
    disk.advance(&broker, 1);
    let lease = lease_one(&broker, "p/s").await;
    assert_eq!(lease.delivery.attempt, 3);
    // In flight when the process ends: the same attempt again.
    drop(broker);
    let broker = disk.open();
    let lease = lease_one(&broker, "p/s").await;
    assert_eq!(lease.delivery.attempt, 3);
    assert!(matches!(settle(&broker, &lease, reject()).await, Settled::Dead(_)));
    let letter = dead_letters(&broker, None, 1).await.remove(0);
    assert_eq!(letter.attempts.iter().map(|a| a.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    drop(broker);
    let broker = disk.open();
    assert!(nothing_ready(&broker, "p/s").await);
    let status = broker.subscriptions().await.unwrap().remove(0);
    assert_eq!((status.retrying, status.dead, status.lag), (0, 1, 0));
}

pub async fn delays_go_on_where_they_stopped(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    broker.subscribe(to_type("q/s", "b")).await.unwrap();
    publish(&broker, event("a", 1)).await;
    let lease = lease_one(&broker, "p/s").await;
    let delays = [30, 10, 20].map(Duration::from_secs);
    let emissions = delays
        .iter()
        .enumerate()
        .map(|(position, delay)| (emission(&lease, "b", position), Some(*delay)));
    ack_with(&broker, &lease, emissions.collect()).await;
    drop(broker);
    disk.clock.advance(15_000);
    let broker = disk.open();
    let first = lease_one(&broker, "q/s").await;
    assert_eq!(first.delivery.event, emission(&lease, "b", 1));
    assert!(nothing_ready(&broker, "q/s").await);
    assert_eq!(broker.flow(1).await.unwrap().unwrap().delayed.len(), 2);
    drop(broker);
    disk.clock.advance(60_000);
    let broker = disk.open();
    let mut due: Vec<_> = lease_many(&broker, "q/s", 3).await;
    due.sort_by_key(|lease| lease.delivery.sequence);
    let expected = [1, 2, 0].map(|position| emission(&lease, "b", position));
    assert_eq!(due.iter().map(|lease| lease.delivery.event.clone()).collect::<Vec<_>>(), expected);
}

pub async fn dead_letters_and_their_ids_stay(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    for id in 1..=2 {
        publish(&broker, event("a", id)).await;
        let lease = lease_one(&broker, "p/s").await;
        settle(&broker, &lease, reject()).await;
    }
    broker.discard(2).await.unwrap();
    drop(broker);
    let broker = disk.open();
    assert_eq!(broker.stats().dead_letters, 1);
    assert_eq!(broker.subscriptions().await.unwrap()[0].dead, 1);
    publish(&broker, event("a", 3)).await;
    let lease = lease_one(&broker, "p/s").await;
    assert_eq!(settle(&broker, &lease, reject()).await, Settled::Dead(3));
    // A redrive that is not leased yet survives a restart.
    assert!(broker.redrive(1).await.unwrap());
    drop(broker);
    let broker = disk.open();
    let lease = lease_one(&broker, "p/s").await;
    assert_eq!((lease.delivery.sequence, lease.delivery.replay), (1, Some(2)));
}

pub async fn a_subscription_without_its_plugin_keeps_its_place(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    publish(&broker, event("a", 1)).await;
    let lease = lease_one(&broker, "p/s").await;
    ack(&broker, &lease).await;
    drop(broker);
    let broker = disk.open();
    // This process neither subscribes nor leases.
    publish(&broker, event("a", 2)).await;
    drop(broker);
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    assert_eq!(lease_one(&broker, "p/s").await.delivery.sequence, 2);
    let earliest = Subscription { start: Start::Earliest, ..to_type("p/s", "a") };
    broker.subscribe(earliest).await.unwrap();
    assert!(nothing_ready(&broker, "p/s").await, "the start counts only once");
}

pub async fn closing_refuses_work_and_keeps_everything(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    let publishing: Vec<_> = (0..20)
        .map(|id| {
            let broker = Arc::clone(&broker);
            tokio::spawn(async move { broker.publish(vec![event("a", id)]).await })
        })
        .collect();
    soon(broker.close()).await.unwrap();
    soon(broker.close()).await.unwrap();
    let mut acknowledged = 0;
    for answer in publishing {
        match soon(answer).await.unwrap() {
            Ok(_) => acknowledged += 1,
            Err(refused) => assert!(matches!(refused, BrokerError::Closed)),
        }
    }
    let refused = broker.publish(vec![event("a", "late")]).await.unwrap_err();
    assert!(matches!(refused, BrokerError::Closed));
    assert!(matches!(broker.lease(&name("p/s"), 1).await, Err(BrokerError::Closed)));
    assert!(matches!(broker.event(1).await, Err(BrokerError::Closed)));
    drop(broker);
    let broker = disk.open();
    assert_eq!(broker.stats().last_sequence, acknowledged);
    assert_eq!(
        lease_many(&broker, "p/s", (acknowledged as usize).min(16)).await.len(),
        (acknowledged as usize).min(16)
    );
}
