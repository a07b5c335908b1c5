//! Stand-ins for the outside world: real HTTP servers on loopback, on ports the system chooses.
//!
//! Each lives as long as its value: dropping it closes the port and ends its thread. Gateway and mail
//! count what they are asked, by idempotency key, so that a test can tell one payment from two.

mod gateway;
mod hostile;
mod mail;
mod server;

pub use gateway::{Charge, Gateway};
pub use hostile::Hostile;
pub use mail::{Mail, Sent};
