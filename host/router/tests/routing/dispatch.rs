//! From lease to settlement: verdicts, emissions, panics, slow deliveries, shutdown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use usher_broker::traits::*;
use usher_broker::{DeadLetterQuery, Subscription};
use usher_event::{Failure, FailureClass, Verdict};
use usher_filter::Projection;
use usher_router::SwapOutcome;

use crate::harness::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_delivery_is_handled_once_and_its_emissions_appended() {
    let world = World::new(LONG);
    let puppet = Puppet::new(1, |_| Step::Emit(vec!["b", "c"]));
    let outcome = soon(world.router.install(installation(&puppet, &[to_type("s", "a")]))).await;
    assert_eq!(outcome.unwrap(), SwapOutcome::Loaded { digest: puppet_digest(1) });
    world.publish("a", 1, 2_000).await;
    world.until("puppet/s", |status| status.acked == 2_000).await;
    assert_eq!(puppet.begun().len(), 2_000);
    let types = world.types().await;
    assert_eq!((types["a"], types["b"], types["c"]), (2_000, 2_000, 2_000));
    let status = world.router.status();
    assert_eq!((status[0].handled, status[0].failed.len()), (2_000, 0));
    assert!(soon(world.router.shutdown(LONG)).await);
}

fn puppet_digest(version: u8) -> usher_event::Digest {
    usher_event::Digest::from_bytes([version; 32])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verdicts_arrive_with_their_class() {
    let world = World::new(LONG);
    let puppet = Puppet::new(1, |delivery| match delivery.event.id() {
        "1" => Step::Say(Verdict::Reject { failure: Failure::new(FailureClass::Reject, "never") }),
        "2" => Step::Emit(vec![""]),
        "3" => Step::Emit(vec!["too.many"; 101]),
        _ => Step::Emit(Vec::new()),
    });
    soon(world.router.install(installation(&puppet, &[to_type("s", "a")]))).await.unwrap();
    world.publish("a", 1, 4).await;
    world.until("puppet/s", |status| status.dead == 3 && status.acked == 1).await;
    let query = DeadLetterQuery { max: 10, ..DeadLetterQuery::default() };
    let letters = soon(world.broker.dead_letters(query)).await.unwrap().letters;
    let mut classes: Vec<_> = letters
        .iter()
        .map(|letter| (letter.stored.event.id().to_owned(), letter.attempts[0].class))
        .collect();
    classes.sort();
    assert_eq!(
        classes,
        [
            ("1".to_owned(), FailureClass::Reject),
            ("2".to_owned(), FailureClass::Emission),
            ("3".to_owned(), FailureClass::Limit),
        ]
    );
    assert!(letters.iter().all(|letter| letter.attempts[0].digest == Some(puppet_digest(1))));
    let versions = letters.iter().map(|letter| letter.attempts[0].version.as_deref());
    assert!(versions.into_iter().all(|version| version == Some("1.2.3")));
    // No emission of a failed delivery is in the log.
    let types: Vec<_> = world.types().await.into_keys().collect();
    assert_eq!(types, ["a", "dev.usher.delivery.dead"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_fails_one_delivery_and_no_more() {
    let world = World::new(LONG);
    let panicked = AtomicBool::new(false);
    let puppet = Puppet::new(1, move |delivery| {
        if delivery.event.id() == "5" && !panicked.swap(true, Ordering::Relaxed) {
            return Step::Panic;
        }
        Step::Emit(Vec::new())
    });
    soon(world.router.install(installation(&puppet, &[to_type("s", "a")]))).await.unwrap();
    world.publish("a", 1, 9).await;
    world.until("puppet/s", |status| status.acked == 8 && status.retrying == 1).await;
    assert_eq!(world.router.status()[0].failed[&FailureClass::Host], 1);
    world.clock.advance(10_000);
    world.broker.wake();
    world.until("puppet/s", |status| status.acked == 9).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_delivery_holds_up_nothing_else() {
    let world = World::new(LONG);
    let gate = gate();
    let held = Arc::clone(&gate);
    let puppet = Puppet::new(1, move |delivery| match delivery.event.id() {
        "700" => Step::Pass(Arc::clone(&held)),
        _ => Step::Emit(Vec::new()),
    });
    soon(world.router.install(installation(&puppet, &[to_type("s", "a")]))).await.unwrap();
    // Long enough for runs to have grown when the slow one comes.
    world.publish("a", 1, 1_000).await;
    world.until("puppet/s", |status| status.acked == 999).await;
    gate.add_permits(1);
    world.until("puppet/s", |status| status.acked == 1_000).await;
    assert_each_once(puppet.begun(), 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_end_in_time_is_given_back_at_shutdown() {
    let world = World::new(LONG);
    let held = gate();
    let puppet = Puppet::new(1, move |_| Step::Pass(Arc::clone(&held)));
    soon(world.router.install(installation(&puppet, &[to_type("s", "a")]))).await.unwrap();
    world.publish("a", 1, 10).await;
    puppet.has_begun(1).await;
    assert!(!soon(world.router.shutdown(NONE)).await);
    let status = world.until("puppet/s", |status| status.in_flight == 0).await;
    assert_eq!((status.acked, status.failed), (0, 0));
    // No attempt was counted, and every delivery can be leased again.
    let leases = soon(world.broker.lease(&status.subscription.name, 100)).await.unwrap();
    assert!(!leases.is_empty());
    assert!(leases.iter().all(|lease| lease.delivery.attempt == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_router_loses_no_lease() {
    let World { broker, clock, router } = World::new(LONG);
    let held = gate();
    let puppet = Puppet::new(1, move |_| Step::Pass(Arc::clone(&held)));
    soon(router.install(installation(&puppet, &[to_type("s", "a")]))).await.unwrap();
    let world = World {
        router: usher_router::Router::new(
            Arc::clone(&broker) as _,
            tokio::runtime::Handle::current(),
        ),
        broker,
        clock,
    };
    world.publish("a", 1, 10).await;
    puppet.has_begun(1).await;
    drop(router);
    world.until("puppet/s", |status| status.in_flight == 0).await;
    let next = Puppet::willing(2);
    soon(world.router.install(installation(&next, &[to_type("s", "a")]))).await.unwrap();
    world.until("puppet/s", |status| status.acked == 10).await;
    assert_each_once(next.begun(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisoned_broker_stops_deliveries_and_says_so() {
    let disk = usher_broker::MemoryDisk::default();
    let broker = usher_broker::EmbeddedBroker::on(&disk, usher_broker::Options::new("")).unwrap();
    let router =
        usher_router::Router::new(Arc::clone(&broker) as _, tokio::runtime::Handle::current());
    let puppet = Puppet::willing(1);
    soon(router.install(installation(&puppet, &[to_type("s", "a")]))).await.unwrap();
    disk.fail_next_commit();
    let event = usher_event::Event::builder("1", "/test", "a").build().unwrap();
    assert!(soon(broker.publish(vec![event])).await.is_err());
    soon(async {
        while router.status()[0].stopped.is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(soon(router.shutdown(LONG)).await);
}

/// With a clock that goes on whenever nothing runs, so nothing here may be awaited with a timeout.
#[tokio::test(start_paused = true)]
async fn a_subscription_that_waits_costs_no_task() {
    const SUBSCRIPTIONS: usize = 50;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let world = World::new(LONG);
    let puppet = Puppet::willing(1);
    let subscription = |n: usize| to_type(&format!("s{n}"), &format!("t{n}"));
    let subscriptions: Vec<_> = (0..SUBSCRIPTIONS).map(subscription).collect();
    world.router.install(installation(&puppet, &subscriptions)).await.unwrap();
    for round in 0..3_usize {
        let event = usher_event::Event::builder(round.to_string(), "/test", "t7").build().unwrap();
        world.broker.publish(vec![event]).await.unwrap();
        let mut begun = puppet.begun.subscribe();
        begun.wait_for(|begun| begun.len() > round).await.unwrap();
        // All workers of one subscription, and what settles for them.
        assert!(tasks() < 10, "{} tasks in round {round}", tasks());
        while tasks() > 0 {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    }
    assert_eq!(world.router.status().iter().map(|one| one.handled).sum::<u64>(), 3);
    assert!(world.router.shutdown(LONG).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_gets_the_part_of_the_data_that_is_its_own() {
    let world = World::new(LONG);
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen_by = Arc::clone(&seen);
    let puppet = Puppet::new(1, move |delivery| {
        let data =
            delivery.event.data_slice().map(|data| String::from_utf8_lossy(data).into_owned());
        seen_by.lock().unwrap().push((delivery.attempt, delivery.is_dry_run, data));
        match delivery.attempt {
            1 => Step::Say(Verdict::Reject { failure: Failure::new(FailureClass::Reject, "no") }),
            _ => Step::Emit(Vec::new()),
        }
    });
    let projection = Projection::new(Some(&["/order"]), &["/order/card"]).unwrap();
    let subscription = Subscription { projection, ..to_type("s", "a") };
    soon(world.router.install(installation(&puppet, &[subscription]))).await.unwrap();
    let data = r#"{"order":{"id":1,"card":"4111"},"total":2}"#;
    let event = usher_event::Event::builder("1", "/test", "a").data(data).build().unwrap();
    soon(world.broker.publish(vec![event])).await.unwrap();
    world.until("puppet/s", |status| status.dead == 1).await;
    let query = DeadLetterQuery { max: 10, ..DeadLetterQuery::default() };
    let letter = soon(world.broker.dead_letters(query)).await.unwrap().letters.remove(0);
    assert_eq!(letter.stored.event.data_slice(), Some(data.as_bytes()));
    let name = "puppet/s".parse().unwrap();
    soon(world.router.dry_run(&name, letter.stored)).await.unwrap();
    let part = Some(r#"{"order":{"id":1}}"#.to_owned());
    assert_eq!(*seen.lock().unwrap(), [(1, false, part.clone()), (1, true, part)]);
}
