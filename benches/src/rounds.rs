//! Timing of calls that take microseconds: in rounds, and round about where several are compared,
//! so that whatever else the machine does meets all of them alike.

use std::time::{Duration, Instant};

const WARM_UP_CALLS: u32 = 20_000;
const ROUND_CALLS: u32 = 50_000;
const ROUNDS: usize = 21;

/// Makes so many calls.
pub(crate) type Calls = Box<dyn FnMut(u32) -> anyhow::Result<()>>;

/// The median over rounds of the time one call takes, for each that is compared; they
/// take turns.
pub(crate) fn time_per_call<const N: usize>(
    mut compared: [Calls; N],
) -> anyhow::Result<[Duration; N]> {
    for calls in &mut compared {
        calls(WARM_UP_CALLS)?;
    }
    let mut times = [const { Vec::new() }; N];
    for _ in 0..ROUNDS {
        for (calls, times) in compared.iter_mut().zip(&mut times) {
            let start = Instant::now();
            calls(ROUND_CALLS)?;
            times.push(start.elapsed() / ROUND_CALLS);
        }
    }
    Ok(times.map(median))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
