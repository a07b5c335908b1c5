//! Configuration, in two stages: what is written (command-line flags and `usher.toml`) and the
//! validated [`Config`] that everything else is made from.
//!
//! Loading opens nothing but the configuration file itself, and reports every problem it finds at
//! once, each with file, line and a hint. Flags win over the file.

mod breaker;
mod delivery;
#[cfg(test)]
mod documented;
mod flags;
mod http_grants;
mod limits;
mod live;
mod load;
mod plugin;
mod problem;
mod retry;
mod schedule;
mod secrets;
mod state;
mod table;
mod trial;
mod values;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use usher_broker::{Retention, RetryPolicy, Schedule};
use usher_event::PluginName;

pub(crate) use flags::Flags;
pub(crate) use live::{Adopted, LiveConfig};
pub(crate) use load::{load, load_to_check};
pub(crate) use plugin::{PluginConfig, SubscriptionConfig};
pub(crate) use problem::{Problem, Problems};
pub(crate) use state::State;

/// Everything the operator decided, checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    /// Where the HTTP API listens; always a loopback address.
    pub(crate) listen: SocketAddr,
    /// The data folder.
    pub(crate) data: PathBuf,
    /// The plugins folder.
    pub(crate) plugins: PathBuf,
    /// The configuration file this came from, if there was one.
    pub(crate) file: Option<PathBuf>,
    /// What is logged: a `tracing` filter.
    pub(crate) log: String,
    /// How it is logged.
    pub(crate) log_format: LogFormat,
    /// How long deliveries under way may take to end at a hot swap or at shutdown.
    pub(crate) drain: Duration,
    /// Limits of the HTTP API.
    pub(crate) http: HttpConfig,
    /// The broker's settings.
    pub(crate) broker: BrokerConfig,
    /// What compiling a plugin may take.
    pub(crate) compiler: CompilerConfig,
    /// Instances of all plugins together, at a time.
    pub(crate) max_instances: u32,
    /// The retry policy of subscriptions without one of their own.
    pub(crate) retry: RetryPolicy,
    /// Events by the clock.
    pub(crate) schedules: Vec<Schedule>,
    /// What plugins are granted and how they are limited, by name.
    pub(crate) plugin: BTreeMap<PluginName, PluginConfig>,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Limits of the HTTP API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpConfig {
    /// The largest request body.
    pub(crate) max_body_bytes: usize,
    /// How long a client may take to send the header of a request.
    pub(crate) header_timeout: Duration,
    /// How long a client may take to send the body of a request.
    pub(crate) body_timeout: Duration,
    /// Connections at once; `None` for as many as there are file descriptors for, up to a number.
    pub(crate) max_connections: Option<usize>,
    /// Names besides loopback ones that requests may be for, without a port.
    pub(crate) allowed_hosts: Vec<String>,
    /// States in which `/readyz` says no.
    pub(crate) unready_on: Vec<State>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            max_body_bytes: usher_event::limits::BATCH_MAX_BYTES,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            max_connections: None,
            allowed_hosts: Vec::new(),
            unready_on: Vec::new(),
        }
    }
}

/// What compiling one plugin may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CompilerConfig {
    /// Memory of the process that compiles it.
    pub(crate) memory_bytes: u64,
    /// Processor time that it may take.
    pub(crate) cpu_ms: u64,
    /// How long it may take by the clock on the wall.
    pub(crate) wall_ms: u64,
}

impl Default for CompilerConfig {
    fn default() -> Self {
        Self { memory_bytes: 1024 * 1024 * 1024, cpu_ms: 60_000, wall_ms: 600_000 }
    }
}

/// The broker's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BrokerConfig {
    /// How many of the newest events are remembered to recognise duplicates.
    pub(crate) duplicates_window_events: usize,
    /// How long they are remembered at most.
    pub(crate) duplicates_window: Option<Duration>,
    /// How many commands wait for the disk before producers are asked to come back later.
    pub(crate) intake_max_commands: usize,
    /// How many bytes wait for the disk before producers are asked to come back later.
    pub(crate) intake_max_bytes: usize,
    /// How far behind in the log a subscription may be before producers are refused.
    pub(crate) backlog_max_events: Option<u64>,
    /// Free space on the disk below which producers are refused.
    pub(crate) disk_reserve_bytes: u64,
    /// The store's block cache.
    pub(crate) cache_bytes: u64,
    /// What the log keeps.
    pub(crate) retention: Retention,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        let options = usher_broker::Options::new(PathBuf::new());
        Self {
            duplicates_window_events: options.duplicates_window_events,
            duplicates_window: options.duplicates_window,
            intake_max_commands: options.intake_max_commands,
            intake_max_bytes: options.intake_max_bytes,
            backlog_max_events: options.backlog_max_events,
            disk_reserve_bytes: options.disk_reserve_bytes,
            cache_bytes: options.cache_bytes,
            retention: options.retention,
        }
    }
}
