//! New versions on trial: one that fails its first deliveries does no harm.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test that called it")]

use std::sync::Arc;

use usher_broker::traits::*;
use usher_event::{Delivery, Digest, Failure, FailureClass, Verdict};
use usher_router::{Installation, Standing, TrialPolicy};

use crate::harness::*;

fn trap() -> Step {
    let failure = Failure::new(FailureClass::Trap, "unreachable");
    Step::Say(Verdict::Retry { failure, after: None })
}

fn trapping(version: u8, at: impl Fn(&Delivery) -> bool + Send + Sync + 'static) -> Arc<Puppet> {
    Puppet::new(version, move |delivery| if at(delivery) { trap() } else { Step::Emit(vec!["b"]) })
}

/// An installation that is on trial if it replaces another version.
fn on_trial(puppet: &Arc<Puppet>) -> Installation {
    let trial = Some(TrialPolicy::default());
    Installation { trial, ..installation(puppet, &[to_type("s", "a")]) }
}

fn digest(version: u8) -> Digest {
    Digest::from_bytes([version; 32])
}

impl World {
    fn puppet(&self) -> Standing {
        let standing = self.router.standings().remove(&"puppet".parse().unwrap()).unwrap();
        Standing { digest: None, ..standing }
    }

    async fn serve(&self, puppet: &Arc<Puppet>) {
        soon(self.router.install(on_trial(puppet))).await.unwrap();
    }
}

/// Invariants 4 and 12: the new version's effects are dropped, and the old one handles the whole
/// delivery.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_traps_at_first_fails_its_trial_and_its_deliveries_end_on_the_old_one() {
    let world = World::new(LONG);
    let (old, new) = (trapping(1, |_| false), trapping(2, |_| true));
    world.serve(&old).await;
    assert_eq!(world.puppet().last_good, None);
    world.serve(&new).await;
    let mut notices = world.router.notices();
    assert_eq!(world.puppet().last_good, Some(digest(1)));
    world.publish("a", 1, 200).await;
    while world.puppet().failed_trial.is_none() {
        soon(notices.changed()).await.unwrap();
    }
    let failed = world.puppet().failed_trial.unwrap();
    assert_eq!((failed.digest, failed.good), (digest(2), digest(1)));
    assert_eq!((failed.failures, failed.deliveries), (5, 5));
    assert_eq!((failed.class, &*failed.reason), (FailureClass::Trap, "unreachable"));
    // Neither version gets a delivery until there is a decision.
    let status = world.until("puppet/s", |status| status.in_flight == 0).await;
    assert!((5..=8).contains(&status.acked) && status.failed == 0, "{status:?}");
    assert_eq!(status.acked, new.begun().len() as u64);

    world.serve(&old).await;
    let status = world.until("puppet/s", |status| status.acked == 200).await;
    assert_eq!((status.failed, status.dead), (0, 0));
    assert_each_once(old.begun(), 200);
    let types = world.types().await;
    assert_eq!((types["a"], types["b"]), (200, 200));
    assert_eq!(world.puppet(), Standing::default());
    assert!(soon(world.router.shutdown(LONG)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_answers_passes_even_if_it_fails_now_and_then() {
    let world = World::new(LONG);
    let (old, new) = (Puppet::willing(1), trapping(2, |delivery| delivery.sequence % 10 == 0));
    world.serve(&old).await;
    world.serve(&new).await;
    let mut notices = world.router.notices();
    world.publish("a", 1, 30).await;
    // The first notice may be that it acknowledged something.
    while world.puppet().last_good.is_some() {
        soon(notices.changed()).await.unwrap();
    }
    assert_eq!(world.puppet().failed_trial, None);
    // From now on, the new version has no fallback.
    world.until("puppet/s", |status| status.acked + status.retrying == 30).await;
    assert!(old.begun().iter().all(|sequence| sequence % 10 == 0), "{:?}", old.begun());
    assert!(soon(world.router.shutdown(LONG)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_on_both_versions_says_nothing_of_the_new_one() {
    let world = World::new(LONG);
    let poison = |delivery: &Delivery| delivery.sequence <= 4;
    let (old, new) = (trapping(1, poison), trapping(2, poison));
    world.serve(&old).await;
    world.serve(&new).await;
    world.publish("a", 1, 4).await;
    let status = world.until("puppet/s", |status| status.retrying == 4).await;
    // One attempt of each is counted, though both versions ran it.
    assert_eq!((status.failed, old.begun().len(), new.begun().len()), (4, 4, 4));
    assert_eq!(world.puppet().last_good, Some(digest(1)));
    assert_eq!(world.puppet().failed_trial, None);
    // Shuts down although the trial is still running.
    assert!(soon(world.router.shutdown(LONG)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_third_version_is_compared_with_the_last_that_was_good() {
    let world = World::new(LONG);
    let (good, bad, worse) = (trapping(1, |_| false), trapping(2, |_| true), trapping(3, |_| true));
    world.serve(&good).await;
    world.serve(&bad).await;
    world.publish("a", 1, 2).await;
    world.until("puppet/s", |status| status.acked == 2).await;
    world.serve(&worse).await;
    assert_eq!(world.puppet().last_good, Some(digest(1)));
    world.publish("a", 3, 2).await;
    world.until("puppet/s", |status| status.acked == 4).await;
    assert_eq!((good.begun().len(), bad.begun().len(), worse.begun().len()), (4, 2, 2));
    // Returning to a good version is no trial.
    world.serve(&good).await;
    assert_eq!(world.puppet(), Standing::default());
    world.publish("a", 5, 1).await;
    world.until("puppet/s", |status| status.acked == 5).await;
    assert!(soon(world.router.shutdown(LONG)).await);
}

fn rejecting(version: u8, at: impl Fn(&Delivery) -> bool + Send + Sync + 'static) -> Arc<Puppet> {
    Puppet::new(version, move |delivery| {
        let failure = Failure::new(FailureClass::Reject, "as ever");
        if at(delivery) { Step::Say(Verdict::Reject { failure }) } else { Step::Emit(vec!["b"]) }
    })
}

/// An operator who inspects a dead letter needs to see both versions' failures.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejection_by_the_version_before_tells_what_the_new_one_did() {
    let world = World::new(LONG);
    let (old, new) = (rejecting(1, |delivery| delivery.sequence > 1), trapping(2, |_| true));
    world.serve(&old).await;
    world.publish("a", 1, 1).await;
    world.until("puppet/s", |status| status.acked == 1).await;
    world.serve(&new).await;
    world.publish("a", 2, 1).await;
    world.until("puppet/s", |status| status.dead == 1).await;
    let query = usher_broker::DeadLetterQuery { max: 10, ..Default::default() };
    let letters = soon(world.broker.dead_letters(query)).await.unwrap().letters;
    let attempt = letters[0].attempts.last().unwrap();
    assert_eq!(attempt.class, FailureClass::Reject);
    for words in ["reject: as ever", "trap: unreachable"] {
        assert!(attempt.reason.contains(words), "{}", attempt.reason);
    }
    assert!(soon(world.router.shutdown(LONG)).await);
}

/// A version that has only ever rejected is no better than one that traps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_acknowledged_nothing_is_not_gone_back_to() {
    let world = World::new(LONG);
    let (old, new) = (rejecting(1, |_| true), trapping(2, |_| true));
    world.serve(&old).await;
    world.serve(&new).await;
    world.publish("a", 1, 10).await;
    let status = world.until("puppet/s", |status| status.retrying == 10).await;
    assert_eq!((status.dead, world.puppet().failed_trial), (0, None));
    assert!(soon(world.router.shutdown(LONG)).await);
}
