//! What the router knows of a plugin.

use async_trait::async_trait;

use crate::{Delivery, Digest, Outcome, PluginName};

/// Something that takes deliveries. The router knows plugins by this trait alone.
///
/// Calls may run side by side. Dropping the future abandons the delivery: its effects are gone
/// and whatever it occupied is freed.
#[async_trait]
pub trait Listener: Send + Sync + 'static {
    /// The plugin's name.
    fn name(&self) -> &PluginName;

    /// The version its author gave it.
    fn version(&self) -> &str;

    /// The digest of the bytes that run.
    fn digest(&self) -> Digest;

    /// Handles one delivery. Never panics and never takes longer than the plugin's wall deadline
    /// and a little; every failure is a verdict.
    async fn handle(&self, delivery: &Delivery) -> Outcome;
}
