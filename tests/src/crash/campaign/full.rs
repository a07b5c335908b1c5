//! Disk full: the router refuses or stops as documented, and recovers once there is space.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::{Stage, Summary, tell};
use crate::artefacts::target_dir;
use crate::crash::load::publish;
use crate::crash::plan::{self, Kind, Planned};
use crate::crash::power::{clear_leftovers, run as run_command};
use crate::crash::process::Process;
use crate::crash::seed::Choices;
use crate::crash::world::{Parts, World};
use crate::http::Client;

const MIB: u64 = 1_024 * 1_024;
/// Minimum disk size: fits the compiled plugins and some hundred events.
const DISK_MIN_BYTES: u64 = 64 * MIB;
/// Random addition to the minimum size.
const DISK_MORE_BYTES: u64 = 96 * MIB;
/// Maximum events to fill a disk.
const FILL_MAX: usize = 20_000;
/// Number of fill events between two ordinary loads.
const FILL_BETWEEN: usize = 25;
/// Events per request when everything is resent.
const RESENT: usize = 40;
/// How long a router that refuses may take to stop, if it stops.
const STOP_MAX: Duration = Duration::from_secs(5);
/// Exit codes: the store failed, and the router can't start.
const EXIT_POISONED: i32 = 3;
const EXIT_FAILED: i32 = 1;

/// Fills a small disk in each round, and reports each round through `say`.
///
/// # Errors
/// A check failed or couldn't be made; the error names the round.
pub fn run_full(
    seed: u64,
    binary: Option<&Path>,
    rounds: impl IntoIterator<Item = u32>,
    mut say: impl FnMut(&str),
) -> Result<Summary> {
    clear_leftovers(&target_dir().join("crash"))?;
    let parts = Parts::gather(binary)?;
    let mut summary = Summary::default();
    for round in rounds {
        let start = Instant::now();
        let told = fill(&parts, seed, round, &mut summary)
            .with_context(|| format!("round {round}"))
            .with_context(|| format!("what it was about lies in {}", parts.root().display()))?;
        summary.rounds += 1;
        say(&format!("round {round:>4}  {told}  {:.2} s", start.elapsed().as_secs_f64()));
    }
    parts.remove()?;
    Ok(summary)
}

/// A small tmpfs. Unmounted when dropped.
#[derive(Debug)]
struct Memory(PathBuf);

impl Memory {
    fn mount(at: &Path, size_bytes: u64) -> Result<Self> {
        let size = format!("size={size_bytes}");
        run_command(
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "usher-crash"]).arg(at),
        )?;
        Ok(Self(at.to_owned()))
    }

    fn resize(&self, size_bytes: u64) -> Result<()> {
        let options = format!("remount,size={size_bytes}");
        run_command(Command::new("mount").args(["-o", &options]).arg(&self.0))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // Lazy unmount: it must not outlive the run, even if it is busy.
        let _ = run_command(Command::new("umount").arg("-l").arg(&self.0));
    }
}

/// Fills a disk, frees space, and checks everything.
fn fill(parts: &Parts, seed: u64, round: u32, summary: &mut Summary) -> Result<String> {
    let mut choices = Choices::of(seed, round);
    let size_bytes = DISK_MIN_BYTES + choices.below(DISK_MORE_BYTES);
    let mut disk = None;
    let world = World::new(parts, |folder| {
        disk = Some(Memory::mount(&folder.data(), size_bytes)?);
        Ok(None)
    })?;
    let disk = disk.context("no disk was made")?;
    // With a reserve producers are refused before the disk is full, without one writing fails.
    let reserve_bytes = if choices.below(3) == 0 { size_bytes / 8 } else { 0 };
    let mut config = OpenOptions::new().append(true).open(world.folder.config())?;
    writeln!(config, "\n[broker]\ndisk_reserve_bytes = {reserve_bytes}")?;
    let mut stage = Stage::with(world, parts, seed);
    stage.world.gateway.release();

    let mut process = stage.world.spawn()?;
    let client = process.ready()?;
    let (planned, acknowledged, refusal) = until_refused(&mut stage, &client, &mut choices, round)?;
    summary.acknowledged += acknowledged;
    let mut problems: Vec<String> = Vec::new();
    let end = Instant::now() + STOP_MAX;
    let status = loop {
        match process.ended()? {
            None if Instant::now() < end => thread::sleep(Duration::from_millis(20)),
            status => break status,
        }
    };
    let became = match status {
        None => {
            let health = client.get("/healthz")?;
            ensure!(health.status == 200, "it stays up, but is not healthy: {}", health.text());
            "stays up".to_owned()
        }
        Some(status) => {
            summary.faults += 1;
            if status.code() != Some(EXIT_POISONED) {
                problems.push(format!("it ended with {status}:\n{}", process.tail(20)));
            }
            format!("stops with {status}")
        }
    };
    problems.extend(process.panic());
    let mut again = String::new();
    if status.is_some() {
        again = on_a_full_disk(&stage, &mut problems)?;
        disk.resize(size_bytes * 4)?;
        process = stage.world.spawn()?;
    } else {
        disk.resize(size_bytes * 4)?;
    }

    let client = if status.is_some() { process.ready()? } else { client };
    resend(&mut stage, &client, &planned, &mut problems)?;
    let new = stage.settle(&client, &planned, &process)?;
    problems.extend(stage.model.grow(&planned, &new));
    stage.check_inside(&client, &new, &mut problems)?;
    stage.check_outside(&planned, &mut problems)?;
    problems.extend(process.panic());
    tell(&problems).with_context(|| format!("{refusal}; it {became}{again}"))?;
    summary.checked += new.len();
    stage.running = Some((process, client));
    stage.leave(summary)?;
    Ok(format!(
        "{} MiB are full after {acknowledged} events: {refusal}; it {became}{again}; checked {} \
         events",
        size_bytes / MIB,
        new.len()
    ))
}

/// Publishes until an event is refused; returns everything sent, the number of acknowledged events,
/// and the refusal.
fn until_refused(
    stage: &mut Stage<'_>,
    client: &Client,
    choices: &mut Choices,
    round: u32,
) -> Result<(Vec<Planned>, usize, String)> {
    let mut sent = Vec::new();
    let mut acknowledged = 0;
    for number in 0..FILL_MAX {
        let request = if number % FILL_BETWEEN == 0 {
            let load = u32::try_from(number / FILL_BETWEEN)?;
            plan::of_round(choices, round * 1_000 + load, false)
        } else {
            let len = usize::try_from(choices.below(200_000))?;
            let kind = Kind::Fill { seed: choices.next(), len };
            vec![Planned { id: format!("f{round}-{number}"), kind }]
        };
        sent.extend(request.iter().cloned());
        match publish(client, &request) {
            Ok(receipts) => {
                acknowledged += receipts.len();
                let problems = receipts.iter().filter_map(|r| stage.model.acknowledge(r));
                tell(&problems.collect::<Vec<_>>())?;
            }
            Err(error) => return Ok((sent, acknowledged, refusal(&format!("{error:#}")))),
        }
    }
    bail!("{FILL_MAX} events did not fill the disk")
}

/// Status and detail of a problem response; the whole text of any other response.
fn refusal(error: &str) -> String {
    let status = error.split(['{', ':']).nth(1).unwrap_or(error).trim();
    match error.split_once("\"detail\":\"") {
        Some((_, detail)) => format!("{status}, {}", detail.trim_end_matches(['"', '}'])),
        None => error.to_owned(),
    }
}

/// Starts the router while the disk is full: it must come up or exit with a documented code.
fn on_a_full_disk(stage: &Stage<'_>, problems: &mut Vec<String>) -> Result<String> {
    let mut process: Process = stage.world.spawn()?;
    let told = match process.ready() {
        Ok(_) => {
            process.kill()?;
            ", comes up on the full disk".to_owned()
        }
        Err(_) => {
            let status = process.exited()?;
            if !matches!(status.code(), Some(EXIT_FAILED | EXIT_POISONED)) {
                let tail = process.tail(20);
                problems.push(format!("on the full disk it ended with {status}:\n{tail}"));
            }
            format!(", on the full disk with {status}")
        }
    };
    problems.extend(process.panic());
    Ok(told)
}

/// Resends everything, both refused and acknowledged events.
fn resend(
    stage: &mut Stage<'_>,
    client: &Client,
    planned: &[Planned],
    problems: &mut Vec<String>,
) -> Result<()> {
    for request in planned.chunks(RESENT) {
        let receipts = publish(client, request)?;
        problems.extend(receipts.iter().filter_map(|r| stage.model.acknowledge(r)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_short() {
        let answer = r#"not accepted: 503 {"status":503,"detail":"the store failed: no space"}"#;
        assert_eq!(refusal(answer), "503, the store failed: no space");
        assert_eq!(refusal("connection refused"), "connection refused");
    }
}
