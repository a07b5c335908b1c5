//! Configuration: command-line flags and `usher.toml`, validated into a [`Config`].
//!
//! Loading reads only the configuration file and granted secrets, and reports all problems at once,
//! each with file, line and a hint. Flags override the file.

mod breaker;
mod delivery;
#[cfg(test)]
mod documented;
mod flags;
mod headers;
mod http_grants;
mod ingest;
mod journal;
mod limits;
mod listen;
mod live;
mod load;
mod plugin;
mod problem;
mod retry;
mod schedule;
mod secrets;
mod sinks;
mod state;
mod table;
mod tokens;
mod tracing;
mod trial;
mod values;
mod webhooks;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use usher_broker::{Retention, RetryPolicy, Schedule};
use usher_event::{PluginName, TokenName};
use usher_jetstream::JetStreamOptions;
use usher_telemetry::TracingOptions;
use usher_webhooks::Webhook;

pub use flags::Flags;
pub use listen::{Listen, TlsConfig};
pub use live::{Adopted, LiveConfig};
pub use load::{load, load_to_check, load_to_inspect};
pub use plugin::{PluginConfig, SubscriptionConfig};
pub use problem::{ConfigProblem, ConfigProblems};
pub use sinks::SinkConfig;
pub use state::RouterState;
pub use tokens::{Proof, TokenConfig};

/// The validated configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where the HTTP API listens; at least one place.
    pub listen: Vec<Listen>,
    /// The router's certificate; there if something listens with TLS.
    pub tls: Option<TlsConfig>,
    /// The data folder.
    pub data: PathBuf,
    /// The plugins folder.
    pub plugins: PathBuf,
    /// The configuration file this came from, if there was one.
    pub file: Option<PathBuf>,
    /// A `tracing` filter.
    pub log: String,
    /// Format of the log.
    pub log_format: LogFormat,
    /// How long deliveries in flight may take to finish at hot swap and shutdown.
    pub drain: Duration,
    /// Limits of the HTTP API.
    pub http: HttpConfig,
    /// Further paths that take events.
    pub ingest: Vec<String>,
    /// The broker's settings.
    pub broker: BrokerConfig,
    /// Where the journal is kept, if that isn't the data folder.
    pub journal: Option<JetStreamOptions>,
    /// Limits on compiling a plugin.
    pub compiler: CompilerConfig,
    /// Maximum concurrent instances across all plugins.
    pub max_instances: u32,
    /// Default retry policy of subscriptions.
    pub retry: RetryPolicy,
    /// Scheduled events.
    pub schedules: Vec<Schedule>,
    /// Paths that take webhooks.
    pub webhooks: Vec<Webhook>,
    /// Tokens of the configuration.
    pub tokens: BTreeMap<TokenName, TokenConfig>,
    /// Where spans are sent; `None` for nowhere.
    pub tracing: Option<TracingOptions>,
    /// Servers that events are delivered to.
    pub sinks: BTreeMap<PluginName, SinkConfig>,
    /// Grants, limits and overrides by plugin.
    pub plugin: BTreeMap<PluginName, Arc<PluginConfig>>,
}

/// Format of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Human-readable lines.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Limits of the HTTP API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// The largest request body.
    pub max_body_bytes: usize,
    /// Time limit for receiving a request's header.
    pub header_timeout: Duration,
    /// Time limit for receiving a request's body.
    pub body_timeout: Duration,
    /// Maximum concurrent connections, further bounded by the limit on open files; `None` for the
    /// default.
    pub max_connections: Option<usize>,
    /// `Host` names accepted besides loopback ones, without a port.
    pub allowed_hosts: Vec<String>,
    /// States in which `/readyz` reports not ready.
    pub unready_on: Vec<RouterState>,
    /// Status of a response to accepted events: 202, or 200 for producers that take no other.
    pub publish_status: StatusCode,
    /// Origins that may deliver, as the handshake of webhooks tells them; `*` for any.
    pub webhook_origins: Vec<String>,
    /// The rate that the handshake tells; `None` for any.
    pub webhook_rate_per_minute: Option<u64>,
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
            publish_status: StatusCode::ACCEPTED,
            webhook_origins: Vec::new(),
            webhook_rate_per_minute: None,
        }
    }
}

/// Limits on compiling one plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompilerConfig {
    /// Memory of the compiler process.
    pub memory_bytes: u64,
    /// CPU time of the compiler process.
    pub cpu_ms: u64,
    /// Wall-clock time of the compiler process.
    pub wall_ms: u64,
}

impl Default for CompilerConfig {
    fn default() -> Self {
        Self { memory_bytes: 1024 * 1024 * 1024, cpu_ms: 60_000, wall_ms: 600_000 }
    }
}

/// The broker's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerConfig {
    /// Number of newest events remembered for deduplication.
    pub duplicates_window_events: usize,
    /// Age limit of events remembered for deduplication; `None` for no limit.
    pub duplicates_window: Option<Duration>,
    /// Commands queued for the committer before producers are told to retry later.
    pub intake_max_commands: usize,
    /// Bytes queued for the committer before producers are told to retry later.
    pub intake_max_bytes: usize,
    /// Lag of a subscription beyond which producers are refused; `None` for no limit.
    pub backlog_max_events: Option<u64>,
    /// Free disk space below which producers are refused.
    pub disk_reserve_bytes: u64,
    /// Size of the store's block cache.
    pub cache_bytes: u64,
    /// Retention of the log.
    pub retention: Retention,
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
