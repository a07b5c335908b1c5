//! What every request of the HTTP API can reach.

use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use super::body::Room;
use super::budget::{Budget, Kind};
use super::clients::Clients;
use crate::metrics::Metrics;
use crate::running::Running;

/// Event streams open at once.
pub(super) const STREAMS_MAX: usize = 256;

/// Request bodies being read in or published, all together.
pub(super) const INTAKE_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Answers being put together or sent, all together.
const ANSWERS_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Blobs being read or sent, all together.
pub(super) const BLOBS_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Dry runs at once; each holds an instance of its plugin.
pub(super) const DRY_RUNS_MAX: usize = 4;

/// The running router, seen from its HTTP API. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api(Arc<Shared>);

/// What all requests share.
pub(crate) struct Shared {
    /// The router.
    pub(super) running: Arc<Running>,
    /// What is counted here.
    pub(super) metrics: Metrics,
    /// One permit for each open stream.
    pub(super) streams: Arc<Semaphore>,
    /// The open connections.
    pub(super) clients: Arc<Clients>,
    /// For bodies.
    pub(super) intake: Room,
    /// For answers.
    pub(super) answers: Budget,
    /// For blobs, which are large and may go out slowly.
    pub(super) blobs: Budget,
    /// One permit for each dry run.
    pub(super) dry_runs: Semaphore,
    /// Turns true when the server stops; streams end then.
    pub(super) stop: watch::Receiver<bool>,
}

impl Api {
    /// The API of `running`, until `stop` turns true.
    pub(super) fn new(running: Arc<Running>, stop: watch::Receiver<bool>) -> Self {
        let metrics = Metrics::default();
        let clients = Clients::new(metrics.cut());
        Self(Arc::new(Shared {
            running,
            metrics,
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            intake: Room::new(INTAKE_MAX_BYTES, &clients),
            answers: Budget::new(Kind::Answers, ANSWERS_MAX_BYTES, &clients),
            blobs: Budget::new(Kind::Blobs, BLOBS_MAX_BYTES, &clients),
            clients,
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
