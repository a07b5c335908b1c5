//! `cargo xtask fuzz`: every fuzz target for a while, by libFuzzer where it can be had, and else by
//! the loop that is built in.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use clap::Args;
use usher_tests::{repository, target_dir};

use crate::cargo::{cargo, clean, run as run_command};
use crate::style::{FAINT, GOOD, PLAIN, TITLE, announce};

/// The longest input libFuzzer makes.
const INPUT_MAX_BYTES: usize = 64 * 1024;
/// How long one input may take before libFuzzer calls it stuck: loading may compile for a while.
const INPUT_MAX_SECONDS: u32 = 60;

const RECIPE: &str = "\
cargo-fuzz and a nightly compiler are not both here; using the loop that is built in, which changes
seeds at random, doesn't look at what the code does, and has no random modules. For libFuzzer:
  rustup toolchain install nightly
  cargo install cargo-fuzz";

/// For how long, and what.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// So long each.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Only this target; all unless given.
    #[arg(long)]
    target: Option<String>,
    /// The loop that is built in, even where libFuzzer is here.
    #[arg(long)]
    built_in: bool,
    /// With the loop that is built in: where all chance comes from.
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs them; fails with the first that fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.built_in || options.seed.is_some() {
        return built_in(options);
    }
    if !works("cargo", &["+nightly", "fuzz", "--version"]) {
        anstream::println!("{FAINT}{RECIPE}{PLAIN}");
        return built_in(options);
    }
    let targets = targets(options)?;
    for target in &targets {
        announce(&format!("fuzz: {target}"));
        run_command(&mut lib_fuzzer(target, options.seconds)?)?;
    }
    anstream::println!("{GOOD}{} targets, no failure{PLAIN}", targets.len());
    Ok(())
}

fn works(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    // The toolchain this runs under would win over the one that is named.
    command.args(arguments).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// The names of the folders with seeds.
fn targets(options: &Options) -> Result<Vec<String>> {
    let mut targets: Vec<String> = fs::read_dir(repository().join("fuzz").join("seeds"))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| options.target.as_ref().is_none_or(|target| target == name))
        .collect();
    targets.sort();
    ensure!(!targets.is_empty(), "there is no target {:?}", options.target);
    Ok(targets)
}

/// What it finds worth keeping goes to target/, beside the seeds it started from.
fn lib_fuzzer(target: &str, seconds: u32) -> Result<Command> {
    let corpus = target_dir().join("fuzz").join("corpus").join(target);
    fs::create_dir_all(&corpus)?;
    let mut fuzz = Command::new("cargo");
    fuzz.args(["+nightly", "fuzz", "run", "--fuzz-dir"])
        .arg(repository().join("fuzz"))
        .arg("--target-dir")
        .arg(target_dir().join("fuzz").join("build"))
        .arg(target)
        .arg(corpus)
        .arg(repository().join("fuzz").join("seeds").join(target))
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={INPUT_MAX_BYTES}"))
        .arg(format!("-timeout={INPUT_MAX_SECONDS}"))
        .current_dir(repository());
    clean(&mut fuzz).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    Ok(fuzz)
}

fn built_in(options: &Options) -> Result<()> {
    anstream::println!("{TITLE}fuzz: {} s each{PLAIN}", options.seconds);
    let mut test = cargo(&repository(), "test", &target_dir());
    test.args(["--package", "usher-fuzz", "--test", "targets", "--", "--nocapture"])
        .env("USHER_FUZZ_SECONDS", options.seconds.to_string());
    if let Some(target) = &options.target {
        test.env("USHER_FUZZ_TARGET", target);
    }
    if let Some(seed) = options.seed {
        test.env("USHER_FUZZ_SEED", seed.to_string());
    }
    run_command(&mut test)
}
