//! Loads flags and file into a validated [`Config`].

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use usher_broker::{Retention, RetryPolicy};

use super::problem::{ConfigProblem, ConfigProblems, Location};
use super::table::{At, Table, parse, read_file, report};
use super::{
    BrokerConfig, CompilerConfig, Config, Flags, HttpConfig, LogFormat, RouterState, ingest,
    journal, listen, plugin, retry, schedule, sinks, tokens, tracing, webhooks,
};

const FILE_MAX_BYTES: u64 = 1024 * 1024;
/// Leaves time to close within the 10 s that container runtimes wait before SIGKILL.
const DRAIN_DEFAULT: Duration = Duration::from_secs(8);
const DRAIN_MAX_MS: u64 = 600_000;
const MINUTE_MS: u64 = 60_000;

/// Loads and validates flags and configuration file.
///
/// # Errors
/// All problems found.
pub fn load(flags: &Flags) -> Result<Config, ConfigProblems> {
    load_for(Purpose::Run, flags)
}

/// Like [`load`], but doesn't require a data folder.
///
/// # Errors
/// All problems found.
pub fn load_to_check(flags: &Flags) -> Result<Config, ConfigProblems> {
    load_for(Purpose::Check, flags)
}

/// Like [`load`], but requires neither a data nor a plugins folder.
///
/// # Errors
/// All problems found.
pub fn load_to_inspect(flags: &Flags) -> Result<Config, ConfigProblems> {
    load_for(Purpose::Inspect, flags)
}

/// What a configuration is loaded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To run a router.
    Run,
    /// To validate it only.
    Check,
    /// To read what it says of plugins.
    Inspect,
}

fn load_for(purpose: Purpose, flags: &Flags) -> Result<Config, ConfigProblems> {
    let Some(file) = &flags.config else {
        return check(purpose, flags, None, "");
    };
    match read_file(file, FILE_MAX_BYTES) {
        Ok(text) => check(purpose, flags, Some(file), &text),
        Err(what) => Err(ConfigProblems(vec![ConfigProblem {
            place: Location::WholeFile { file: file.clone() },
            what,
            hint: Some("name a readable file with --config, or leave the flag out".to_owned()),
        }])),
    }
}

/// Validates flags and the file's text; `file`'s folder is the base of relative paths.
fn check(
    purpose: Purpose,
    flags: &Flags,
    file: Option<&Path>,
    text: &str,
) -> Result<Config, ConfigProblems> {
    let name = file.unwrap_or(Path::new("usher.toml"));
    let (mut from_flags, mut config) = (Vec::new(), None);
    let mut problems = parse(name, text, |root| {
        config = read_root(purpose, flags, file, root, &mut from_flags);
    });
    problems.append(&mut from_flags);
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(ConfigProblems(problems)),
    }
}

fn read_root(
    purpose: Purpose,
    flags: &Flags,
    file: Option<&Path>,
    table: Table<'_>,
    problems: &mut Vec<ConfigProblem>,
) -> Option<Config> {
    let folder = file.and_then(Path::parent).unwrap_or(Path::new(""));
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let retry = table
        .table("retry")
        .map_or_else(RetryPolicy::default, |table| retry::read(table, &RetryPolicy::default()));
    let plugins_table = table.table("plugin");
    let ingest = ingest::read_all(&table);
    let (listen, tls) = listen::read(&flags.listen, &table, folder, problems);
    let verifies_clients = tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some());
    let data = folder_of("data", "--data", flags.data.as_ref(), &table, folder, problems);
    let plugins =
        folder_of("plugins", "--plugins", flags.plugins.as_ref(), &table, folder, problems)
            .and_then(|place| match purpose {
                Purpose::Inspect => None,
                Purpose::Run | Purpose::Check => existing_folder(place, &table, problems),
            });
    let needless: &[&str] = match purpose {
        Purpose::Run => &[],
        Purpose::Check => &["--data"],
        Purpose::Inspect => &["--data", "--plugins"],
    };
    problems.retain(
        |problem| !matches!(&problem.place, Location::Flag { flag } if needless.contains(flag)),
    );
    let plugin =
        plugins_table.map(|table| plugin::read_all(&table, folder, &retry)).unwrap_or_default();
    let sinks = table
        .table("sink")
        .map(|table| sinks::read_all(&table, folder, &retry, |name| plugin.contains_key(name)))
        .unwrap_or_default();
    let config = Config {
        listen,
        tls,
        data: data.map(|(path, _)| path).unwrap_or_default(),
        plugins: plugins.unwrap_or_default(),
        file: file.map(Path::to_owned),
        log: log(flags, &table, problems),
        log_format: {
            let written = table.choice("log_format", &formats);
            flags.log_format.or(written).unwrap_or_default()
        },
        drain: drain(flags, &table, problems),
        http: table.table("http").map_or_else(HttpConfig::default, http),
        webhooks: webhooks::read_all(&table, folder, &ingest),
        ingest,
        broker: broker(table.table("broker"), table.table("retention")),
        journal: journal::read(&table, folder),
        schedules: schedule::read_all(&table),
        compiler: table.table("compiler").map_or_else(CompilerConfig::default, compiler),
        max_instances: table.table("sandbox").and_then(sandbox).unwrap_or(INSTANCES_DEFAULT),
        tokens: table
            .table("token")
            .map(|table| tokens::read_all(&table, verifies_clients))
            .unwrap_or_default(),
        tracing: tracing::read(&table, folder),
        sinks,
        plugin,
        retry,
    };
    table.finish();
    Some(config)
}

type PlacedPath = (PathBuf, Option<std::ops::Range<usize>>);

fn folder_of(
    key: &'static str,
    flag: &'static str,
    given: Option<&PathBuf>,
    table: &Table<'_>,
    folder: &Path,
    problems: &mut Vec<ConfigProblem>,
) -> Option<PlacedPath> {
    let written = table.string(key);
    let placed = match (given, written) {
        (Some(path), _) => (path.clone(), None),
        (None, Some(At { value, span })) => (folder.join(value), Some(span)),
        (None, None) => {
            problems.push(ConfigProblem {
                place: Location::Flag { flag },
                what: format!("no {key} folder is given"),
                hint: Some(format!("add {flag} DIR, or {key} = \"DIR\" to the configuration file")),
            });
            return None;
        }
    };
    if placed.0.as_os_str().is_empty() {
        let hint = "name a folder; . is the present one";
        report(table, problems, placed.1, flag, format!("{key} is empty"), hint);
        return None;
    }
    Some(placed)
}

fn existing_folder(
    (path, place): PlacedPath,
    table: &Table<'_>,
    problems: &mut Vec<ConfigProblem>,
) -> Option<PathBuf> {
    let what = match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => return Some(path),
        Ok(_) => format!("plugins: {} is not a folder", path.display()),
        Err(error) => format!("plugins: {}: {error}", path.display()),
    };
    report(table, problems, place, "--plugins", what, "make the folder, or name another");
    None
}

fn log(flags: &Flags, table: &Table<'_>, problems: &mut Vec<ConfigProblem>) -> String {
    let written = table.string("log");
    let (text, place) = match (&flags.log, written) {
        (Some(text), _) => (text.clone(), None),
        (None, Some(At { value, span })) => (value.to_owned(), Some(span)),
        (None, None) => return "info".to_owned(),
    };
    let hint = "use error, warn, info, debug, trace or off, or a list such as info,plugin=debug";
    // The parser reads a lone word that is not a level as a target, which silences all others.
    let stray = text.split(',').map(str::trim).find(|part| {
        let level = || part.parse::<tracing_subscriber::filter::LevelFilter>();
        part.is_empty() || (!part.contains('=') && level().is_err())
    });
    if let Some(part) = stray {
        let what = format!("log can't be {text:?}: {part:?} is not a level");
        report(table, problems, place, "--log", what, hint);
    } else if let Err(error) = text.parse::<tracing_subscriber::filter::Targets>() {
        report(table, problems, place, "--log", format!("log can't be {text:?}: {error}"), hint);
    }
    text
}

fn drain(flags: &Flags, table: &Table<'_>, problems: &mut Vec<ConfigProblem>) -> Duration {
    let written = table.millis("drain_ms", 0..=DRAIN_MAX_MS);
    match flags.drain_ms {
        Some(drain_ms) if drain_ms > DRAIN_MAX_MS => {
            let what = format!("{drain_ms} is out of range");
            report(table, problems, None, "--drain-ms", what, "use 0 to 600000");
            DRAIN_DEFAULT
        }
        Some(drain_ms) => Duration::from_millis(drain_ms),
        None => written.unwrap_or(DRAIN_DEFAULT),
    }
}

fn http(table: Table<'_>) -> HttpConfig {
    let default = HttpConfig::default();
    let config = HttpConfig {
        max_body_bytes: table
            .size("max_body_bytes", 1024..=64 * 1024 * 1024)
            .unwrap_or(default.max_body_bytes),
        header_timeout: table
            .millis("header_timeout_ms", 10..=10 * MINUTE_MS)
            .unwrap_or(default.header_timeout),
        body_timeout: table
            .millis("body_timeout_ms", 10..=10 * MINUTE_MS)
            .unwrap_or(default.body_timeout),
        max_connections: table.size("max_connections", 1..=65_536),
        allowed_hosts: hosts(&table, "allowed_hosts", None),
        unready_on: unready_on(&table),
        publish_status: publish_status(&table),
        webhook_origins: hosts(&table, "webhook_origins", Some("*")),
        webhook_rate_per_minute: table.integer("webhook_rate_per_minute", 1..=1_000_000),
    };
    table.finish();
    config
}

/// Names of hosts, without a port; `any` may stand for all.
fn hosts(table: &Table<'_>, key: &'static str, any: Option<&str>) -> Vec<String> {
    let check = |At { value, span }: At<&str>| {
        let is_host = value.parse::<http::uri::Authority>().is_ok_and(|name| name.host() == value);
        if !is_host && any != Some(value) {
            let hint = "write names or addresses without a port, such as \"router.internal\"";
            let what = format!("{key} can't have {value:?}");
            table.source().problem(&span, what, Some(hint.to_owned()));
        }
        value.to_owned()
    };
    table.strings(key).into_iter().map(check).collect()
}

fn publish_status(table: &Table<'_>) -> http::StatusCode {
    match table.integer("publish_status", 200..=202) {
        Some(200) => http::StatusCode::OK,
        Some(201) => http::StatusCode::CREATED,
        _ => http::StatusCode::ACCEPTED,
    }
}

fn unready_on(table: &Table<'_>) -> Vec<RouterState> {
    let check = |At { value, span }: At<&str>| {
        let state = RouterState::ALL.into_iter().find(|state| state.as_str() == value);
        if state.is_none() {
            let hint =
                format!("use any of {}", RouterState::ALL.map(RouterState::as_str).join(", "));
            let what = format!("unready_on can't have {value:?}");
            table.source().problem(&span, what, Some(hint));
        }
        state
    };
    table.strings("unready_on").into_iter().filter_map(check).collect()
}

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;
/// Range of `backlog_max_events`.
const BACKLOG_EVENTS: RangeInclusive<u64> = 100..=1_000_000_000_000;
/// A hundred years.
const RETENTION_MAX_MS: u64 = 100 * 365 * 24 * 60 * MINUTE_MS;

/// Default of `sandbox.max_instances`.
const INSTANCES_DEFAULT: u32 = 1_000;

fn sandbox(table: Table<'_>) -> Option<u32> {
    let max_instances = table.integer("max_instances", 1..=10_000);
    table.finish();
    max_instances.and_then(|number| u32::try_from(number).ok())
}

fn compiler(table: Table<'_>) -> CompilerConfig {
    let default = CompilerConfig::default();
    let config = CompilerConfig {
        memory_bytes: table
            .integer("memory_bytes", 16 * MIB..=16 * GIB)
            .unwrap_or(default.memory_bytes),
        cpu_ms: table.integer("cpu_ms", 10..=10 * MINUTE_MS).unwrap_or(default.cpu_ms),
        wall_ms: table.integer("wall_ms", 10..=60 * MINUTE_MS).unwrap_or(default.wall_ms),
    };
    table.finish();
    config
}

fn broker(table: Option<Table<'_>>, retention: Option<Table<'_>>) -> BrokerConfig {
    let mut config = BrokerConfig::default();
    if let Some(table) = table {
        config = BrokerConfig {
            duplicates_window_events: table
                .size("duplicates_window_events", 1_000..=100_000_000)
                .unwrap_or(config.duplicates_window_events),
            duplicates_window: table.millis("duplicates_window_ms", 1_000..=RETENTION_MAX_MS),
            intake_max_commands: table
                .size("intake_max_commands", 16..=1_000_000)
                .unwrap_or(config.intake_max_commands),
            intake_max_bytes: table
                .size("intake_max_bytes", MIB as usize..=4 * GIB as usize)
                .unwrap_or(config.intake_max_bytes),
            backlog_max_events: table.integer("backlog_max_events", BACKLOG_EVENTS),
            disk_reserve_bytes: table
                .integer("disk_reserve_bytes", 0..=1024 * GIB)
                .unwrap_or(config.disk_reserve_bytes),
            cache_bytes: table.integer("cache_bytes", MIB..=64 * GIB).unwrap_or(config.cache_bytes),
            retention: config.retention,
        };
        table.finish();
    }
    if let Some(table) = retention {
        config.retention = Retention {
            max_age: table.millis("max_age_ms", MINUTE_MS..=RETENTION_MAX_MS),
            max_bytes: table.integer("max_bytes", MIB..=1024 * 1024 * GIB),
        };
        table.finish();
    }
    config
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
