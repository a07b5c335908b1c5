//! Memory budgets that all connections share: request bodies, responses, blobs. A client that waits
//! for room causes those to be cut that hold some and are behind.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::connections::{Connection, Connections, Kind};

/// How far behind a client that holds memory may be while another waits for it.
const BEHIND_MAX: Duration = Duration::from_secs(1);

/// How often a waiting client looks for one to cut.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A number of bytes, shared by all clients.
pub(super) struct Budget {
    kind: Kind,
    permits: Arc<Semaphore>,
    total_bytes: usize,
    clients: Arc<Connections>,
}

/// Part of a budget; released on drop.
pub(super) struct Share {
    kind: Kind,
    permit: OwnedSemaphorePermit,
    client: Arc<Connection>,
}

impl Budget {
    pub(super) fn new(kind: Kind, total_bytes: usize, clients: &Arc<Connections>) -> Self {
        let permits = Arc::new(Semaphore::new(total_bytes));
        Self { kind, permits, total_bytes, clients: Arc::clone(clients) }
    }

    /// Takes `bytes`, capped at the whole budget. Waits in FIFO order.
    pub(super) async fn take(&self, client: &Arc<Connection>, bytes: usize) -> Option<Share> {
        let permits = u32::try_from(bytes.min(self.total_bytes)).ok()?;
        let mut taking = std::pin::pin!(Arc::clone(&self.permits).acquire_many_owned(permits));
        loop {
            tokio::select! {
                biased;
                permit = &mut taking => return Some(self.share(permit.ok()?, client)),
                () = sleep(LOOK_EVERY) => {
                    let is_holding = |client: &Connection| client.is_holding(self.kind);
                    self.clients.evict_one(BEHIND_MAX, 1, is_holding);
                }
            }
        }
    }

    /// Like [`Budget::take`]; `None` after `patience`.
    pub(super) async fn take_within(
        &self,
        client: &Arc<Connection>,
        bytes: usize,
        patience: Duration,
    ) -> Option<Share> {
        timeout(patience, self.take(client, bytes)).await.ok().flatten()
    }

    /// Takes `bytes` if they are free now.
    pub(super) fn try_take(&self, client: &Arc<Connection>, bytes: usize) -> Option<Share> {
        let permits = u32::try_from(bytes).ok()?;
        let permit = Arc::clone(&self.permits).try_acquire_many_owned(permits).ok()?;
        Some(self.share(permit, client))
    }

    fn share(&self, permit: OwnedSemaphorePermit, client: &Arc<Connection>) -> Share {
        client.held_bytes(self.kind).fetch_add(permit.num_permits(), Ordering::Relaxed);
        Share { kind: self.kind, permit, client: Arc::clone(client) }
    }

    /// How many bytes are free.
    #[cfg(test)]
    pub(super) fn free_bytes(&self) -> usize {
        self.permits.available_permits()
    }
}

impl Share {
    fn gives_back(&self, bytes: usize) {
        self.client.held_bytes(self.kind).fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Adds another share of the same budget and client.
    pub(super) fn merge(&mut self, mut other: Self) {
        let bytes = other.permit.num_permits();
        if let Some(permit) = other.permit.split(bytes) {
            self.permit.merge(permit);
        }
    }

    /// Releases all but `bytes`.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let surplus = self.permit.num_permits().saturating_sub(bytes);
        if let Some(given_back) = self.permit.split(surplus) {
            drop(given_back);
            self.gives_back(surplus);
        }
    }

    /// Shrinks the share to `bytes` and ties it to them: it is released when they are dropped.
    pub(super) fn charged(mut self, bytes: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        struct Charged<B>(B, #[allow(dead_code, reason = "held until it is dropped")] Share);
        impl<B: AsRef<[u8]>> AsRef<[u8]> for Charged<B> {
            fn as_ref(&self) -> &[u8] {
                self.0.as_ref()
            }
        }
        self.shrink(bytes.as_ref().len());
        Bytes::from_owner(Charged(bytes, self))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.gives_back(self.permit.num_permits());
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::super::connections::Origin;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn shares_are_counted_and_given_back() {
        let clients = Connections::new(Counter::default());
        let budget = Budget::new(Kind::Answers, 10, &clients);
        let entry = clients.enter(Origin::LOCAL, false);
        let client = entry.client();
        let mut share = budget.take(client, 4).await.unwrap();
        share.merge(budget.try_take(client, 3).unwrap());
        assert_eq!((budget.free_bytes(), client.is_holding(Kind::Answers)), (3, true));
        assert!(budget.try_take(client, 4).is_none());
        let charged = share.charged(b"two".to_vec());
        assert_eq!((&charged[..], budget.free_bytes()), (&b"two"[..], 7));
        drop(charged);
        assert_eq!((budget.free_bytes(), client.is_holding(Kind::Answers)), (10, false));
        let all = budget.take(client, 1_000).await;
        assert!(all.is_some(), "more than there is means all there is");
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_is_behind_is_cut_and_others_go_on() {
        let clients = Connections::new(Counter::default());
        let budget = Budget::new(Kind::Answers, 10, &clients);
        let (stalled, waiting) =
            (clients.enter(Origin::LOCAL, false), clients.enter(Origin::LOCAL, false));
        stalled.client().request_began();
        let share = budget.take(stalled.client(), 10).await.unwrap();
        stalled.client().set_writable(false);
        let cut = async {
            stalled.client().cut().await;
            drop(share);
        };
        let began = tokio::time::Instant::now();
        let (taken, ()) = tokio::join!(budget.take(waiting.client(), 10), cut);
        assert!(taken.is_some());
        assert!(began.elapsed() < BEHIND_MAX + 2 * LOOK_EVERY, "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_makes_progress_is_waited_for() {
        let cut = Counter::default();
        let clients = Connections::new(cut.clone());
        let budget = Budget::new(Kind::Answers, 10, &clients);
        let (working, waiting) =
            (clients.enter(Origin::LOCAL, false), clients.enter(Origin::LOCAL, false));
        working.client().request_began();
        let _share = budget.take(working.client(), 10).await.unwrap();
        let taken = budget.take_within(waiting.client(), 1, 5 * BEHIND_MAX).await;
        assert!(taken.is_none());
        assert_eq!(cut.get(), 0);
    }
}
