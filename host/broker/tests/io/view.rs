//! Everything observable of a broker, as comparable text; and what must hold for any broker.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use tokio::time::timeout;
use usher_broker::testing::LocalOperator as _;
use usher_broker::traits::*;
use usher_broker::{DeadLetterQuery, DeliveryState, EmbeddedBroker, EventQuery};

use crate::history::{PATIENCE, Player, Verdict, event, name, soon};

const BUCKET: &str = "b";
/// Pause between two checks of whether everything is at rest.
const PAUSE: Duration = Duration::from_millis(1);
/// How far the broker's clock advances between two checks.
const TURN_MS: u64 = 60 * 60 * 1_000;

/// Events, deliveries, attempts, delays, dead letters, subscriptions, state and blobs.
pub(crate) async fn seen(broker: &EmbeddedBroker) -> String {
    let mut seen = String::new();
    let stats = broker.stats();
    writeln!(
        seen,
        "log {}..={}, {} delayed, {} dead",
        stats.first_sequence, stats.last_sequence, stats.delayed, stats.dead_letters
    )
    .unwrap();
    for stored in events(broker).await {
        let Some(flow) = broker.flow(stored).await.unwrap() else {
            // The flow's first event has left the log.
            writeln!(seen, "{:?}", broker.event(stored).await.unwrap()).unwrap();
            continue;
        };
        let in_flow = flow.events.iter().find(|found| found.stored.sequence == stored).unwrap();
        writeln!(seen, "{:?}", in_flow.stored).unwrap();
        for delivery in &in_flow.deliveries {
            let state = match &delivery.state {
                // Depends on how far the lanes have been read since the broker was opened.
                DeliveryState::Parked { .. } => "Pending".to_owned(),
                state => format!("{state:?}"),
            };
            writeln!(seen, "  {} {state} {:?}", delivery.subscription, delivery.failures).unwrap();
        }
        if flow.root == stored {
            writeln!(seen, "  delayed {:?}", flow.delayed).unwrap();
        }
    }
    let letters = DeadLetterQuery { max: 1_000, ..DeadLetterQuery::default() };
    writeln!(seen, "{:?}", broker.dead_letters(letters).await.unwrap().letters).unwrap();
    for status in broker.subscriptions().await.unwrap() {
        let asked = &status.subscription;
        let filter = asked.filter.to_json();
        writeln!(
            seen,
            "{} {filter} {:?} from {}, {} retrying until {:?}, {} dead",
            asked.name,
            asked.order,
            status.first,
            status.retrying,
            status.next_retry_ms,
            status.dead
        )
        .unwrap();
    }
    let (snapshot, plugin) = (broker.state().snapshot(), "p".parse().unwrap());
    writeln!(seen, "{:?}", snapshot.usage(&plugin).unwrap()).unwrap();
    for key in snapshot.keys(&plugin, BUCKET, None, 1_000).unwrap().keys {
        let address = usher_event::StateAddress {
            plugin: plugin.clone(),
            bucket: BUCKET.into(),
            key: key.clone(),
        };
        writeln!(seen, "{key} = {:?}", snapshot.get(&address).unwrap()).unwrap();
    }
    for record in broker.list_blobs(None, 1_000).await.unwrap() {
        // Fails unless the blob is complete and intact.
        broker.blobs().read(&record.info.digest).unwrap().unwrap();
        writeln!(seen, "{record:?}").unwrap();
    }
    seen
}

/// The sequences of the log.
async fn events(broker: &EmbeddedBroker) -> Vec<u64> {
    let query = EventQuery { from: 0, max: 1_000, ..EventQuery::default() };
    let page = broker.events(query).await.unwrap();
    page.events.iter().map(|stored| stored.sequence).collect()
}

/// Invariant 13: whatever has happened, everything comes to rest. Invariant 3: then every delivery
/// is done or dead. Invariant 7: stored events are recognised as duplicates. Invariant 6: the next
/// event gets the next sequence.
pub(crate) async fn goes_on(player: &Player, broker: &EmbeddedBroker) {
    let mut known = BTreeMap::new();
    for sequence in events(broker).await {
        // Retention runs concurrently.
        let Some(stored) = broker.event(sequence).await.unwrap() else { continue };
        let is_new = known.insert(stored.event.identity(), sequence).is_none();
        assert!(is_new, "{sequence} is in the log twice");
        let again = broker.publish(vec![stored.event]).await.unwrap();
        assert!(again[0].duplicate && again[0].sequence == sequence, "{again:?} for {sequence}");
    }
    let last = broker.stats().last_sequence;
    let published = broker.publish(vec![event("a", 1_000_000, 10)]).await.unwrap();
    assert_eq!((published[0].sequence, published[0].duplicate), (last + 1, false));
    let rest = async {
        while !is_at_rest(player, broker).await {
            tokio::time::sleep(PAUSE).await;
            player.clock.advance(TURN_MS);
            broker.wake();
        }
    };
    if timeout(PATIENCE, rest).await.is_err() {
        panic!("no rest: {:?}\n{}", broker.subscriptions().await, seen(broker).await);
    }
}

/// Acknowledges what is ready. Returns whether every delivery is done or dead, and no emission is
/// delayed.
async fn is_at_rest(player: &Player, broker: &EmbeddedBroker) -> bool {
    let mut is_at_rest = broker.stats().delayed == 0;
    for status in broker.subscriptions().await.unwrap() {
        let open = status.lag + status.in_flight + status.retrying + status.parked;
        is_at_rest &= open == 0;
        let ready = name(status.subscription.name.as_str());
        let mut lease = std::pin::pin!(broker.lease(&ready, 16));
        let leases = tokio::select! {
            biased;
            leases = &mut lease => leases.unwrap(),
            () = std::future::ready(()) => Vec::new(),
        };
        for lease in leases {
            soon(player.settle(&lease, Verdict::Ack)).await.unwrap();
        }
    }
    for sequence in events(broker).await {
        let Some(flow) = broker.flow(sequence).await.unwrap() else { continue };
        let mut deliveries = flow.events.iter().flat_map(|event| &event.deliveries);
        is_at_rest &= deliveries
            .all(|one| matches!(one.state, DeliveryState::Done | DeliveryState::Dead { .. }));
    }
    is_at_rest
}

/// Invariant 9: a broker that has lost its store refuses everything, and reports why.
pub(crate) async fn refuses_everything(broker: &EmbeddedBroker) -> String {
    use usher_broker::BrokerError::{NoSubscription, Poisoned};
    let reason = broker.poisoned().borrow().clone().expect("it is poisoned");
    assert!(!reason.is_empty() && !reason.contains("panicked"), "{reason}");
    let refusals = [
        broker.publish(vec![event("a", 7_777, 10)]).await.map(drop),
        broker.lease(&name("p/plain"), 1).await.map(drop),
        broker.unsubscribe(&name("p/plain")).await.map(drop),
        broker.event(1).await.map(drop),
        broker.subscriptions().await.map(drop),
        broker.redrive(1).await.map(drop),
        broker.close().await,
    ];
    for refused in refusals {
        // Leasing for an unknown subscription fails in any case.
        let is_refused = match &refused {
            Err(Poisoned(why)) => *why == reason,
            refused => matches!(refused, Err(NoSubscription(_))),
        };
        assert!(is_refused, "{refused:?}");
    }
    reason
}
