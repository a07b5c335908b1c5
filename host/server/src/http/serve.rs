//! Accepts, bounds and closes connections.
//!
//! Each connection is a task of its listener's [`JoinSet`]. When all slots are taken, the client furthest
//! behind is cut to make room; if none is behind, a few spare slots remain for health checks and
//! operators. On stop, the server accepts no more connections, cuts clients that are behind, lets
//! requests in flight finish within the drain time, and aborts the rest. No connection outlives
//! [`serve`].

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::connections::{Connections, Entry, Origin};
use super::listener::Listener;
use super::protocol::{self, Served};
#[cfg(test)]
use super::state::Api;
use super::state::stopped;

/// Pause after a failed accept (out of file descriptors, most likely), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections beyond the configured number, for health checks and operators.
pub(super) const SPARE_CONNECTIONS: usize = 16;

/// Open connections possible beyond the configured number: spare ones and those waiting for a slot.
pub(crate) const EXTRA_CONNECTIONS: usize = SPARE_CONNECTIONS + WAITING_MAX;

/// Limit on accepted connections that wait for a slot; further ones wait to be accepted.
const WAITING_MAX: usize = 128;

/// How far behind a client must be to be cut for another.
const IDLE_MIN: Duration = Duration::from_millis(250);

/// How long to wait for a regular slot: longer than `IDLE_MIN`, so that a client that falls idle
/// now can still be cut.
const SLOT_WAIT_MAX: Duration = Duration::from_millis(500);

/// Poll interval while waiting for a slot.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How far behind a client may be during shutdown, and how often that is checked.
const STOP_BEHIND_MAX: Duration = Duration::from_millis(500);
const STOP_LOOK_EVERY: Duration = Duration::from_millis(100);

/// Serves on all `listeners` until `stop` turns true (or its sender is gone), then drains.
///
/// Dropping the future closes all connections at once.
pub(crate) async fn serve(
    listeners: Vec<Listener>,
    served: Arc<Served>,
    stop: watch::Receiver<bool>,
) {
    let drain = served.front.config.drain;
    let slots = Slots::new(served.front.max_connections, &served.front.clients);
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(
            listener,
            Arc::clone(&served),
            Arc::clone(&slots),
            drain,
            stop.clone(),
        ));
    }
    while let Some(ended) = accepting.join_next().await {
        if ended.is_err_and(|error| error.is_panic()) {
            // Without one of its places the router would only look alive.
            return;
        }
    }
}

/// Serves the API on one connection, without a listener.
#[cfg(test)]
pub(super) async fn serve_stream(
    api: Api,
    stream: tokio::io::DuplexStream,
    stop: watch::Receiver<bool>,
) {
    let served = Arc::new(Served::new(Arc::clone(&api.front), super::router(api)));
    let slot = Slots::new(1, &served.front.clients).take(Origin::LOCAL).await;
    protocol::connection(Box::new(stream), false, &served, slot.entry.client(), stop).await;
}

/// Serves one listener.
async fn accept(
    listener: Listener,
    served: Arc<Served>,
    slots: Arc<Slots>,
    drain: Duration,
    mut stop: watch::Receiver<bool>,
) {
    let is_tls = listener.is_tls();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, origin) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "can't accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Accepts no more while those that wait are as many as may.
        let waiting = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            waiting = Arc::clone(&slots.waiting).acquire_owned() => waiting,
        };
        let (served, slots) = (Arc::clone(&served), Arc::clone(&slots));
        let mut stop = stop.clone();
        connections.spawn(async move {
            let slot = tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                slot = slots.take(origin) => slot,
            };
            drop(waiting);
            let _open = served.front.metrics.connection();
            protocol::connection(stream, is_tls, &served, slot.entry.client(), stop).await;
            drop(slot);
        });
    }

    drop(listener);
    let ended = async {
        let mut looks = tokio::time::interval(STOP_LOOK_EVERY);
        loop {
            tokio::select! {
                ended = connections.join_next() => if ended.is_none() { return },
                _ = looks.tick() => served.front.clients.evict_stalled(STOP_BEHIND_MAX),
            }
        }
    };
    if timeout(drain, ended).await.is_err() {
        warn!(connections = connections.len(), "closing connections that did not end in time");
        connections.shutdown().await;
    }
}

/// Connection slots.
struct Slots {
    regular: Arc<Semaphore>,
    spare: Arc<Semaphore>,
    /// For accepted connections that wait for a slot.
    waiting: Arc<Semaphore>,
    clients: Arc<Connections>,
}

/// One connection's slot.
struct Slot {
    entry: Entry,
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    fn new(regular: usize, clients: &Arc<Connections>) -> Arc<Self> {
        Arc::new(Self {
            regular: Arc::new(Semaphore::new(regular)),
            spare: Arc::new(Semaphore::new(SPARE_CONNECTIONS)),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            clients: Arc::clone(clients),
        })
    }

    /// Waits for a slot: a regular one if one frees up within `SLOT_WAIT_MAX`, else a spare one.
    /// Cuts clients that are behind to free either.
    async fn take(&self, origin: Origin) -> Slot {
        let slot = |permit, is_spare| Slot {
            entry: self.clients.enter(origin, is_spare),
            _permit: permit,
        };
        if let Ok(permit) = Arc::clone(&self.regular).try_acquire_owned() {
            return slot(permit, false);
        }
        let deadline = Instant::now() + SLOT_WAIT_MAX;
        while Instant::now() < deadline {
            let waiting = WAITING_MAX.saturating_sub(self.waiting.available_permits()).max(1);
            self.clients.evict_one(IDLE_MIN, waiting, |client| !client.is_spare);
            let regular = Arc::clone(&self.regular).acquire_owned();
            if let Ok(Ok(permit)) = timeout(LOOK_EVERY, regular).await {
                return slot(permit, false);
            }
        }
        loop {
            if let Ok(permit) = Arc::clone(&self.spare).try_acquire_owned() {
                return slot(permit, true);
            }
            self.clients.evict_one(LOOK_EVERY, SPARE_CONNECTIONS, |client| client.is_spare);
            let spare = Arc::clone(&self.spare).acquire_owned();
            if let Ok(Ok(permit)) = timeout(LOOK_EVERY, spare).await {
                return slot(permit, true);
            }
        }
    }
}
