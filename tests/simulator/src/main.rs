//! Random histories of the broker's ledger in memory, checked against a plain model: publishes, leases,
//! settlements of every kind, conflicts over state, redrives, discards, subscriptions that are added,
//! changed and removed, events that expire, schedules, a jumping clock, and crashes that lose what was not
//! committed or not acknowledged. Most are on several nodes, which take over from each other, with the
//! journal of `usher-jetstream` on a model of its servers. Numbers in brackets are the invariants of
//! `docs/promises.md`.
//!
//! Each step draws from its own random stream, so steps can be left out: a failing seed is
//! minimised to the steps that matter.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a simulation reports a violation by panicking"
)]

mod machine;
mod minimise;
mod model;
mod random;
mod schedules;
mod servers;
mod settling;
mod world;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};
use clap::Parser;

use machine::Happened;
use minimise::{explained, fails};
use random::Random;
use servers::Served;
use world::World;

/// Steps of a history: enough for at least 500 events and 10 faults.
const STEPS: u32 = 600;

/// Enough seeds for everything to happen in at least one of them.
const SEEDS_FOR_ALL: u64 = 24;

/// Play random histories of the broker's ledger; fail with the first that breaks an invariant,
/// minimised.
#[derive(Clone, Debug, Parser)]
#[command(name = "usher-simulator")]
struct Options {
    /// Number of seeds
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Play only these steps of each history, as printed with a failure
    #[arg(long, value_delimiter = ',')]
    steps: Vec<u32>,
    /// Print every step
    #[arg(long)]
    trace: bool,
}

fn main() -> Result<()> {
    run(&Options::parse())
}

/// Counts of what happened in a history.
#[derive(Clone, Copy, Debug, Default)]
struct Played {
    events: usize,
    faults: usize,
    deliveries: usize,
    expired: usize,
    /// Deliveries that expired.
    expired_unsettled: usize,
    /// Batches that were refused, and deliveries that were held back.
    refused: usize,
    held_back: usize,
    /// Deliveries that would have exceeded the quota.
    over_quota: usize,
    /// Deliveries left out for a newer one, since the last crash.
    superseded: usize,
    happened: Happened,
}

impl Played {
    const MOST: Self = Self {
        events: usize::MAX,
        faults: usize::MAX,
        deliveries: usize::MAX,
        expired: usize::MAX,
        expired_unsettled: 0,
        refused: 0,
        held_back: 0,
        over_quota: 0,
        superseded: 0,
        happened: Happened {
            takeovers: 0,
            overtaken: 0,
            served: Served { faults: 0, done_late: 0, purges: 0 },
        },
    };

    /// The minimum of both; for what happens only in some histories, the sum.
    fn with(self, other: &Self) -> Self {
        Self {
            events: self.events.min(other.events),
            faults: self.faults.min(other.faults),
            deliveries: self.deliveries.min(other.deliveries),
            expired: self.expired.min(other.expired),
            expired_unsettled: self.expired_unsettled + other.expired_unsettled,
            refused: self.refused + other.refused,
            held_back: self.held_back + other.held_back,
            over_quota: self.over_quota + other.over_quota,
            superseded: self.superseded + other.superseded,
            happened: self.happened.and(&other.happened),
        }
    }
}

/// Plays these steps of a seed's history, waits until everything is at rest, and checks the result.
fn play(seed: u64, steps: &BTreeSet<u32>, is_traced: bool) -> Played {
    let mut world = World::new(seed, is_traced);
    for step in steps {
        world.step(Random::of_step(seed, *step));
    }
    world.come_to_rest();
    world.check_books();
    world.played()
}

/// Plays the histories, on all cores.
fn run(options: &Options) -> Result<()> {
    let Options { seeds, seed: first, ref steps, trace } = *options;
    let steps: BTreeSet<u32> =
        if steps.is_empty() { (0..STEPS).collect() } else { steps.iter().copied().collect() };
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let (steps, next) = (&steps, &AtomicU64::new(first));
    let play_on = move || -> Result<Played> {
        let mut least = Played::MOST;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                return Ok(least);
            }
            let played = fails(|| play(seed, steps, trace)).map_err(|violation| {
                // Stops the other threads.
                next.store(first + seeds, Ordering::Relaxed);
                anyhow::Error::msg(explained(seed, steps, &violation))
            })?;
            least = least.with(&played);
        }
    };
    let least = std::thread::scope(|scope| {
        let playing: Vec<_> = (0..threads).map(|_| scope.spawn(play_on)).collect();
        let played = playing.into_iter().map(|one| match one.join() {
            Ok(played) => played,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        played.reduce(|one, other| Ok(one?.with(&other?))).expect("at least one thread")
    })?;
    println!(
        "seeds {first} to {}: no violation; at least {} events, {} deliveries, {} faults, \
         {} events expired each; {} deliveries expired, {} batches refused, {} deliveries held \
         back, {} over quota and {} superseded in all; {}",
        first + seeds - 1,
        least.events,
        least.deliveries,
        least.faults,
        least.expired,
        least.expired_unsettled,
        least.refused,
        least.held_back,
        least.over_quota,
        least.superseded,
        least.happened
    );
    if options.steps.is_empty() && seeds > 1 {
        ensure!(
            least.events >= 500
                && least.faults >= 10
                && least.expired > 0
                && least.expired_unsettled > 0
                && (seeds < SEEDS_FOR_ALL
                    || (least.over_quota > 0
                        && least.superseded > 0
                        && least.happened.is_everything())),
            "too little happens: {least:?}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_histories_agree_with_the_model() {
        let options = Options { seeds: 4, seed: 1, steps: Vec::new(), trace: false };
        run(&options).unwrap();
    }
}
