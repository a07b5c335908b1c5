//! `usher test`: runs a plugin's fixtures and compares what happens with what is expected.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_junit::{NonSuccessKind, Report as JUnit, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use usher_author::{Project, build};
use usher_cli::ui::{CliError, Output, paint, style};
use usher_fixtures::{Difference, EXPECT_FILE, Fixture, FixtureError, Report, differences, play};
use usher_runtime::Loaded;
use usher_wording::printable;

use super::args::TestArgs;
use super::stage::{Workbench, cores};

/// What became of one fixture.
#[derive(Debug, Serialize)]
struct Tested {
    name: String,
    /// `ok`, `failed`, `new` (nothing is expected yet), `updated` or `broken`.
    outcome: &'static str,
    took_ms: u64,
    /// Of each event that differs, from 0.
    differences: Vec<OfEvent>,
    /// Why it could not be run.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct OfEvent {
    event: usize,
    #[serde(flatten)]
    difference: Difference,
}

#[derive(Debug, Serialize)]
struct Summary<'a> {
    plugin: &'a str,
    version: &'a str,
    digest: String,
    fixtures: &'a [Tested],
}

/// Runs `usher test`.
pub(crate) fn run(args: &TestArgs, out: &mut Output) -> Result<(), CliError> {
    let (component, fixtures) = paths(args)?;
    let wanted =
        |name: &str| args.names.is_empty() || args.names.iter().any(|n| name.contains(&**n));
    let found = Fixture::read_all(&fixtures).map_err(|error| CliError::new(error.to_string()))?;
    let known: Vec<_> = found.iter().map(name_of).collect();
    let found: Vec<_> = found.into_iter().filter(|fixture| wanted(&name_of(fixture))).collect();
    if found.is_empty() && !known.is_empty() {
        return Err(CliError::new(format!(
            "no fixture in {} has {} in its name: there are {}",
            fixtures.display(),
            args.names.join(" or "),
            known.join(", ")
        )));
    }
    if found.is_empty() {
        return Err(CliError::with_hint(
            format!("no fixture in {}", fixtures.display()),
            "a fixture is a folder with an event.json: make one, and run with --update",
        ));
    }
    let bench = Workbench::new()?;
    let loaded = bench.load(&component)?;
    let tested = bench.executor.block_on(test_all(&loaded, found, args.update));
    if let Some(file) = &args.junit {
        write_junit(file, &loaded, &tested)?;
    }
    let description = loaded.description();
    if args.json {
        out.json(&Summary {
            plugin: description.name.as_str(),
            version: &description.version,
            digest: loaded.digest().to_string(),
            fixtures: &tested,
        })?;
    } else {
        out.text(&render(description.name.as_str(), &description.version, &tested))?;
    }
    let bad = tested.iter().filter(|one| !matches!(one.outcome, "ok" | "updated")).count();
    match bad {
        0 => Ok(()),
        _ if tested.iter().all(|one| matches!(one.outcome, "ok" | "updated" | "new")) => {
            Err(CliError::with_hint(
                format!("{bad} of {} fixtures expect nothing yet", tested.len()),
                "look at what they do with `usher call`, and keep it with --update",
            ))
        }
        _ => {
            let what = format!("{bad} of {} fixtures failed", tested.len());
            Err(match tested.iter().any(|one| one.outcome == "failed") {
                true => CliError::with_hint(what, "if the change is meant, keep it with --update"),
                false => CliError::new(what),
            })
        }
    }
}

/// The component and the folder of fixtures. Builds the project, unless told not to.
fn paths(args: &TestArgs) -> Result<(PathBuf, PathBuf), CliError> {
    let fixtures = |default: PathBuf| args.fixtures.clone().unwrap_or(default);
    if let Some(component) = &args.component {
        return Ok((component.clone(), fixtures(args.folder.join("fixtures"))));
    }
    let project = Project::read(&args.folder).map_err(|error| CliError::new(error.to_string()))?;
    if !args.no_build {
        build(&project, false).map_err(|error| CliError::new(error.to_string()))?;
    }
    Ok((project.component, fixtures(project.fixtures)))
}

async fn test_all(
    loaded: &Loaded,
    found: Vec<Result<Fixture, FixtureError>>,
    update: bool,
) -> Vec<Tested> {
    let places = Arc::new(Semaphore::new(cores()));
    let mut running = JoinSet::new();
    let mut names = BTreeMap::new();
    for (position, fixture) in found.into_iter().enumerate() {
        let (loaded, places) = (loaded.clone(), places.clone());
        let name = name_of(&fixture);
        let task = running.spawn(async move {
            // Never closed.
            let _place = places.acquire().await;
            (position, test(&loaded, fixture, update).await)
        });
        names.insert(task.id(), (position, name));
    }
    let mut tested = Vec::new();
    while let Some(done) = running.join_next().await {
        tested.push(done.unwrap_or_else(|panic| {
            let (position, name) = names.remove(&panic.id()).unwrap_or_default();
            (position, broken(name, panic.to_string(), Duration::ZERO))
        }));
    }
    tested.sort_by_key(|(position, _)| *position);
    tested.into_iter().map(|(_, tested)| tested).collect()
}

/// A fixture's name: its folder's.
fn name_of(fixture: &Result<Fixture, FixtureError>) -> String {
    match fixture {
        Ok(fixture) => fixture.name.clone(),
        Err(error) => {
            let folder = error.path.parent().and_then(Path::file_name).unwrap_or_default();
            folder.to_string_lossy().into_owned()
        }
    }
}

fn broken(name: String, error: String, took: Duration) -> Tested {
    Tested {
        name,
        outcome: "broken",
        took_ms: usher_event::millis(took),
        differences: Vec::new(),
        error: Some(error),
    }
}

async fn test(loaded: &Loaded, fixture: Result<Fixture, FixtureError>, update: bool) -> Tested {
    let started = Instant::now();
    let name = name_of(&fixture);
    let fixture = match fixture {
        Ok(fixture) => fixture,
        Err(error) => return broken(name, error.to_string(), started.elapsed()),
    };
    let reports = match play(loaded, &fixture).await {
        Ok(reports) => reports,
        Err(error) => return broken(name, error.to_string(), started.elapsed()),
    };
    let took_ms = usher_event::millis(started.elapsed());
    let tested = |outcome, differences| Tested { name, outcome, took_ms, differences, error: None };
    let Some(expected) = &fixture.expected else {
        if update {
            return written(&fixture, &reports, tested("updated", Vec::new()));
        }
        return tested("new", Vec::new());
    };
    let differing: Vec<_> = expected
        .iter()
        .zip(&reports)
        .enumerate()
        .flat_map(|(event, (expected, report))| {
            let found = differences(expected, &report.did).into_iter();
            found.map(move |difference| OfEvent { event, difference })
        })
        .collect();
    match (differing.is_empty(), update) {
        (true, _) => tested("ok", Vec::new()),
        (false, false) => tested("failed", differing),
        (false, true) => written(&fixture, &reports, tested("updated", differing)),
    }
}

/// Keeps what happened as what is expected.
fn written(fixture: &Fixture, reports: &[Report], tested: Tested) -> Tested {
    let did = reports.iter().map(|report| report.did.clone()).collect();
    match fixture.write_expected(did) {
        Ok(()) => tested,
        Err(error) => Tested { outcome: "broken", error: Some(error.to_string()), ..tested },
    }
}

fn render(plugin: &str, version: &str, tested: &[Tested]) -> String {
    let mut text = format!("{} {}\n", paint(plugin, style::STRONG), printable(version));
    let widest = tested.iter().map(|one| usher_cli::ui::width(&one.name)).max().unwrap_or(0);
    for one in tested {
        let style = match one.outcome {
            "ok" | "updated" => style::GOOD,
            "new" => style::OPEN,
            _ => style::BAD,
        };
        let padding = " ".repeat(widest - usher_cli::ui::width(&one.name));
        let outcome = paint(&format!("{:<7}", one.outcome), style);
        // Formatting into a string can't fail.
        let _ =
            writeln!(text, "  {outcome}  {}{padding}  {} ms", printable(&one.name), one.took_ms);
        if let Some(error) = &one.error {
            let _ = writeln!(text, "      {}", printable(error));
        }
        if one.outcome == "updated" {
            continue;
        }
        for OfEvent { event, difference: Difference { part, diff } } in &one.differences {
            let of = if *event > 0 { format!(" of event {event}") } else { String::new() };
            let _ = writeln!(text, "      {part}{of}  ({EXPECT_FILE} is -, what happened is +)");
            for line in diff.lines() {
                let style = match line.as_bytes().first() {
                    Some(b'-') => style::BAD,
                    Some(b'+') => style::GOOD,
                    _ => style::FAINT,
                };
                let _ = writeln!(text, "        {}", paint(&printable(line), style));
            }
        }
    }
    let count =
        |outcomes: &[&str]| tested.iter().filter(|one| outcomes.contains(&one.outcome)).count();
    let _ = writeln!(
        text,
        "{} fixtures: {} ok, {} failed, {} new",
        tested.len(),
        count(&["ok", "updated"]),
        count(&["failed", "broken"]),
        count(&["new"]),
    );
    text
}

fn write_junit(file: &Path, loaded: &Loaded, tested: &[Tested]) -> Result<(), CliError> {
    let name = loaded.description().name.as_str();
    let mut suite = TestSuite::new(name);
    for one in tested {
        let words = one
            .differences
            .iter()
            .map(|one| format!("{}\n{}", one.difference.part, one.difference.diff));
        let words = one.error.clone().unwrap_or_else(|| words.collect::<Vec<_>>().join("\n"));
        let status = match one.outcome {
            "ok" | "updated" => TestCaseStatus::success(),
            "new" => TestCaseStatus::skipped(),
            outcome => {
                let kind = match outcome {
                    "broken" => NonSuccessKind::Error,
                    _ => NonSuccessKind::Failure,
                };
                let mut status = TestCaseStatus::non_success(kind);
                status.set_message(one.outcome).set_description(words);
                status
            }
        };
        let mut case = TestCase::new(one.name.clone(), status);
        case.set_classname(name).set_time(Duration::from_millis(one.took_ms));
        suite.add_test_case(case);
    }
    let mut report = JUnit::new("usher test");
    report.add_test_suite(suite);
    let failed = |what: String| CliError::new(format!("{}: {what}", file.display()));
    let text = report.to_string().map_err(|error| failed(error.to_string()))?;
    std::fs::write(file, text).map_err(|error| failed(error.to_string()))
}
