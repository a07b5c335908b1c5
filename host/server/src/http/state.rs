//! State shared by all requests of the HTTP API.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use tokio::sync::{Semaphore, watch};
use usher_broker::Log;
use usher_config::Config;
use usher_executors::Nodes;

use super::body::BodyBudget;
use super::budget::Budget;
use super::connections::Connections;
use super::connections::Kind;
use super::differing::Differing;
use super::encoding::DECODERS_MAX;
use super::tls::Tls;
use crate::access::{Access, Failures};
use crate::metrics::Metrics;
use crate::running::{Busy, Running};

/// Limit on open event streams.
const STREAMS_MAX: usize = 1_024;

/// Memory budget for request bodies being read or published.
pub(super) const INTAKE_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Memory budget for responses being built or sent, other than blobs.
const ANSWERS_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Memory budget for blobs being read or sent.
pub(super) const BLOBS_MAX_BYTES: usize = 64 * 1024 * 1024;

/// How long a request to the owner waits for an event that it wants to be there.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same for a standby, which asks the owner then.
const STANDBY_PATIENCE: Duration = Duration::from_secs(1);

/// Limit on concurrent dry runs; each holds an instance of its plugin.
pub(super) const DRY_RUNS_MAX: usize = 4;

/// What all requests to this process share, whether it owns the journal or not.
pub(crate) struct Front {
    /// Who may use the API.
    pub(super) access: Arc<Access>,
    /// The certificate, if something listens with TLS.
    pub(super) tls: Option<Arc<Tls>>,
    /// The configuration as loaded at start.
    pub(super) config: Arc<Config>,
    /// When a producer was last refused as busy.
    pub(super) busy: Arc<Busy>,
    /// Limit on client connections.
    pub(super) max_connections: usize,
    /// HTTP metrics.
    pub(super) metrics: Metrics,
    /// One permit for each open stream.
    pub(super) streams: Arc<Semaphore>,
    /// The open connections.
    pub(super) clients: Arc<Connections>,
    /// Budget for responses other than blobs.
    pub(super) answers: Budget,
    /// Budget for blobs, which are large and may be sent slowly.
    pub(super) blobs: Budget,
    /// Failed attempts to use the API.
    pub(super) failures: Failures,
}

impl Front {
    /// Without connections yet.
    pub(crate) fn new(
        access: Arc<Access>,
        tls: Option<Arc<Tls>>,
        config: Arc<Config>,
        max_connections: usize,
    ) -> Arc<Self> {
        let metrics = Metrics::default();
        let clients = Connections::new(metrics.cut());
        // Streams stay open for long: a quarter of the connections is left to others.
        let streams_max = STREAMS_MAX.min(max_connections * 3 / 4).max(1);
        Arc::new(Self {
            access,
            tls,
            config,
            busy: Arc::default(),
            max_connections,
            metrics,
            streams: Arc::new(Semaphore::new(streams_max)),
            answers: Budget::new(Kind::Answers, ANSWERS_MAX_BYTES, &clients),
            blobs: Budget::new(Kind::Blobs, BLOBS_MAX_BYTES, &clients),
            clients,
            failures: Failures::default(),
        })
    }

    /// When a producer was last refused as busy.
    pub(crate) fn busy(&self) -> &Arc<Busy> {
        &self.busy
    }
}

/// What requests share that any node answers: those that read what is committed. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Node {
    pub(super) front: Arc<Front>,
    /// What is read.
    pub(super) log: Arc<dyn Log>,
    /// How long a request waits for an event that it wants to be there.
    pub(super) patience: Duration,
    /// Turns true when this node answers no more of them; streams end then.
    pub(super) stop: watch::Receiver<bool>,
    /// Nodes that may say who the clients are whose requests they forward.
    pub(super) nodes: Option<Arc<Nodes>>,
}

impl Node {
    /// One that doesn't own the journal, until `stop` turns true.
    pub(crate) fn standby(
        front: Arc<Front>,
        log: Arc<dyn Log>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self { front, log, patience: STANDBY_PATIENCE, stop, nodes: None }
    }
}

impl Deref for Node {
    type Target = Front;

    fn deref(&self) -> &Front {
        &self.front
    }
}

impl FromRef<Api> for Node {
    fn from_ref(api: &Api) -> Self {
        api.node.clone()
    }
}

/// Handle to what requests to the owner share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api(Arc<Shared>);

/// What all requests to the owner share.
pub(crate) struct Shared {
    /// The router.
    pub(super) running: Arc<Running>,
    /// What it has in common with other nodes.
    pub(super) node: Node,
    /// Budget for request bodies.
    pub(super) intake: BodyBudget,
    /// Sources whose duplicates differ.
    pub(super) differing: Differing,
    /// One permit for each encoded body.
    pub(super) decoders: Semaphore,
    /// One permit for each dry run.
    pub(super) dry_runs: Semaphore,
}

impl Api {
    /// The API of `running`, until `stop` turns true.
    pub(super) fn new(
        running: Arc<Running>,
        front: Arc<Front>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let log = Arc::clone(&running.broker) as Arc<dyn Log>;
        let nodes = running.cluster.as_ref().map(|cluster| Arc::clone(cluster.nodes()));
        Self(Arc::new(Shared {
            running,
            intake: BodyBudget::new(INTAKE_MAX_BYTES, &front.clients),
            differing: Differing::default(),
            decoders: Semaphore::new(DECODERS_MAX),
            dry_runs: Semaphore::new(DRY_RUNS_MAX),
            node: Node { front, log, patience: PATIENCE, stop, nodes },
        }))
    }
}

impl Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Deref for Shared {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

/// Waits until `stop` turns true or its sender is dropped.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
