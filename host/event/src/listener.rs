//! The router's view of a plugin.

use async_trait::async_trait;

use crate::{Delivery, Digest, Outcome, PluginName};

/// Handles deliveries; the router knows plugins only through this trait.
///
/// Calls may run concurrently. Dropping the future abandons the delivery: its effects are dropped
/// and its resources freed.
#[async_trait]
pub trait Listener: Send + Sync + 'static {
    /// The plugin's name.
    fn name(&self) -> &PluginName;

    /// The author's version.
    fn version(&self) -> &str;

    /// Digest of the component.
    fn digest(&self) -> Digest;

    /// How many deliveries of a subscription it may be given at the same time now, where each machine is to
    /// handle `instances`.
    fn at_once(&self, instances: usize) -> usize {
        instances
    }

    /// Handles one delivery. Never panics; every failure is a verdict. Returns within the plugin's wall
    /// deadline plus a small margin; where another machine doesn't, within a few of them.
    async fn handle(&self, delivery: &Delivery) -> Outcome;

    /// Runs a delivery once more for its recording: one whose emissions broke a rule, which shows only
    /// after it was handled. Nothing is sent, and the effects are to be dropped. `None` if it isn't
    /// recorded.
    async fn record(&self, _delivery: &Delivery) -> Option<Outcome> {
        None
    }
}
