//! `usher journal`: moves a journal between the data folder and NATS JetStream.

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use usher_broker::{Options, copied_until};
use usher_cli::ui::{CliError, Output};
use usher_config as config;
use usher_jetstream::{Copied, JetStreamJournal, JetStreamOptions, copy_to_stream};
use usher_journal::{Journal as _, LocalJournal};

use super::args::{JournalCopyArgs, JournalEngine};
use crate::run::standby::{SharedByNodes, open};

/// Within which time an owner tells that it is there, twice.
const OWNER_HEARD_WITHIN: Duration = Duration::from_millis(700);

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
    let log = log.with_target(false).with_ansi(std::io::stderr().is_terminal());
    log.with_max_level(tracing::Level::WARN).init();
    let is_to_stream = args.to == JournalEngine::Jetstream;
    let place = JetStreamOptions { makes_stream: is_to_stream, ..place };
    let (options, target) = (Options::new(&config.data), place.clone());
    let mut copied = None;
    let copy = || -> anyhow::Result<(u64, u64)> {
        let (standby, journal) = open(options, place, |folder| {
            if is_to_stream {
                check_source(&config.data, folder)?;
                copied = Some(copy_to_stream(folder, target)?);
            }
            Ok(())
        })?;
        let shared = SharedByNodes::of(&journal);
        let blobs = match args.to {
            JournalEngine::Jetstream => standby.share_blobs(&shared)?,
            JournalEngine::Embedded => {
                check_no_owner(&journal)?;
                standby.fetch_blobs(&shared)?
            }
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

/// Refuses to copy what grows meanwhile.
fn check_no_owner(journal: &JetStreamJournal) -> anyhow::Result<()> {
    std::thread::sleep(OWNER_HEARD_WITHIN);
    match journal.owner().filter(|owner| !owner.is_leaving) {
        Some(owner) => bail!("node {} owns the journal: stop all nodes first", owner.node),
        None => Ok(()),
    }
}

/// Refuses a data folder without a journal, and a backup. The tokens of that count no more once a router has
/// started with it: not before, and others would take them over.
fn check_source(data: &Path, journal: &Path) -> anyhow::Result<()> {
    let Some(journal) = LocalJournal::read_only(journal)? else {
        bail!("there is no journal in {}: nothing to copy", data.display());
    };
    if copied_until(data)? == Some(journal.end()) {
        bail!(
            "{} is a backup, whose access tokens are not to come back: start a router with it and stop it, \
             without [journal], and copy it then",
            data.display()
        );
    }
    Ok(())
}
