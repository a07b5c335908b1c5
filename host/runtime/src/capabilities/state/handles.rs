//! What the guest's handles stand for.

use std::sync::Arc;

use bytes::Bytes;

/// An open bucket.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Bucket {
    pub(super) name: Arc<str>,
}

/// A value remembered for compare-and-swap.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Cas {
    pub(super) bucket: Arc<str>,
    pub(super) key: String,
    pub(super) seen: Option<Bytes>,
    /// The delivery that read it, by the counter of [`State`](super::State).
    pub(super) delivery: u64,
}
