//! Deliveries handled by other nodes of a router: its **executors**.
//!
//! The owner of the journal keeps everything that decides: leases, order, attempts, breakers, trials and
//! what is committed. Only the call into the sandbox goes elsewhere. [`Spread`] stands for a plugin's
//! listener in the owner's router; for each delivery it takes the node that has the least to do, and waits
//! for the outcome. [`Executor`] is the other side, on a standby: it runs the same component, by digest,
//! under its own configuration, and reads state from its own tables.
//!
//! An outcome counts only while the owner waits for it. A node that falls silent is given up, and the owner
//! handles the delivery itself: what that node says later is heard by no one, and an owner that has been
//! overtaken commits nothing.

mod executor;
mod link;
mod loading;
mod nodes;
mod report;
mod spread;
mod turns;
mod wire;

/// The version of Usher, which nodes compare. `USHER_VERSION`, where it is set for a build, names one with
/// changes of its own.
pub const VERSION: &str = match option_env!("USHER_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

pub use executor::Executor;
pub use link::Asks;
pub use loading::fetch_component;
pub use nodes::{NODES_MAX, NodeStatus, Nodes};
pub use report::{Introduction, PluginThere, Report};
pub use spread::Spread;
