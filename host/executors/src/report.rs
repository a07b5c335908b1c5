//! What a node tells of itself, again and again.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use usher_access::TokenHash;
use usher_event::{Digest, PluginName};

use crate::wire::PluginVersion;

/// How often a node tells.
pub(crate) const EVERY: Duration = Duration::from_millis(300);

/// Of a node that hasn't told for so long nothing is expected any more.
pub(crate) const SILENT_AFTER: Duration = Duration::from_millis(1_500);

/// What an executor tells of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Its name.
    pub node: String,
    /// Its version of Usher.
    pub version: String,
    /// What it says about itself as long as it runs.
    #[serde(flatten)]
    pub introduction: Introduction,
    /// The position that its tables have come to.
    pub position: u64,
    /// Whether it takes no deliveries, as an operator wants.
    pub is_drained: bool,
    /// Deliveries under way, by their owner's number. One that was lost on its way isn't there.
    pub running: Vec<u64>,
    /// Plugins that it was asked to have.
    pub plugins: Vec<PluginThere>,
}

/// What doesn't change while a node runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introduction {
    /// Where clients reach it.
    pub url: Option<String>,
    /// The hash of the secret by which the owner knows it when it forwards requests; `None` from versions that had
    /// none.
    pub secret_hash: Option<TokenHash>,
}

/// A plugin on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginThere {
    /// Its name.
    pub plugin: PluginName,
    /// SHA-256 of the component.
    pub digest: Digest,
    /// A hash of what is configured for it, without secrets.
    pub settings: Digest,
    /// Why it can't be had there; `None` if it is ready.
    pub problem: Option<String>,
}

impl Report {
    /// What a node told; `None` if it is none. JSON, so that nodes of other versions of Usher are seen: they
    /// are promoted while versions change.
    pub fn read(told: &[u8]) -> Option<Self> {
        serde_json::from_slice(told).ok()
    }

    pub(crate) fn write(&self) -> Bytes {
        // Names and numbers only, which are text in JSON.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// Whether the node has this version ready.
    pub(crate) fn has(&self, version: &PluginVersion) -> bool {
        let is_ready = |there: &PluginThere| version.is(there) && there.problem.is_none();
        !self.is_drained && self.plugins.iter().any(is_ready)
    }

    /// Whether the node has said anything of this version.
    pub(crate) fn knows(&self, version: &PluginVersion) -> bool {
        self.plugins.iter().any(|there| version.is(there))
    }
}

impl PluginVersion {
    pub(crate) fn is(&self, there: &PluginThere) -> bool {
        let Self { plugin, digest, settings } = self;
        (plugin, digest, settings) == (&there.plugin, &there.digest, &there.settings)
    }
}
