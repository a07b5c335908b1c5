//! Another build's benchmarks and this one's in turn, so that the machine's moods affect both alike.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

/// Runs of each build, of which the median counts.
const ROUNDS: usize = 5;

/// Microseconds by row.
type Rows = BTreeMap<String, f64>;

/// Runs the suite of this build and of the one at `baseline` in turn, and prints both with their ratio.
pub(crate) fn compare(baseline: &Path, args: &[String], is_json: bool) -> anyhow::Result<()> {
    let this = std::env::current_exe().context("can't tell which program this is")?;
    let (mut before, mut now) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}");
        before.push(run(baseline, args)?);
        now.push(run(&this, args)?);
    }
    let (before, now) = (medians(&before), medians(&now));
    let both: Vec<_> =
        now.iter().filter_map(|(name, now)| Some((name, before.get(name)?, now))).collect();
    ensure!(!both.is_empty(), "{} prints no row that this build has", baseline.display());
    let mut out = std::io::stdout().lock();
    if is_json {
        let rows = both.iter().map(|(name, before, now)| {
            serde_json::json!({ "row": name, "baseline_us": before, "us": now })
        });
        serde_json::to_writer_pretty(&mut out, &rows.collect::<Vec<_>>())?;
        writeln!(out)?;
        return Ok(());
    }
    let width = both.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or(0);
    writeln!(out, "\n{:width$}  {:>12}  {:>10}  times as fast", "", "baseline µs", "µs each")?;
    for (name, before, now) in both {
        writeln!(out, "{name:width$}  {before:>12.2}  {now:>10.2}  {:.2}", before / now)?;
    }
    Ok(())
}

fn run(program: &Path, args: &[String]) -> anyhow::Result<Rows> {
    let ran = Command::new(program).args(args).stderr(Stdio::null()).output();
    let ran = ran.with_context(|| format!("can't run {}", program.display()))?;
    ensure!(ran.status.success(), "{} failed: {}", program.display(), ran.status);
    Ok(rows(&String::from_utf8_lossy(&ran.stdout)))
}

/// Reads the table that a suite prints: name, microseconds, and the rest.
fn rows(text: &str) -> Rows {
    let row = |line: &str| {
        let (name, rest) = line.split_once("  ")?;
        let micros = rest.split_whitespace().next()?.parse().ok()?;
        (!name.is_empty()).then(|| (name.to_owned(), micros))
    };
    text.lines().filter_map(row).collect()
}

fn medians(runs: &[Rows]) -> Rows {
    let mut all: BTreeMap<&String, Vec<f64>> = BTreeMap::new();
    for (name, micros) in runs.iter().flatten() {
        all.entry(name).or_default().push(*micros);
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied()
    };
    all.into_iter().filter_map(|(name, times)| Some((name.clone(), median(times)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_from_the_printed_table() {
        let text = "\n                 µs each      each/s  ratio\n\
            durable hop, 256 B        3.40      294031  5.20 × append\n\
            append + fdatasync        0.58     1736111\n";
        let found = rows(text);
        assert_eq!(found.get("durable hop, 256 B"), Some(&3.4));
        assert_eq!(found.len(), 2);
        let runs = [3.0, 1.0, 2.0].map(|micros| Rows::from([("a".to_owned(), micros)]));
        assert_eq!(medians(&runs).get("a"), Some(&2.0));
    }
}
