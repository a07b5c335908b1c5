//! Webhooks: [`Webhook::receive`] checks the signature of a request and makes an event of it, and
//! [`sign`] signs what a sink sends.
//!
//! Nothing here does I/O; the time is passed in.

mod github;
mod kind;
mod pick;
mod receive;
mod rejected;
mod signature;

pub use kind::{Hmac, Kind, Timestamp};
pub use pick::{Mapping, Pick, PickError};
pub use receive::{Received, Webhook};
pub use rejected::Rejected;
pub use signature::{Algorithm, Encoding, KeyError, SigningKey, sign};
