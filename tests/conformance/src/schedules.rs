//! Events emitted by schedules.

use std::sync::Arc;
use usher_broker::traits::*;
use usher_broker::{BrokerError, Calendar, Missed, Schedule, ScheduleStatus, TICKS_CAUGHT_UP_MAX};
use usher_event::Event;

use crate::harness::*;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

fn schedule(name: &str, cron: &str, missed: Missed) -> Schedule {
    Schedule {
        name: name.parse().unwrap(),
        calendar: Calendar::new(cron, "UTC").unwrap(),
        missed,
        event: Event::builder("first", "/tests", "due").subject(name).data("x").build().unwrap(),
    }
}

fn every_minute(name: &str, missed: Missed) -> Schedule {
    schedule(name, "* * * * *", missed)
}

async fn status(broker: &Arc<dyn Broker>) -> ScheduleStatus {
    settled_down(broker).await;
    broker.schedules().await.unwrap().remove(0)
}

/// Ticks in the log from `from` on, once it has reached `to`: subjects, and minutes since the
/// start.
async fn ticks(broker: &Arc<dyn Broker>, from: u64, to: u64) -> Vec<(String, u64)> {
    soon(broker.committed().wait_for(|sequence| *sequence >= to)).await.unwrap();
    settled_down(broker).await;
    let mut ticks = Vec::new();
    for sequence in from.. {
        let Some(stored) = broker.event(sequence).await.unwrap() else { break };
        let (name, event) = (stored.event.subject().unwrap().to_owned(), stored.event);
        let named = event.id().strip_prefix(&format!("{name}/")).unwrap();
        assert_eq!(Some(named), event.time());
        let at_ms = usher_event::read_time(named).unwrap();
        assert_eq!(event, schedule(&name, "* * * * *", Missed::Skip).event_at(at_ms).unwrap());
        ticks.push((name, (at_ms - START_MS) / MINUTE_MS));
    }
    ticks
}

fn of(name: &str, minutes: impl IntoIterator<Item = u64>) -> Vec<(String, u64)> {
    minutes.into_iter().map(|minute| (name.to_owned(), minute)).collect()
}

pub async fn each_tick_is_one_event(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "due")).await.unwrap();
    broker.set_schedules(vec![every_minute("pulse", Missed::Skip)]).await.unwrap();
    assert_eq!(status(&broker).await.next_ms, Some(START_MS + MINUTE_MS));
    disk.advance(&broker, MINUTE_MS - 1);
    assert!(nothing_ready(&broker, "p/s").await);
    for minute in 1..=3 {
        disk.advance(&broker, if minute == 1 { 1 } else { MINUTE_MS });
        let lease = lease_one(&broker, "p/s").await;
        assert_eq!(lease.delivery.sequence, minute);
        ack(&broker, &lease).await;
    }
    assert_eq!(ticks(&broker, 1, 3).await, of("pulse", 1..=3));
    let status = status(&broker).await;
    assert_eq!(status.last_ms, Some(START_MS + 3 * MINUTE_MS));
    assert_eq!(status.next_ms, Some(START_MS + 4 * MINUTE_MS));
    assert_eq!((status.emitted, status.passed_over), (3, 0));
    assert_eq!((broker.stats().ticks, broker.stats().ticks_passed_over), (3, 0));
}

/// Invariant 7: no tick repeats, however often the process restarts and wherever the clock jumps.
pub async fn a_tick_never_comes_twice(disk: Disk) {
    let schedules = || vec![every_minute("pulse", Missed::All)];
    let broker = disk.open();
    broker.set_schedules(schedules()).await.unwrap();
    disk.advance(&broker, MINUTE_MS);
    assert_eq!(ticks(&broker, 1, 1).await, of("pulse", [1]));
    drop(broker);
    let broker = disk.open();
    broker.set_schedules(schedules()).await.unwrap();
    assert_eq!(ticks(&broker, 1, 1).await, of("pulse", [1]));
    disk.clock.set(START_MS - HOUR_MS);
    broker.wake();
    assert_eq!(status(&broker).await.next_ms, Some(START_MS + 2 * MINUTE_MS));
    // The same minutes again, with a restart in between.
    disk.advance(&broker, HOUR_MS);
    assert_eq!(ticks(&broker, 1, 1).await, of("pulse", [1]));
    drop(broker);
    let broker = disk.open();
    broker.set_schedules(schedules()).await.unwrap();
    disk.advance(&broker, MINUTE_MS);
    assert_eq!(ticks(&broker, 1, 1).await, of("pulse", [1]));
    disk.advance(&broker, MINUTE_MS);
    assert_eq!(ticks(&broker, 1, 2).await, of("pulse", [1, 2]));
}

pub async fn missed_ticks_come_as_the_schedule_says(disk: Disk) {
    let schedules = || {
        let all = [("all", Missed::All), ("once", Missed::Once), ("skip", Missed::Skip)];
        all.map(|(name, missed)| every_minute(name, missed)).to_vec()
    };
    let broker = disk.open();
    broker.set_schedules(schedules()).await.unwrap();
    drop(broker);
    // Ten minutes and five seconds later: the tenth tick is not too late.
    disk.clock.advance(10 * MINUTE_MS + 5_000);
    let broker = disk.open();
    broker.set_schedules(schedules()).await.unwrap();
    let expected = [of("all", 1..=10), of("once", 9..=10), of("skip", [10])].concat();
    assert_eq!(ticks(&broker, 1, 13).await, expected);
    let passed_over: Vec<u64> =
        broker.schedules().await.unwrap().iter().map(|status| status.passed_over).collect();
    assert_eq!(passed_over, [0, 8, 9]);
    assert_eq!(broker.stats().ticks_passed_over, 17);
    // The same when the clock jumps.
    disk.advance(&broker, HOUR_MS + 30_000);
    let expected = [of("all", 11..=70), of("once", [70])].concat();
    assert_eq!(ticks(&broker, 14, 74).await, expected);
}

pub async fn catching_up_has_a_limit(disk: Disk) {
    let schedules = || vec![schedule("all", "*/30 * * * * *", Missed::All)];
    let broker = disk.open();
    broker.set_schedules(schedules()).await.unwrap();
    disk.advance(&broker, 24 * HOUR_MS + 20_000);
    soon(broker.committed().wait_for(|sequence| *sequence == TICKS_CAUGHT_UP_MAX as u64))
        .await
        .unwrap();
    let status = status(&broker).await;
    assert_eq!((status.emitted, status.passed_over), (1_000, 2 * 24 * 60 - 1_000));
    let first = broker.event(1).await.unwrap().unwrap().event;
    let expected_ms = START_MS + 24 * HOUR_MS - 999 * 30_000;
    assert_eq!(first, schedules()[0].event_at(expected_ms).unwrap());
    // A crash among them would find the rest.
    assert_eq!(
        broker.event(1_000).await.unwrap().unwrap().event.id(),
        "all/2027-01-16T08:00:00.000Z"
    );
}

pub async fn schedules_come_change_and_go(disk: Disk) {
    let broker = disk.open();
    broker.set_schedules(vec![every_minute("a", Missed::All)]).await.unwrap();
    disk.advance(&broker, MINUTE_MS);
    assert_eq!(ticks(&broker, 1, 1).await, of("a", [1]));
    // A changed pattern continues from its last tick; a new schedule starts now.
    disk.clock.advance(4 * MINUTE_MS + 30_000);
    let every_two = schedule("a", "*/2 * * * *", Missed::All);
    broker.set_schedules(vec![every_two, every_minute("b", Missed::All)]).await.unwrap();
    broker.wake();
    assert_eq!(ticks(&broker, 2, 3).await, of("a", [2, 4]));
    disk.advance(&broker, 30_000);
    assert_eq!(ticks(&broker, 4, 5).await, [of("a", [6]), of("b", [6])].concat());
    // A removed schedule is forgotten: added again, it starts over.
    broker.set_schedules(vec![every_minute("b", Missed::All)]).await.unwrap();
    drop(broker);
    disk.clock.advance(2 * MINUTE_MS + 30_000);
    let broker = disk.open();
    let both = vec![every_minute("a", Missed::All), every_minute("b", Missed::All)];
    broker.set_schedules(both).await.unwrap();
    assert_eq!(ticks(&broker, 6, 7).await, of("b", [7, 8]));
    let told = broker.schedules().await.unwrap();
    let told: Vec<_> = told.iter().map(|one| (one.schedule.name.as_str(), one.emitted)).collect();
    assert_eq!(told, [("a", 0), ("b", 3)]);
    broker.set_schedules(Vec::new()).await.unwrap();
    disk.advance(&broker, MINUTE_MS);
    assert_eq!(ticks(&broker, 6, 7).await, of("b", [7, 8]));
    assert!(broker.schedules().await.unwrap().is_empty());
}

pub async fn wrong_schedules_are_refused(disk: Disk) {
    let broker = disk.open();
    broker.set_schedules(vec![every_minute("a", Missed::Skip)]).await.unwrap();
    let named = |ty: &str| Schedule {
        event: Event::builder("1", "/tests", ty).build().unwrap(),
        ..every_minute("b", Missed::Skip)
    };
    let refused = [
        vec![every_minute("b", Missed::Skip), every_minute("b", Missed::Once)],
        vec![named("dev.usher.tick")],
        (0..=256).map(|n| every_minute(&format!("n{n}"), Missed::Skip)).collect(),
    ];
    for schedules in refused {
        let error = broker.set_schedules(schedules).await.unwrap_err();
        assert!(matches!(error, BrokerError::Invalid(_)), "{error}");
    }
    assert_eq!(status(&broker).await.schedule.name.as_str(), "a");
}
