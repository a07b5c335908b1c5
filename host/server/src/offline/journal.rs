//! `usher journal`: moves a journal between the data folder and NATS JetStream.

use std::path::Path;

use usher_broker::{Options, copied_until};
use usher_cli::ui::{CliError, Output};
use usher_config as config;
use usher_jetstream::{Copied, copy_to_stream};
use usher_journal::{Journal as _, JournalError, LocalJournal};

use super::args::{JournalCopyArgs, JournalEngine};
use crate::run::standby::{SharedByNodes, open};

/// Copies a journal, and opens it as a node would. The data folder is a whole copy of it either way.
pub(crate) fn copy(args: &JournalCopyArgs, out: &mut Output) -> Result<(), CliError> {
    let config = config::load(&args.flags.resolved_in(Path::new("")).0)
        .map_err(|problems| CliError::Usage(problems.to_string()))?;
    let Some(place) = config.journal else {
        let what = "the configuration has no [journal] with engine = \"jetstream\"";
        return Err(CliError::with_hint(
            what,
            "it says which stream is meant; see docs/cluster.md",
        ));
    };
    if args.from == args.to {
        return Err(CliError::Usage("FROM and TO are the same".to_owned()));
    }
    // What servers that are away or refuse something are waited for.
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).without_time();
    log.with_target(false).with_max_level(tracing::Level::WARN).init();
    let (options, target) = (Options::new(&config.data), place.clone());
    let mut copied = None;
    let copy = || -> anyhow::Result<(u64, u64)> {
        let (standby, journal) = open(options, place, |folder| {
            if args.to == JournalEngine::Jetstream {
                refuse_backup(&config.data, folder)?;
                copied = Some(copy_to_stream(folder, target)?);
            }
            Ok(())
        })?;
        let shared = SharedByNodes::of(&journal);
        let blobs = match args.to {
            JournalEngine::Jetstream => standby.share_blobs(&shared)?,
            JournalEngine::Embedded => standby.fetch_blobs(&shared)?,
        };
        standby.catch_up()?;
        let records = journal.end() - journal.start();
        standby.close()?;
        Ok((records, blobs))
    };
    let (records, blobs) = copy().map_err(|error| CliError::new(format!("{error:#}")))?;
    let known = copied.map(|Copied { known, .. }| known);
    if args.json {
        return out
            .json(&serde_json::json!({ "records": records, "known": known, "blobs": blobs }));
    }
    let known = known.map_or_else(String::new, |known| format!(" ({known} of them were there)"));
    out.text(&format!("{records} records{known} and {blobs} blobs are copied and compared\n"))
}

/// The tokens of a backup count no more once a router has started with it: not before, and others would take
/// them over.
fn refuse_backup(data: &Path, journal: &Path) -> Result<(), JournalError> {
    let failed = |error: std::io::Error| JournalError::Failed(error.to_string());
    let Some(until) = copied_until(data).map_err(failed)? else { return Ok(()) };
    match LocalJournal::read_only(journal)? {
        Some(journal) if journal.end() == until => Err(JournalError::Failed(format!(
            "{} is a backup, whose access tokens are not to come back: start a router with it and stop it, \
             without [journal], and copy it then",
            data.display()
        ))),
        _ => Ok(()),
    }
}
