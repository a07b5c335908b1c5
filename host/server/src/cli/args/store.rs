//! `usher store` and `usher blobs`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use usher_event::Digest;

use super::{ClientArgs, MaxArgs, URL_DEFAULT, base_url};

/// `usher blobs`.
#[derive(Debug, Subcommand)]
pub(crate) enum BlobsVerb {
    /// List blobs in digest order
    List(BlobsListArgs),
    /// Fetch a blob's content
    Get(BlobArgs),
}

/// `usher blobs list`.
#[derive(Debug, Args)]
pub(crate) struct BlobsListArgs {
    /// Only those after this digest
    #[arg(long, value_name = "DIGEST")]
    pub(crate) after: Option<Digest>,
    #[command(flatten)]
    pub(crate) max: MaxArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// `usher blobs get`.
#[derive(Debug, Args)]
pub(crate) struct BlobArgs {
    /// The blob's digest
    pub(crate) digest: Digest,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// The router's address
    #[arg(long, env = "USHER_URL", default_value = URL_DEFAULT, value_parser = base_url)]
    pub(crate) url: String,
    /// Print digest, size and file as JSON; requires --output for the content
    #[arg(long, requires = "output")]
    pub(crate) json: bool,
}

/// `usher store`.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreVerb {
    /// Copy a running router's data folder to a new folder that a router can start from
    Backup(StoreBackupArgs),
    /// Read everything in a data folder that no router is using, and report problems
    Verify(StoreVerifyArgs),
    /// Copy what can be read in a damaged data folder to a new one; the old one is not changed
    Salvage(StoreSalvageArgs),
}

/// `usher store backup`.
#[derive(Debug, Args)]
pub(crate) struct StoreBackupArgs {
    /// The new folder, on the router's machine
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// `usher store verify`.
#[derive(Debug, Args)]
pub(crate) struct StoreVerifyArgs {
    /// The data folder
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `usher store salvage`.
#[derive(Debug, Args)]
pub(crate) struct StoreSalvageArgs {
    /// The damaged data folder; it is only read
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// The new folder; must not exist yet
    #[arg(value_name = "NEW")]
    pub(crate) new: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
