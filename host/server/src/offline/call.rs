//! `usher call`: one delivery, everything it did.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use usher_cli::ui::{Align, CliError, Output, Table, paint, style};
use usher_event::{Given, json};
use usher_fixtures::{EVENT_FILE, Expected, Fixture, Report, Used, play, profile};
use usher_runtime::{Loaded, Profile};
use usher_wording::{count, printable};

use super::args::CallArgs;
use super::stage::Workbench;

/// Largest event that is read.
const EVENT_MAX_BYTES: u64 = 1024 * 1024;
/// How long deliveries are repeated for a profile: six hundred samples of a component that is busy.
const PROFILE_TIME: Duration = Duration::from_secs(3);
/// Functions that are shown.
const FUNCTIONS_SHOWN_MAX: usize = 20;

#[derive(Debug, Serialize)]
pub(super) struct Called<'a> {
    plugin: &'a str,
    version: &'a str,
    digest: String,
    deliveries: Vec<Delivered<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Profiled>,
}

#[derive(Debug, Serialize)]
pub(super) struct Delivered<'a> {
    subscription: &'a str,
    did: &'a Expected,
    given: &'a Given,
    used: &'a [Used],
    took_us: u64,
}

/// Where the time of a delivery goes.
#[derive(Debug, Serialize)]
struct Profiled {
    /// Deliveries that were made.
    deliveries: u64,
    samples: u64,
    interval_ms: u64,
    /// Those that ran most first.
    functions: Vec<Function>,
}

#[derive(Debug, Serialize)]
struct Function {
    name: String,
    own_samples: u64,
    total_samples: u64,
}

/// Runs `usher call`.
pub(crate) fn run(args: &CallArgs, out: &mut Output) -> Result<(), CliError> {
    let fixture = fixture(args)?;
    let bench = Workbench::new()?;
    let loaded = bench.load(&args.component)?;
    let played = bench.executor.block_on(play(&loaded, &fixture));
    let reports = played.map_err(|error| CliError::new(error.to_string()))?;
    let profiled = args.profile.then(|| profiled(args, &bench, &loaded, &fixture)).transpose()?;
    if args.json {
        out.json(&Called { profile: profiled, ..called(&loaded, &reports) })
    } else {
        let mut shown: Vec<_> = reports.iter().map(|report| render(report, args.limits)).collect();
        shown.extend(profiled.as_ref().map(render_profile));
        out.text(&shown.join("\n"))
    }
}

fn profiled(
    args: &CallArgs,
    bench: &Workbench,
    loaded: &Loaded,
    fixture: &Fixture,
) -> Result<Profiled, CliError> {
    let samples = Arc::new(Profile::default());
    let profiling = profile(loaded, fixture, PROFILE_TIME, samples.clone());
    let deliveries =
        bench.executor.block_on(profiling).map_err(|error| CliError::new(error.to_string()))?;
    if let Some(file) = &args.stacks {
        std::fs::write(file, samples.folded())
            .map_err(|error| CliError::new(format!("{}: {error}", file.display())))?;
    }
    let functions = samples.functions().into_iter().map(|one| Function {
        name: one.name,
        own_samples: one.own,
        total_samples: one.total,
    });
    Ok(Profiled {
        deliveries,
        samples: samples.count(),
        interval_ms: Profile::INTERVAL_MS,
        functions: functions.collect(),
    })
}

fn render_profile(profiled: &Profiled) -> String {
    let Profiled { deliveries, samples, interval_ms, functions } = profiled;
    let percent = |part: u64| format!("{:.1} %", part as f64 * 100.0 / (*samples).max(1) as f64);
    let mut table =
        Table::new(&[("OWN", Align::Right), ("TOTAL", Align::Right), ("FUNCTION", Align::Left)]);
    for Function { name, own_samples, total_samples } in functions.iter().take(FUNCTIONS_SHOWN_MAX)
    {
        table.row([
            percent(*own_samples).into(),
            percent(*total_samples).into(),
            printable(name).into(),
        ]);
    }
    let mut text = table.render();
    // Formatting into a string can't fail.
    let _ = writeln!(
        text,
        "{}, one each {interval_ms} ms of the component's time; deliveries: {deliveries}",
        count(usize::try_from(*samples).unwrap_or(usize::MAX), "sample"),
    );
    text
}

/// The event with what it is given: a fixture's folder, or a file.
fn fixture(args: &CallArgs) -> Result<Fixture, CliError> {
    let path = Path::new(&args.event);
    let failed = |what: String| CliError::new(format!("{}: {what}", args.event));
    let mut fixture = if path.join(EVENT_FILE).is_file() {
        Fixture::read(path).map_err(|error| CliError::new(error.to_string()))?
    } else {
        let mut bytes = Vec::new();
        let read = match args.event.as_str() {
            "-" => std::io::stdin().take(EVENT_MAX_BYTES).read_to_end(&mut bytes),
            _ => std::fs::File::open(path)
                .and_then(|file| file.take(EVENT_MAX_BYTES).read_to_end(&mut bytes)),
        };
        read.map_err(|error| failed(error.to_string()))?;
        let event = json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
        Fixture::of(&args.event, event, Given::default())
    };
    if let Some(file) = &args.given {
        fixture.given =
            Fixture::read_given(file).map_err(|error| CliError::new(error.to_string()))?;
    }
    Ok(fixture)
}

pub(super) fn called<'a>(loaded: &'a Loaded, reports: &'a [Report]) -> Called<'a> {
    let delivered = |report: &'a Report| Delivered {
        subscription: &report.subscription,
        did: &report.did,
        given: &report.given,
        used: &report.used,
        took_us: usher_event::micros(report.took),
    };
    Called {
        plugin: loaded.description().name.as_str(),
        version: &loaded.description().version,
        digest: loaded.digest().to_string(),
        deliveries: reports.iter().map(delivered).collect(),
        profile: None,
    }
}

pub(super) fn render(report: &Report, with_limits: bool) -> String {
    let Expected { verdict, class, reason, backtrace, after_ms, .. } = &report.did;
    let verdict = verdict.as_deref().unwrap_or_default();
    let style = if report.is_ack() { style::GOOD } else { style::BAD };
    let mut text = format!(
        "{} for {}: {}",
        printable(report.event.ty()),
        printable(&report.subscription),
        paint(verdict, style)
    );
    // Formatting into a string can't fail.
    if let (Some(class), Some(reason)) = (class, reason) {
        let _ = write!(text, " ({class}): {}", printable(reason));
    }
    if let Some(after_ms) = after_ms {
        let _ = write!(text, ", not before {after_ms} ms");
    }
    let _ = writeln!(text, "  in {:.1} ms", report.took.as_secs_f64() * 1_000.0);
    for frame in backtrace.iter().flatten() {
        let _ = writeln!(text, "    {}", paint(&printable(frame), style::FAINT));
    }
    let did = &report.did;
    section(&mut text, "emissions", did.emissions.as_deref());
    if let Some(state) = did.state.as_ref().filter(|state| !state.is_empty()) {
        section(&mut text, "state", Some(&[state]));
    }
    section(&mut text, "blobs", did.blobs.as_deref());
    section(&mut text, "calls", did.calls.as_deref());
    if let Some(log) = did.log.as_ref().filter(|log| !log.is_empty()) {
        let _ = writeln!(text, "log");
        for line in log {
            let _ = writeln!(text, "  {}", printable(line));
        }
    }
    if with_limits {
        let _ = writeln!(text, "used of its limits");
        for Used { name, used, limit } in &report.used {
            let _ = writeln!(text, "  {name:<14} {used:>12} of {limit}");
        }
    }
    text
}

/// Items as indented JSON; nothing without items.
fn section<T: Serialize>(text: &mut String, head: &str, items: Option<&[T]>) {
    let Some(items) = items.filter(|items| !items.is_empty()) else { return };
    let _ = writeln!(text, "{head}");
    for item in items {
        let json = serde_json::to_string_pretty(item).unwrap_or_default();
        for line in json.lines() {
            let _ = writeln!(text, "  {}", printable(line));
        }
    }
}
