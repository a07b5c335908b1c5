//! Times calls that take microseconds. Runs in rounds and interleaves the candidates, so that noise
//! affects all of them alike.

use std::time::{Duration, Instant};

/// Calls per round; half as many for warm-up.
pub(crate) const WARM_ROUND_CALLS: u32 = 50_000;
/// Calls per round with a fresh instance each, which take ten times as long.
pub(crate) const FRESH_ROUND_CALLS: u32 = 5_000;
const ROUNDS: usize = 21;

/// Makes this many calls.
pub(crate) type Calls = Box<dyn FnMut(u32) -> anyhow::Result<()>>;

/// Median time per call over all rounds, for each candidate; candidates take turns.
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

pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
