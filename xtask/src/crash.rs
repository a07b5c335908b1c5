//! `cargo xtask crash`: crashes the router repeatedly under load and checks the invariants.

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use usher_tests::crash::{
    Fault, Summary, missing_for_power, run as run_rounds, run_cluster, run_full,
};
use usher_tests::{repository, target_dir};

use crate::cargo::{build_release, build_workspace, cargo, run as run_command};
use crate::style::{BAD, FAINT, GOOD, PLAIN, TITLE, announce};
use crate::{guests, nats};

/// Number of rounds that fill a disk.
const FULL_ROUNDS: u32 = 3;

/// Command-line options of `cargo xtask crash`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub(crate) struct Options {
    /// Number of rounds that kill the router (SIGKILL).
    #[arg(long, value_name = "ROUNDS", group = "what")]
    kill: Option<u32>,
    /// Number of rounds that cut the power of its disk. Needs root.
    #[arg(long, value_name = "ROUNDS", group = "what")]
    power: Option<u32>,
    /// Number of rounds that kill and stop nodes of a router and NATS servers. `nats-server` comes from
    /// PyPI, or from `NATS_SERVER`.
    #[arg(long, value_name = "ROUNDS", group = "what")]
    cluster: Option<u32>,
    /// Fill up a small disk, a few times. Needs root.
    #[arg(long, group = "what")]
    full: bool,
    /// In a scripted history, fail every call with which the broker changes its files, one at a
    /// time and in every way it can fail. Deterministic.
    #[arg(long, group = "what")]
    io: bool,
    /// With --io: fail only the call with this number.
    #[arg(long, value_name = "NUMBER", requires = "io")]
    call: Option<usize>,
    /// Seed of all choices; random by default.
    #[arg(long)]
    seed: Option<u64>,
    /// Run only the round with this number, on a fresh data folder.
    #[arg(long)]
    round: Option<u32>,
    /// Use the release binary instead of the debug one.
    #[arg(long)]
    release: bool,
    /// Use existing builds.
    #[arg(long)]
    no_build: bool,
}

/// Builds the prerequisites and runs the selected tests.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.io {
        io(options.call)?;
    }
    let is_other = options.power.is_some() || options.cluster.is_some() || options.full;
    if options.kill.is_none() && !is_other {
        return Ok(());
    }
    let seed = options.seed.unwrap_or_else(chance);
    let binary = build(options)?;
    for (fault, rounds) in [(Fault::Kill, options.kill), (Fault::Power, options.power)] {
        let Some(rounds) = rounds else { continue };
        let binary = binary.as_deref();
        match options.round {
            Some(round) => rounds_of(fault, seed, binary, [round])?,
            None => rounds_of(fault, seed, binary, 1..=rounds)?,
        }
    }
    if let Some(rounds) = options.cluster
        && let Some(server) = nats::server()?
    {
        let programs = (binary.as_deref(), &*server);
        match options.round {
            Some(round) => cluster(seed, programs, [round])?,
            None => cluster(seed, programs, 1..=rounds)?,
        }
    }
    match options.round {
        _ if !options.full => Ok(()),
        Some(round) => full(seed, binary.as_deref(), [round]),
        None => full(seed, binary.as_deref(), 1..=FULL_ROUNDS),
    }
}

/// Fails every call once, in every way.
fn io(call: Option<usize>) -> Result<()> {
    announce("crash --io");
    let mut test = cargo(&repository(), "test", &target_dir());
    test.args(["--package", "usher-broker", "--test", "io", "--", "--nocapture"])
        .env("RUST_BACKTRACE", "0")
        .env("USHER_IO_FAULTS", "all");
    if let Some(call) = call {
        test.env("USHER_IO_CALL", call.to_string());
    }
    run_command(&mut test)
}

/// Runs these rounds with the suite's builds.
pub(crate) fn check(fault: Fault, rounds: u32) -> Result<()> {
    rounds_of(fault, chance(), None, 1..=rounds)
}

/// Runs these rounds with several nodes, with the suite's builds.
pub(crate) fn check_cluster(rounds: u32) -> Result<()> {
    match nats::server()? {
        Some(server) => cluster(chance(), (None, &server), 1..=rounds),
        None => Ok(()),
    }
}

fn cluster(
    seed: u64,
    programs: (Option<&Path>, &Path),
    rounds: impl IntoIterator<Item = u32>,
) -> Result<()> {
    report("cluster", seed, |say| run_cluster(seed, programs, rounds, say))
}

fn rounds_of(
    fault: Fault,
    seed: u64,
    binary: Option<&Path>,
    rounds: impl IntoIterator<Item = u32>,
) -> Result<()> {
    let name = match fault {
        Fault::Kill => "kill",
        Fault::Power => "power",
    };
    if fault == Fault::Power
        && let Some(missing) = missing_for_power()
    {
        anstream::println!("{FAINT}skipped{PLAIN} crash --power: {missing}");
        return Ok(());
    }
    report(name, seed, |say| run_rounds(fault, seed, binary, rounds, say))
}

/// Runs rounds, and prints what came of them.
fn report(name: &str, seed: u64, rounds: impl FnOnce(fn(&str)) -> Result<Summary>) -> Result<()> {
    anstream::println!("{TITLE}crash --{name} --seed {seed}{PLAIN}");
    let start = Instant::now();
    let summary = rounds(|line| anstream::println!("{line}")).with_context(|| {
        format!(
            "something is not as it must be; to play the round again: cargo xtask crash --{name} \
             1 --seed {seed} --round ROUND"
        )
    });
    let summary = summary.inspect_err(|_| anstream::println!("{BAD}failed{PLAIN}"))?;
    let took = start.elapsed().as_secs_f64();
    ensure!(summary.rounds > 0, "not one round was run");
    anstream::println!(
        "{GOOD}nothing lost, nothing twice{PLAIN} in {} rounds with {} faults: {} events \
         acknowledged before them, {} checked, {} requests repeated outside; {took:.0} s, {:.2} s \
         a round (seed {seed})",
        summary.rounds,
        summary.faults,
        summary.acknowledged,
        summary.checked,
        summary.repeated,
        took / f64::from(summary.rounds),
    );
    Ok(())
}

fn full(seed: u64, binary: Option<&Path>, rounds: impl IntoIterator<Item = u32>) -> Result<()> {
    if let Some(missing) = missing_for_power() {
        anstream::println!("{FAINT}skipped{PLAIN} crash --full: {missing}");
        return Ok(());
    }
    anstream::println!("{TITLE}crash --full --seed {seed}{PLAIN}");
    let say = |line: &str| anstream::println!("{line}");
    let summary = run_full(seed, binary, rounds, say).with_context(|| {
        format!(
            "something is not as it must be; to play the round again: cargo xtask crash --full \
             --seed {seed} --round ROUND"
        )
    });
    let summary = summary.inspect_err(|_| anstream::println!("{BAD}failed{PLAIN}"))?;
    anstream::println!(
        "{GOOD}nothing lost on a full disk{PLAIN} in {} rounds: {} events acknowledged, {} checked \
         (seed {seed})",
        summary.rounds,
        summary.acknowledged,
        summary.checked,
    );
    Ok(())
}

/// Builds unless told not to; returns the binary to use if it isn't the default one.
fn build(options: &Options) -> Result<Option<PathBuf>> {
    let binary = options.release.then(|| target_dir().join("release").join("usher"));
    if options.no_build {
        return Ok(binary);
    }
    guests::build()?;
    if options.release {
        announce("building the router (release)");
        build_release()?;
    } else if std::env::var_os("USHER_BIN").is_none() {
        build_workspace()?;
    }
    Ok(binary)
}

/// A seed from the clock.
fn chance() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(since.subsec_nanos()) ^ since.as_secs()
}
