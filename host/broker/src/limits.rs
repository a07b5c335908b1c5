//! The limits of the embedded engine. Each bounds memory, disk or the time of one step.

use std::time::Duration;

/// Maximum events in a [`crate::Flow`].
pub const FLOW_MAX_EVENTS: usize = 1_000;

/// Maximum bytes of events in a [`crate::Flow`], which a single event may exceed.
pub const FLOW_MAX_BYTES: usize = 8 * 1_024 * 1_024;

/// Maximum failed attempts kept for one delivery: the first and the newest.
pub const ATTEMPTS_KEPT: usize = 20;

/// Maximum audit records kept; the oldest are removed.
pub const AUDIT_MAX_RECORDS: u64 = 10_000;

/// Longest chain of emissions; a delivery that would exceed it is dead-lettered.
pub const HOPS_MAX: u16 = 16;

/// Maximum number of subscriptions.
pub const SUBSCRIPTIONS_MAX: usize = 100_000;

/// Upper bound of a subscription's `max_in_flight`.
pub const IN_FLIGHT_MAX: u32 = 4_096;

/// Maximum deliveries of one subscription that wait for another attempt; beyond it the subscription
/// takes no new events until some are settled.
pub const RETRIES_MAX: usize = 10_000;

/// Maximum deliveries of one subscription parked behind a lane head that waits for another attempt;
/// beyond it the subscription takes no new events until some are settled.
pub const PARKED_MAX: usize = 100_000;

/// Longest time for which a debounced event may wait for newer ones.
pub const DEBOUNCE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Maximum keys of one subscription that rest between two deliveries because of their rate, or are
/// debounced; beyond it the subscription takes no new events until some rests are over.
pub const RESTING_MAX: usize = 100_000;

/// Maximum events that one step of a replay delivers.
pub const REPLAY_MAX_EVENTS: usize = 256;

/// Maximum events that one step of a replay scans.
pub const REPLAY_MAX_LOOKED_AT: usize = 16_384;

/// Maximum unfinished replayed deliveries of one subscription; a replay waits beyond it. Less than
/// [`RETRIES_MAX`], so that new events are still taken.
pub const REPLAYS_MAX: usize = 1_024;

/// How often a delivery may run again because state it read has changed, before it runs alone, with
/// nothing else of its plugin in flight.
pub const CONFLICTS_MAX: u32 = 3;

/// Maximum emissions waiting for their delay, over all plugins; each plugin has a lower limit of
/// its own ([`crate::Changes::delayed_max`]).
pub const DELAYED_MAX: usize = 100_000;

/// Longest retry delay a listener may ask for; longer ones are clamped to this and to what the
/// subscription's policy leaves.
pub const AFTER_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A listener that asks for at least this delay is busy: the attempt isn't counted.
pub const RATE_LIMITED_MIN: Duration = Duration::from_secs(1);

/// Longest delay of an emission; longer ones are clamped.
pub const DELAY_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Maximum number of schedules.
pub const SCHEDULES_MAX: usize = 256;

/// A clock set back by more than this was wrong before: remaining waits are recomputed from now.
/// Smaller steps are waited out, so that nothing happens twice.
pub const CLOCK_STEP_MAX: Duration = Duration::from_secs(60);

/// The same for schedules, which repeat nothing if a clock is set back by an hour and corrected.
pub const SCHEDULE_STEP_MAX: Duration = Duration::from_secs(2 * 60 * 60);

/// A schedule's tick that is handled later than this counts as missed.
pub const TICK_LATE_MAX: Duration = Duration::from_secs(10);

/// Maximum missed ticks emitted if a schedule asks for all of them: the newest.
pub const TICKS_CAUGHT_UP_MAX: usize = 1_000;

/// Maximum missed ticks counted at a time; beyond it the count is too low.
pub const TICKS_COUNTED_MAX: usize = 10_000;

/// Longest cron pattern.
pub const CRON_MAX_BYTES: usize = 256;

/// Longest state address: bucket and key together.
pub const STATE_ADDRESS_MAX_BYTES: usize = 8 * 1_024;

/// Maximum documents, over all who keep some.
pub const DOCUMENTS_MAX: usize = 16_384;

/// Maximum bytes of a document.
pub const DOCUMENT_MAX_BYTES: usize = 1_024 * 1_024;

/// Maximum bytes of all documents.
pub const DOCUMENTS_MAX_BYTES: usize = 256 * 1_024 * 1_024;

/// Longest name of a document.
pub const DOCUMENT_NAME_MAX_BYTES: usize = 256;

pub use usher_event::limits::REASON_MAX_BYTES;

/// Longest backtrace kept; the rest is cut.
pub const BACKTRACE_MAX_BYTES: usize = 16 * 1_024;

/// Maximum rows returned by one call of a listing method.
pub const PAGE_MAX: usize = 1_000;
