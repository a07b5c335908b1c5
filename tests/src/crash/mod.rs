//! Crash tests: the real router is crashed repeatedly under load, and an external model checks that
//! nothing is lost and nothing is done twice.
//!
//! A **round** publishes a load, crashes the router at a named or random point, restarts it on the
//! same data folder, resends whatever was not acknowledged, waits until everything is settled, and
//! checks log, state, order, blobs, dead letters and the outside world. All choices are derived
//! from a seed and the round number; only timing varies.

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

pub use campaign::{Fault, Summary, run, run_cluster, run_full};
pub use power::missing_for_power;
