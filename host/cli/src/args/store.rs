//! `usher blobs`, `usher state` and `usher store backup`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use usher_event::{Digest, PluginName};

use super::{ClientArgs, ConnectArgs, MaxArgs};

/// `usher blobs`.
#[derive(Debug, Subcommand)]
pub enum BlobsVerb {
    /// List blobs in digest order
    List(BlobsListArgs),
    /// Fetch a blob's content
    Get(BlobArgs),
}

/// `usher blobs list`.
#[derive(Debug, Args)]
pub struct BlobsListArgs {
    /// Only those after this digest
    #[arg(long, value_name = "DIGEST")]
    pub after: Option<Digest>,
    #[command(flatten)]
    pub max: MaxArgs,
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `usher blobs get`.
#[derive(Debug, Args)]
pub struct BlobArgs {
    /// The blob's digest
    pub digest: Digest,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// Print digest, size and file as JSON; requires --output for the content
    #[arg(long, requires = "output")]
    pub json: bool,
}

/// `usher state`.
#[derive(Debug, Args)]
pub struct StateArgs {
    /// The plugin; also one that was removed
    pub plugin: PluginName,
    /// As it stood once this event was appended
    #[arg(long, value_name = "SEQUENCE")]
    pub at: Option<u64>,
    #[command(flatten)]
    pub max: MaxArgs,
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `usher store backup`.
#[derive(Debug, Args)]
pub struct StoreBackupArgs {
    /// The new folder, on the router's machine
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// An earlier backup on the same file system; what it has as well is linked to, not copied
    #[arg(long, value_name = "DIR")]
    pub base: Option<PathBuf>,
    /// Router address and output format
    #[command(flatten)]
    pub client: ClientArgs,
}
