//! Who owns the journal, as its owner tells the other nodes: often, and when it leaves.
//!
//! This decides only when a node tries to take over. That there is one owner is up to the stream: a
//! claim fences whoever appended before it.

use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::JetStreamOptions;

/// How often the owner tells.
pub(crate) const EVERY: Duration = Duration::from_millis(300);

/// How much later the next in order takes over, where the owner left and where it went silent.
const RANK_AFTER: Duration = Duration::from_millis(300);

/// What a node publishes there to learn whether it is heard: no owner tells nothing. One that lacks the permission
/// isn't to take over: the others wouldn't hear it, and would take the journal from it.
const PROBE: Bytes = Bytes::new();

/// One that has probed so often without being heard says so.
const PROBES_QUIET: u32 = 40;

/// How often the connection is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the owner of a journal tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its name.
    pub node: String,
    /// The epoch that it began.
    pub epoch: u64,
    /// Where clients reach it.
    pub url: Option<String>,
    /// The position that its next record gets.
    pub end: u64,
    /// The position of the oldest record that it has.
    pub start: u64,
    /// Whether this is the last that it tells.
    pub is_leaving: bool,
    /// The node that it leaves the journal to, if an operator has named one.
    #[serde(default)]
    pub successor: Option<String>,
}

/// What was heard of the owner, and when.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) owner: Option<Owner>,
    at: Instant,
}

impl Heard {
    pub(crate) fn nothing() -> Self {
        Self { owner: None, at: Instant::now() }
    }
}

fn subject(stream: &str) -> String {
    format!("usher.owner.{stream}")
}

/// Tells who the owner is, once.
pub(crate) async fn tell(client: &Client, stream: &str, owner: &Owner) {
    let Ok(told) = serde_json::to_vec(owner) else { return };
    // Whoever doesn't hear it hears the next, or takes over. A client that isn't connected may have no room.
    let _ = tokio::time::timeout(EVERY, client.publish(subject(stream), told.into())).await;
    if owner.is_leaving {
        let _ = tokio::time::timeout(EVERY, client.flush()).await;
    }
}

/// Listens to the owner. Returns only if the client is closed.
pub(crate) async fn listen(client: Client, stream: String, heard: watch::Sender<Heard>) {
    loop {
        let Ok(mut messages) = client.subscribe(subject(&stream)).await else { return };
        let (mut hears, mut probes) = (false, 0_u32);
        loop {
            let is_connected = client.connection_state() == State::Connected;
            if !hears && is_connected {
                if client.publish(subject(&stream), PROBE).await.is_err() {
                    return;
                }
                probes = probes.saturating_add(1);
                if probes == PROBES_QUIET {
                    tracing::warn!(
                        subject = subject(&stream),
                        "this node doesn't hear what it publishes itself about the journal's owner, and doesn't \
                         take over"
                    );
                }
            }
            let message = tokio::time::timeout(LOOK_EVERY, messages.next()).await;
            match message {
                Ok(Some(message)) => {
                    hears = true;
                    if message.payload == PROBE {
                        continue;
                    }
                    let Ok(owner) = serde_json::from_slice::<Owner>(&message.payload) else {
                        tracing::warn!("what was told of the journal's owner is not readable");
                        continue;
                    };
                    let is_older = |heard: &Heard| {
                        heard.owner.as_ref().is_some_and(|known| known.epoch > owner.epoch)
                    };
                    heard.send_if_modified(|heard| {
                        let is_newer = !is_older(heard);
                        if is_newer {
                            *heard = Heard { owner: Some(owner.clone()), at: Instant::now() };
                        }
                        is_newer
                    });
                }
                Ok(None) => break,
                // Who isn't connected can't hear anything: that is no sign of the owner's end.
                Err(_) if !hears || !is_connected => {
                    hears = false;
                    heard.send_modify(|heard| heard.at = Instant::now());
                }
                Err(_) => {}
            }
        }
    }
}

/// Whether the owner of this epoch, or of a later one, is heard by who begins to listen now.
pub(crate) async fn is_there(client: &Client, stream: &str, epoch: u64) -> bool {
    let Ok(mut messages) = client.subscribe(subject(stream)).await else { return false };
    let heard = async {
        while let Some(message) = messages.next().await {
            if let Ok(owner) = serde_json::from_slice::<Owner>(&message.payload)
                && owner.epoch >= epoch
                && !owner.is_leaving
            {
                return true;
            }
        }
        false
    };
    tokio::time::timeout(EVERY * 2, heard).await.unwrap_or(false)
}

/// Waits until it is this node's turn to take over: the owner has left, or nothing was heard of it. Returns
/// whether it has left.
pub(crate) async fn until_vacant(
    mut heard: watch::Receiver<Heard>,
    options: &JetStreamOptions,
) -> bool {
    let rank_after = RANK_AFTER * options.rank;
    loop {
        let Heard { owner, at } = heard.borrow_and_update().clone();
        let has_left = owner.as_ref().is_some_and(|owner| owner.is_leaving);
        let successor = owner.and_then(|owner| owner.successor).filter(|_| has_left);
        let patience = match successor {
            Some(successor) if successor == options.node => Duration::ZERO,
            // Unless that doesn't take over.
            Some(_) => options.takeover_after + rank_after,
            None if has_left => rank_after,
            None => options.takeover_after + rank_after,
        };
        tokio::select! {
            () = tokio::time::sleep_until(at + patience) => return has_left,
            changed = heard.changed() => {
                if changed.is_err() {
                    return std::future::pending().await;
                }
            }
        }
    }
}
