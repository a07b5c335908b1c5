//! Everything that a broker returns about its store.

use usher_broker::traits::*;
use usher_broker::{BrokerError, DeadLetterQuery, EmbeddedBroker, EventQuery, Pace};
use usher_event::StateAddress;
use usher_filter::Projection;

/// All contents, one line for each item.
pub(crate) async fn read(broker: &EmbeddedBroker) -> Result<Vec<String>, BrokerError> {
    let mut lines = Vec::new();
    let query = EventQuery { from: 1, max: 1_000, ..EventQuery::default() };
    let page = broker.events(query).await?;
    for stored in &page.events {
        lines.push(format!("{stored:?}"));
        if let Some(flow) = broker.flow(stored.sequence).await? {
            // The states of its deliveries change in the background.
            let sequences: Vec<_> = flow.events.iter().map(|one| one.stored.sequence).collect();
            lines.push(format!("{:?} {sequences:?}", flow.root));
        }
        for plugin in ["p", "q"] {
            let address = StateAddress {
                plugin: plugin.parse().unwrap(),
                bucket: "b".into(),
                key: format!("k{}", stored.sequence).into(),
            };
            let read = |error: usher_event::StoreError| BrokerError::Read(error.0);
            let value = broker.state().snapshot().get(&address).map_err(read)?;
            lines.push(format!("{address:?} {value:?}"));
        }
    }
    for status in broker.subscriptions().await? {
        // Ready and in-flight counts change in the background.
        let text = format!("{:?} {}", status.subscription, status.dead);
        // What version 0.1.0 had no word for is as it was without it.
        let new = format!("pace: {:?}, projection: {:?}, ", Pace::default(), Projection::default());
        lines.push(text.replace(&new, ""));
    }
    let letters = DeadLetterQuery { max: 1_000, ..DeadLetterQuery::default() };
    for dead in broker.dead_letters(letters).await?.letters {
        lines.push(format!("{dead:?}"));
    }
    for record in broker.audit(None, 1_000).await? {
        lines.push(format!("{record:?}"));
    }
    for blob in broker.list_blobs(None, 1_000).await? {
        let digest = blob.info.digest;
        let read = |error: usher_event::StoreError| BrokerError::Read(error.0);
        let content = broker.blobs().read(&digest).map_err(read)?;
        lines.push(format!("{blob:?} {content:?}"));
    }
    Ok(lines)
}
