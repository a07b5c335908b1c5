//! The harness of the system tests, shared with `cargo xtask demo`: the real `usher` binary as a
//! child process, stand-ins for outside services, and the twelve ticket purchases with their
//! expected results.
//!
//! Black box: uses only what an operator can use, namely files, HTTP, signals, exit codes and the
//! log.

mod artefacts;
mod folder;
mod holds;
mod http;
mod interrupt;
mod log;
mod nats;
mod router;
mod stream;
mod swaps;
mod ticket;
mod usher;
mod wait;

pub mod crash;
pub mod hostile;
pub mod stand_ins;

pub use artefacts::{
    OTHER_VERSION, guest, other_version, plugin, repository, target_dir, usher_binary,
};
pub use folder::Folder;
pub use holds::Holds;
pub use http::{Answer, Client, Receipt, percent_encoded};
pub use interrupt::wait_for_interrupt;
pub use nats::NatsServer;
pub use router::Router;
pub use stream::{EventStream, Streamed};
pub use swaps::{Load, Swaps};
pub use ticket::check::{Run, check_flow, check_world};
pub use ticket::config::{TICKET_PLUGINS, TicketConfig};
pub use ticket::purchase::{Ending, Expected, Purchase, purchases};
pub use usher::{Finished, Running, usher, usher_with};
pub use wait::{PATIENCE, wait_for};
