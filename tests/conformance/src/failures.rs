//! Retries, dead letters, redrive.

use std::time::Duration;

use usher_broker::testing::LocalOperator as _;
use usher_broker::{
    ATTEMPTS_KEPT, BrokerError, Calendar, ClassRetry, DeliveryState, Disposition, Missed,
    RetryPolicy, Schedule, Settled, Subscription,
};
use usher_event::{Digest, Event, FailureClass};

use crate::harness::*;

pub async fn retries_wait_longer_each_time(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    publish(&broker, event("a", 1)).await;
    publish(&broker, event("a", 2)).await;
    let mut lease = lease_one(&broker, "p/s").await;
    // A failed delivery doesn't block others.
    let other = lease_one(&broker, "p/s").await;
    let mut now = START_MS;
    for (attempt, wait_ms) in [(1, 1_000), (2, 2_000), (3, 4_000), (4, 8_000)] {
        assert_eq!(lease.delivery.attempt, attempt);
        assert_eq!(settle(&broker, &lease, retry()).await, Settled::RetryAt(now + wait_ms));
        disk.advance(&broker, wait_ms - 1);
        assert!(nothing_ready(&broker, "p/s").await);
        disk.advance(&broker, 1);
        now += wait_ms;
        lease = lease_one(&broker, "p/s").await;
        assert!(lease.delivery.replay.is_none());
    }
    assert_eq!(ack(&broker, &other).await, Settled::Committed);
    assert_eq!(ack(&broker, &lease).await, Settled::Committed);
    let flow = broker.flow(1).await.unwrap().unwrap();
    let delivery = &flow.events[0].deliveries[0];
    assert_eq!(delivery.state, DeliveryState::Done);
    let attempts: Vec<_> = delivery.failures.iter().map(|failed| failed.record.attempt).collect();
    assert_eq!(attempts, [1, 2, 3, 4]);
    let status = broker.subscriptions().await.unwrap().remove(0);
    assert_eq!((status.cursor, status.retrying, status.failed), (3, 0, 4));
}

pub async fn the_listener_may_ask_for_a_longer_wait(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    publish(&broker, event("a", 1)).await;
    let lease = lease_one(&broker, "p/s").await;
    let after = Some(Duration::from_secs(90));
    let disposition = Disposition::Retry { failure: failure("busy"), after };
    assert_eq!(settle(&broker, &lease, disposition).await, Settled::RetryAt(START_MS + 90_000));
    disk.advance(&broker, 90_000);
    let lease = lease_one(&broker, "p/s").await;
    // Ten years are clamped to the policy's maximum age.
    let after = Some(Duration::from_secs(10 * 365 * 24 * 3_600));
    let disposition = Disposition::Retry { failure: failure("busy"), after };
    let day_ms = 24 * 3_600 * 1_000;
    assert_eq!(settle(&broker, &lease, disposition).await, Settled::RetryAt(START_MS + day_ms));
    // The recorded reason says so.
    let flow = broker.flow(1).await.unwrap().unwrap();
    let reasons: Vec<_> =
        flow.events[0].deliveries[0].failures.iter().map(|failed| &*failed.record.reason).collect();
    assert_eq!(reasons, ["busy", "busy (asked to wait 315360000 s, 86310 s are left)"]);
}

pub async fn a_rate_limit_does_not_count_but_ends(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(with_policy(2, Duration::from_secs(3_600))).await.unwrap();
    publish(&broker, event("a", 1)).await;
    let busy = |after_s| Disposition::Retry {
        failure: usher_event::Failure::new(FailureClass::Retry, "busy"),
        after: Some(Duration::from_secs(after_s)),
    };
    let minute_ms = 60_000;
    for attempt in 1..=30 {
        let lease = lease_one(&broker, "p/s").await;
        assert_eq!(lease.delivery.attempt, attempt);
        let due_ms = START_MS + u64::from(attempt) * minute_ms;
        assert_eq!(settle(&broker, &lease, busy(60)).await, Settled::RetryAt(due_ms));
        disk.advance(&broker, minute_ms);
    }
    // The first failure that counts waits for the first delay.
    let lease = lease_one(&broker, "p/s").await;
    let due_ms = START_MS + 30 * minute_ms + 1_000;
    assert_eq!(settle(&broker, &lease, retry()).await, Settled::RetryAt(due_ms));
    disk.advance(&broker, 1_000);
    // Ten years are clamped to what is left of the maximum age; after that it is given up.
    let lease = lease_one(&broker, "p/s").await;
    let ten_years_s = 10 * 365 * 24 * 3_600;
    let end_ms = START_MS + 3_600_000;
    assert_eq!(settle(&broker, &lease, busy(ten_years_s)).await, Settled::RetryAt(end_ms));
    disk.clock.set(end_ms);
    broker.wake();
    let lease = lease_one(&broker, "p/s").await;
    assert_eq!(lease.delivery.attempt, 33);
    assert_eq!(settle(&broker, &lease, busy(60)).await, Settled::Dead(1));
    let letter = broker.dead_letter(1).await.unwrap().unwrap();
    assert_eq!(letter.attempt_count, 33);
    let newest: Vec<_> = letter.attempts.iter().rev().take(3).rev().collect();
    let told: Vec<_> = newest.iter().map(|one| (one.attempt, one.counted, one.asked_ms)).collect();
    assert_eq!(
        told,
        [(31, true, None), (32, false, Some(ten_years_s * 1_000)), (33, false, Some(60_000))]
    );
}

pub async fn no_wait_is_longer_than_a_week(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(with_policy(2, Duration::from_secs(365 * 24 * 3_600))).await.unwrap();
    publish(&broker, event("a", 1)).await;
    let lease = lease_one(&broker, "p/s").await;
    let failure = usher_event::Failure::new(FailureClass::Retry, "busy");
    let after = Some(Duration::from_secs(10 * 365 * 24 * 3_600));
    let week_ms = 7 * 24 * 3_600 * 1_000;
    let settled = settle(&broker, &lease, Disposition::Retry { failure, after }).await;
    assert_eq!(settled, Settled::RetryAt(START_MS + week_ms));
}

pub async fn each_class_has_its_own_limit_and_waits(disk: Disk) {
    let broker = disk.open();
    let trap = ClassRetry {
        first_delay: Some(Duration::from_secs(10)),
        max_attempts: Some(2),
        ..ClassRetry::default()
    };
    let mut subscription = with_policy(3, Duration::from_secs(1 << 40));
    subscription.retry.classes = [(FailureClass::Trap, trap)].into();
    broker.subscribe(subscription).await.unwrap();
    publish(&broker, event("a", 1)).await;
    publish(&broker, event("a", 2)).await;
    let fail =
        |class| Disposition::Retry { failure: usher_event::Failure::new(class, "no"), after: None };
    let first = lease_one(&broker, "p/s").await;
    let second = lease_one(&broker, "p/s").await;
    let now = START_MS;
    // One trap and one timeout, each the first of its kind.
    let settled = settle(&broker, &first, fail(FailureClass::Trap)).await;
    assert_eq!(settled, Settled::RetryAt(now + 10_000));
    let settled = settle(&broker, &second, fail(FailureClass::Timeout)).await;
    assert_eq!(settled, Settled::RetryAt(now + 1_000));
    drop(broker);
    // Counts survive a restart.
    let broker = disk.open();
    disk.advance(&broker, 10_000);
    let mut leases = lease_many(&broker, "p/s", 2).await;
    leases.sort_by_key(|lease| lease.delivery.sequence);
    let settled = settle(&broker, &leases[0], fail(FailureClass::Limit)).await;
    assert_eq!(settled, Settled::RetryAt(now + 11_000), "the first that is no trap");
    let settled = settle(&broker, &leases[1], fail(FailureClass::Host)).await;
    assert_eq!(settled, Settled::RetryAt(now + 12_000), "counted with the timeout");
    disk.advance(&broker, 2_000);
    let mut leases = lease_many(&broker, "p/s", 2).await;
    leases.sort_by_key(|lease| lease.delivery.sequence);
    let settled = settle(&broker, &leases[0], fail(FailureClass::Trap)).await;
    assert_eq!(settled, Settled::Dead(1), "the second trap is the last");
    let settled = settle(&broker, &leases[1], fail(FailureClass::Timeout)).await;
    assert_eq!(settled, Settled::Dead(2), "the third of all others is the last");
}

fn with_policy(max_attempts: u32, max_age: Duration) -> Subscription {
    let retry = RetryPolicy { max_attempts, max_age, ..to_type("p/s", "a").retry };
    Subscription { retry, ..to_type("p/s", "a") }
}

/// Invariant 8: no more attempts than the policy allows.
pub async fn the_last_attempt_makes_a_dead_letter(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(with_policy(3, Duration::from_secs(3_600))).await.unwrap();
    let published = event("a", 1);
    publish(&broker, published.clone()).await;
    for attempt in 1..=3 {
        let lease = lease_one(&broker, "p/s").await;
        let settled = settle(&broker, &lease, retry()).await;
        assert_eq!(settled == Settled::Dead(1), attempt == 3, "{settled:?}");
        disk.advance(&broker, 10_000);
    }
    assert!(nothing_ready(&broker, "p/s").await);
    let letters = dead_letters(&broker, None, 10).await;
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!((letter.id, letter.attempt_count), (1, 3));
    assert_eq!((letter.stored.sequence, &letter.stored.event), (1, &published));
    assert_eq!(letter.time_ms, START_MS + 20_000);
    let attempts: Vec<_> = letter.attempts.iter().map(|a| (a.attempt, a.time_ms)).collect();
    assert_eq!(attempts, [(1, START_MS), (2, START_MS + 10_000), (3, START_MS + 20_000)]);
    assert_eq!(letter.attempts[2].digest, Some(Digest::of(b"plugin")));
    assert_eq!(letter.attempts[2].version.as_deref(), Some("1.2.0"));
    let flow = broker.flow(1).await.unwrap().unwrap();
    assert_eq!(flow.events[0].deliveries[0].state, DeliveryState::Dead { id: Some(1) });
    assert_eq!(broker.subscriptions().await.unwrap()[0].dead, 1);
    assert_eq!(broker.stats().dead_letters, 1);
}

pub async fn old_failures_are_given_up(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(with_policy(100, Duration::from_millis(4_500))).await.unwrap();
    publish(&broker, event("a", 1)).await;
    // Due after 1 s, then 2 s; the third wait is not 4 s but ends at the maximum age.
    for due_ms in [1_000, 3_000, 4_500] {
        let lease = lease_one(&broker, "p/s").await;
        assert_eq!(settle(&broker, &lease, retry()).await, Settled::RetryAt(START_MS + due_ms));
        disk.clock.set(START_MS + due_ms);
        broker.wake();
    }
    let lease = lease_one(&broker, "p/s").await;
    assert_eq!(settle(&broker, &lease, retry()).await, Settled::Dead(1));
}

pub async fn a_dead_letter_is_redriven_as_a_replay(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    publish(&broker, event("a", 1)).await;
    let lease = lease_one(&broker, "p/s").await;
    assert_eq!(settle(&broker, &lease, reject()).await, Settled::Dead(1));
    assert!(soon(broker.redrive(1)).await.unwrap());
    assert!(!soon(broker.redrive(1)).await.unwrap());
    assert!(!soon(broker.redrive(99)).await.unwrap());
    assert!(broker.dead_letter(1).await.unwrap().is_none());
    let again = lease_one(&broker, "p/s").await;
    assert_eq!((again.delivery.sequence, again.delivery.attempt), (1, 1));
    assert!(again.delivery.replay.is_some());
    // It may fail again; ids are never reused, and all failures stay visible.
    assert_eq!(settle(&broker, &again, reject()).await, Settled::Dead(2));
    let letter = broker.dead_letter(2).await.unwrap().unwrap();
    assert_eq!((letter.attempt_count, letter.attempts.len()), (1, 1));
    let (first, second) = tokio::join!(broker.redrive(2), broker.redrive(2));
    assert_ne!(first.unwrap(), second.unwrap(), "one of two wins");
    let again = lease_one(&broker, "p/s").await;
    assert_eq!(settle(&broker, &again, retry()).await, Settled::RetryAt(START_MS + 1_000));
    disk.advance(&broker, 1_000);
    let again = lease_one(&broker, "p/s").await;
    assert_eq!((again.delivery.attempt, again.delivery.replay), (2, Some(2)));
    ack(&broker, &again).await;
    let flow = broker.flow(1).await.unwrap().unwrap();
    let delivery = &flow.events[0].deliveries[0];
    assert_eq!(delivery.state, DeliveryState::Done);
    let rounds: Vec<_> =
        delivery.failures.iter().map(|one| (one.round, one.record.attempt)).collect();
    assert_eq!((delivery.round, rounds), (3, vec![(1, 1), (2, 1), (3, 1)]));
    let status = broker.subscriptions().await.unwrap().remove(0);
    assert_eq!((status.dead, status.retrying), (0, 0));

    let sequence = publish(&broker, event("a", 2)).await;
    let lease = lease_one(&broker, "p/s").await;
    assert_eq!(settle(&broker, &lease, reject()).await, Settled::Dead(3));
    broker.unsubscribe(&name("p/s")).await.unwrap();
    let refused = broker.redrive(3).await.unwrap_err();
    assert!(matches!(refused, BrokerError::NoSubscription(_)));
    assert_eq!(dead_letters(&broker, None, 9).await.len(), 1);
    let flow = broker.flow(sequence).await.unwrap().unwrap();
    assert_eq!(flow.events[0].deliveries[0].subscription, name("p/s"));
    // A new subscription of that name takes over the dead letter.
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    assert!(broker.redrive(3).await.unwrap());
    assert_eq!(lease_one(&broker, "p/s").await.delivery.sequence, sequence);
}

pub async fn a_dead_letter_is_discarded_for_good(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    let mut sequences = Vec::new();
    for id in 1..=3 {
        sequences.push(publish(&broker, event("a", id)).await);
        let lease = lease_one(&broker, "p/s").await;
        settle(&broker, &lease, reject()).await;
    }
    assert!(broker.discard(2).await.unwrap());
    assert!(!broker.discard(2).await.unwrap());
    assert!(!broker.redrive(2).await.unwrap());
    let ids = |letters: Vec<usher_broker::DeadLetter>| -> Vec<u64> {
        letters.iter().map(|letter| letter.id).collect()
    };
    assert_eq!(ids(dead_letters(&broker, None, 10).await), [1, 3]);
    assert_eq!(ids(dead_letters(&broker, None, 1).await), [1]);
    assert_eq!(ids(dead_letters(&broker, Some(1), 10).await), [3]);
    let flow = broker.flow(sequences[1]).await.unwrap().unwrap();
    assert_eq!(flow.events[0].deliveries[0].state, DeliveryState::Dead { id: None });
    assert_eq!(broker.stats().dead_letters, 2);
    assert_eq!(broker.subscriptions().await.unwrap()[0].dead, 2);
}

pub async fn many_attempts_keep_the_first_and_the_newest(disk: Disk) {
    const ATTEMPTS: u32 = 30;
    let broker = disk.open();
    broker.subscribe(with_policy(ATTEMPTS, Duration::from_secs(1 << 40))).await.unwrap();
    publish(&broker, event("a", 1)).await;
    for attempt in 1..=ATTEMPTS {
        let lease = lease_one(&broker, "p/s").await;
        assert_eq!(lease.delivery.attempt, attempt);
        let failure = usher_event::Failure::new(FailureClass::Retry, format!("{attempt}"));
        settle(&broker, &lease, Disposition::Retry { failure, after: None }).await;
        disk.advance(&broker, 3_600_000);
    }
    let letter = broker.dead_letter(1).await.unwrap().unwrap();
    assert_eq!(letter.attempt_count, ATTEMPTS);
    let kept: Vec<u32> = letter.attempts.iter().map(|a| a.attempt).collect();
    let newest = ATTEMPTS - ATTEMPTS_KEPT as u32 + 2..=ATTEMPTS;
    assert_eq!(kept, std::iter::once(1).chain(newest).collect::<Vec<_>>());
    let flow = broker.flow(1).await.unwrap().unwrap();
    let told = flow.events[0].deliveries[0].failures.iter().map(|one| one.record.clone());
    assert_eq!(told.collect::<Vec<_>>(), letter.attempts);
}

/// More failures than are kept, in an earlier round as well as in the current one.
pub async fn the_attempts_of_a_redriven_round_are_its_own(disk: Disk) {
    const ATTEMPTS: u32 = ATTEMPTS_KEPT as u32 + 5;
    let broker = disk.open();
    broker.subscribe(with_policy(ATTEMPTS, Duration::from_secs(1 << 40))).await.unwrap();
    publish(&broker, event("a", 1)).await;
    for round in 1..=2 {
        for attempt in 1..=ATTEMPTS {
            let lease = lease_one(&broker, "p/s").await;
            assert_eq!(lease.delivery.attempt, attempt);
            let reason = format!("{round}.{attempt}");
            let failure = usher_event::Failure::new(FailureClass::Retry, reason);
            settle(&broker, &lease, Disposition::Retry { failure, after: None }).await;
            disk.advance(&broker, 3_600_000);
        }
        let letter = broker.dead_letter(round).await.unwrap().unwrap();
        let kept: Vec<_> = letter.attempts.iter().map(|a| a.reason.clone()).collect();
        let newest = ATTEMPTS - ATTEMPTS_KEPT as u32 + 2..=ATTEMPTS;
        let expected = std::iter::once(1).chain(newest).map(|n| format!("{round}.{n}"));
        assert_eq!(kept, expected.collect::<Vec<_>>());
        let flow = broker.flow(1).await.unwrap().unwrap();
        let failures = &flow.events[0].deliveries[0].failures;
        assert_eq!(failures.len(), ATTEMPTS_KEPT * round as usize);
        assert_eq!(failures.last().map(|last| u64::from(last.round)), Some(round));
        if round == 1 {
            assert!(broker.redrive(round).await.unwrap());
        }
    }
}

/// Invariant 13, with a clock that jumps ahead by a day and back: each retry runs exactly once.
pub async fn a_clock_that_jumps_brings_no_storm(disk: Disk) {
    const DAY_MS: u64 = 24 * 3_600 * 1_000;
    const EVENTS: usize = 12;
    let broker = disk.open();
    broker.subscribe(with_policy(60, Duration::from_secs(1 << 40))).await.unwrap();
    for id in 0..EVENTS {
        publish(&broker, event("a", id)).await;
    }
    for lease in lease_many(&broker, "p/s", EVENTS).await {
        settle(&broker, &lease, retry()).await;
    }
    disk.advance(&broker, DAY_MS);
    let leases = lease_many(&broker, "p/s", EVENTS).await;
    assert!(leases.iter().all(|lease| lease.delivery.attempt == 2));
    for lease in &leases {
        settle(&broker, lease, retry()).await;
    }
    assert!(nothing_ready(&broker, "p/s").await);
    disk.clock.set(START_MS);
    settled_down(&broker).await;
    disk.advance(&broker, 1_999);
    assert!(nothing_ready(&broker, "p/s").await);
    disk.advance(&broker, 1);
    let leases = lease_many(&broker, "p/s", EVENTS).await;
    assert!(leases.iter().all(|lease| lease.delivery.attempt == 3));
    assert!(nothing_ready(&broker, "p/s").await);
}

/// Invariant 13.
pub async fn a_clock_set_back_delays_nothing(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    publish(&broker, event("a", 1)).await;
    let lease = lease_one(&broker, "p/s").await;
    settle(&broker, &lease, retry()).await;
    disk.clock.set(START_MS - 3_600_000);
    publish(&broker, event("a", 2)).await;
    assert_eq!(lease_one(&broker, "p/s").await.delivery.sequence, 2);
    disk.advance(&broker, 999);
    assert!(nothing_ready(&broker, "p/s").await);
    disk.advance(&broker, 1);
    assert_eq!(lease_one(&broker, "p/s").await.delivery.attempt, 2);
}

pub async fn a_clock_that_is_set_right_keeps_nothing_waiting(disk: Disk) {
    set_right(disk, false).await;
}

pub async fn a_clock_that_is_set_right_between_two_starts_keeps_nothing_waiting(disk: Disk) {
    set_right(disk, true).await;
}

/// Invariant 13: after a router ran with its clock four years ahead, nothing waits that long.
async fn set_right(disk: Disk, between_two_starts: bool) {
    const HOUR_MS: u64 = 3_600_000;
    const AHEAD_MS: u64 = 4 * 365 * 24 * HOUR_MS;
    let hourly = || Schedule {
        name: "hourly".parse().unwrap(),
        calendar: Calendar::new("0 * * * *", "UTC").unwrap(),
        missed: Missed::Once,
        event: Event::builder("first", "/tests", "due").build().unwrap(),
    };
    disk.clock.set(START_MS + AHEAD_MS);
    let mut broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    broker.set_schedules(vec![hourly()]).await.unwrap();
    publish(&broker, event("a", 1)).await;
    let failing = lease_one(&broker, "p/s").await;
    settle(&broker, &failing, retry()).await;
    publish(&broker, event("a", 2)).await;
    let delaying = lease_one(&broker, "p/s").await;
    let delayed = (emission(&delaying, "b", 0), Some(Duration::from_millis(HOUR_MS)));
    assert_eq!(ack_with(&broker, &delaying, vec![delayed]).await, Settled::Committed);

    disk.clock.set(START_MS);
    if between_two_starts {
        drop(broker);
        broker = disk.open();
        broker.set_schedules(vec![hourly()]).await.unwrap();
    } else {
        broker.wake();
        settled_down(&broker).await;
    }
    let next_ms = broker.schedules().await.unwrap().remove(0).next_ms.unwrap();
    assert!((START_MS..=START_MS + HOUR_MS).contains(&next_ms), "{}", next_ms - START_MS);
    let retried = broker.subscriptions().await.unwrap().remove(0).next_retry_ms.unwrap();
    assert!((START_MS..=START_MS + 2_000).contains(&retried), "{}", retried - START_MS);
    assert_eq!(broker.stats().newest_recorded_ms, START_MS + AHEAD_MS);
    disk.advance(&broker, 2_000);
    assert_eq!(lease_one(&broker, "p/s").await.delivery.attempt, 2);
    let before = *broker.committed().borrow();
    disk.advance(&broker, HOUR_MS);
    // The emission and the tick.
    soon(broker.committed().wait_for(|last| *last >= before + 2)).await.unwrap();
}
