//! Command-line flags. Each but `--config` is also a key of the configuration file.

use std::path::PathBuf;

use super::LogFormat;

/// Settings from the command line; they override the configuration file.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Flags {
    /// Listen address of the HTTP API; must be a loopback address. Port 0 picks a free port.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// The data folder: the event log and all other persistent state. Created if missing.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The plugins folder: every .wasm file in it is loaded, and reloaded when it changes.
    #[arg(long, value_name = "DIR")]
    pub plugins: Option<PathBuf>,
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Log filter: error, warn, info, debug, trace, or a list such as info,plugin=debug.
    #[arg(long, value_name = "FILTER", env = "USHER_LOG")]
    pub log: Option<String>,
    /// Log format.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Time for deliveries in flight to finish at shutdown and hot swap, in milliseconds.
    #[arg(long, value_name = "MS")]
    pub drain_ms: Option<u64>,
}
