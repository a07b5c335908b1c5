//! What every request of the HTTP API can reach.

use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use crate::app::App;
use crate::metrics::Metrics;

/// Event streams open at once; each holds one page of the log at most.
pub(super) const STREAMS_MAX: usize = 256;

/// Request bodies being read in or published, all together.
pub(super) const INTAKE_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Blobs being read or sent at once; each is held in memory whole (16 MiB at most).
pub(super) const BLOB_READS_MAX: usize = 16;

/// Dry runs at once; each holds an instance of its plugin.
pub(super) const DRY_RUNS_MAX: usize = 4;

/// The running router, seen from its HTTP API. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api(Arc<Shared>);

/// What all requests share.
pub(crate) struct Shared {
    /// The router.
    pub(super) app: Arc<App>,
    /// What is counted here.
    pub(super) metrics: Metrics,
    /// One permit for each open stream.
    pub(super) streams: Arc<Semaphore>,
    /// One permit for each byte of a body.
    pub(super) intake: Arc<Semaphore>,
    /// One permit for each blob being sent.
    pub(super) blob_reads: Arc<Semaphore>,
    /// One permit for each dry run.
    pub(super) dry_runs: Semaphore,
    /// Turns true when the server stops; streams end then.
    pub(super) stop: watch::Receiver<bool>,
}

impl Api {
    /// The API of `app`, until `stop` turns true.
    pub(super) fn new(app: Arc<App>, stop: watch::Receiver<bool>) -> Self {
        Self(Arc::new(Shared {
            app,
            metrics: Metrics::default(),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            intake: Arc::new(Semaphore::new(INTAKE_MAX_BYTES)),
            blob_reads: Arc::new(Semaphore::new(BLOB_READS_MAX)),
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
