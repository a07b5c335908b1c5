//! Tracks the progress of every connection, so that stalled ones can be cut when others need their
//! slot or their memory.
//!
//! A client is *behind* while it is its turn (to send a request or the rest of a body, or to read a
//! response) and it makes no progress. Only clients that are behind are cut, the furthest behind
//! first, and only when another needs what they hold or the server stops.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use rustls::pki_types::CertificateDer;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use usher_tls::Certificate;

use crate::access::Address;

/// A client that sends its body faster than this never falls behind.
const BODY_MIN_BYTES_PER_S: u64 = 64 * 1024;

/// Sentinel timestamp: it is not the client's turn.
const NEVER: u64 = u64::MAX;

/// What a client may hold memory for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Request bodies.
    Bodies,
    /// Responses other than blobs.
    Answers,
    /// Blobs.
    Blobs,
}

impl Kind {
    /// Number of kinds.
    pub(super) const COUNT: usize = 3;
}

/// All open connections.
pub(super) struct Connections {
    started: Instant,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    next: AtomicU64,
    cut: Counter,
}

/// One connection.
pub(super) struct Connection {
    started: Instant,
    /// When the client's turn to send began, milliseconds after `started`, or [`NEVER`].
    turn_since_ms: AtomicU64,
    /// When writes to the client stalled, milliseconds after `started`, or [`NEVER`].
    stalled_since_ms: AtomicU64,
    /// Requests of which the response has not been handed over completely.
    requests: AtomicUsize,
    /// Whether whole responses have been handed over and only have to be sent.
    response_ready: AtomicBool,
    held_bytes: [AtomicUsize; Kind::COUNT],
    cut: CancellationToken,
    /// Since when each response of an HTTP/2 connection waits for the client, as `turn_since_ms`.
    waiting_since_ms: Mutex<HashMap<u64, u64>>,
    next_response: AtomicU64,
    certificate: OnceLock<ClientCertificate>,
    origin: Origin,
    /// Whether it has a spare slot, reserved for health checks and operators.
    pub(super) is_spare: bool,
}

/// A certificate that a client has presented, and that has been verified.
pub(super) struct ClientCertificate {
    pub(super) der: CertificateDer<'static>,
    pub(super) content: Certificate,
}

/// Where a client connects from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    /// Its address.
    pub(super) address: Address,
    /// Whether it is on this machine: it connected to a loopback address or to a Unix socket.
    pub(super) is_local: bool,
}

impl Origin {
    /// The Unix socket, or no connection at all.
    pub(super) const LOCAL: Self = Self { address: Address::Local, is_local: true };
}

/// Registration of a connection; removed on drop.
pub(super) struct Entry {
    clients: Arc<Connections>,
    number: u64,
    client: Arc<Connection>,
}

impl Connections {
    /// An empty table; `cut` counts the clients that were cut to make room.
    pub(super) fn new(cut: Counter) -> Arc<Self> {
        let (open, next) = Default::default();
        Arc::new(Self { started: Instant::now(), open, next, cut })
    }

    /// Registers a connection. It starts with the client's turn to send a request.
    pub(super) fn enter(self: &Arc<Self>, origin: Origin, is_spare: bool) -> Entry {
        let client = Arc::new(Connection::new(self.started, origin, is_spare));
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.open().insert(number, Arc::clone(&client));
        Entry { clients: Arc::clone(self), number, client }
    }

    /// Of the clients that satisfy `may_go`, cuts the one furthest behind if it is behind by at
    /// least `by`. No-op if `wanted` of them are being cut already.
    pub(super) fn evict_one(
        &self,
        by: Duration,
        wanted: usize,
        may_go: impl Fn(&Connection) -> bool,
    ) {
        let open = self.open();
        let candidates = || open.values().filter(|client| may_go(client));
        if candidates().filter(|client| client.cut.is_cancelled()).count() >= wanted {
            return;
        }
        let behind = candidates()
            .filter(|client| !client.cut.is_cancelled())
            .map(|client| (client.behind(), client));
        let furthest = behind.max_by_key(|(behind, _)| *behind).filter(|(behind, _)| *behind >= by);
        if let Some((_, client)) = furthest {
            client.cut.cancel();
            self.cut.inc();
        }
    }

    /// Cuts every client that is behind by at least this much.
    pub(super) fn evict_stalled(&self, by: Duration) {
        for client in self.open().values().filter(|client| client.behind() >= by) {
            client.cut.cancel();
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    pub(super) fn client(&self) -> &Arc<Connection> {
        &self.client
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.clients.open().remove(&self.number);
    }
}

impl Connection {
    fn new(started: Instant, origin: Origin, is_spare: bool) -> Self {
        let client = Self {
            started,
            turn_since_ms: AtomicU64::new(NEVER),
            stalled_since_ms: AtomicU64::new(NEVER),
            requests: AtomicUsize::new(0),
            response_ready: AtomicBool::new(false),
            held_bytes: Default::default(),
            cut: CancellationToken::new(),
            waiting_since_ms: Mutex::default(),
            next_response: AtomicU64::new(0),
            certificate: OnceLock::new(),
            origin,
            is_spare,
        };
        client.awaits_request();
        client
    }

    /// An unregistered client, for requests without a connection.
    pub(super) fn alone() -> Arc<Self> {
        Arc::new(Self::new(Instant::now(), Origin::LOCAL, false))
    }

    /// The client's turn: to send a request.
    pub(super) fn awaits_request(&self) {
        self.turn_since_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// A request has come: the router's turn.
    pub(super) fn request_began(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.routers_turn();
    }

    /// A response was handed over completely: once it is sent, the client's turn begins.
    pub(super) fn response_ready(&self) {
        self.response_ready.store(true, Ordering::Relaxed);
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }

    /// Everything that was handed over has been sent.
    pub(super) fn flushed(&self) {
        let is_sent = self.response_ready.swap(false, Ordering::Relaxed);
        if is_sent && self.requests.load(Ordering::Relaxed) == 0 {
            self.awaits_request();
        }
    }

    /// The router's turn.
    pub(super) fn routers_turn(&self) {
        self.turn_since_ms.store(NEVER, Ordering::Relaxed);
    }

    /// The client's turn: to send more of a body.
    pub(super) fn awaits_body(&self) {
        let since = &self.turn_since_ms;
        // Fails if it already was the client's turn, which then keeps its start.
        let _ = since.compare_exchange(NEVER, self.now_ms(), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Part of a body arrived: credits the time it takes at `BODY_MIN_BYTES_PER_S`.
    pub(super) fn body_came(&self, bytes: usize) {
        let now_ms = self.now_ms();
        let since = self.turn_since_ms.load(Ordering::Relaxed);
        let since = if since == NEVER { now_ms } else { since };
        self.turn_since_ms
            .store(since.saturating_add(earned_ms(bytes)).min(now_ms), Ordering::Relaxed);
    }

    /// Records whether writes to the client make progress.
    pub(super) fn set_writable(&self, is_taking: bool) {
        let since = &self.stalled_since_ms;
        if is_taking {
            since.store(NEVER, Ordering::Relaxed);
        } else {
            let now_ms = self.now_ms();
            let _ = since.compare_exchange(NEVER, now_ms, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Whether one of its requests is being served, or its response being sent.
    pub(super) fn has_request(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0 || self.response_ready.load(Ordering::Relaxed)
    }

    /// Watches a response of an HTTP/2 connection.
    pub(super) fn sending(self: &Arc<Self>) -> Sending {
        let number = self.next_response.fetch_add(1, Ordering::Relaxed);
        Sending { client: Arc::clone(self), number }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, u64>> {
        self.waiting_since_ms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has taken nothing of one of its responses for this time.
    pub(super) fn takes_nothing_for(&self, time: Duration) -> bool {
        let (now_ms, time_ms) = (self.now_ms(), usher_event::millis(time));
        self.waiting().values().any(|since_ms| now_ms.saturating_sub(*since_ms) >= time_ms)
    }

    /// Keeps the certificate that it has presented, which has been verified.
    pub(super) fn presented(&self, certificate: ClientCertificate) {
        // Once for each connection.
        let _ = self.certificate.set(certificate);
    }

    /// The certificate that it has presented.
    pub(super) fn certificate(&self) -> Option<&ClientCertificate> {
        self.certificate.get()
    }

    /// Where it comes from.
    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    /// Bytes it holds of a budget.
    pub(super) fn held_bytes(&self, of: Kind) -> &AtomicUsize {
        match (of, &self.held_bytes) {
            (Kind::Bodies, [bytes, ..])
            | (Kind::Answers, [_, bytes, _])
            | (Kind::Blobs, [.., bytes]) => bytes,
        }
    }

    /// Whether it holds bytes of a budget.
    pub(super) fn is_holding(&self, of: Kind) -> bool {
        self.held_bytes(of).load(Ordering::Relaxed) > 0
    }

    /// Resolves once the client is cut.
    pub(super) async fn cut(&self) {
        self.cut.cancelled().await;
    }

    /// How long it has been behind; zero while the client owes nothing.
    fn behind(&self) -> Duration {
        let since = self.turn_since_ms.load(Ordering::Relaxed);
        let since = since.min(self.stalled_since_ms.load(Ordering::Relaxed));
        let since = self.waiting().values().copied().fold(since, u64::min);
        Duration::from_millis(self.now_ms().saturating_sub(since))
    }

    /// Whether it is behind by at least this much.
    pub(super) fn is_behind_by(&self, by: Duration) -> bool {
        self.behind() >= by
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(NEVER - 1)
    }
}

/// A response of an HTTP/2 connection, which its client may let wait while it takes others.
pub(super) struct Sending {
    client: Arc<Connection>,
    number: u64,
}

impl Sending {
    /// These bytes are the client's to take; it is credited the time that takes at
    /// `BODY_MIN_BYTES_PER_S`.
    pub(super) fn has_to_be_taken(&self, bytes: usize) {
        let since_ms = self.client.now_ms().saturating_add(earned_ms(bytes));
        self.client.waiting().insert(self.number, since_ms);
    }

    /// The client waits for more.
    pub(super) fn was_taken(&self) {
        self.client.waiting().remove(&self.number);
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.was_taken();
    }
}

/// How long these bytes take at the lowest speed that is no standstill.
fn earned_ms(bytes: usize) -> u64 {
    (bytes as u64).saturating_mul(1_000) / BODY_MIN_BYTES_PER_S
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn pass(seconds: u64) {
        tokio::time::sleep(SECOND * u32::try_from(seconds).unwrap()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_furthest_behind_goes_first_and_who_is_served_stays() {
        let clients = Connections::new(Counter::default());
        let enter = || clients.enter(Origin::LOCAL, false);
        let (idle, served, stalled) = (enter(), enter(), enter());
        served.client().request_began();
        stalled.client().request_began();
        pass(1).await;
        stalled.client().set_writable(false);
        pass(1).await;
        let is_cut = || [&idle, &served, &stalled].map(|entry| entry.client().cut.is_cancelled());
        clients.evict_one(3 * SECOND, 1, |_| true);
        assert_eq!(is_cut(), [false; 3], "none is that far behind");
        clients.evict_one(SECOND, 1, |_| true);
        assert_eq!(is_cut(), [true, false, false]);
        clients.evict_one(SECOND, 1, |_| true);
        assert_eq!(is_cut(), [true, false, false], "one is wanted and one is going");
        clients.evict_one(SECOND, 2, |_| true);
        clients.evict_one(SECOND, 3, |_| true);
        assert_eq!(is_cut(), [true, false, true]);
        assert_eq!(clients.cut.get(), 2);
        drop((idle, served, stalled));
        assert!(clients.open().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn only_holders_go_where_memory_is_wanted() {
        let clients = Connections::new(Counter::default());
        let (empty, holder) =
            (clients.enter(Origin::LOCAL, false), clients.enter(Origin::LOCAL, false));
        pass(1).await;
        holder.client().awaits_request();
        holder.client().held_bytes(Kind::Blobs).fetch_add(7, Ordering::Relaxed);
        pass(1).await;
        let is_cut = || [&empty, &holder].map(|entry| entry.client().cut.is_cancelled());
        clients.evict_one(SECOND, 1, |client| client.is_holding(Kind::Answers));
        assert_eq!(is_cut(), [false, false], "what it holds is of no use here");
        clients.evict_one(SECOND, 1, |client| client.is_holding(Kind::Blobs));
        assert_eq!(is_cut(), [false, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_not_behind_while_its_answer_goes_out() {
        let clients = Connections::new(Counter::default());
        let entry = clients.enter(Origin::LOCAL, false);
        entry.client().request_began();
        entry.client().response_ready();
        pass(9).await;
        assert_eq!(entry.client().behind(), Duration::ZERO);
        entry.client().flushed();
        pass(1).await;
        assert_eq!(entry.client().behind(), SECOND);
        entry.client().flushed();
        assert_eq!(entry.client().behind(), SECOND, "it has had all for a second");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_falls_behind_and_one_that_flows_does_not() {
        let clients = Connections::new(Counter::default());
        let (dripping, flowing) =
            (clients.enter(Origin::LOCAL, false), clients.enter(Origin::LOCAL, false));
        for entry in [&dripping, &flowing] {
            entry.client().request_began();
            entry.client().awaits_body();
        }
        for _ in 0..10 {
            pass(1).await;
            dripping.client().body_came(1);
            flowing.client().body_came(usize::try_from(BODY_MIN_BYTES_PER_S).unwrap());
        }
        assert_eq!(dripping.client().behind().as_secs(), 10);
        assert_eq!(flowing.client().behind(), Duration::ZERO);
    }
}
