//! `usher plugins history`: the outcome of each change of a plugin.

use super::args::PluginArgs;
use super::ui::error::CliError;
use super::ui::output::{Output, style};
use super::ui::table::{Align, Cell, Table};
use usher_api::{PluginChange, PluginHistory, routes};
use usher_wording::{date_time, printable};

/// Shows the changes.
pub(crate) fn run(args: &PluginArgs, out: &mut Output) -> Result<(), CliError> {
    let client = args.client.client()?;
    let found: PluginHistory = client.call(routes::HISTORY, &[args.name.as_str()]).fetch()?;
    if args.client.json { out.json(&found) } else { out.text(&table(&found.history)) }
}

fn table(history: &[PluginChange]) -> String {
    if history.is_empty() {
        return "nothing has changed yet\n".to_owned();
    }
    let mut table = Table::new(&[
        ("TIME", Align::Left),
        ("OUTCOME", Align::Left),
        ("VERSION", Align::Left),
        ("DIGEST", Align::Left),
        ("REASON", Align::Left),
    ]);
    for change in history {
        table.row([
            Cell::styled(date_time(change.time), style::FAINT),
            outcome(&change.outcome),
            printable(change.version.as_deref().unwrap_or("-")).into(),
            change.digest.map_or_else(|| "-".to_owned(), |digest| digest.short()).into(),
            printable(change.reason.as_deref().unwrap_or_default()).into(),
        ]);
    }
    table.render()
}

fn outcome(outcome: &str) -> Cell {
    let style = match outcome {
        "loaded" => style::GOOD,
        "refused" | "rolled_back" => style::BAD,
        _ => style::OPEN,
    };
    Cell::styled(printable(outcome), style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_a_table() {
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let history: Vec<PluginChange> = serde_json::from_value(serde_json::json!([
            {
                "time": "2026-01-31T12:00:02.000Z", "outcome": "loaded", "version": "1.0.0",
                "digest": digest
            },
            {
                "time": "2026-01-31T12:00:03.000Z", "outcome": "rolled_back", "version": null,
                "digest": digest, "reason": "5 of its first 5 deliveries failed"
            },
            {
                "time": "2026-01-31T12:00:04.000Z", "outcome": "removed", "version": null,
                "digest": null
            }
        ]))
        .unwrap();
        assert_eq!(
            anstream::adapter::strip_str(&table(&history)).to_string(),
            "\
TIME                     OUTCOME      VERSION  DIGEST        REASON
2026-01-31 12:00:02.000  loaded       1.0.0    ba7816bf8f01
2026-01-31 12:00:03.000  rolled_back  -        ba7816bf8f01  5 of its first 5 deliveries failed
2026-01-31 12:00:04.000  removed      -        -
"
        );
        assert!(table(&[]).starts_with("nothing"));
    }
}
