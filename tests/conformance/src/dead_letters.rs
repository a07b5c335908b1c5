//! Dead letters: list, redrive, edit, discard.

use std::sync::Arc;
use usher_broker::testing::LocalOperator as _;
use usher_broker::traits::*;
use usher_broker::{
    AuditAction, BrokerError, Change, DeadLetterQuery, DeliveryState, Disposition, Order,
    PluginChange, Settled, Start, Subscription,
};
use usher_event::{Event, Failure, FailureClass, PLUGIN_QUARANTINED_TYPE, SystemEvent};
use usher_filter::Filter;

use crate::harness::*;

/// Publishes an event and rejects its only delivery with this class.
async fn bury(broker: &Arc<dyn Broker>, subscription: &str, event: Event, class: FailureClass) {
    publish(broker, event).await;
    let lease = lease_one(broker, subscription).await;
    let failure = Failure::new(class, "never");
    settle(broker, &lease, Disposition::Reject { failure }).await;
}

pub async fn they_are_listed_by_what_they_are(disk: Disk) {
    let broker = disk.open();
    for (subscription, ty) in [("p/one", "a"), ("p/two", "b.x"), ("q/one", "b.y")] {
        broker.subscribe(to_type(subscription, ty)).await.unwrap();
    }
    bury(&broker, "p/one", event("a", 1), FailureClass::Trap).await;
    disk.advance(&broker, 1_000);
    bury(&broker, "p/two", event("b.x", 2), FailureClass::Timeout).await;
    disk.advance(&broker, 1_000);
    bury(&broker, "q/one", event("b.y", 3), FailureClass::Trap).await;

    let all = || DeadLetterQuery { max: 10, ..DeadLetterQuery::default() };
    let cases = [
        (all(), vec![1, 2, 3]),
        (DeadLetterQuery { subscription: Some(name("p/two")), ..all() }, vec![2]),
        (DeadLetterQuery { plugin: Some("p".parse().unwrap()), ..all() }, vec![1, 2]),
        (DeadLetterQuery { class: Some(FailureClass::Trap), ..all() }, vec![1, 3]),
        (DeadLetterQuery { type_prefix: Some("b.".into()), ..all() }, vec![2, 3]),
        (DeadLetterQuery { from_ms: Some(START_MS + 1_000), ..all() }, vec![2, 3]),
        (DeadLetterQuery { to_ms: Some(START_MS + 1_000), ..all() }, vec![1]),
        (DeadLetterQuery { after: Some(1), class: Some(FailureClass::Trap), ..all() }, vec![3]),
        (DeadLetterQuery { class: Some(FailureClass::Host), ..all() }, vec![]),
    ];
    for (query, expected) in cases {
        let page = broker.dead_letters(query.clone()).await.unwrap();
        let ids: Vec<u64> = page.letters.iter().map(|letter| letter.id).collect();
        assert_eq!((ids, page.next, page.last), (expected, None, 3), "{query:?}");
    }
}

pub async fn a_page_ends_and_says_where_to_read_on(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    let query = DeadLetterQuery { max: 2, ..DeadLetterQuery::default() };
    assert_eq!(broker.dead_letters(query.clone()).await.unwrap().last, 0);
    for id in 1..=5 {
        let class = if id % 2 == 0 { FailureClass::Trap } else { FailureClass::Reject };
        bury(&broker, "p/s", event("a", id), class).await;
    }
    let mut query = DeadLetterQuery { class: Some(FailureClass::Reject), ..query };
    let mut ids = Vec::new();
    loop {
        let page = broker.dead_letters(query.clone()).await.unwrap();
        assert!(page.letters.len() <= 2);
        ids.extend(page.letters.iter().map(|letter| letter.id));
        if page.next.is_none() {
            break;
        }
        query.after = page.next;
    }
    assert_eq!(ids, [1, 3, 5]);
    // The highest id ever assigned stays known, even if its dead letter is gone.
    assert!(broker.discard(5).await.unwrap());
    assert_eq!(broker.dead_letters(query).await.unwrap().last, 5);
}

fn everything(subscription: &str, start: Start) -> Subscription {
    Subscription { filter: Filter::everything(), start, ..to_type(subscription, "a") }
}

pub async fn an_edited_event_reaches_the_dead_letters_subscription_alone(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    broker.subscribe(everything("q/all", Start::Latest)).await.unwrap();
    bury(&broker, "p/s", event("a", "o"), FailureClass::Reject).await;
    ack(&broker, &lease_one(&broker, "q/all").await).await;

    // The edited event has a type that the subscription's filter doesn't select.
    let edited = Event::builder("o", "/tests", "b").subject("s").data("mended").build().unwrap();
    let sequence = soon(broker.redrive_edited(1, edited.clone())).await.unwrap();
    // Event 2 is the report of the dead letter.
    assert_eq!(sequence, Some(3));
    assert_eq!(broker.redrive_edited(1, edited).await.unwrap(), None, "it is gone");
    assert!(broker.dead_letter(1).await.unwrap().is_none());
    let lease = lease_one(&broker, "p/s").await;
    let delivery = &lease.delivery;
    assert_eq!((delivery.sequence, delivery.attempt, delivery.replay), (3, 1, Some(1)));
    assert_eq!((delivery.flow, delivery.depth), (1, 0));
    let event = &delivery.event;
    assert_eq!((event.id(), event.source(), event.ty()), ("o/redrive/1", "/tests", "b"));
    assert_eq!(event.attribute("redriveof").as_deref(), Some("o"));
    assert_eq!(event.data().unwrap(), "mended");
    assert!(nothing_ready(&broker, "q/all").await);
    let flow = broker.flow(1).await.unwrap().unwrap();
    let states = |event: &usher_broker::FlowEvent| -> Vec<_> {
        let states = event.deliveries.iter();
        states.map(|one| (one.subscription.to_string(), one.state.clone())).collect()
    };
    let old = [
        ("p/s".to_owned(), DeliveryState::Dead { id: None }),
        ("q/all".to_owned(), DeliveryState::Done),
    ];
    assert_eq!(states(&flow.events[0]), old);
    let under_way = [("p/s".to_owned(), DeliveryState::InFlight { attempt: 1 })];
    assert_eq!(states(&flow.events[2]), under_way);
    drop(broker);

    // That holds after a restart, and for a subscription that starts at the earliest event.
    let broker = disk.open();
    broker.subscribe(everything("r/new", Start::Earliest)).await.unwrap();
    let lease = lease_one(&broker, "r/new").await;
    assert_eq!(lease.delivery.sequence, 1);
    ack(&broker, &lease).await;
    assert!(nothing_ready(&broker, "r/new").await);
    assert!(nothing_ready(&broker, "q/all").await);
    let lease = lease_one(&broker, "p/s").await;
    assert_eq!((lease.delivery.sequence, lease.delivery.attempt), (3, 1));
    // Given up again, it is an ordinary dead letter, which can be edited and redriven once more.
    assert_eq!(settle(&broker, &lease, reject()).await, Settled::Dead(2));
    let event = broker.dead_letter(2).await.unwrap().unwrap().stored.event;
    assert_eq!(soon(broker.redrive_edited(2, event)).await.unwrap(), Some(5));
    let lease = lease_one(&broker, "p/s").await;
    assert_eq!(lease.delivery.event.attribute("redriveof").as_deref(), Some("o/redrive/1"));
    assert_eq!(ack(&broker, &lease).await, Settled::Committed);
    let flow = broker.flow(1).await.unwrap().unwrap();
    assert_eq!(states(&flow.events[4]), [("p/s".to_owned(), DeliveryState::Done)]);
    for status in broker.subscriptions().await.unwrap() {
        assert_eq!((status.dead, status.lag, status.retrying), (0, 0, 0), "{status:?}");
    }
}

pub async fn an_edited_event_takes_its_place_in_its_lane(disk: Disk) {
    let broker = disk.open();
    let order = Order::key("subject").unwrap();
    broker.subscribe(Subscription { order, ..to_type("p/s", "a") }).await.unwrap();
    bury(&broker, "p/s", event("a", 1), FailureClass::Reject).await;
    publish(&broker, event("a", 2)).await;
    let head = lease_one(&broker, "p/s").await;
    let edited = broker.dead_letter(1).await.unwrap().unwrap().stored.event;
    assert_eq!(soon(broker.redrive_edited(1, edited)).await.unwrap(), Some(4));
    assert!(nothing_ready(&broker, "p/s").await);
    ack(&broker, &head).await;
    let lease = lease_one(&broker, "p/s").await;
    assert_eq!(lease.delivery.sequence, 4);
}

pub async fn an_edited_event_must_be_the_dead_letters_own(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    bury(&broker, "p/s", event("a", "o"), FailureClass::Reject).await;
    for (id, source) in [("other", "/tests"), ("o", "/elsewhere")] {
        let edited = Event::builder(id, source, "a").build().unwrap();
        let refused = broker.redrive_edited(1, edited).await.unwrap_err();
        assert!(matches!(refused, BrokerError::Invalid(_)), "{refused}");
    }
    // A producer has already published the id that the edited event would get.
    publish(&broker, event("a", "o/redrive/1")).await;
    let refused = broker.redrive_edited(1, event("a", "o")).await.unwrap_err();
    assert!(refused.to_string().contains("o/redrive/1"), "{refused}");
    assert_eq!(dead_letters(&broker, None, 9).await.len(), 1);
    assert!(broker.audit(None, 9).await.unwrap().is_empty());
    broker.unsubscribe(&name("p/s")).await.unwrap();
    let refused = broker.redrive_edited(1, event("a", "o")).await.unwrap_err();
    assert!(matches!(refused, BrokerError::NoSubscription(_)), "{refused}");
}

/// Events that the router publishes about plugins reach only subscriptions that select them.
pub async fn the_routers_own_events_are_for_those_who_ask(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(everything("p/all", Start::Earliest)).await.unwrap();
    broker.subscribe(reports("w/reports", Start::Latest)).await.unwrap();
    let data = serde_json::json!({});
    let system = SystemEvent {
        id: "quarantine/p/1",
        ty: PLUGIN_QUARANTINED_TYPE,
        subject: "p",
        time_ms: 1,
        data: &data,
    };
    let own = system.alone().unwrap();
    broker.publish(vec![own.clone(), event("a", 2)]).await.unwrap();
    assert_eq!(lease_one(&broker, "w/reports").await.delivery.sequence, 1);
    assert_eq!(lease_one(&broker, "p/all").await.delivery.sequence, 2);
    // Published twice, it is one event.
    assert!(broker.publish(vec![own]).await.unwrap()[0].duplicate);
    drop(broker);
    // Reading it from the log makes no difference.
    let broker = disk.open();
    broker.subscribe(everything("p/later", Start::Earliest)).await.unwrap();
    assert_eq!(lease_one(&broker, "p/later").await.delivery.sequence, 2);
}

pub async fn what_operators_did_is_recorded(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    for id in 1..=3 {
        bury(&broker, "p/s", event("a", id), FailureClass::Trap).await;
    }
    disk.advance(&broker, 5);
    assert!(broker.redrive(1).await.unwrap());
    assert!(broker.discard(2).await.unwrap());
    assert!(!broker.discard(2).await.unwrap());
    assert_eq!(broker.redrive_edited(3, event("a", 3)).await.unwrap(), Some(7));
    drop(broker);
    let broker = disk.open();
    let records = broker.audit(None, 10).await.unwrap();
    let words: Vec<_> = records
        .iter()
        .map(|record| {
            let (dead, new) = match &record.action {
                AuditAction::Redrive(dead) | AuditAction::Discard(dead) => (dead, None),
                AuditAction::RedriveEdited { dead, sequence } => (dead, Some(*sequence)),
                other => panic!("{other:?}"),
            };
            assert_eq!(record.subscription, Some(name("p/s")));
            assert_eq!((record.time_ms, dead.time_ms), (START_MS + 5, START_MS));
            assert_eq!(
                (&*dead.source, &*dead.ty, dead.class),
                ("/tests", "a", FailureClass::Trap.into())
            );
            // Each is followed by its report.
            assert_eq!(
                (dead.sequence, dead.event_id.parse().ok()),
                (2 * dead.id - 1, Some(dead.id))
            );
            (record.number, record.action.as_str(), dead.id, new)
        })
        .collect();
    let expected =
        [(1, "redrive", 1, None), (2, "discard", 2, None), (3, "redrive_edited", 3, Some(7))];
    assert_eq!(words, expected);
    assert_eq!(broker.audit(Some(1), 1).await.unwrap(), records[1..2]);
    let (plugin, change) = ("p".parse().unwrap(), PluginChange::Release);
    let change = Change::Plugin { plugin, change };
    broker.record(change.clone()).await.unwrap();
    let record = broker.audit(Some(3), 10).await.unwrap().remove(0);
    let action = AuditAction::Change(change);
    assert_eq!((record.number, record.subscription, record.action), (4, None, action));
    // Numbering continues after a restart.
    let lease = lease_one(&broker, "p/s").await;
    assert!(matches!(settle(&broker, &lease, reject()).await, Settled::Dead(4)));
    assert!(broker.discard(4).await.unwrap());
    assert_eq!(broker.audit(Some(4), 9).await.unwrap()[0].number, 5);
}

/// A subscription to the router's own events.
fn reports(subscription: &str, start: Start) -> Subscription {
    let filter = Filter::parse(r#"{"prefix":{"type":"dev.usher."}}"#).unwrap();
    Subscription { filter, start, ..to_type(subscription, "a") }
}

pub async fn a_dead_letter_is_reported_to_those_who_ask(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    broker.subscribe(everything("q/all", Start::Latest)).await.unwrap();
    broker.subscribe(reports("w/reports", Start::Latest)).await.unwrap();
    bury(&broker, "p/s", event("a", "o"), FailureClass::Trap).await;
    ack(&broker, &lease_one(&broker, "q/all").await).await;

    let lease = lease_one(&broker, "w/reports").await;
    assert_eq!((lease.delivery.sequence, lease.delivery.flow, lease.delivery.depth), (2, 1, 1));
    let report = &lease.delivery.event;
    assert_eq!((report.source(), report.ty()), ("/usher", "dev.usher.delivery.dead"));
    assert_eq!((report.id(), report.subject()), ("dead-letter/1", Some("p/s")));
    assert_eq!(report.attribute("causationid").as_deref(), Some("o"));
    let data: serde_json::Value = serde_json::from_slice(&report.data().unwrap()).unwrap();
    let expected = serde_json::json!({
        "dead_letter": 1,
        "subscription": "p/s",
        "plugin": "p",
        "version": "1.2.0",
        "digest": usher_event::Digest::of(b"plugin").to_string(),
        "class": "trap",
        "reason": "never",
        "attempts": 1,
        "event": { "source": "/tests", "id": "o", "type": "a", "sequence": 1 },
    });
    assert_eq!(data, expected);
    // A filter that matches everything doesn't select the router's own events.
    assert!(nothing_ready(&broker, "q/all").await);
    let flow = broker.flow(1).await.unwrap().unwrap();
    let told: Vec<_> = flow.events[1].deliveries.iter().map(|one| &one.subscription).collect();
    assert_eq!(told, [&name("w/reports")]);
    // A report that becomes a dead letter is not reported in turn.
    assert_eq!(settle(&broker, &lease, reject()).await, Settled::Dead(2));
    assert!(nothing_ready(&broker, "w/reports").await);
    assert_eq!(broker.stats().last_sequence, 2);
    drop(broker);

    // The same holds for events read from the log.
    let broker = disk.open();
    broker.subscribe(everything("r/all", Start::Earliest)).await.unwrap();
    broker.subscribe(reports("x/reports", Start::Earliest)).await.unwrap();
    assert_eq!(lease_one(&broker, "r/all").await.delivery.sequence, 1);
    assert!(nothing_ready(&broker, "r/all").await);
    assert_eq!(lease_one(&broker, "x/reports").await.delivery.sequence, 2);
    assert!(nothing_ready(&broker, "q/all").await);
}
