//! `usher audit`: operator actions.

use super::args::AuditArgs;
use super::pages;
use super::ui::error::CliError;
use super::ui::output::{Output, style};
use super::ui::table::{Align, Cell, Table};
use usher_api::{Audit, AuditQuery, AuditRecord, routes};
use usher_wording::{date_time, printable, printable_cut};

const TYPE_MAX_CHARS: usize = 60;

/// Runs `usher audit`.
pub(crate) fn run(args: &AuditArgs, out: &mut Output) -> Result<(), CliError> {
    let client = args.client.client()?;
    let fetch = |max: usize, after: Option<u64>| {
        let query = AuditQuery { after, max: Some(max) };
        Ok(client.call(routes::AUDIT, &[]).query(&query).fetch::<Audit>()?.records)
    };
    let wanted = args.max.count;
    let records = pages::collect(wanted, args.after, fetch, |record| record.number)?;
    if args.client.json {
        return out.json(&Audit { records });
    }
    out.text(&table(&records))?;
    match records.last() {
        Some(last) if records.len() == wanted => {
            out.text(&format!("there may be more: use --after {}\n", last.number))
        }
        _ => Ok(()),
    }
}

fn table(records: &[AuditRecord]) -> String {
    if records.is_empty() {
        return "nothing was done yet\n".to_owned();
    }
    let mut table = Table::new(&[
        ("NUMBER", Align::Right),
        ("TIME", Align::Left),
        ("BY", Align::Left),
        ("ACTION", Align::Left),
        ("OF", Align::Left),
        ("DEAD LETTER", Align::Right),
        ("EVENT", Align::Right),
        ("TYPE", Align::Left),
        ("NEW EVENT", Align::Right),
    ]);
    for record in records {
        let dead = record.dead_letter.as_ref();
        let event = match (dead, record.replay) {
            (Some(dead), _) => dead.sequence.to_string(),
            (None, Some(replay)) => {
                format!("{} of {}-{}", replay.events, replay.first, replay.last)
            }
            (None, None) => String::new(),
        };
        let ty = dead.map(|dead| printable_cut(&dead.ty, TYPE_MAX_CHARS));
        let of = record.subscription.as_ref().map(|name| name.as_str());
        let of = [
            of,
            record.plugin.as_deref(),
            record.token.as_deref(),
            record.folder.as_deref(),
            record.node.as_deref(),
        ];
        let of = of.into_iter().flatten().next().unwrap_or_default();
        table.row([
            Cell::styled(record.number.to_string(), style::STRONG),
            Cell::styled(date_time(record.time), style::FAINT),
            printable(&record.actor).into(),
            printable(&record.action).into(),
            Cell::styled(printable(of), style::NAME),
            dead.map(|dead| dead.id.to_string()).unwrap_or_default().into(),
            event.into(),
            ty.unwrap_or_default().into(),
            record.sequence.map(|sequence| sequence.to_string()).unwrap_or_default().into(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_a_table() {
        let records: Vec<AuditRecord> = serde_json::from_value(serde_json::json!([{
            "number": 9, "time": "2026-01-31T12:00:02.000Z", "actor": "local",
            "action": "redrive_edited", "plugin": "printer", "subscription": "printer/tickets", "sequence": 40,
            "dead_letter": {
                "id": 4, "time": "2026-01-31T11:00:02.000Z", "class": "trap", "sequence": 18,
                "source": "/shop", "event_id": "o-1", "type": "ticket.purchased"
            }
        }, {
            "number": 10, "time": "2026-01-31T12:00:03.000Z", "actor": "local",
            "action": "replay", "plugin": "printer", "subscription": "printer/tickets",
            "replay": {"first": 3, "last": 90, "events": 7}
        }, {
            "number": 11, "time": "2026-01-31T12:00:04.000Z", "actor": "ops",
            "action": "release", "plugin": "printer"
        }]))
        .unwrap();
        assert_eq!(
            anstream::adapter::strip_str(&table(&records)).to_string(),
            "\
NUMBER  TIME                     BY     ACTION          OF               DEAD LETTER      EVENT  \
TYPE              NEW EVENT
     9  2026-01-31 12:00:02.000  local  redrive_edited  printer/tickets            4         18  \
ticket.purchased         40
    10  2026-01-31 12:00:03.000  local  replay          printer/tickets               7 of 3-90
    11  2026-01-31 12:00:04.000  ops    release         printer
"
        );
        assert!(table(&[]).starts_with("nothing"));
    }
}
