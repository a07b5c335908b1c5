//! Hostile plugins: runs every row of the catalogue in a real router beside three honest plugins
//! under steady load.
//!
//! A row is contained if the router is unharmed, no effect of the misbehaviour remains, the reason
//! is shown everywhere an operator may look, memory is freed, and every event of the neighbours is
//! handled once and at its first attempt. The neighbours' latency is measured, but only judged on
//! request: on a busy machine it is meaningless.

mod neighbours;
mod report;
mod row;
mod rows;
mod stage;
mod text;

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

pub use text::Text;

use report::Line;
use row::Row;
use stage::Stage;

use crate::holds::Holds;

/// Factor by which a neighbour's latency may grow.
const LATENCY_FACTOR_MAX: f64 = 2.0;
/// Duration of the load before measurements, and before and during each row if latency is judged.
const REST: Duration = Duration::from_secs(1);

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How often to run everything.
    pub times: u32,
    /// Rows to run; empty for all.
    pub rows: Vec<u8>,
    /// Whether neighbours that slow down count as harmed.
    pub judge_latency: bool,
}

/// Result of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Rows run, over all repetitions.
    pub tried: usize,
    /// Rows that were contained.
    pub contained: usize,
    /// Events of the neighbours, each handled once.
    pub neighbours: u64,
}

/// Runs the rows and reports each on a line.
///
/// # Errors
/// A row isn't contained, or the router couldn't be started.
pub fn run(options: &Options, say: impl Fn(&str)) -> Result<Summary> {
    let mut summary = Summary::default();
    for time in 1..=options.times.max(1) {
        if options.times > 1 {
            say(&format!("\ntime {time} of {}", options.times));
        }
        say(&report::head());
        let mut known: Vec<u8> = Vec::new();
        for act in rows::acts() {
            known.extend(act.iter().map(|row| row.number));
            let chosen: Vec<&Row> = act.iter().filter(|row| options.takes(row.number)).collect();
            if !chosen.is_empty() {
                play(&chosen, options, &say, &mut summary)?;
            }
        }
        if let Some(unknown) = options.rows.iter().find(|row| !known.contains(row)) {
            bail!("there is no row {unknown}: there are {known:?}");
        }
    }
    for (row, why) in rows::NOT_YET {
        say(&format!("not yet contained: row {row}: {why}"));
    }
    let Summary { tried, contained, .. } = summary;
    ensure!(tried == contained, "{} of {tried} rows were not contained", tried - contained);
    Ok(summary)
}

impl Options {
    fn takes(&self, row: u8) -> bool {
        match self.rows.as_slice() {
            [] => !rows::NOT_YET.iter().any(|(number, _)| *number == row),
            rows => rows.contains(&row),
        }
    }
}

/// Runs rows in one router.
fn play(
    rows: &[&Row],
    options: &Options,
    say: &impl Fn(&str),
    summary: &mut Summary,
) -> Result<()> {
    let stage = Stage::set(rows)?;
    let mut rested = rest();
    for row in rows {
        if options.judge_latency {
            rested = rest();
        }
        let line = try_row(&stage, row, rested, options)?;
        say(&line.to_string());
        summary.tried += 1;
        summary.contained += usize::from(line.seen.is_ok());
    }
    summary.neighbours += stage.strike()?;
    Ok(())
}

/// Lets the load run for a while; returns the interval.
fn rest() -> (Instant, Instant) {
    let begun = Instant::now();
    std::thread::sleep(REST);
    (begun, Instant::now())
}

fn try_row<'a>(
    stage: &Stage,
    row: &'a Row,
    rested: (Instant, Instant),
    options: &Options,
) -> Result<Line<'a>> {
    let process = stage.router.process();
    let before_bytes = Holds::of(process)?.memory_bytes;
    let begun = Instant::now();
    let mut seen = stage.try_row(row);
    if options.judge_latency {
        std::thread::sleep(REST.saturating_sub(begun.elapsed()));
    }
    let after_bytes = Holds::of(process)?.memory_bytes;
    let p99_before = stage.neighbours.p99(rested.0, rested.1).unwrap_or_default();
    let p99_during = stage.neighbours.p99(begun, Instant::now()).unwrap_or_default();
    let grown_bytes = after_bytes.saturating_sub(before_bytes);
    if seen.is_ok() && grown_bytes > row.growth_max_bytes {
        let max_bytes = row.growth_max_bytes;
        seen = Err(anyhow::anyhow!("the router grew by {grown_bytes} bytes, not {max_bytes}"));
    }
    let factor = p99_during.as_secs_f64() / p99_before.as_secs_f64().max(f64::MIN_POSITIVE);
    if seen.is_ok() && options.judge_latency && factor > LATENCY_FACTOR_MAX {
        seen = Err(anyhow::anyhow!("the neighbours became {factor:.1} times slower"));
    }
    Ok(Line { row, seen, before_bytes, after_bytes, p99_before, p99_during })
}
