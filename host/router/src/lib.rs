//! Takes deliveries from the broker to listeners, and what became of them back.
//!
//! For each subscription a dispatcher keeps a few workers. A worker leases a run of
//! deliveries, hands them to the listener one after another, and gives the broker the settlements
//! of the whole run at once, without waiting for the disk before it takes the next run. What
//! always holds:
//!
//! - A leased delivery is settled, whatever happens to worker or listener: panics, cancellation
//!   and abandoned calls give it back.
//! - One delivery sees one version of a plugin. A hot swap takes effect between two runs. Where a
//!   version on trial fails, all that it did is dropped and the version before runs from the start.
//! - A plugin that keeps failing gets fewer deliveries and in the end none; its events wait in the
//!   log, and no other plugin notices.
//! - A listener that hangs holds up only the delivery it hangs on, not the rest of its run.
//!
//! Nothing here knows wasm, a disk or a network: listeners and broker are traits.

mod breaker;
mod clock;
mod dispatcher;
mod dry_run;
mod ladder;
mod router;
mod run;
mod settling;
mod stats;
mod swap;
mod trial;
mod verdict;
mod worker;

pub use breaker::BreakerPolicy;
pub use dry_run::DryRun;
pub use ladder::{Quarantine, Standing};
pub use router::{Held, InstallError, Installation, Router};
pub use stats::DispatchStatus;
pub use swap::SwapOutcome;
pub use trial::{FailedTrial, TrialPolicy};
pub use verdict::{EMISSION_DELAY_MAX_MS, EMISSION_MAX_BYTES, EmissionLimits, REASON_MAX_BYTES};
