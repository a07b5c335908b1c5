//! Moves deliveries from the broker to listeners and their settlements back.
//!
//! Each subscription has a dispatcher with a few workers. A worker leases a run of deliveries,
//! hands them to the listener one at a time, and settles the whole run in one batch; it takes the
//! next run without waiting for the disk. Invariants:
//!
//! - A leased delivery is always settled: panics, cancellation and abandoned calls release it.
//! - One delivery sees one version of a plugin. A hot swap takes effect between runs. Where a
//!   version on trial fails, its effects are dropped and the previous version handles the delivery
//!   from the start.
//! - A plugin that keeps failing gets fewer deliveries and eventually none; its events wait in the
//!   log, and other plugins are unaffected.
//! - A hung listener blocks only its current delivery, not the rest of the run.
//!
//! Independent of wasm, disk and network: listeners and broker are traits.

mod breaker;
mod clock;
mod dispatch;
mod dispatcher;
mod dry_run;
mod ladder;
mod recordings;
mod router;
mod run;
mod settling;
mod spans;
mod stats;
mod swap;
mod trial;
mod verdict;
mod worker;
mod workers;

pub use breaker::BreakerPolicy;
pub use dry_run::DryRun;
pub use ladder::{Quarantine, Standing};
pub use recordings::{Recorded, Recordings};
pub use router::{InstallError, Installation, RestoredState, Router};
pub use stats::DispatchStatus;
pub use swap::SwapOutcome;
pub use trial::{FailedTrial, TrialPolicy};
pub use verdict::{EMISSION_DELAY_MAX_MS, EMISSION_MAX_BYTES, EmissionLimits, judge};
