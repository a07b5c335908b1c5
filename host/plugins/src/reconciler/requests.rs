//! Rollbacks that are asked for, and what came of them.

use tokio::sync::oneshot;
use usher_event::PluginName;

use crate::records::Rollback;
use crate::refusal::Refusal;
use crate::registry::Entry;

/// Limit on queued requests for a rollback.
pub const ROLLBACKS_QUEUED_MAX: usize = 16;

/// An operator's request for a rollback.
pub struct RollbackRequest {
    /// The plugin.
    pub name: PluginName,
    /// Receives the result.
    pub answer: oneshot::Sender<Result<(), String>>,
}

/// The result of installing a version from its stored bytes.
pub(super) struct Restored {
    pub(super) name: PluginName,
    pub(super) file: String,
    /// `None` if the serving version was reinstalled.
    pub(super) rollback: Option<Rollback>,
    pub(super) result: Result<Box<Entry>, Refusal>,
    pub(super) answer: Option<oneshot::Sender<Result<(), String>>>,
}
