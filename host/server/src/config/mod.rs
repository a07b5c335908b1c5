//! Configuration: command-line flags and `usher.toml`, validated into a [`Config`].
//!
//! Loading reads only the configuration file and granted secrets, and reports all problems at once,
//! each with file, line and a hint. Flags override the file.

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

/// The validated configuration.
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
    /// A `tracing` filter.
    pub(crate) log: String,
    /// Format of the log.
    pub(crate) log_format: LogFormat,
    /// How long deliveries in flight may take to finish at hot swap and shutdown.
    pub(crate) drain: Duration,
    /// Limits of the HTTP API.
    pub(crate) http: HttpConfig,
    /// The broker's settings.
    pub(crate) broker: BrokerConfig,
    /// Limits on compiling a plugin.
    pub(crate) compiler: CompilerConfig,
    /// Maximum concurrent instances across all plugins.
    pub(crate) max_instances: u32,
    /// Default retry policy of subscriptions.
    pub(crate) retry: RetryPolicy,
    /// Scheduled events.
    pub(crate) schedules: Vec<Schedule>,
    /// Grants, limits and overrides by plugin.
    pub(crate) plugin: BTreeMap<PluginName, PluginConfig>,
}

/// Format of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// Human-readable lines.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Limits of the HTTP API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpConfig {
    /// The largest request body.
    pub(crate) max_body_bytes: usize,
    /// Time limit for receiving a request's header.
    pub(crate) header_timeout: Duration,
    /// Time limit for receiving a request's body.
    pub(crate) body_timeout: Duration,
    /// Maximum concurrent connections, further bounded by the limit on open files; `None` for the
    /// default.
    pub(crate) max_connections: Option<usize>,
    /// `Host` names accepted besides loopback ones, without a port.
    pub(crate) allowed_hosts: Vec<String>,
    /// States in which `/readyz` reports not ready.
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

/// Limits on compiling one plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CompilerConfig {
    /// Memory of the compiler process.
    pub(crate) memory_bytes: u64,
    /// CPU time of the compiler process.
    pub(crate) cpu_ms: u64,
    /// Wall-clock time of the compiler process.
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
    /// Number of newest events remembered for deduplication.
    pub(crate) duplicates_window_events: usize,
    /// Age limit of events remembered for deduplication; `None` for no limit.
    pub(crate) duplicates_window: Option<Duration>,
    /// Commands queued for the committer before producers are told to retry later.
    pub(crate) intake_max_commands: usize,
    /// Bytes queued for the committer before producers are told to retry later.
    pub(crate) intake_max_bytes: usize,
    /// Lag of a subscription beyond which producers are refused; `None` for no limit.
    pub(crate) backlog_max_events: Option<u64>,
    /// Free disk space below which producers are refused.
    pub(crate) disk_reserve_bytes: u64,
    /// Size of the store's block cache.
    pub(crate) cache_bytes: u64,
    /// Retention of the log.
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
