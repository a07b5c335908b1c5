//! The limits of the embedded engine. Each bounds memory, disk or the time of one step.

use std::time::Duration;

/// Most events that [`crate::Flow`] holds.
pub const FLOW_MAX_EVENTS: usize = 1_000;

/// Most bytes of events that [`crate::Flow`] holds; a single one may have more.
pub const FLOW_MAX_BYTES: usize = 8 * 1_024 * 1_024;

/// Most failed attempts kept for one delivery: the first and the newest.
pub const ATTEMPTS_KEPT: usize = 20;

/// Most records kept of what operators did; the oldest go.
pub const AUDIT_MAX_RECORDS: u64 = 10_000;

/// Longest chain of emissions; a delivery that would make it longer becomes a dead letter.
pub const HOPS_MAX: u16 = 16;

/// Most subscriptions at once.
pub const SUBSCRIPTIONS_MAX: usize = 1_024;

/// Most deliveries under way at once that a subscription may ask for.
pub const IN_FLIGHT_MAX: u32 = 4_096;

/// Most deliveries of one subscription that wait for another attempt; beyond it the subscription
/// takes no new events until some of them are settled.
pub const RETRIES_MAX: usize = 10_000;

/// Most deliveries of one subscription that are parked behind one of the same key that waits for
/// another attempt; beyond it the subscription takes no new events until some of them are settled.
pub const PARKED_MAX: usize = 100_000;

/// Most events that one step of a replay has delivered.
pub const REPLAY_MAX_EVENTS: usize = 256;

/// Most events that one step of a replay looks at.
pub const REPLAY_MAX_LOOKED_AT: usize = 16_384;

/// Most replayed deliveries of one subscription that are not over; a replay waits beyond it. Fewer
/// than [`RETRIES_MAX`], so that new events are taken meanwhile.
pub const REPLAYS_MAX: usize = 1_024;

/// How often a delivery may run again because state it had read changed meanwhile, before it runs
/// while nothing else of its plugin does.
pub const CONFLICTS_MAX: u32 = 3;

/// Most emissions that wait for their delay, of all plugins; each has a share of its own below it
/// ([`crate::Changes::delayed_max`]).
pub const DELAYED_MAX: usize = 100_000;

/// Longest wait a listener may ask for before another attempt; longer ones are cut to this, and to
/// what the subscription's policy leaves.
pub const AFTER_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A listener that asks for a wait of at least this is busy: the attempt doesn't count.
pub const RATE_LIMITED_MIN: Duration = Duration::from_secs(1);

/// Longest delay of an emission; longer ones are cut to this.
pub const DELAY_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Most schedules at once.
pub const SCHEDULES_MAX: usize = 256;

/// A clock that is set back by more than this was wrong before: what was to wait by it is worked out
/// again, counted from now. Less is waited out, so that nothing happens twice.
pub const CLOCK_STEP_MAX: Duration = Duration::from_secs(60);

/// The same for schedules, which repeat nothing where a clock is set back by an hour and set right.
pub const SCHEDULE_STEP_MAX: Duration = Duration::from_secs(2 * 60 * 60);

/// A tick of a schedule that the broker comes to later than this counts as missed.
pub const TICK_LATE_MAX: Duration = Duration::from_secs(10);

/// Most missed ticks that are caught up with, where a schedule asks for all of them: the newest.
pub const TICKS_CAUGHT_UP_MAX: usize = 1_000;

/// Most missed ticks that are counted at a time; beyond it the count is too low.
pub const TICKS_COUNTED_MAX: usize = 10_000;

/// Longest cron pattern.
pub const CRON_MAX_BYTES: usize = 256;

/// Longest state address: bucket and key together.
pub const STATE_ADDRESS_MAX_BYTES: usize = 8 * 1_024;

/// Longest reason kept of a failed attempt; the rest is cut.
pub const REASON_MAX_BYTES: usize = 4 * 1_024;

/// Longest backtrace kept of a failed attempt; the rest is cut.
pub const BACKTRACE_MAX_BYTES: usize = 16 * 1_024;

/// Most rows that one call of a listing method answers with.
pub const PAGE_MAX: usize = 1_000;
