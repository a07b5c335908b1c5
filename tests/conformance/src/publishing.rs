//! Publishing events and reading them back.

use usher_broker::{
    BrokerError, EventQuery, Published, ReadOrder, StoredEvent, WATCHES_MAX, Watch,
};
use usher_event::{Event, Value};
use usher_filter::Filter;

use crate::harness::*;

/// Invariant 6: sequences increase without gaps.
pub async fn sequences_rise_and_events_are_kept(disk: Disk) {
    let broker = disk.open();
    let events = vec![event("a", 1), event("b", 2), event("a", 3)];
    let published = soon(broker.publish(events.clone())).await.unwrap();
    let expected = |sequence| Published { sequence, duplicate: false };
    assert_eq!(published, [expected(1), expected(2), expected(3)]);
    assert_eq!(publish(&broker, event("a", 4)).await, 4);
    assert_eq!(soon(broker.publish(Vec::new())).await.unwrap(), []);

    let stored = broker.event(2).await.unwrap().unwrap();
    assert_eq!(stored.event, events[1]);
    assert_eq!((stored.sequence, stored.flow, stored.depth), (2, 2, 0));
    assert_eq!(stored.recorded_ms, START_MS);
    assert_eq!(stored.cause, None);
    assert!(broker.event(0).await.unwrap().is_none());
    assert!(broker.event(5).await.unwrap().is_none());
    assert_eq!(*broker.committed().borrow(), 4);
    assert_eq!(broker.stats().appended, 4);
}

/// Invariant 7: a duplicate is stored once and gets the same receipt.
pub async fn a_repeated_event_gets_the_same_answer(disk: Disk) {
    let broker = disk.open();
    let batch = vec![event("a", 1), event("a", 2), event("other", 1)];
    let published = soon(broker.publish(batch)).await.unwrap();
    assert!(published[2].duplicate, "only id and source count");
    assert_eq!(published[2].sequence, 1);
    let again = soon(broker.publish(vec![event("a", 2), event("a", 3)])).await.unwrap();
    assert_eq!(again[0], Published { sequence: 2, duplicate: true });
    assert_eq!(again[1], Published { sequence: 3, duplicate: false });
    let elsewhere = Event::builder("1", "/elsewhere", "a").build().unwrap();
    assert_eq!(publish(&broker, elsewhere).await, 4);
    assert_eq!(broker.stats().duplicates, 2);
}

pub async fn too_large_a_batch_is_refused_whole(disk: Disk) {
    let broker = disk.open();
    let batch: Vec<_> = (0..1_001).map(|id| event("a", id)).collect();
    let refused = broker.publish(batch).await.unwrap_err();
    assert!(matches!(refused, BrokerError::BatchTooLong { count: 1_001, limit: 1_000 }));
    assert_eq!(broker.stats().last_sequence, 0);
}

pub async fn pages_follow_one_another(disk: Disk) {
    let broker = disk.open();
    for batch in 0..5 {
        let ty = |id| if id % 3 == 0 { "third" } else { "other" };
        let batch = (0..100).map(|id| event(ty(id), batch * 100 + id)).collect();
        soon(broker.publish(batch)).await.unwrap();
    }
    for filter in [None, Some(Filter::parse(r#"{"exact":{"type":"third"}}"#).unwrap())] {
        let (mut from, mut seen) = (0, Vec::new());
        loop {
            let query =
                EventQuery { from, max: 7, filter: filter.clone(), ..EventQuery::default() };
            let page = broker.events(query).await.unwrap();
            assert!(page.events.len() <= 7);
            if page.next == from || page.events.is_empty() && page.next > 500 {
                break;
            }
            from = page.next;
            seen.extend(page.events);
        }
        assert!(seen.is_sorted_by(|a, b| a.sequence < b.sequence));
        let expected = if filter.is_some() { 5 * 34 } else { 500 };
        assert_eq!(seen.len(), expected);
        let (mut to, mut backwards) = (None, Vec::new());
        loop {
            let order = ReadOrder::NewestFirst;
            let query = EventQuery { to, order, max: 7, filter: filter.clone(), from: 0 };
            let page = broker.events(query).await.unwrap();
            if page.events.is_empty() {
                break;
            }
            to = Some(page.next);
            backwards.extend(page.events);
        }
        let sequences =
            |all: &[StoredEvent]| all.iter().map(|one| one.sequence).collect::<Vec<_>>();
        backwards.reverse();
        assert_eq!(sequences(&backwards), sequences(&seen));
    }
    for order in [ReadOrder::OldestFirst, ReadOrder::NewestFirst] {
        let part = EventQuery { from: 3, to: Some(5), order, max: 9, filter: None };
        let found = broker.events(part).await.unwrap().events;
        let mut sequences: Vec<_> = found.iter().map(|stored| stored.sequence).collect();
        sequences.sort_unstable();
        assert_eq!(sequences, [3, 4]);
        let nothing = EventQuery { from: 5, to: Some(5), order, max: 9, filter: None };
        assert!(broker.events(nothing).await.unwrap().events.is_empty());
    }
    let none = EventQuery { from: 3, max: 0, ..EventQuery::default() };
    assert_eq!(broker.events(none).await.unwrap().next, 3);
    let beyond = EventQuery { from: 1_000, max: 5, ..EventQuery::default() };
    assert_eq!(broker.events(beyond).await.unwrap().next, 1_000);
}

pub async fn flows_are_found_by_correlation(disk: Disk) {
    let broker = disk.open();
    for id in 0..4 {
        let correlation = if id % 2 == 0 { "order-1" } else { "order-10" };
        let event = Event::builder(id.to_string(), "/tests", "a")
            .extension("correlationid", Value::String(correlation.into()));
        publish(&broker, event.build().unwrap()).await;
    }
    assert_eq!(broker.flows_by_correlation("order-1", 10).await.unwrap(), [1, 3]);
    assert_eq!(broker.flows_by_correlation("order-10", 1).await.unwrap(), [4]);
    assert_eq!(broker.flows_by_correlation("order-", 10).await.unwrap(), [0u64; 0]);
}

fn wanted() -> Filter {
    Filter::parse(r#"{"exact":{"type":"wanted"}}"#).unwrap()
}

/// What a watch tells without waiting.
async fn told(watch: &mut Watch) -> Option<Option<u64>> {
    tokio::select! {
        biased;
        first = watch.matched() => Some(first),
        () = std::future::ready(()) => None,
    }
}

pub async fn a_watch_is_told_of_matches_and_of_nothing_else(disk: Disk) {
    let broker = disk.open();
    publish(&broker, event("wanted", 0)).await;
    let mut watch = soon(broker.watch(&wanted())).await.unwrap().unwrap();
    publish(&broker, event("other", 1)).await;
    assert_eq!(told(&mut watch).await, None);
    assert_eq!(publish(&broker, event("wanted", 2)).await, 3);
    publish(&broker, event("wanted", 3)).await;
    publish(&broker, event("wanted", 2)).await;
    assert_eq!(soon(watch.matched()).await, Some(3));
    assert_eq!(told(&mut watch).await, None, "what came after 3 is read on from it");

    // An emission is an event like any other.
    broker.subscribe(to_type("emits/all", "causes")).await.unwrap();
    publish(&broker, event("causes", 4)).await;
    let lease = lease_one(&broker, "emits/all").await;
    assert_eq!(told(&mut watch).await, None);
    ack_with(&broker, &lease, vec![(emission(&lease, "wanted", 0), None)]).await;
    assert_eq!(soon(watch.matched()).await, Some(6));

    // The type alone counts, and a filter that names none is not watched for.
    let narrower = Filter::parse(r#"{"exact":{"type":"wanted","id":"none"}}"#).unwrap();
    let mut hint = soon(broker.watch(&narrower)).await.unwrap().unwrap();
    let last = publish(&broker, event("wanted", 7)).await;
    assert_eq!(soon(hint.matched()).await, Some(last));
    let any_type = Filter::parse(r#"{"exact":{"id":"7"}}"#).unwrap();
    assert!(soon(broker.watch(&any_type)).await.unwrap().is_none());

    drop(hint);
    soon(broker.close()).await.unwrap();
    assert_eq!(soon(watch.matched()).await, Some(last));
    assert_eq!(soon(watch.matched()).await, None);
}

pub async fn watches_are_limited_and_end_with_whoever_waits(disk: Disk) {
    let broker = disk.open();
    let mut watches = Vec::new();
    for _ in 0..WATCHES_MAX {
        watches.push(soon(broker.watch(&wanted())).await.unwrap().unwrap());
    }
    let refused = soon(broker.watch(&wanted())).await.unwrap_err();
    assert!(matches!(refused, BrokerError::Busy { .. }), "{refused}");
    watches.truncate(1);
    let _another = soon(broker.watch(&wanted())).await.unwrap();
    publish(&broker, event("wanted", 1)).await;
    assert_eq!(soon(watches[0].matched()).await, Some(1));
}
