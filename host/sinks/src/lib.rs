//! Sinks: listeners that deliver events to other servers by HTTP.
//!
//! A [`Sink`] is a [`usher_event::Listener`] like a plugin's, so that order, retries, breaker, dead
//! letters and replay are the same. A response that carries a CloudEvent is an emission, committed
//! with the acknowledgement.

mod batch;
mod request;
mod sink;
mod target;

pub use sink::Sink;
pub use target::{BatchRule, Mode, Target};
