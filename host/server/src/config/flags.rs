//! What can be said on the command line. Every flag is a key of the configuration file, too.

use std::path::PathBuf;

use super::LogFormat;

/// Settings from the command line; they win over the configuration file.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Flags {
    /// Where the HTTP API listens; a loopback address. Port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,
    /// The data folder: the log of events and everything else that lasts. Made if missing.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The plugins folder: every .wasm file in it is loaded, now and when it changes.
    #[arg(long, value_name = "DIR")]
    pub(crate) plugins: Option<PathBuf>,
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// What is logged: error, warn, info, debug, trace, or a list such as info,plugin=debug.
    #[arg(long, value_name = "FILTER", env = "USHER_LOG")]
    pub(crate) log: Option<String>,
    /// How it is logged.
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// How long deliveries under way may take to end at shutdown and hot swap, in milliseconds.
    #[arg(long, value_name = "MS")]
    pub(crate) drain_ms: Option<u64>,
}
