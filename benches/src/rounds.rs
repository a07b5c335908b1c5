//! Timing of calls that take microseconds: in rounds, and round about where several are compared,
//! so that whatever else the machine does meets all of them alike.

use std::time::{Duration, Instant};

/// Calls in a round, and half as many to warm up.
pub(crate) const WARM_ROUND_CALLS: u32 = 50_000;
/// The same for calls that each take a fresh instance, and so take ten times as long.
pub(crate) const FRESH_ROUND_CALLS: u32 = 5_000;
const ROUNDS: usize = 21;

/// Makes so many calls.
pub(crate) type Calls = Box<dyn FnMut(u32) -> anyhow::Result<()>>;

/// The median over rounds of the time one call takes, for each that is compared; they
/// take turns.
pub(crate) fn time_per_call<const N: usize>(
    round_calls: u32,
    mut compared: [Calls; N],
) -> anyhow::Result<[Duration; N]> {
    for calls in &mut compared {
        calls(round_calls / 2)?;
    }
    let mut times = [const { Vec::new() }; N];
    for _ in 0..ROUNDS {
        for (calls, times) in compared.iter_mut().zip(&mut times) {
            let start = Instant::now();
            calls(round_calls)?;
            times.push(start.elapsed() / round_calls);
        }
    }
    Ok(times.map(median))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
