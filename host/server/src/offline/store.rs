//! `usher store`: backup, verification and salvage of data folders.

use std::fmt::Write as _;

use serde::Serialize;
use usher_broker::{Salvaged, Verified};

use super::args::{StoreRebuildArgs, StoreSalvageArgs, StoreVerifyArgs};
use usher_cli::ui::CliError;
use usher_cli::ui::{Align, Cell, Table, paint};
use usher_cli::ui::{Output, style};
use usher_wording::printable;

/// JSON output of `store verify`.
#[derive(Serialize)]
struct Report {
    sound: bool,
    counts: serde_json::Map<String, serde_json::Value>,
    torn_bytes: u64,
    problems: Vec<DamageReport>,
    more_problems: u64,
}

#[derive(Serialize)]
struct DamageReport {
    place: String,
    what: String,
}

/// Reads everything in a data folder and reports problems.
pub(crate) fn verify(args: &StoreVerifyArgs, out: &mut Output) -> Result<(), CliError> {
    let found =
        usher_broker::verify(&args.folder).map_err(|error| CliError::new(error.to_string()))?;
    if args.json {
        out.json(&report(&found))?;
    } else {
        out.text(&text(&found))?;
    }
    if found.is_sound() {
        return Ok(());
    }
    // Keeps the report before the error if both streams go to one file.
    out.flush()?;
    let count = found.problems.len() as u64 + found.more_problems;
    let what = format!("{} has {count} problems", args.folder.display());
    Err(CliError::with_hint(
        what,
        "restore a backup, or rescue what can be read with usher store salvage; see \
         docs/backup-and-restore.md",
    ))
}

/// Rebuilds the tables of a data folder.
pub(crate) fn rebuild(args: &StoreRebuildArgs, out: &mut Output) -> Result<(), CliError> {
    let commits =
        usher_broker::rebuild(&args.folder).map_err(|error| CliError::new(error.to_string()))?;
    if args.json {
        return out.json(&serde_json::json!({ "commits": commits }));
    }
    out.text(&format!("the tables are rebuilt from {commits} commits\n"))
}

fn report(found: &Verified) -> Report {
    let count = |(what, count): &(&str, u64)| (what.replace(' ', "_"), (*count).into());
    let problem = |problem: &usher_broker::Damage| DamageReport {
        place: problem.place.clone(),
        what: problem.what.clone(),
    };
    Report {
        sound: found.is_sound(),
        counts: found.counts.iter().map(count).collect(),
        torn_bytes: found.torn_bytes,
        problems: found.problems.iter().map(problem).collect(),
        more_problems: found.more_problems,
    }
}

fn text(found: &Verified) -> String {
    let mut table = Table::new(&[("WHAT", Align::Left), ("COUNT", Align::Right)]);
    for (what, count) in &found.counts {
        table.row([Cell::from(*what), count.to_string().into()]);
    }
    let mut text = table.render();
    if found.torn_bytes > 0 {
        let _ = writeln!(
            text,
            "the newest journal ends with {} bytes of an unfinished commit; the next start cuts \
             them off",
            found.torn_bytes
        );
    }
    for problem in &found.problems {
        let place = paint(&printable(&problem.place), style::BAD);
        let _ = writeln!(text, "{place}: {}", printable(&problem.what));
    }
    if found.more_problems > 0 {
        let _ = writeln!(text, "and {} more problems", found.more_problems);
    }
    if found.is_sound() {
        let _ = writeln!(text, "{}", paint("everything holds together", style::GOOD));
    }
    text
}

/// JSON output of `store salvage`.
#[derive(Serialize)]
struct Rescued {
    folder: String,
    counts: serde_json::Map<String, serde_json::Value>,
    losses: Vec<String>,
    more_losses: u64,
    missing_events: Vec<(u64, u64)>,
    last_sequence: u64,
    skipped_sequences: u64,
}

/// Copies what can be read in a damaged data folder to a new one.
pub(crate) fn salvage(args: &StoreSalvageArgs, out: &mut Output) -> Result<(), CliError> {
    let made = usher_broker::salvage(&args.folder, &args.new);
    let made = made.map_err(|error| CliError::new(error.to_string()))?;
    let folder = args.new.display().to_string();
    if !args.json {
        return out.text(&rescued(&folder, &made));
    }
    let count = |(what, count): &(&str, u64)| (what.replace(' ', "_"), (*count).into());
    out.json(&Rescued {
        folder,
        counts: made.counts.iter().map(count).collect(),
        losses: made.losses,
        more_losses: made.more_losses,
        missing_events: made.missing_events,
        last_sequence: made.last_sequence,
        skipped_sequences: made.skipped_sequences,
    })
}

fn rescued(folder: &str, made: &Salvaged) -> String {
    let mut table = Table::new(&[("RESCUED", Align::Left), ("COUNT", Align::Right)]);
    for (what, count) in &made.counts {
        table.row([Cell::from(*what), count.to_string().into()]);
    }
    let mut text = table.render();
    for (first, last) in &made.missing_events {
        let lost = paint("lost", style::BAD);
        let _ = match first == last {
            true => writeln!(text, "{lost}: event {first}"),
            false => writeln!(text, "{lost}: events {first} to {last}"),
        };
    }
    for loss in &made.losses {
        let _ = writeln!(text, "{}: {}", paint("lost", style::BAD), printable(loss));
    }
    if made.more_losses > 0 {
        let _ = writeln!(text, "and {} more losses", made.more_losses);
    }
    if made.skipped_sequences > 0 {
        let _ = writeln!(
            text,
            "newer events may be lost: {} sequences are left out, so that none is given twice",
            made.skipped_sequences
        );
    }
    let next = made.last_sequence.saturating_add(1);
    let _ = writeln!(text, "{} is made; the next event gets sequence {next}", printable(folder));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_rescued_is_told_with_what_was_not() {
        let made = Salvaged {
            counts: vec![("events", 7)],
            losses: vec!["the counters; they are made anew".to_owned()],
            missing_events: vec![(3, 3), (5, 6)],
            last_sequence: 109,
            skipped_sequences: 100,
            ..Salvaged::default()
        };
        assert_eq!(
            anstream::adapter::strip_str(&rescued("new", &made)).to_string(),
            "RESCUED  COUNT\nevents       7\nlost: event 3\nlost: events 5 to 6\nlost: the counters; \
             they are made anew\nnewer events may be lost: 100 sequences are left out, so that none \
             is given twice\nnew is made; the next event gets sequence 110\n"
        );
    }

    #[test]
    fn problems_are_told_with_their_place() {
        let mut found = Verified { counts: vec![("events", 7)], ..Verified::default() };
        let plain = |found: &Verified| anstream::adapter::strip_str(&text(found)).to_string();
        assert_eq!(plain(&found), "WHAT    COUNT\nevents      7\neverything holds together\n");
        let problem = usher_broker::Damage {
            place: "events 3".into(),
            what: "it can't be understood".into(),
        };
        found.problems.push(problem);
        found.torn_bytes = 12;
        let words = plain(&found);
        assert!(words.contains("12 bytes of an unfinished commit"), "{words}");
        assert!(words.ends_with("events 3: it can't be understood\n"), "{words}");
        let json = serde_json::to_value(report(&found)).unwrap();
        assert_eq!(json["problems"][0]["place"], "events 3");
        assert_eq!((&json["sound"], &json["counts"]["events"]), (&false.into(), &7.into()));
    }
}
