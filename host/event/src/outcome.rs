//! What a listener returns for a delivery: a verdict and staged effects.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::host::{BlobChange, StagedBlob, StateRead, StateWrite};
use crate::{Emission, Quota, Verdict};

/// Changes a delivery makes inside the broker: staged while it runs, committed atomically with the
/// ack, dropped otherwise.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Effects {
    /// Emissions, in order.
    pub emissions: Vec<Emission>,
    /// State the delivery read; validated at commit.
    pub reads: Vec<StateRead>,
    /// State writes; at most one per address (while staging, the last one wins).
    pub writes: Vec<StateWrite>,
    /// Blobs put or deleted.
    pub blobs: Vec<BlobChange>,
    /// Keeps the content of put blobs on disk until the commit.
    #[serde(skip)]
    pub staged: Vec<StagedBlob>,
    /// The plugin's quota, checked again at commit.
    pub quota: Quota,
}

/// A verdict with its effects.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The decision.
    pub verdict: Verdict,
    /// The staged effects; empty unless the verdict is [`Verdict::Ack`].
    pub effects: Effects,
    /// Wall-clock duration of the call.
    pub took: Duration,
    /// What the delivery was told, a [`Recording`](crate::Recording) as JSON: if it failed, or asked
    /// other servers.
    pub recording: Option<Bytes>,
}

impl Outcome {
    /// An outcome without effects.
    pub fn without_effects(verdict: Verdict, took: Duration) -> Self {
        Self { verdict, effects: Effects::default(), took, recording: None }
    }
}
