//! `usher filter`: filters without a router: whether events match and why not, where the index looks a
//! filter up, and filters made of EventBridge's event patterns.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Serialize;
use serde_json::Value;
use usher_api::Mismatch;
use usher_event::{Event, json};
use usher_filter::{FilterIndex, Translated, from_eventbridge};

use super::args::{FilterExplainArgs, FilterFromArgs, FilterTestArgs, FilterVerb};
use crate::project;
use usher_cli::feed::Feed;
use usher_cli::read_text;
use usher_cli::ui::{Align, Cell, CliError, Output, Table, paint, style};
use usher_wording::{count, printable, printable_cut};

/// Maximum size of a file with an event pattern.
const PATTERN_MAX_BYTES: u64 = 1024 * 1024;

/// Runs `usher filter`.
pub(crate) fn run(verb: &FilterVerb, out: &mut Output) -> Result<(), CliError> {
    match verb {
        FilterVerb::Test(args) => test(args, out),
        FilterVerb::Explain(args) => explain(args, out),
        FilterVerb::FromEventbridge(args) => from(args, out),
    }
}

/// What a filter says of an event; a line of `test --json`.
#[derive(Debug, Serialize)]
struct Tested<'t> {
    file: &'t str,
    line: u64,
    id: &'t str,
    #[serde(rename = "type")]
    ty: &'t str,
    matches: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    mismatch: Option<Mismatch>,
}

fn test(args: &FilterTestArgs, out: &mut Output) -> Result<(), CliError> {
    const CELL_MAX_CHARS: usize = 40;
    let heads = [("EVENT", Align::Left), ("TYPE", Align::Left), ("MATCHES", Align::Left)];
    let mut table = Table::new(&heads);
    let (mut events, mut matching) = (0, 0);
    for file in &args.events {
        let name = if file == Path::new("-") { "stdin".into() } else { file.to_string_lossy() };
        each_event(file, &name, |event, line| {
            let mismatch = args.filter.explain(&event);
            events += 1;
            matching += usize::from(mismatch.is_none());
            if args.json {
                return out.json_line(&Tested {
                    file: &name,
                    line,
                    id: event.id(),
                    ty: event.ty(),
                    matches: mismatch.is_none(),
                    mismatch: mismatch.as_ref().map(project::mismatch),
                });
            }
            let verdict = match mismatch {
                None => Cell::styled("yes", style::GOOD),
                Some(mismatch) => Cell::styled(printable(&format!("no: {mismatch}")), style::BAD),
            };
            let id = printable_cut(event.id(), CELL_MAX_CHARS);
            let ty = printable_cut(event.ty(), CELL_MAX_CHARS);
            table.row([Cell::from(id), Cell::from(ty), verdict]);
            Ok(())
        })?;
    }
    if !args.json {
        out.text(&table.render())?;
    }
    match events - matching {
        0 => Ok(()),
        not => Err(CliError::new(format!("{not} of {} don't match", count(events, "event")))),
    }
}

/// Calls `look` with each event of a file, and the line that it begins on.
fn each_event(
    file: &Path,
    name: &str,
    mut look: impl FnMut(Event, u64) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let failed = |what: String| CliError::new(format!("{name}: {what}"));
    let reader: Box<dyn Read> = if file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(file).map_err(|error| failed(error.to_string()))?)
    };
    let mut feed = Feed::new(reader);
    loop {
        let batch = feed.batch().map_err(|error| failed(error.to_string()))?;
        if batch.is_empty() {
            return Ok(());
        }
        for piece in batch {
            let event = json::from_slice(&piece.json);
            let event = event.map_err(|error| failed(format!("line {}: {error}", piece.line)))?;
            look(event, piece.line)?;
        }
    }
}

/// What an index makes of a filter; output of `explain --json`.
#[derive(Debug, Serialize)]
struct Explained {
    filter: Value,
    reads_data: bool,
    /// Each matching event meets one of these; empty if every event is evaluated.
    filed_under: Vec<String>,
}

fn explain(args: &FilterExplainArgs, out: &mut Output) -> Result<(), CliError> {
    let mut index = FilterIndex::new();
    index.insert((), &args.filter);
    let explained = Explained {
        filter: args.filter.to_json(),
        reads_data: args.filter.reads_data(),
        filed_under: index.places(&()).unwrap_or_default(),
    };
    if args.json {
        return out.json(&explained);
    }
    let filed = match explained.filed_under.as_slice() {
        [] if args.filter.is_everything() => "matches every event".to_owned(),
        [] => "nothing to look it up by: it is evaluated for every event".to_owned(),
        places => {
            let places = places.iter().map(|place| format!("\n  {}", printable(place)));
            format!("looked up by{}", places.collect::<String>())
        }
    };
    let reads = if explained.reads_data { "attributes and data" } else { "attributes only" };
    let json = printable(&args.filter.to_string());
    out.text(&format!("{}\nreads {reads}\n{filed}\n", paint(&json, style::STRONG)))
}

/// Output of `from-eventbridge --json`.
#[derive(Debug, Serialize)]
struct Made {
    filter: Value,
    untranslated: Vec<String>,
}

fn from(args: &FilterFromArgs, out: &mut Output) -> Result<(), CliError> {
    let name = args.file.display();
    let failed = |what: String| CliError::new(format!("{name}: {what}"));
    let text =
        read_text(&args.file, PATTERN_MAX_BYTES).map_err(|error| failed(error.to_string()))?;
    let pattern: Value =
        serde_json::from_str(&text).map_err(|error| failed(format!("no JSON: {error}")))?;
    let Translated { filter, untranslated } =
        from_eventbridge(&pattern).map_err(|error| failed(error.to_string()))?;
    if args.json {
        out.json(&Made { filter: filter.to_json(), untranslated: untranslated.clone() })?;
    } else {
        out.json(&filter.to_json())?;
    }
    if untranslated.is_empty() {
        return Ok(());
    }
    out.flush()?;
    let list = untranslated.iter().map(|one| format!("\n{one}"));
    Err(CliError::with_hint(
        format!("not translated:{}", list.collect::<String>()),
        "the filter matches more events than the pattern did: complete it by hand",
    ))
}
