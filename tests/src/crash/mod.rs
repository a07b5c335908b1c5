//! The proofs that nothing is lost and nothing is done twice: the real router under load, ended
//! again and again, and a model outside of it that knows what must be true afterwards.
//!
//! A **round** publishes a load, ends the router at a named or a random point, starts it again on
//! the same data folder, sends again whatever was not acknowledged, waits until all is settled, and
//! checks the log, state, order, blobs, dead letters and the world outside. All choices come from a
//! seed and the number of the round; only the timing is the machine's.

mod campaign;
mod load;
mod log;
mod model;
mod plan;
mod points;
mod power;
mod process;
mod seed;
mod world;

pub use campaign::{Fault, Summary, run, run_full};
pub use power::missing_for_power;
