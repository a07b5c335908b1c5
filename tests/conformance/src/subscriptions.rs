//! Which events reach which subscription, and from where.

use usher_broker::{BrokerError, Settled, Start, Subscription};
use usher_filter::Filter;

use crate::harness::*;

pub async fn latest_starts_with_the_next_event_and_earliest_with_the_first(disk: Disk) {
    let broker = disk.open();
    publish(&broker, event("a", 1)).await;
    broker.subscribe(to_type("p/latest", "a")).await.unwrap();
    let earliest = Subscription { start: Start::Earliest, ..to_type("p/earliest", "a") };
    broker.subscribe(earliest).await.unwrap();
    publish(&broker, event("a", 2)).await;
    assert_eq!(lease_one(&broker, "p/latest").await.delivery.sequence, 2);
    let both = lease_many(&broker, "p/earliest", 2).await;
    assert_eq!(both.iter().map(|lease| lease.delivery.sequence).collect::<Vec<_>>(), [1, 2]);
}

/// Invariant 2: a subscription gets only accepted events that match its filter.
pub async fn only_matching_events_are_delivered(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/a", "a")).await.unwrap();
    let prefix = Filter::parse(r#"{"prefix":{"type":"a"}}"#).unwrap();
    broker.subscribe(Subscription { filter: prefix, ..to_type("p/as", "a") }).await.unwrap();
    let all = Subscription { filter: Filter::everything(), ..to_type("p/all", "a") };
    broker.subscribe(all).await.unwrap();
    for (id, ty) in ["a", "ab", "b"].into_iter().enumerate() {
        publish(&broker, event(ty, id)).await;
    }
    for (subscription, expected) in
        [("p/a", vec![1]), ("p/as", vec![1, 2]), ("p/all", vec![1, 2, 3])]
    {
        let leases = lease_many(&broker, subscription, expected.len()).await;
        let found: Vec<_> = leases.iter().map(|lease| lease.delivery.sequence).collect();
        assert_eq!(found, expected, "{subscription}");
        assert!(nothing_ready(&broker, subscription).await, "{subscription}");
    }
}

pub async fn a_changed_filter_judges_what_comes(disk: Disk) {
    let broker = disk.open();
    let one = Subscription { max_in_flight: 1, ..to_type("p/s", "a") };
    broker.subscribe(one.clone()).await.unwrap();
    for (id, ty) in ["a", "a", "b", "b"].into_iter().enumerate() {
        publish(&broker, event(ty, id)).await;
    }
    let first = lease_one(&broker, "p/s").await;
    let changed = Subscription { filter: to_type("p/s", "b").filter, ..one };
    broker.subscribe(changed.clone()).await.unwrap();
    broker.subscribe(changed).await.unwrap();
    // Deliveries in flight continue; those not leased yet are matched against the new filter.
    assert_eq!(ack(&broker, &first).await, Settled::Committed);
    for expected in [3, 4] {
        let lease = lease_one(&broker, "p/s").await;
        assert_eq!(lease.delivery.sequence, expected);
        ack(&broker, &lease).await;
    }
    assert!(nothing_ready(&broker, "p/s").await);
}

pub async fn what_nobody_took_is_judged_by_the_new_filter(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    for id in 0..3 {
        publish(&broker, event("a", id)).await;
    }
    let taken = lease_one(&broker, "p/s").await;
    // The other two were granted, but no caller has received them.
    broker.subscribe(to_type("p/s", "b")).await.unwrap();
    publish(&broker, event("b", 4)).await;
    assert_eq!(lease_one(&broker, "p/s").await.delivery.sequence, 4);
    assert!(nothing_ready(&broker, "p/s").await);
    assert_eq!(ack(&broker, &taken).await, Settled::Committed);
    drop(broker);
    let broker = disk.open();
    assert_eq!(lease_one(&broker, "p/s").await.delivery.sequence, 4);
    assert!(nothing_ready(&broker, "p/s").await);
}

/// More than fits in the ready list and in the tail of the log that is kept in memory.
pub async fn what_is_far_behind_is_read_from_the_log_in_order(disk: Disk) {
    const EVENTS: u64 = 20_000;
    let broker = disk.open();
    let mut subscription = to_type("p/s", "a");
    subscription.max_in_flight = 64;
    broker.subscribe(subscription).await.unwrap();
    for batch in 0..EVENTS / 1_000 {
        let ids = batch * 1_000..(batch + 1) * 1_000;
        let ty = |id: &u64| if id % 4 == 3 { "other" } else { "a" };
        let batch = ids.map(|id| event(ty(&id), id)).collect();
        soon(broker.publish(batch)).await.unwrap();
    }
    let mut seen = Vec::new();
    while seen.len() < EVENTS as usize / 4 * 3 {
        let leases = soon(broker.lease(&name("p/s"), 64)).await.unwrap();
        assert!(leases.len() <= 64);
        seen.extend(leases.iter().map(|lease| lease.delivery.sequence));
        let acks = leases
            .iter()
            .map(|lease| settlement(lease, usher_broker::Disposition::Ack(Default::default())));
        let settled = soon(broker.settle(acks.collect())).await.unwrap();
        assert!(settled.iter().all(|settled| *settled == Settled::Committed));
    }
    let expected: Vec<u64> = (1..=EVENTS).filter(|sequence| (sequence - 1) % 4 != 3).collect();
    assert_eq!(seen, expected);
    assert!(nothing_ready(&broker, "p/s").await);
    let status = broker.subscriptions().await.unwrap().remove(0);
    assert_eq!((status.lag, status.in_flight, status.acked), (0, 0, EVENTS / 4 * 3));
    // Caught up: the next event is delivered live.
    let sequence = publish(&broker, event("a", "live")).await;
    assert_eq!(lease_one(&broker, "p/s").await.delivery.sequence, sequence);
}

/// They are read from the log together, each from where it stands and by its own filter.
pub async fn many_that_begin_in_the_log_get_what_is_theirs(disk: Disk) {
    const EVENTS: u64 = 1_000;
    const KINDS: u64 = 10;
    let broker = disk.open();
    for begin in (0..EVENTS).step_by(500) {
        let kind = |n| event(&format!("k{}", n % KINDS), n);
        broker.publish((begin..begin + 500).map(kind).collect()).await.unwrap();
    }
    drop(broker);
    let broker = disk.open();
    let begins = [1, 300, 700, EVENTS];
    for kind in 0..KINDS {
        for first in begins {
            let start = Start::Sequence(first);
            let subscription = to_type(&format!("p/k{kind}-{first}"), &format!("k{kind}"));
            broker.subscribe(Subscription { start, ..subscription }).await.unwrap();
        }
    }
    publish(&broker, event("k0", "last")).await;
    for kind in 0..KINDS {
        for first in begins {
            let own = (first..=EVENTS).filter(|sequence| (sequence - 1) % KINDS == kind);
            let last = (kind == 0).then_some(EVENTS + 1);
            let expected: Vec<u64> = own.chain(last).collect();
            let subscription = format!("p/k{kind}-{first}");
            let mut found = Vec::new();
            while found.len() < expected.len() {
                for lease in lease_many(&broker, &subscription, 1).await {
                    found.push(lease.delivery.sequence);
                    assert_eq!(ack(&broker, &lease).await, Settled::Committed);
                }
            }
            assert_eq!(found, expected, "{subscription}");
            assert!(nothing_ready(&broker, &subscription).await, "{subscription}");
        }
    }
}

pub async fn removal_wakes_takers_and_makes_leases_stale(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    publish(&broker, event("a", 1)).await;
    let lease = lease_one(&broker, "p/s").await;
    let taker = {
        let broker = broker.clone();
        tokio::spawn(async move { broker.lease(&name("p/s"), 1).await })
    };
    tokio::task::yield_now().await;
    assert!(soon(broker.unsubscribe(&name("p/s"))).await.unwrap());
    assert!(!soon(broker.unsubscribe(&name("p/s"))).await.unwrap());
    let woken = soon(taker).await.unwrap().unwrap_err();
    assert!(matches!(woken, BrokerError::NoSubscription(_)));
    assert_eq!(ack(&broker, &lease).await, Settled::Stale);
    let gone = broker.lease(&name("p/s"), 1).await.unwrap_err();
    assert!(matches!(gone, BrokerError::NoSubscription(_)));
    // A subscription of the same name starts over.
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    assert!(nothing_ready(&broker, "p/s").await);
}

pub async fn wrong_numbers_are_refused(disk: Disk) {
    let broker = disk.open();
    let wrong: [fn(&mut Subscription); 6] = [
        |subscription| subscription.max_in_flight = 0,
        |subscription| subscription.max_in_flight = 1_000_000,
        |subscription| subscription.retry.factor = 0.5,
        |subscription| subscription.retry.factor = f64::NAN,
        |subscription| subscription.retry.jitter = 1.5,
        |subscription| subscription.retry.max_attempts = 0,
    ];
    for make_wrong in wrong {
        let mut subscription = to_type("p/s", "a");
        make_wrong(&mut subscription);
        let refused = broker.subscribe(subscription).await.unwrap_err();
        assert!(matches!(refused, BrokerError::Invalid(_)), "{refused}");
    }
    assert!(broker.subscriptions().await.unwrap().is_empty());
}

pub async fn status_tells_lag_and_flight(disk: Disk) {
    let broker = disk.open();
    let subscription = Subscription { max_in_flight: 2, ..to_type("p/s", "a") };
    broker.subscribe(subscription.clone()).await.unwrap();
    broker.subscribe(to_type("o/s", "b")).await.unwrap();
    for id in 0..5 {
        publish(&broker, event("a", id)).await;
    }
    let leases = lease_many(&broker, "p/s", 2).await;
    let failing = settle(&broker, &leases[0], retry()).await;
    assert_eq!(failing, Settled::RetryAt(START_MS + 1_000));
    let all = broker.subscriptions().await.unwrap();
    assert_eq!(all[0].subscription.name, name("o/s"));
    let status = &all[1];
    assert_eq!(*status.subscription, subscription);
    // 2 is in flight; 3, which was not leased, is pending with 4 and 5.
    assert_eq!((status.cursor, status.lag, status.in_flight), (2, 3, 1));
    assert_eq!((status.retrying, status.acked, status.failed, status.dead), (1, 0, 1, 0));
    assert_eq!((status.oldest_unsettled, status.oldest_unsettled_ms), (Some(1), Some(START_MS)));
    assert_eq!((all[0].lag, all[0].oldest_unsettled), (0, None));
}
