//! `usher check`: validates the configuration and plugin files as the router does at start.
//!
//! Opens nothing for writing, and neither listens nor serves. With `--url` it also reports what
//! would change in the subscriptions and schedules of a running router.

use std::path::Path;

use serde::Serialize;

use super::args::CheckArgs;
use super::compare::Comparison;
use super::compare_schedules::ScheduleComparison;
use super::executor::executor;
use super::inspected::Inspected;
use usher_api::{Schedules, Subscriptions, routes};
use usher_cli::ui::CliError;
use usher_cli::ui::{Align, Cell, Table, paint};
use usher_cli::ui::{Output, style};
use usher_config::{self as config, Config, ConfigProblems};
use usher_event::PluginName;
use usher_plugins::{FileCheck, check_folder};
use usher_wording::{count, now, printable, without_name};

/// JSON output of `check`.
#[derive(Debug, Serialize)]
struct Report {
    /// Whether the router would start and accept every file.
    ok: bool,
    /// Problems of the configuration; if there are any, plugins are not checked.
    configuration: Vec<config::ConfigProblem>,
    /// The plugin files, by name.
    plugins: Vec<FileReport>,
    /// Configured plugins that have no file.
    absent: Vec<PluginName>,
    /// Only with `--url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    router: Option<RouterReport>,
}

/// Changes to a running router.
#[derive(Debug, Serialize)]
struct RouterReport {
    #[serde(flatten)]
    subscriptions: Comparison,
    schedules: ScheduleComparison,
}

/// Result for one plugin file.
#[derive(Debug, Serialize)]
struct FileReport {
    file: String,
    /// Absent if the file would be refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<Inspected>,
    /// Why it would be refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Settings for it that would have no effect.
    warnings: Vec<String>,
}

impl Report {
    fn of_configuration(ConfigProblems(problems): ConfigProblems) -> Self {
        let (plugins, absent) = (Vec::new(), Vec::new());
        Self { ok: false, configuration: problems, plugins, absent, router: None }
    }

    fn of_plugins<'a>(
        plugins: Vec<FileReport>,
        configured: impl Iterator<Item = &'a PluginName>,
    ) -> Self {
        let ok = plugins.iter().all(|file| file.reason.is_none());
        let found = |name: &PluginName| {
            let mut found = plugins.iter().filter_map(|file| file.plugin.as_ref());
            found.any(|plugin| plugin.name() == name.as_str())
        };
        let absent = configured.filter(|name| !found(name)).cloned().collect();
        Self { ok, configuration: Vec::new(), plugins, absent, router: None }
    }

    fn refused(&self) -> usize {
        self.plugins.iter().filter(|file| file.reason.is_some()).count()
    }
}

impl FileReport {
    fn new(check: FileCheck, config: &Config) -> Self {
        let path = config.plugins.join(&check.file);
        let (plugin, reason) = match check.result {
            Ok(loaded) => (Some(Inspected::new(&path, &loaded, Some(config))), None),
            Err(reason) => (None, Some(reason)),
        };
        Self { file: check.file, plugin, reason, warnings: check.warnings }
    }
}

/// Runs `usher check`.
pub(crate) fn run(args: &CheckArgs, out: &mut Output) -> Result<(), CliError> {
    let config = match config::load_to_check(&args.flags.resolved_in(Path::new("")).0) {
        Ok(config) => config,
        Err(problems) => {
            let text = problems.to_string();
            if args.json {
                out.json(&Report::of_configuration(problems))?;
                out.flush()?;
            }
            return Err(CliError::Usage(text));
        }
    };
    let executor = executor().map_err(|error| CliError::new(error.to_string()))?;
    let mut checks = executor
        .block_on(check_folder(&config))
        .map_err(|error| CliError::new(format!("{error:#}")))?;
    let served = checks.iter_mut().flat_map(|check| std::mem::take(&mut check.subscriptions));
    let served: Vec<_> = served.collect();
    let files = checks.into_iter().map(|check| FileReport::new(check, &config)).collect();
    let mut report = Report::of_plugins(files, config.plugin.keys());
    if let Some(url) = &args.url {
        let client = args.credentials.client(url)?;
        let running: Subscriptions = client.call(routes::SUBSCRIPTIONS, &[]).fetch()?;
        let subscriptions = Comparison::new(url, &served, &running.subscriptions);
        let running: Schedules = client.call(routes::SCHEDULES, &[]).fetch()?;
        let schedules = ScheduleComparison::new(&config.schedules, &running.schedules, now());
        report.router = Some(RouterReport { subscriptions, schedules });
    }
    if args.json {
        out.json(&report)?;
    } else {
        out.text(&render(&report))?;
    }
    out.flush()?;
    match report.refused() {
        0 => Ok(()),
        refused => {
            Err(CliError::new(format!("{} would be refused", count(refused, "plugin file"))))
        }
    }
}

fn render(report: &Report) -> String {
    let mut text = "the configuration is good\n".to_owned();
    for name in &report.absent {
        let name = paint(name.as_str(), style::NAME);
        text.push_str(&format!(
            "{name}: the configuration names a plugin that is not in the folder\n"
        ));
    }
    if report.plugins.is_empty() {
        text.push_str("the plugins folder has no .wasm file\n");
    } else {
        text.push_str(&render_plugins(report));
    }
    if let Some(router) = &report.router {
        text.push('\n');
        text.push_str(&router.subscriptions.render());
        text.push_str(&router.schedules.render());
    }
    text
}

fn render_plugins(report: &Report) -> String {
    let mut table = Table::new(&[
        ("FILE", Align::Left),
        ("VERDICT", Align::Left),
        ("PLUGIN", Align::Left),
        ("VERSION", Align::Left),
    ]);
    for file in &report.plugins {
        let verdict = match file.reason {
            None => Cell::styled("good", style::GOOD),
            Some(_) => Cell::styled("refused", style::BAD),
        };
        let plugin = file.plugin.as_ref();
        table.row([
            Cell::from(printable(&file.file)),
            verdict,
            Cell::styled(plugin.map_or("-", Inspected::name), style::NAME),
            printable(plugin.map_or("-", Inspected::version)).into(),
        ]);
    }
    let mut text = format!("\n{}", table.render());
    let remarks: Vec<String> = report.plugins.iter().flat_map(remarks).collect();
    if !remarks.is_empty() {
        text.push('\n');
        text.extend(remarks);
    }
    text
}

/// A file's refusal reason and warnings.
fn remarks(file: &FileReport) -> Vec<String> {
    let remark = |text: &String| {
        let text =
            without_name(text, &file.file).lines().map(printable).collect::<Vec<_>>().join("\n  ");
        format!("{}: {text}\n", paint(&printable(&file.file), style::NAME))
    };
    file.reason.iter().chain(&file.warnings).map(remark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_files_and_warnings_are_told() {
        let files = vec![
            FileReport {
                file: "core.wasm".to_owned(),
                plugin: None,
                reason: Some("core.wasm: found a core module\nexpected a component".to_owned()),
                warnings: Vec::new(),
            },
            FileReport {
                file: "printer.wasm".to_owned(),
                plugin: Some(Inspected::example()),
                reason: None,
                warnings: vec!["subscription nothing is not asked for".to_owned()],
            },
        ];
        let report = Report::of_plugins(files, std::iter::empty());
        assert!(!report.ok);
        assert_eq!(report.refused(), 1);
        assert_eq!(
            anstream::adapter::strip_str(&render(&report)).to_string(),
            "\
the configuration is good

FILE          VERDICT  PLUGIN   VERSION
core.wasm     refused  -        -
printer.wasm  good     printer  0.1.0

core.wasm: found a core module
  expected a component
printer.wasm: subscription nothing is not asked for
"
        );
    }

    #[test]
    fn an_empty_folder_is_good_and_settings_for_nobody_are_told() {
        let ghost = "ghost".parse().unwrap();
        let report = Report::of_plugins(Vec::new(), std::iter::once(&ghost));
        assert!(report.ok);
        let text = anstream::adapter::strip_str(&render(&report)).to_string();
        assert!(text.contains("no .wasm file"));
        assert!(text.contains("ghost: the configuration names a plugin that is not in the folder"));
    }
}
