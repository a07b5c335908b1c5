//! `cargo xtask test`: all tests of all workspaces, including set-up.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use usher_tests::crash::Fault;
use usher_tests::{repository, target_dir};

use crate::cargo::{build_other_version, build_workspace, cargo, shown};
use crate::style::{BAD, GOOD, PLAIN, TITLE, announce};
use crate::{browser, crash, guests, hostile, languages, nats, simulate};

/// Seeds played by the ledger simulation.
const SIMULATED_SEEDS: u64 = 1_000;
const SIMULATE: &str = "simulate: 1000 seeds";
const HOSTILE: &str = "hostile: every row";
const CLUSTER: &str = "crash: cluster 20";
const CLUSTER_ROUNDS: u32 = 20;
const NATS: &str = "nats-server: set-up";
/// The test that needs the router as another version.
const VERSIONS: &str = "nodes::a_rolling_upgrade_loses_nothing";
const PAGE: &str = "page: in a browser";
const LANGUAGES: &str = "languages: a plugin in each";

/// Threads for tests in a browser, each of which has several processes.
const BROWSERS_MAX: &str = "2";

/// Command-line options of `cargo xtask test`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Run only tests whose name contains this.
    filter: Option<String>,
}

/// Result of one step.
struct Step {
    name: &'static str,
    took: Duration,
    counts: Counts,
    failure: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// Builds and runs all steps and prints a summary. A failed step doesn't stop later ones, except
/// those that depend on it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let start = Instant::now();
    let mut steps = vec![step("guests", || guests::build().map(|()| Counts::default()))];
    if steps.iter().all(|step| step.failure.is_none()) {
        steps.push(step("host and its tests: build", || {
            if options.filter.as_ref().is_none_or(|filter| VERSIONS.contains(filter)) {
                build_other_version()?;
            }
            build_workspace().map(|()| Counts::default())
        }));
    }
    if steps.iter().all(|step| step.failure.is_none()) {
        steps.push(step(NATS, || nats::server().map(|_| Counts::default())));
        steps.push(step("host: unit, system and doc tests", || {
            let mut test = cargo(&repository(), "test", &target_dir());
            counted(test.args(["--workspace", "--no-fail-fast"]).args(filter(options)))
        }));
        if options.filter.as_ref().is_none_or(|filter| PAGE.contains(filter)) {
            steps.push(step(PAGE, page));
        }
        if options.filter.as_ref().is_none_or(|filter| LANGUAGES.contains(filter)) {
            steps.push(step(LANGUAGES, in_languages));
        }
        steps.push(step("plugins: unit tests", || {
            let native = target_dir().join("plugins-native");
            let mut test = cargo(&repository().join("plugins"), "test", &native);
            counted(test.args(["--workspace", "--no-fail-fast"]).args(filter(options)))
        }));
        if options.filter.as_ref().is_none_or(|filter| SIMULATE.contains(filter)) {
            let histories = simulate::Options::first(SIMULATED_SEEDS);
            steps.push(step(SIMULATE, || simulate::run(&histories).map(|()| Counts::default())));
        }
        if options.filter.as_ref().is_none_or(|filter| HOSTILE.contains(filter)) {
            steps.push(step(HOSTILE, || hostile::check_all().map(|()| Counts::default())));
        }
        for (name, fault, rounds) in
            [("crash: kill 20", Fault::Kill, 20), ("crash: power 50", Fault::Power, 50)]
        {
            if options.filter.as_ref().is_none_or(|filter| name.contains(filter)) {
                steps.push(step(name, || crash::check(fault, rounds).map(|()| Counts::default())));
            }
        }
        if options.filter.as_ref().is_none_or(|filter| CLUSTER.contains(filter)) {
            let check = || crash::check_cluster(CLUSTER_ROUNDS).map(|()| Counts::default());
            steps.push(step(CLUSTER, check));
        }
    }
    summarise(&steps, start.elapsed())
}

/// Runs the tests that need a browser, or counts them as ignored where there is none.
fn page() -> Result<Counts> {
    let mut test = cargo(&repository(), "test", &target_dir());
    test.args(["--package", "usher-tests", "--test", "system", "page::"]);
    match browser::find() {
        Ok(()) => counted(test.args(["--", "--ignored", "--test-threads", BROWSERS_MAX])),
        Err(error) => {
            announce(&format!(
                "the tests of the page are left out: there is no browser: {error:#}"
            ));
            counted(&mut test)
        }
    }
}

/// Runs the tests of plugins in other languages, or counts them as ignored where the tools can't be
/// had.
fn in_languages() -> Result<Counts> {
    let mut test = cargo(&repository(), "test", &target_dir());
    test.args(["--package", "usher-tests", "--test", "system", "languages::"]);
    match languages::build() {
        Ok(()) => counted(test.args(["--", "--ignored"])),
        Err(error) => {
            announce(&format!("the tests of other languages are left out: {error:#}"));
            counted(&mut test)
        }
    }
}

fn filter(options: &Options) -> impl Iterator<Item = &String> {
    options.filter.iter()
}

fn step(name: &'static str, work: impl FnOnce() -> Result<Counts>) -> Step {
    announce(name);
    let start = Instant::now();
    let (counts, failure) = match work() {
        Ok(counts) if counts.failed > 0 => (counts, Some("tests failed".to_owned())),
        Ok(counts) => (counts, None),
        Err(error) => (Counts::default(), Some(format!("{error:#}"))),
    };
    Step { name, took: start.elapsed(), counts, failure }
}

/// Runs `cargo test`, forwards its output and sums up the test results.
fn counted(command: &mut Command) -> Result<Counts> {
    let name = shown(command);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not run `{name}`"))?;
    let stdout = child.stdout.take().context("cargo has no stdout")?;
    let mut counts = Counts::default();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        anstream::println!("{line}");
        counts = counts.and(results(&line).unwrap_or_default());
    }
    let status = child.wait()?;
    if !status.success() && counts.failed == 0 {
        bail!("`{name}` failed ({status})");
    }
    Ok(counts)
}

impl Counts {
    fn and(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            ignored: self.ignored + other.ignored,
        }
    }
}

/// The numbers in `test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; ...`.
fn results(line: &str) -> Option<Counts> {
    let (_, numbers) = line.trim_start().strip_prefix("test result: ")?.split_once(". ")?;
    let number = |word: &str| {
        let part = numbers.split("; ").find_map(|part| part.strip_suffix(word))?;
        part.trim().parse().ok()
    };
    Some(Counts {
        passed: number(" passed")?,
        failed: number(" failed")?,
        ignored: number(" ignored")?,
    })
}

fn summarise(steps: &[Step], took: Duration) -> Result<()> {
    anstream::println!("\n{TITLE}summary{PLAIN}");
    let mut total = Counts::default();
    for step in steps {
        let (style, word) = if step.failure.is_none() { (GOOD, "ok") } else { (BAD, "failed") };
        let Counts { passed, failed, ignored } = step.counts;
        let counts = if step.counts == Counts::default() {
            String::new()
        } else {
            format!("{passed} passed, {failed} failed, {ignored} ignored")
        };
        let seconds = step.took.as_secs_f64();
        anstream::println!(
            "  {style}{word:<6}{PLAIN}  {:<34} {seconds:>7.1} s  {counts}",
            step.name
        );
        if let Some(failure) = &step.failure {
            anstream::println!("          {failure}");
        }
        total = total.and(step.counts);
    }
    let failures = steps.iter().filter(|step| step.failure.is_some()).count();
    let seconds = took.as_secs_f64();
    if failures > 0 {
        bail!("{failures} steps failed ({} tests) in {seconds:.0} s", total.failed);
    }
    anstream::println!("{GOOD}all {} tests passed{PLAIN} in {seconds:.0} s", total.passed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read() {
        let line = "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; \
                    0 filtered out; finished in 0.00s";
        assert_eq!(results(line), Some(Counts { passed: 3, failed: 1, ignored: 2 }));
        assert_eq!(results("test it::works ... ok"), None);
    }
}
