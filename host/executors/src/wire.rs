//! What nodes ask and answer each other. Nodes of another version of Usher say so in the settings' hash, so
//! that they aren't asked to handle anything.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use usher_broker::StateVersion;
use usher_config::PluginConfig;
use usher_event::{
    Delivery, Digest, Event, Outcome, PluginName, SubscriptionName, TraceContext, Tracing,
};

use crate::VERSION;

/// A component with the settings that it runs under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct PluginVersion {
    pub(crate) plugin: PluginName,
    pub(crate) digest: Digest,
    pub(crate) settings: Digest,
}

impl PluginVersion {
    /// A component under this configuration. Secrets, which aren't hashed, may differ.
    pub(crate) fn new(plugin: &PluginName, digest: Digest, config: &PluginConfig) -> Self {
        let PluginConfig { limits, grants, isolation, .. } = config;
        let settings = format!("{VERSION} {limits:?} {grants:?} {isolation:?}");
        Self { plugin: plugin.clone(), digest, settings: Digest::of(settings.as_bytes()) }
    }
}

/// A question to a node.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Asked {
    /// Handle a delivery.
    Handle(Box<Handle>),
    /// Have a plugin ready, whose component this node hands out.
    Prepare { version: PluginVersion, from: String },
    /// The bytes of a component, from here on.
    Component { plugin: PluginName, digest: Digest, offset: u64, max_bytes: u64 },
    /// Take no deliveries, or take them again.
    Drain(bool),
}

/// A delivery, and what its owner had committed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Handle {
    pub(crate) version: PluginVersion,
    /// The owner's number of it; no other has it.
    pub(crate) number: u64,
    epoch: u64,
    commit: u64,
    position: u64,
    sequence: u64,
    event: Bytes,
    subscription: SubscriptionName,
    attempt: u32,
    flow: u64,
    depth: u16,
    replay: Option<u64>,
    trace: Option<String>,
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answered {
    /// It is done.
    Done,
    /// What came of a delivery, and the content of the blobs that it put.
    Outcome { outcome: Box<Outcome>, staged: Vec<Bytes> },
    /// A part of a component, of which there are so many bytes.
    Part { total_bytes: u64, part: Bytes },
    /// Nothing was done.
    Refused(Refused),
}

/// Why a node does nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Refused {
    #[error("it doesn't have this version ready")]
    NotReady,
    #[error("it takes no deliveries")]
    Drained,
    #[error("it has too much to do")]
    Busy,
    #[error("its tables are behind")]
    Behind,
    #[error("it has heard a later owner")]
    Overtaken,
    #[error("what came of it is {bytes} bytes, more than the servers' max_payload of {max_bytes}")]
    TooLarge { bytes: u64, max_bytes: u64 },
    #[error("{0}")]
    Failed(String),
}

impl Handle {
    pub(crate) fn new(
        version: PluginVersion,
        number: u64,
        owner: StateVersion,
        delivery: &Delivery,
    ) -> Self {
        let StateVersion { epoch, version: commit, position } = owner;
        Self {
            version,
            number,
            epoch,
            commit,
            position,
            sequence: delivery.sequence,
            event: delivery.event.encoded().clone(),
            subscription: delivery.subscription.clone(),
            attempt: delivery.attempt,
            flow: delivery.flow,
            depth: delivery.depth,
            replay: delivery.replay,
            trace: delivery.span.as_ref().map(|span| span.context().to_string()),
        }
    }

    /// What the owner had committed.
    pub(crate) fn owner(&self) -> StateVersion {
        let Self { epoch, commit, position, .. } = *self;
        StateVersion { epoch, version: commit, position }
    }

    /// The delivery, in the owner's trace; `None` if it isn't one.
    pub(crate) fn delivery(&self, tracing: &Tracing) -> Option<Delivery> {
        let owners = self.trace.as_deref().and_then(TraceContext::parse);
        Some(Delivery {
            sequence: self.sequence,
            event: Event::from_encoded(self.event.clone()).ok()?,
            subscription: self.subscription.clone(),
            attempt: self.attempt,
            flow: self.flow,
            depth: self.depth,
            replay: self.replay,
            is_dry_run: false,
            // The owner ends the span; what is requested here is below it.
            span: owners.and_then(|owners| Some(tracing.begin(Some(owners))?.known_as(owners))),
        })
    }
}

pub(crate) fn encode(message: &impl Serialize) -> Result<Bytes, String> {
    postcard::to_allocvec(message).map(Bytes::from).map_err(|error| error.to_string())
}

pub(crate) fn decode<T: DeserializeOwned>(message: &[u8]) -> Result<T, String> {
    let not_readable = |error| format!("what it says can't be read: {error}");
    postcard::from_bytes(message).map_err(not_readable)
}
