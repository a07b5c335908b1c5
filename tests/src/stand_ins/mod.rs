//! Stand-ins for outside services: real HTTP servers on loopback, on free ports.
//!
//! Dropping one closes its port and ends its thread. Gateway and mail API count requests by
//! idempotency key, so that a test can detect duplicates.

mod gateway;
mod hostile;
mod mail;
mod relay;
mod server;

pub use gateway::{Charge, Gateway};
pub use hostile::Hostile;
pub use mail::{Mail, Sent};
pub(crate) use relay::Relay;
