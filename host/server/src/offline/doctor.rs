//! `usher doctor`: everything that a router depends on, and what to do about what is wrong.
//!
//! Reads only. The parts that only a running router knows are asked from it, if there is one.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Access as Permission, access};
use serde::Serialize;
use usher_api::{Health, IS_STANDBY, Overview, Schedules, States, Timestamp, routes};
use usher_broker::{Clock, SystemClock, free_bytes};
use usher_cli::ui::{CliError, Output, paint, style};
use usher_client::Client;
use usher_config::{self as config, Config, Listen};
use usher_plugins::check_folder;
use usher_wording::{Tone, bytes, count, date_time, duration, printable};

use super::args::DoctorArgs;
use super::executor::executor;
use crate::descriptors::Descriptors;
use crate::http::Tls;

/// A certificate that ends sooner is a warning.
const CERTIFICATE_MIN_MS: u64 = 14 * 24 * 60 * 60 * 1_000;

/// Fewer client connections than this are a warning.
const CONNECTIONS_MIN: usize = 1_024;

/// Free space below this many times the reserve is a warning.
const RESERVE_TIMES: u64 = 4;

/// JSON output.
#[derive(Debug, Serialize)]
struct Report {
    /// Whether nothing is bad.
    ok: bool,
    findings: Vec<Finding>,
}

/// What was found of one thing.
#[derive(Debug, Serialize)]
struct Finding {
    about: &'static str,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    todo: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Good,
    Warning,
    Bad,
}

impl Verdict {
    fn tone(self) -> Tone {
        match self {
            Self::Good => Tone::Good,
            Self::Warning => Tone::Open,
            Self::Bad => Tone::Bad,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Good => "good",
            Self::Warning => "warning",
            Self::Bad => "bad",
        })
    }
}

/// What is found, in the order of the checks.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn good(&mut self, about: &'static str, found: impl Into<String>) {
        self.add(about, Verdict::Good, found, None);
    }

    fn warn(&mut self, about: &'static str, found: impl Into<String>, todo: &str) {
        self.add(about, Verdict::Warning, found, Some(todo));
    }

    fn bad(&mut self, about: &'static str, found: impl Into<String>, todo: &str) {
        self.add(about, Verdict::Bad, found, Some(todo));
    }

    fn add(
        &mut self,
        about: &'static str,
        verdict: Verdict,
        found: impl Into<String>,
        todo: Option<&str>,
    ) {
        let todo = todo.map(str::to_owned);
        self.0.push(Finding { about, verdict, found: found.into(), todo });
    }
}

/// Runs `usher doctor`.
pub(crate) fn run(args: &DoctorArgs, out: &mut Output) -> Result<(), CliError> {
    let mut findings = Findings::default();
    match config::load_to_check(&args.flags.resolved_in(Path::new("")).0) {
        Err(problems) => {
            findings.bad(
                "configuration",
                problems.to_string(),
                "correct it; nothing else is checked",
            );
        }
        Ok(config) => {
            let file = config.file.as_deref().map(|file| file.display().to_string());
            findings.good("configuration", file.unwrap_or_else(|| "none: defaults".to_owned()));
            data_folder(&config, &mut findings);
            open_files(&mut findings);
            certificate(&config, &mut findings);
            listening(&config, &mut findings);
            plugins(&config, &mut findings)?;
            tracing(&config, &mut findings)?;
            router(args, &config, &mut findings)?;
        }
    }
    let Findings(findings) = findings;
    let bad = findings.iter().filter(|finding| finding.verdict == Verdict::Bad).count();
    let report = Report { ok: bad == 0, findings };
    if args.json {
        out.json(&report)?
    } else {
        out.text(&render(&report))?
    }
    out.flush()?;
    if bad == 0 { Ok(()) } else { Err(CliError::new(format!("{} bad", count(bad, "thing")))) }
}

fn render(report: &Report) -> String {
    let mut text = String::new();
    for Finding { about, verdict, found, todo } in &report.findings {
        let verdict = paint(&format!("{verdict:<8}"), style::of(verdict.tone()));
        let mut lines = found.lines().map(printable);
        let first = lines.next().unwrap_or_default();
        text.push_str(&format!("{verdict} {about}: {first}\n"));
        lines.for_each(|line| text.push_str(&format!("         {line}\n")));
        if let Some(todo) = todo {
            text.push_str(&format!("         → {todo}\n"));
        }
    }
    text
}

fn data_folder(config: &Config, findings: &mut Findings) {
    let folder = &config.data;
    let shown = folder.display();
    let about = "data folder";
    // It is created at the first start.
    let nearest = folder.ancestors().find(|folder| folder.exists()).unwrap_or(folder);
    let nearest = if nearest.as_os_str().is_empty() { Path::new(".") } else { nearest };
    if access(nearest, Permission::WRITE_OK | Permission::EXEC_OK).is_err() {
        let todo = "run this as the router's user, or give that user the folder";
        findings.bad(about, format!("{shown}: this user can't write there"), todo);
        return;
    }
    let free_bytes = match free_bytes(nearest) {
        Ok(free_bytes) => free_bytes,
        Err(error) => {
            findings.warn(about, format!("{shown}: {error}"), "look at the disk it is on");
            return;
        }
    };
    let reserve_bytes = config.broker.disk_reserve_bytes;
    let found = format!("{shown}: {} free, {} in reserve", bytes(free_bytes), bytes(reserve_bytes));
    let todo = "free space, or let retention remove events earlier (broker.retention_max_bytes)";
    match free_bytes {
        _ if free_bytes < reserve_bytes => findings.bad(about, found, todo),
        _ if free_bytes < reserve_bytes.saturating_mul(RESERVE_TIMES) => {
            findings.warn(about, found, todo);
        }
        _ => findings.good(about, found),
    }
}

fn open_files(findings: &mut Findings) {
    let descriptors = Descriptors::raise();
    let connections = descriptors.connections(None);
    let found = format!("enough for {connections} connections");
    if connections < CONNECTIONS_MIN {
        let todo = "raise the limit: LimitNOFILE in the systemd unit, or ulimit -n";
        findings.warn("open files", found, todo);
    } else {
        findings.good("open files", found);
    }
}

fn certificate(config: &Config, findings: &mut Findings) {
    let about = "certificate";
    let Some(files) = config.tls.clone() else { return };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let now_ms = clock.now_ms();
    let certificate = match Tls::open(files, clock) {
        Ok(tls) => tls.certificate(),
        Err(error) => {
            findings.bad(about, error.to_string(), "correct the files that [tls] names");
            return;
        }
    };
    let found = format!("ends {} UTC", date_time(Timestamp::from_ms(certificate.not_after_ms)));
    let todo = "put a new one in its place: the router reads it by itself";
    if !certificate.is_valid_at(now_ms) {
        findings.bad(about, format!("not valid now: {found}"), todo);
    } else if certificate.not_after_ms - now_ms < CERTIFICATE_MIN_MS {
        findings.warn(about, found, todo);
    } else {
        findings.good(about, found);
    }
}

fn listening(config: &Config, findings: &mut Findings) {
    let about = "access";
    let places: Vec<_> = config.listen.iter().map(Listen::to_string).collect();
    let places = places.join(", ");
    if !config.tokens.is_empty() {
        findings.good(about, format!("{places}: by token"));
    } else if config.listen.iter().all(Listen::is_local) {
        let found =
            format!("{places}: open to this machine, unless `usher tokens list` has tokens");
        findings.good(about, found);
    } else if !config.data.join(usher_broker::JOURNAL).exists() {
        let found = format!("{places} would serve everyone who reaches it: there are no tokens");
        findings.bad(about, found, "the router doesn't start before that: add [token.NAME]");
    } else {
        let found = format!("{places}: by token, of which there are none in usher.toml");
        let todo =
            "the router doesn't start without one: add [token.NAME], or see `usher tokens list`";
        findings.warn(about, found, todo);
    }
}

fn plugins(config: &Config, findings: &mut Findings) -> Result<(), CliError> {
    let about = "plugins";
    let executor = executor().map_err(|error| CliError::new(error.to_string()))?;
    let checks = match executor.block_on(check_folder(config)) {
        Ok(checks) => checks,
        Err(error) => {
            findings.bad(about, format!("{error:#}"), "correct what it says");
            return Ok(());
        }
    };
    for check in &checks {
        if let Err(reason) = &check.result {
            findings.bad(about, format!("{}: {reason}", check.file), "see usher check");
        }
        for warning in &check.warnings {
            findings.warn(about, format!("{}: {warning}", check.file), "see usher check");
        }
    }
    let good = checks.iter().filter(|check| check.result.is_ok()).count();
    findings.good(about, format!("{} in {}", count(good, "plugin"), config.plugins.display()));
    Ok(())
}

fn tracing(config: &Config, findings: &mut Findings) -> Result<(), CliError> {
    let about = "tracing";
    let Some(options) = &config.tracing else { return Ok(()) };
    let executor = executor().map_err(|error| CliError::new(error.to_string()))?;
    match executor.block_on(usher_telemetry::probe(options)) {
        Ok(()) => findings.good(about, format!("{} takes spans", options.endpoint)),
        Err(reason) => {
            let todo = "start the collector, or correct [tracing]; until then spans are dropped";
            findings.warn(about, format!("{}: {reason}", options.endpoint), todo);
        }
    }
    Ok(())
}

/// What only a running router knows.
fn router(args: &DoctorArgs, config: &Config, findings: &mut Findings) -> Result<(), CliError> {
    let about = "router";
    let url = args.url.clone().unwrap_or_else(|| address(config));
    let client = args.credentials.client(&url)?;
    if let Err(error) = client.call(routes::HEALTH, &[]).fetch::<Health>() {
        let found = format!("{url}: {error}");
        match args.url {
            Some(_) => findings.bad(about, found, "start it, or look at its log"),
            None => findings.warn(about, found, "start it, or name it with --url"),
        }
        return Ok(());
    }
    match client.call(routes::READINESS, &[]).fetch::<Health>() {
        Ok(_) => findings.good(about, format!("{url}: it is ready")),
        Err(error) if error.to_string().contains(IS_STANDBY) => {
            findings.good(about, format!("{url}: {error}"));
        }
        Err(error) => findings.bad(about, format!("{url}: {error}"), "look at its log"),
    }
    if let Err(error) = running(&client, findings) {
        findings.warn(about, format!("{url}: {error}"), "name a token with the scope read");
    }
    Ok(())
}

fn running(client: &Client, findings: &mut Findings) -> Result<(), usher_client::Error> {
    let about = "router";
    let states: States = client.call(routes::STATES, &[]).fetch()?;
    for state in states.states {
        let name = state.name.replace('_', " ");
        findings.warn(about, format!("{name}: {}", state.concerned.join(", ")), &state.meaning);
    }
    let overview: Overview = client.call(routes::OVERVIEW, &[]).fetch()?;
    if overview.dead_letters > 0 {
        let found =
            count(usize::try_from(overview.dead_letters).unwrap_or(usize::MAX), "dead letter");
        findings.warn(about, found, "see usher dead-letters list");
    }
    let schedules: Schedules = client.call(routes::SCHEDULES, &[]).fetch()?;
    match schedules.clock_behind_ms {
        Some(behind_ms) => findings.warn(
            "clock",
            format!("{} behind the newest event", duration(behind_ms.saturating_mul(1_000))),
            "set it right: schedules and delays wait until it has caught up",
        ),
        None => findings.good("clock", "not behind the log"),
    }
    Ok(())
}

/// The first place where the router of this configuration listens, as seen from this machine.
fn address(config: &Config) -> String {
    match config.listen.first() {
        Some(Listen::Tcp { address, is_tls }) if address.ip().is_unspecified() => {
            let scheme = if *is_tls { "https" } else { "http" };
            format!("{scheme}://localhost:{}", address.port())
        }
        Some(place) => place.to_string(),
        None => "http://127.0.0.1:7171".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_a_page_of_words() {
        let mut findings = Findings::default();
        findings.good("configuration", "usher.toml");
        findings.bad("plugins", "a.wasm: one\ntwo", "see usher check");
        let text = render(&Report { ok: false, findings: findings.0 });
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "good     configuration: usher.toml\n\
             bad      plugins: a.wasm: one\n         two\n         → see usher check\n"
        );
    }
}
