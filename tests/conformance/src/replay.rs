//! Replay: part of the log is delivered again.

use std::sync::Arc;
use usher_broker::testing::LocalOperator as _;
use usher_broker::traits::*;
use usher_broker::{
    AuditAction, BrokerError, Order, REPLAY_MAX_EVENTS, REPLAYS_MAX, ReplayQuery, Replayed, Start,
    Subscription,
};
use usher_filter::Filter;

use crate::harness::*;

fn query(from: u64, to: Option<u64>) -> ReplayQuery {
    ReplayQuery { subscription: name("p/s"), from, to, filter: None, max: REPLAY_MAX_EVENTS }
}

async fn replay(broker: &Arc<dyn Broker>, query: ReplayQuery) -> Replayed {
    soon(broker.replay(query)).await.unwrap()
}

/// A broker whose subscription has handled `count` events of type `a`.
async fn handled(disk: &Disk, count: u64) -> std::sync::Arc<dyn Broker> {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    for id in 1..=count {
        publish(&broker, event("a", id)).await;
    }
    for lease in lease_many(&broker, "p/s", usize::try_from(count).unwrap()).await {
        ack(&broker, &lease).await;
    }
    broker
}

pub async fn part_of_the_log_comes_again(disk: Disk) {
    let broker = handled(&disk, 5).await;
    publish(&broker, event("other", 6)).await;
    let replayed = replay(&broker, query(2, Some(5))).await;
    assert_eq!(replayed, Replayed { events: 3, pending: 0, dead: 0, to: 5, next: None });
    let leases = lease_many(&broker, "p/s", 3).await;
    let seen: Vec<_> = leases.iter().map(|lease| &lease.delivery).collect();
    let seen = seen.iter().map(|one| (one.sequence, one.attempt, one.replay));
    assert_eq!(seen.collect::<Vec<_>>(), [(2, 1, Some(1)), (3, 1, Some(1)), (4, 1, Some(1))]);
    for lease in &leases {
        ack(&broker, lease).await;
    }
    assert!(nothing_ready(&broker, "p/s").await);

    let filter = Some(Filter::parse(r#"{"exact":{"id":"4"}}"#).unwrap());
    let all = ReplayQuery { filter, ..query(1, None) };
    assert_eq!(broker.replayable(all.clone()).await.unwrap().events.len(), 1);
    assert!(nothing_ready(&broker, "p/s").await, "only looked at");
    assert_eq!(replay(&broker, all).await.events, 1);
    let lease = lease_one(&broker, "p/s").await;
    assert_eq!((lease.delivery.sequence, lease.delivery.replay), (4, Some(2)));

    let records = broker.audit(None, 10).await.unwrap();
    let actions: Vec<_> = records.into_iter().map(|record| record.action).collect();
    assert_eq!(
        actions,
        [
            AuditAction::Replay { first: 2, last: 4, events: 3 },
            AuditAction::Replay { first: 4, last: 4, events: 1 },
        ]
    );
    let nobody = ReplayQuery { subscription: name("p/nobody"), ..query(1, None) };
    let refused = broker.replay(nobody).await.unwrap_err();
    assert!(matches!(refused, BrokerError::NoSubscription(_)), "{refused}");
}

pub async fn a_replay_goes_on_step_by_step(disk: Disk) {
    let broker = handled(&disk, 5).await;
    let mut query = ReplayQuery { max: 2, ..query(1, None) };
    let mut steps = Vec::new();
    loop {
        let step = replay(&broker, query.clone()).await;
        steps.push((step.events, step.next));
        let Some(next) = step.next else { break };
        (query.from, query.to) = (next, Some(step.to));
    }
    assert_eq!(steps, [(2, Some(3)), (2, Some(5)), (1, None)]);
    assert_eq!(lease_many(&broker, "p/s", 5).await.len(), 5);
}

pub async fn what_is_pending_or_dead_is_left_alone(disk: Disk) {
    let broker = handled(&disk, 1).await;
    for id in 2..=4 {
        publish(&broker, event("a", id)).await;
    }
    settle(&broker, &lease_one(&broker, "p/s").await, reject()).await;
    settle(&broker, &lease_one(&broker, "p/s").await, retry()).await;
    let replayed = replay(&broker, query(1, None)).await;
    assert_eq!((replayed.events, replayed.dead, replayed.pending), (1, 1, 2));
    // Again: now the first is pending, too.
    let replayed = replay(&broker, query(1, None)).await;
    assert_eq!((replayed.events, replayed.dead, replayed.pending), (0, 1, 3));
}

/// Invariants 1 and 8.
pub async fn a_replay_survives_a_restart(disk: Disk) {
    let broker = handled(&disk, 3).await;
    assert_eq!(replay(&broker, query(1, None)).await.events, 3);
    let lease = lease_one(&broker, "p/s").await;
    settle(&broker, &lease, retry()).await;
    drop(broker);
    let broker = disk.open();
    disk.advance(&broker, 60_000);
    let mut leases = lease_many(&broker, "p/s", 3).await;
    leases.sort_by_key(|lease| lease.delivery.sequence);
    let seen = leases.iter().map(|lease| {
        let delivery = &lease.delivery;
        (delivery.sequence, delivery.attempt, delivery.replay)
    });
    assert_eq!(seen.collect::<Vec<_>>(), [(1, 2, Some(1)), (2, 1, Some(1)), (3, 1, Some(1))]);
    for lease in &leases {
        ack(&broker, lease).await;
    }
    drop(broker);
    assert!(nothing_ready(&disk.open(), "p/s").await);
}

pub async fn a_replay_reaches_back_before_the_start(disk: Disk) {
    let broker = disk.open();
    publish(&broker, event("a", 1)).await;
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    assert_eq!(replay(&broker, query(1, None)).await.events, 1);
    assert_eq!(lease_one(&broker, "p/s").await.delivery.sequence, 1);
}

/// Invariant 5.
pub async fn a_replay_keeps_to_its_lanes(disk: Disk) {
    let broker = disk.open();
    let order = Order::key("subject").unwrap();
    let subscription = Subscription { order, start: Start::Earliest, ..to_type("p/s", "a") };
    broker.subscribe(subscription).await.unwrap();
    for id in 1..=3 {
        publish(&broker, event("a", id)).await;
    }
    for _ in 0..3 {
        ack(&broker, &lease_one(&broker, "p/s").await).await;
    }
    assert_eq!(replay(&broker, query(1, None)).await.events, 3);
    for sequence in 1..=3 {
        let lease = lease_one(&broker, "p/s").await;
        assert_eq!(lease.delivery.sequence, sequence);
        assert!(nothing_ready(&broker, "p/s").await);
        ack(&broker, &lease).await;
    }
}

pub async fn a_replay_waits_when_too_much_of_it_is_not_over(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "other")).await.unwrap();
    let events: Vec<_> = (0..=REPLAYS_MAX).map(|id| event("a", id)).collect();
    for batch in events.chunks(500) {
        soon(broker.publish(batch.to_vec())).await.unwrap();
    }
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    let mut from = 1;
    let last = loop {
        match soon(broker.replay(query(from, None))).await {
            Ok(Replayed { next: Some(next), .. }) => from = next,
            Ok(done) => panic!("{done:?}: more than {REPLAYS_MAX} are not over"),
            Err(error) => break error,
        }
    };
    assert!(matches!(last, BrokerError::ManyRetries { .. }), "{last}");
    ack(&broker, &lease_one(&broker, "p/s").await).await;
    assert_eq!(replay(&broker, query(from, None)).await.events, 1);
}
