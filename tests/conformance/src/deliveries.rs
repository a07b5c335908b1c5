//! From lease to settlement.

use std::sync::Arc;
use std::time::Duration;

use usher_broker::traits::*;
use usher_broker::{
    BrokerError, Changes, DeliveryState, Disposition, HOPS_MAX, Lease, NewEvent, Settled,
    Subscription,
};
use usher_event::FailureClass;

use crate::harness::*;

pub async fn never_more_than_max_in_flight(disk: Disk) {
    let broker = disk.open();
    let subscription = Subscription { max_in_flight: 3, ..to_type("p/s", "a") };
    broker.subscribe(subscription.clone()).await.unwrap();
    for id in 0..10 {
        publish(&broker, event("a", id)).await;
    }
    let leases = lease_many(&broker, "p/s", 3).await;
    assert!(nothing_ready(&broker, "p/s").await);
    ack(&broker, &leases[1]).await;
    assert_eq!(lease_one(&broker, "p/s").await.delivery.sequence, 4);
    assert!(nothing_ready(&broker, "p/s").await);
    // A raised limit takes effect at once.
    broker.subscribe(Subscription { max_in_flight: 5, ..subscription }).await.unwrap();
    assert_eq!(lease_many(&broker, "p/s", 2).await.len(), 2);
    assert!(nothing_ready(&broker, "p/s").await);
}

pub async fn a_released_delivery_comes_again_as_the_same_attempt(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    publish(&broker, event("a", 1)).await;
    let lease = lease_one(&broker, "p/s").await;
    assert_eq!(settle(&broker, &lease, Disposition::Release).await, Settled::Committed);
    let again = lease_one(&broker, "p/s").await;
    assert_eq!((again.delivery.sequence, again.delivery.attempt), (1, 1));
    assert_ne!(again.token, lease.token);
    assert_eq!(ack(&broker, &lease).await, Settled::Stale);
    assert_eq!(ack(&broker, &again).await, Settled::Committed);
    assert!(nothing_ready(&broker, "p/s").await);
}

/// Invariant 4: a delivery is settled once; a second settlement, or one of something unknown, is
/// ignored and counted.
pub async fn settling_twice_is_stale(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    publish(&broker, event("a", 1)).await;
    let lease = lease_one(&broker, "p/s").await;
    let twice =
        vec![settlement(&lease, Disposition::Ack(Default::default())), settlement(&lease, retry())];
    assert_eq!(soon(broker.settle(twice)).await.unwrap(), [Settled::Committed, Settled::Stale]);
    assert_eq!(settle(&broker, &lease, reject()).await, Settled::Stale);
    // An unknown sequence and an unknown subscription are stale, too.
    let mut unknown = [(); 2].map(|()| settlement(&lease, reject()));
    unknown[0].sequence = 77;
    unknown[1].subscription = name("p/other");
    let settled = soon(broker.settle(unknown.into())).await.unwrap();
    assert_eq!(settled, [Settled::Stale, Settled::Stale]);
    assert_eq!((broker.stats().dead_letters, broker.stats().stale), (0, 4));
}

pub async fn a_dropped_lease_call_takes_nothing(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    for _ in 0..20 {
        let subscription = name("p/s");
        let mut lease = Box::pin(broker.lease(&subscription, 1));
        tokio::select! {
            biased;
            _ = &mut lease => panic!("nothing was published"),
            () = tokio::task::yield_now() => {}
        }
        drop(lease);
    }
    publish(&broker, event("a", 1)).await;
    assert_eq!(lease_one(&broker, "p/s").await.delivery.sequence, 1);
}

pub async fn emissions_make_a_flow(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    broker.subscribe(to_type("q/s", "b")).await.unwrap();
    publish(&broker, event("a", 1)).await;
    let first = lease_one(&broker, "p/s").await;
    let (b, c) = (emission(&first, "b", 0), emission(&first, "c", 1));
    assert_eq!(
        ack_with(&broker, &first, vec![(b.clone(), None), (c, None)]).await,
        Settled::Committed
    );
    let second = lease_one(&broker, "q/s").await;
    assert_eq!(second.delivery.event, b);
    assert_eq!((second.delivery.flow, second.delivery.depth), (1, 1));
    let due = settle(&broker, &second, retry()).await;
    assert_eq!(due, Settled::RetryAt(START_MS + 1_000));

    for asked in [1, 3] {
        let flow = broker.flow(asked).await.unwrap().unwrap();
        assert_eq!((flow.root, flow.truncated, flow.delayed.len()), (1, false, 0));
        let sequences: Vec<_> = flow.events.iter().map(|event| event.stored.sequence).collect();
        assert_eq!(sequences, [1, 2, 3]);
        let root = &flow.events[0].deliveries;
        assert_eq!(root.len(), 1);
        assert_eq!((&root[0].subscription, &root[0].state), (&name("p/s"), &DeliveryState::Done));
        let child = &flow.events[1];
        let cause = child.stored.cause.as_ref().unwrap();
        assert_eq!((cause.parent, cause.attempt, cause.took_us), (1, 1, 42));
        assert_eq!(cause.subscription, name("p/s"));
        let waiting = DeliveryState::Waiting { due_ms: START_MS + 1_000 };
        assert_eq!(child.deliveries[0].state, waiting);
        let failed = &child.deliveries[0].failures[0].record;
        assert_eq!((failed.attempt, failed.class), (1, FailureClass::Trap));
        assert_eq!(
            (failed.reason.as_str(), failed.backtrace.as_deref()),
            ("not now", Some("0: f"))
        );
        assert!(flow.events[2].deliveries.is_empty());
    }
    assert!(broker.flow(4).await.unwrap().is_none());
}

pub async fn a_delayed_emission_waits(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    broker.subscribe(to_type("q/s", "b")).await.unwrap();
    publish(&broker, event("a", 1)).await;
    let lease = lease_one(&broker, "p/s").await;
    let delay = Some(Duration::from_secs(60));
    ack_with(&broker, &lease, vec![(emission(&lease, "b", 0), delay)]).await;
    let flow = broker.flow(1).await.unwrap().unwrap();
    assert_eq!((flow.events.len(), flow.delayed.len()), (1, 1));
    assert_eq!(flow.delayed[0].due_ms, START_MS + 60_000);
    assert_eq!(flow.delayed[0].cause.parent, 1);
    disk.advance(&broker, 59_999);
    assert!(nothing_ready(&broker, "q/s").await);
    assert_eq!(broker.stats().delayed, 1);
    disk.advance(&broker, 1);
    let emitted = lease_one(&broker, "q/s").await;
    assert_eq!((emitted.delivery.sequence, emitted.delivery.flow), (2, 1));
    assert_eq!(broker.stats().delayed, 0);
    let flow = broker.flow(1).await.unwrap().unwrap();
    assert_eq!((flow.events.len(), flow.delayed.len()), (2, 0));
    assert_eq!(flow.events[1].stored.recorded_ms, START_MS + 60_000);
}

/// Changes of a delivery that emits with these delays, for a plugin that may have 3 events delayed.
fn timers(lease: &Lease, delays_s: &[u64]) -> Disposition {
    let emissions = delays_s.iter().enumerate().map(|(position, delay_s)| NewEvent {
        event: emission(lease, "b", position),
        delay: Some(Duration::from_secs(*delay_s)),
    });
    Disposition::Ack(Changes {
        emissions: emissions.collect(),
        delayed_max: 3,
        ..Changes::default()
    })
}

async fn delayed(broker: &Arc<dyn Broker>) -> Vec<u64> {
    broker.subscriptions().await.unwrap().iter().map(|status| status.delayed).collect()
}

pub async fn no_plugin_takes_the_room_for_timers_of_others(disk: Disk) {
    let broker = disk.open();
    for subscription in ["p/s", "p/t", "q/s"] {
        broker.subscribe(to_type(subscription, "a")).await.unwrap();
    }
    for id in 0..8 {
        publish(&broker, event("a", id)).await;
    }
    let mut of_s = lease_many(&broker, "p/s", 8).await.into_iter();
    let mut settle_s = async |delays_s: &[u64]| {
        let lease = of_s.next().unwrap();
        settle(&broker, &lease, timers(&lease, delays_s)).await
    };
    // Over the limit on its own: it can never fit.
    assert_eq!(settle_s(&[60; 4]).await, Settled::Dead(1));
    assert_eq!(settle_s(&[60, 60]).await, Settled::Committed, "below");
    assert_eq!(settle_s(&[60, 60]).await, Settled::RetryAt(START_MS + 1_000), "above");
    assert_eq!(settle_s(&[0, 0, 0]).await, Settled::Committed, "these wait for nothing");
    assert_eq!(delayed(&broker).await, [2, 0, 0]);

    // All subscriptions of a plugin share one limit. Of two in a batch, only the first fits.
    let of_t = lease_many(&broker, "p/t", 2).await;
    let batch = of_t.iter().map(|lease| settlement(lease, timers(lease, &[30]))).collect();
    let settled = soon(broker.settle(batch)).await.unwrap();
    assert_eq!(settled, [Settled::Committed, Settled::RetryAt(START_MS + 1_000)], "at, above");
    assert_eq!(delayed(&broker).await, [2, 1, 0]);
    let lease = lease_one(&broker, "q/s").await;
    assert_eq!(settle(&broker, &lease, timers(&lease, &[60])).await, Settled::Committed);

    let letter = broker.dead_letter(1).await.unwrap().unwrap();
    let failure = &letter.attempts[0];
    assert_eq!(failure.class, FailureClass::Limit);
    assert_eq!(
        failure.reason,
        "0 emissions of plugin p wait for their delay and 4 would be added, the limit is 3; emit \
         fewer or let them wait less, or raise plugin.p.limits.delayed_emissions"
    );

    // Once a delay has passed, one slot is free again, for the attempt that was deferred.
    disk.advance(&broker, 30_000);
    let again = lease_again(&broker, "p/t", of_t[1].delivery.sequence).await;
    assert_eq!(again.delivery.attempt, 2);
    assert_eq!(settle(&broker, &again, timers(&again, &[60])).await, Settled::Committed);
    assert_eq!(delayed(&broker).await, [2, 1, 1]);
}

pub async fn the_share_of_timers_is_counted_again_after_a_restart(disk: Disk) {
    let broker = disk.open();
    for subscription in ["p/gone", "p/s"] {
        broker.subscribe(to_type(subscription, "a")).await.unwrap();
    }
    publish(&broker, event("a", 1)).await;
    for subscription in ["p/gone", "p/s"] {
        let lease = lease_one(&broker, subscription).await;
        assert_eq!(settle(&broker, &lease, timers(&lease, &[60])).await, Settled::Committed);
    }
    // Its delayed emissions outlive it and still count against its plugin's limit.
    broker.unsubscribe(&name("p/gone")).await.unwrap();
    drop(broker);
    let broker = disk.open();
    assert_eq!(delayed(&broker).await, [1]);
    publish(&broker, event("a", 2)).await;
    publish(&broker, event("a", 3)).await;
    let leases = lease_many(&broker, "p/s", 2).await;
    let settled = settle(&broker, &leases[0], timers(&leases[0], &[60, 60])).await;
    assert_eq!(settled, Settled::RetryAt(START_MS + 1_000), "above");
    assert_eq!(settle(&broker, &leases[1], timers(&leases[1], &[60])).await, Settled::Committed);
}

pub async fn a_flow_that_goes_in_circles_ends(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/ping", "ping")).await.unwrap();
    broker.subscribe(to_type("q/pong", "pong")).await.unwrap();
    publish(&broker, event("ping", 1)).await;
    let mut hops = 0;
    let dead = loop {
        let (from, to) = if hops % 2 == 0 { ("p/ping", "pong") } else { ("q/pong", "ping") };
        let lease = lease_one(&broker, from).await;
        assert_eq!(lease.delivery.depth, hops);
        match ack_with(&broker, &lease, vec![(emission(&lease, to, 0), None)]).await {
            Settled::Committed => hops += 1,
            Settled::Dead(id) => break id,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(hops, HOPS_MAX);
    let letter = broker.dead_letter(dead).await.unwrap().unwrap();
    let reason = &letter.attempts[0].reason;
    let cycle = " in a cycle: ping →(p/ping)→ pong →(q/pong)→ ping, 8 times";
    assert!(reason.ends_with(cycle), "{reason}");
    assert_eq!(letter.attempts[0].class, FailureClass::Limit);
    // The first event, one for each hop, and the report of the dead letter.
    assert_eq!(broker.stats().last_sequence, 1 + u64::from(HOPS_MAX) + 1);
}

/// At once where something is ready, else with the next delivery, and when the subscription goes.
pub async fn a_call_is_made_when_something_is_ready(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    let called = || {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        broker
            .when_ready(&name("p/s"), Box::new(move || sender.send(()).unwrap_or_default()))
            .unwrap();
        receiver
    };
    let (replaced, next) = (called(), called());
    publish(&broker, event("a", 1)).await;
    soon(next).await.unwrap();
    assert!(soon(replaced).await.is_err(), "another took its place");
    soon(called()).await.unwrap();
    ack(&broker, &lease_one(&broker, "p/s").await).await;
    let last = called();
    broker.unsubscribe(&name("p/s")).await.unwrap();
    soon(last).await.unwrap();
    assert!(matches!(
        broker.when_ready(&name("p/s"), Box::new(|| ())),
        Err(BrokerError::NoSubscription(_))
    ));
}
