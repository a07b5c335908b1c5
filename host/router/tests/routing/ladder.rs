//! Plugins that keep failing: their breaker, their quarantine, and an operator's pause.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test that called it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use usher_broker::traits::*;
use usher_broker::{RetryPolicy, Subscription};
use usher_event::{Delivery, Failure, FailureClass, PluginName, Verdict};
use usher_router::{BreakerPolicy, Installation, RestoredState, Standing};

use crate::harness::*;

fn name() -> PluginName {
    "puppet".parse().unwrap()
}

fn trap() -> Step {
    let failure = Failure::new(FailureClass::Trap, "unreachable");
    Step::Say(Verdict::Retry { failure, after: None })
}

/// A puppet that traps on matching deliveries until it is fixed.
fn trapping(
    version: u8,
    at: impl Fn(&Delivery) -> bool + Send + Sync + 'static,
) -> (Arc<Puppet>, Arc<AtomicBool>) {
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = Arc::clone(&mended);
    let puppet = Puppet::new(version, move |delivery| {
        if at(delivery) && !is_mended.load(Ordering::Acquire) { trap() } else { Step::Emit(vec![]) }
    });
    (puppet, mended)
}

/// A breaker that never quarantines and probes after `first_wait`.
fn breaker(first_wait: Duration) -> BreakerPolicy {
    BreakerPolicy {
        first_wait,
        max_wait: first_wait,
        quarantine_failures: 10_000,
        ..BreakerPolicy::default()
    }
}

/// A subscription whose failed deliveries are retried at once.
fn quick(local: &str, ty: &str) -> Subscription {
    let retry = RetryPolicy { first_delay: Duration::ZERO, jitter: 0.0, ..RetryPolicy::default() };
    Subscription { retry, ..to_type(local, ty) }
}

fn with(puppet: &Arc<Puppet>, breaker: BreakerPolicy) -> Installation {
    Installation { breaker, ..installation(puppet, &[quick("s", "a")]) }
}

impl World {
    fn standing(&self) -> Standing {
        let standing = self.router.standings().remove(&name()).unwrap_or_default();
        Standing { digest: None, ..standing }
    }

    async fn stands(&self, condition: impl Fn(&Standing) -> bool) -> Standing {
        soon(async {
            loop {
                let standing = self.standing();
                if condition(&standing) {
                    return standing;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_fails_in_a_row_is_left_alone_and_its_events_wait() {
    let world = World::new(LONG);
    let (puppet, _) = trapping(1, |_| true);
    let never = breaker(Duration::from_secs(3_600));
    soon(world.router.install(with(&puppet, never))).await.unwrap();
    world.publish("a", 1, 300).await;
    let standing = world.stands(|standing| standing.open.is_some()).await;
    let open = standing.open.unwrap();
    assert_eq!(open, "5 events failed in a row, the last: trap: unreachable");
    let status = world.until("puppet/s", |status| status.in_flight == 0).await;
    // Five opened the breaker; the other three workers may have had one in flight each.
    let begun = puppet.begun().len();
    assert!((5..=8).contains(&begun), "{begun}");
    // Deliveries that were given back count no attempt.
    assert_eq!((status.failed, status.acked), (begun as u64, 0));

    let next = Puppet::willing(2);
    soon(world.router.install(with(&next, never))).await.unwrap();
    assert_eq!(world.standing(), Standing::default());
    world.broker.wake();
    world.until("puppet/s", |status| status.acked == 300).await;
    assert_each_once(next.begun(), 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_that_is_answered_brings_everything_back() {
    let world = World::new(LONG);
    let (puppet, mended) = trapping(1, |_| true);
    let soon_again = breaker(Duration::from_millis(1));
    let idle = quick("idle", "nothing");
    let installed = Installation {
        breaker: soon_again,
        // An idle subscription must not keep the probe from the others.
        ..installation(&puppet, &[idle, quick("s", "a")])
    };
    soon(world.router.install(installed)).await.unwrap();
    world.publish("a", 1, 300).await;
    world.stands(|standing| standing.open.is_some()).await;
    let begun = puppet.begun().len();
    puppet.has_begun(begun + 3).await;
    mended.store(true, Ordering::Release);
    soon(async {
        while world.status("puppet/s").await.acked < 300 {
            world.broker.wake();
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(world.standing(), Standing::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_failures_quarantine_until_somebody_says_otherwise() {
    let world = World::new(LONG);
    let mut notices = world.router.notices();
    let (puppet, mended) = trapping(1, |_| true);
    let strict = BreakerPolicy { failures: 100, quarantine_failures: 7, ..Default::default() };
    soon(world.router.install(with(&puppet, strict))).await.unwrap();
    world.publish("a", 1, 300).await;
    let quarantine = soon(async {
        loop {
            notices.changed().await.unwrap();
            if let Some(quarantine) = world.standing().quarantine {
                return quarantine;
            }
        }
    })
    .await;
    assert_eq!((quarantine.failures, quarantine.class), (8, FailureClass::Trap));
    assert_eq!(quarantine.reason, "unreachable");
    let status = world.until("puppet/s", |status| status.in_flight == 0).await;
    assert_eq!((status.acked, status.dead), (0, 0));

    // After a restart, or with its file back, the same bytes are still quarantined.
    soon(world.router.remove(&name())).await;
    let held = RestoredState { quarantine: Some(quarantine.clone()), ..RestoredState::default() };
    let again = Installation { held: held.clone(), ..with(&puppet, strict) };
    let begun = puppet.begun().len();
    soon(world.router.install(again)).await.unwrap();
    assert_eq!(world.standing().quarantine, Some(quarantine.clone()));
    assert_eq!(puppet.begun().len(), begun);
    mended.store(true, Ordering::Release);
    assert_eq!(world.router.release(&name()), Some(quarantine));
    assert_eq!(world.router.release(&name()), None);
    world.broker.wake();
    world.until("puppet/s", |status| status.acked == 300).await;

    // Other bytes start over.
    soon(world.router.remove(&name())).await;
    let other = Puppet::willing(2);
    soon(world.router.install(Installation { held, ..with(&other, strict) })).await.unwrap();
    assert_eq!(world.standing(), Standing::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_poison_event_becomes_a_dead_letter_and_the_plugin_is_not_punished() {
    let world = World::new(LONG);
    let (puppet, _) = trapping(1, |delivery| delivery.event.id() == "7");
    let strict = BreakerPolicy { failures: 2, quarantine_failures: 1, ..Default::default() };
    soon(world.router.install(with(&puppet, strict))).await.unwrap();
    world.publish("a", 1, 100).await;
    soon(async {
        while world.status("puppet/s").await.dead == 0 {
            world.broker.wake();
            tokio::task::yield_now().await;
        }
    })
    .await;
    let status = world.status("puppet/s").await;
    assert_eq!((status.acked, status.failed), (99, 60));
    assert_eq!(world.standing(), Standing::default());
    let letters = soon(
        world.broker.dead_letters(usher_broker::DeadLetterQuery { max: 10, ..Default::default() }),
    );
    assert_eq!(letters.await.unwrap().letters.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_any_kind_are_no_failures_of_the_plugin() {
    let world = World::new(LONG);
    let puppet = Puppet::new(1, |delivery| {
        let class = match delivery.sequence % 2 {
            0 => FailureClass::Retry,
            _ => FailureClass::Host,
        };
        let failure = Failure::new(class, "not now");
        Step::Say(match class {
            FailureClass::Retry => Verdict::Reject { failure },
            _ => Verdict::Retry { failure, after: None },
        })
    });
    let strict = BreakerPolicy { failures: 1, quarantine_failures: 1, ..Default::default() };
    soon(world.router.install(with(&puppet, strict))).await.unwrap();
    world.publish("a", 1, 50).await;
    world.until("puppet/s", |status| status.failed >= 50).await;
    assert_eq!(world.standing(), Standing::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_plugin_takes_nothing_new_until_it_goes_on() {
    let world = World::new(LONG);
    let gate = gate();
    let held = Arc::clone(&gate);
    let puppet = Puppet::new(1, move |_| Step::Pass(Arc::clone(&held)));
    soon(world.router.install(installation(&puppet, &[to_type("s", "a")]))).await.unwrap();
    assert!(!world.router.pause(&"other".parse().unwrap(), true));
    world.publish("a", 1, 10).await;
    puppet.has_begun(4).await;
    assert!(world.router.pause(&name(), true));
    assert!(world.standing().is_paused);
    // Deliveries in flight complete.
    gate.add_permits(4);
    let status = world.until("puppet/s", |status| status.in_flight == 0).await;
    assert_eq!((status.acked, status.failed, puppet.begun().len()), (4, 0, 4));

    // A new version doesn't lift an operator's pause.
    let next = Puppet::willing(2);
    soon(world.router.install(installation(&next, &[to_type("s", "a")]))).await.unwrap();
    assert!(world.standing().is_paused && next.begun().is_empty());
    assert!(world.router.pause(&name(), false));
    world.until("puppet/s", |status| status.acked == 10).await;
    assert_eq!(next.begun().len(), 6);
}
