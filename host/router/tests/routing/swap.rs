//! Hot swap, removal, and changes of subscriptions.

use std::sync::Arc;

use usher_broker::Subscription;
use usher_broker::traits::*;
use usher_event::Digest;
use usher_router::{InstallError, SwapOutcome};

use crate::harness::*;

fn digest(version: u8) -> Digest {
    Digest::from_bytes([version; 32])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_under_load_lose_nothing_and_double_nothing() {
    let world = World::new(LONG);
    let puppets: Vec<_> = (0..20).map(Puppet::willing).collect();
    let subscriptions = [to_type("s", "a")];
    soon(world.router.install(installation(&puppets[0], &subscriptions))).await.unwrap();
    for (round, puppet) in (0..).zip(&puppets[1..]) {
        world.publish("a", 1 + round * 500, 500).await;
        let outcome = soon(world.router.install(installation(puppet, &subscriptions))).await;
        let (from, to) = match outcome.unwrap() {
            SwapOutcome::Replaced { from, to } => (from, to),
            other => panic!("{other:?}"),
        };
        assert_eq!((from, to), (digest(u8::try_from(round).unwrap()), puppet_of(puppet)));
    }
    let count = 500 * 19;
    world.until("puppet/s", |status| status.acked == count).await;
    let begun = puppets.iter().flat_map(|puppet| puppet.begun()).collect();
    assert_each_once(begun, count);
    assert_eq!(world.router.status()[0].digest, digest(19));
    assert!(soon(world.router.shutdown(LONG)).await);
}

fn puppet_of(puppet: &Puppet) -> Digest {
    usher_event::Listener::digest(puppet)
}

/// Invariant 12: a swap happens between deliveries, not within one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_under_way_end_on_the_version_they_began_on() {
    let world = World::new(LONG);
    let gate = gate();
    let held = Arc::clone(&gate);
    let old = Puppet::new(1, move |_| Step::Pass(Arc::clone(&held)));
    let new = Puppet::willing(2);
    let one_at_a_time = [Subscription { max_in_flight: 1, ..to_type("s", "a") }];
    soon(world.router.install(installation(&old, &one_at_a_time))).await.unwrap();
    world.publish("a", 1, 2).await;
    old.has_begun(1).await;
    soon(world.router.install(installation(&new, &one_at_a_time))).await.unwrap();
    assert!(new.begun().is_empty());
    gate.add_permits(1);
    world.until("puppet/s", |status| status.acked == 2).await;
    assert_eq!((old.begun(), new.begun()), (vec![1], vec![2]));
}

/// Invariant 12: an interrupted delivery runs again, entirely on the new version.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_end_on_the_old_version_runs_again_on_the_new() {
    let world = World::new(NONE);
    let held = gate();
    let old = Puppet::new(1, move |_| Step::Pass(Arc::clone(&held)));
    let new = Puppet::willing(2);
    let subscriptions = [to_type("s", "a")];
    soon(world.router.install(installation(&old, &subscriptions))).await.unwrap();
    world.publish("a", 1, 3).await;
    old.has_begun(1).await;
    soon(world.router.install(installation(&new, &subscriptions))).await.unwrap();
    let status = world.until("puppet/s", |status| status.acked == 3).await;
    assert_eq!(status.failed, 0);
    assert_each_once(new.begun(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_plugins_events_wait() {
    let world = World::new(LONG);
    let (before, after) = (Puppet::willing(1), Puppet::willing(2));
    let subscriptions = [to_type("s", "a")];
    soon(world.router.install(installation(&before, &subscriptions))).await.unwrap();
    let name = "puppet".parse().unwrap();
    assert!(soon(world.router.remove(&name)).await);
    assert!(!soon(world.router.remove(&name)).await);
    assert!(world.router.active_subscriptions().is_empty());
    world.publish("a", 1, 5).await;
    assert_eq!(world.status("puppet/s").await.acked, 0);
    let outcome = soon(world.router.install(installation(&after, &subscriptions))).await;
    assert_eq!(outcome.unwrap(), SwapOutcome::Loaded { digest: digest(2) });
    world.until("puppet/s", |status| status.acked == 5).await;
    assert!(before.begun().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_come_go_and_change_with_the_version() {
    let world = World::new(LONG);
    let (old, new) = (Puppet::willing(1), Puppet::willing(2));
    let asked = [to_type("kept", "a"), to_type("dropped", "b"), to_type("changed", "c")];
    soon(world.router.install(installation(&old, &asked))).await.unwrap();
    let asked = [to_type("kept", "a"), to_type("changed", "d"), to_type("added", "e")];
    soon(world.router.install(installation(&new, &asked))).await.unwrap();
    let active: Vec<_> =
        world.router.active_subscriptions().iter().map(ToString::to_string).collect();
    assert_eq!(active, ["puppet/added", "puppet/changed", "puppet/kept"]);
    for (first, ty) in [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e")] {
        world.publish(ty, first, 1).await;
    }
    for subscription in ["puppet/added", "puppet/changed", "puppet/kept"] {
        world.until(subscription, |status| status.acked == 1).await;
    }
    let mut begun = new.begun();
    begun.sort_unstable();
    assert_eq!((begun, old.begun()), (vec![1, 4, 5], vec![]));
    // The subscription is kept, with its pending deliveries.
    assert_eq!(world.status("puppet/dropped").await.acked, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_again_changes_nothing() {
    let world = World::new(LONG);
    let puppet = Puppet::willing(1);
    let subscriptions = [to_type("s", "a")];
    soon(world.router.install(installation(&puppet, &subscriptions))).await.unwrap();
    let again = soon(world.router.install(installation(&puppet, &subscriptions))).await;
    assert_eq!(again.unwrap(), SwapOutcome::Unchanged { digest: digest(1) });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_installed_changes_nothing() {
    let world = World::new(LONG);
    let (old, new) = (Puppet::willing(1), Puppet::willing(2));
    let subscriptions = [to_type("s", "a")];
    soon(world.router.install(installation(&old, &subscriptions))).await.unwrap();

    let foreign = Subscription { name: "other/s".parse().unwrap(), ..to_type("s", "a") };
    let refused = soon(world.router.install(installation(&new, &[foreign]))).await;
    assert!(matches!(refused, Err(InstallError::Foreign { .. })), "{refused:?}");
    let twice = [to_type("s", "a"), to_type("s", "b")];
    let refused = soon(world.router.install(installation(&new, &twice))).await;
    assert!(matches!(refused, Err(InstallError::Twice(_))), "{refused:?}");
    // The broker refuses a subscription that allows no delivery in flight.
    let impossible = [
        to_type("new", "b"),
        to_type("s", "b"),
        Subscription { max_in_flight: 0, ..to_type("t", "b") },
    ];
    let refused = soon(world.router.install(installation(&new, &impossible))).await;
    assert!(matches!(refused, Err(InstallError::Broker { .. })), "{refused:?}");
    // Subscriptions created before the failure are removed again.
    let left = world.broker.subscriptions().await.unwrap();
    assert_eq!(left.len(), 1, "{left:?}");

    world.publish("a", 1, 3).await;
    world.until("puppet/s", |status| status.acked == 3).await;
    assert_eq!((old.begun().len(), new.begun().len()), (3, 0));
    assert_eq!(world.router.status()[0].digest, digest(1));

    assert!(soon(world.router.shutdown(LONG)).await);
    let late = soon(world.router.install(installation(&new, &subscriptions))).await;
    assert!(matches!(late, Err(InstallError::ShutDown)), "{late:?}");
}
