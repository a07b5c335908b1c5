//! State shared by all requests of the HTTP API.

use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use super::body::BodyBudget;
use super::budget::Budget;
use super::connections::Connections;
use super::connections::Kind;
use super::differing::Differing;
use super::encoding::DECODERS_MAX;
use crate::access::Failures;
use crate::metrics::Metrics;
use crate::running::Running;

/// Limit on open event streams.
const STREAMS_MAX: usize = 1_024;

/// Memory budget for request bodies being read or published.
pub(super) const INTAKE_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Memory budget for responses being built or sent, other than blobs.
const ANSWERS_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Memory budget for blobs being read or sent.
pub(super) const BLOBS_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Limit on concurrent dry runs; each holds an instance of its plugin.
pub(super) const DRY_RUNS_MAX: usize = 4;

/// Handle to the shared state. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api(Arc<Shared>);

/// What all requests share.
pub(crate) struct Shared {
    /// The router.
    pub(super) running: Arc<Running>,
    /// HTTP metrics.
    pub(super) metrics: Metrics,
    /// One permit for each open stream.
    pub(super) streams: Arc<Semaphore>,
    /// The open connections.
    pub(super) clients: Arc<Connections>,
    /// Budget for request bodies.
    pub(super) intake: BodyBudget,
    /// Budget for responses other than blobs.
    pub(super) answers: Budget,
    /// Budget for blobs, which are large and may be sent slowly.
    pub(super) blobs: Budget,
    /// Sources whose duplicates differ.
    pub(super) differing: Differing,
    /// One permit for each encoded body.
    pub(super) decoders: Semaphore,
    /// Failed attempts to use the API.
    pub(super) failures: Failures,
    /// One permit for each dry run.
    pub(super) dry_runs: Semaphore,
    /// Turns true when the server stops; streams end then.
    pub(super) stop: watch::Receiver<bool>,
}

impl Api {
    /// The API of `running`, until `stop` turns true.
    pub(super) fn new(running: Arc<Running>, stop: watch::Receiver<bool>) -> Self {
        let metrics = Metrics::default();
        let clients = Connections::new(metrics.cut());
        let connections = running.max_connections;
        // Streams stay open for long: a quarter of the connections is left to others.
        let streams_max = STREAMS_MAX.min(connections * 3 / 4).max(1);
        Self(Arc::new(Shared {
            running,
            metrics,
            streams: Arc::new(Semaphore::new(streams_max)),
            intake: BodyBudget::new(INTAKE_MAX_BYTES, &clients),
            answers: Budget::new(Kind::Answers, ANSWERS_MAX_BYTES, &clients),
            blobs: Budget::new(Kind::Blobs, BLOBS_MAX_BYTES, &clients),
            clients,
            differing: Differing::default(),
            decoders: Semaphore::new(DECODERS_MAX),
            failures: Failures::default(),
            dry_runs: Semaphore::new(DRY_RUNS_MAX),
            stop,
        }))
    }
}

impl Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// Waits until `stop` turns true or its sender is dropped.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
