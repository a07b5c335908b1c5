//! How nodes ask each other, as a trait: tests have nodes that lose, delay and repeat.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use usher_jetstream::{Link, LinkError};

/// Asks other nodes.
#[async_trait]
pub trait Asks: Send + Sync + 'static {
    /// The name of this node.
    fn node(&self) -> &str;

    /// The longest message that may be sent.
    fn message_max_bytes(&self) -> usize;

    /// Asks a node, and waits for its answer.
    ///
    /// # Errors
    /// See [`LinkError`]. What it was asked for may have happened all the same.
    async fn ask(&self, node: &str, question: Bytes, timeout: Duration)
    -> Result<Bytes, LinkError>;

    /// Tells all nodes something, which some may not hear.
    ///
    /// # Errors
    /// It is too large, or the connection is closed.
    async fn tell(&self, what: Bytes) -> Result<(), LinkError>;
}

#[async_trait]
impl Asks for Link {
    fn node(&self) -> &str {
        Self::node(self)
    }

    fn message_max_bytes(&self) -> usize {
        Self::message_max_bytes(self)
    }

    async fn ask(
        &self,
        node: &str,
        question: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, LinkError> {
        Self::ask(self, node, question, timeout).await
    }

    async fn tell(&self, what: Bytes) -> Result<(), LinkError> {
        Self::tell(self, what).await
    }
}
