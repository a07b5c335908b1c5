//! `usher tail`: the newest events of the log, and those that follow.

use std::ops::ControlFlow;

use super::args::TailArgs;
use super::ui::error::CliError;
use super::ui::output::{Output, style};
use super::ui::table::paint;
use super::ui::text::width;
use crate::log::Log;
use usher_api::{EventsQuery, Stored};
use usher_wording::{clock, printable, printable_cut};

const DATA_MAX_CHARS: usize = 100;

/// Shows events.
pub(crate) fn run(args: &TailArgs, out: &mut Output) -> Result<(), CliError> {
    let log = Log {
        client: args.client.client()?,
        type_prefix: args.type_prefix.clone(),
        filter: args.filter.clone(),
    };
    let mut printer = Printer { json: args.client.json, widths: Widths::default() };
    let next = match args.from {
        Some(from) => print_from(&log, from, &mut printer, out)?,
        None => {
            let (newest, next) = log.newest(usize::try_from(args.last).unwrap_or(usize::MAX))?;
            printer.print_all(&newest, out)?;
            next
        }
    };
    out.flush()?;
    if !args.follow {
        return Ok(());
    }
    log.follow(next, |stored| {
        printer.print(&stored, out)?;
        out.flush()?;
        Ok(ControlFlow::Continue(()))
    })
}

/// Prints everything from `from` to the end; returns the next sequence to read.
fn print_from(
    log: &Log,
    from: u64,
    printer: &mut Printer,
    out: &mut Output,
) -> Result<u64, CliError> {
    let mut next = from;
    loop {
        let page = log.page(EventsQuery { from: Some(next), ..EventsQuery::default() })?;
        printer.print_all(&page.events, out)?;
        if page.next <= next || page.next > page.last {
            return Ok(page.next.max(next));
        }
        next = page.next;
    }
}

/// Prints one event per line, in columns that only grow.
struct Printer {
    json: bool,
    widths: Widths,
}

#[derive(Default)]
struct Widths {
    sequence: usize,
    ty: usize,
    source: usize,
}

impl Widths {
    fn fit(&mut self, sequence: &str, ty: &str, source: &str) {
        self.sequence = self.sequence.max(width(sequence));
        self.ty = self.ty.max(width(ty));
        self.source = self.source.max(width(source));
    }
}

impl Printer {
    /// Fits the columns to all of `events` before printing the first.
    fn print_all(&mut self, events: &[Stored], out: &mut Output) -> Result<(), CliError> {
        for stored in events {
            let (ty, source) = shown(stored);
            self.widths.fit(&stored.sequence.to_string(), &ty, &source);
        }
        events.iter().try_for_each(|stored| self.print(stored, out))
    }

    fn print(&mut self, stored: &Stored, out: &mut Output) -> Result<(), CliError> {
        if self.json { out.json_line(stored) } else { out.text(&self.line(stored)) }
    }

    fn line(&mut self, stored: &Stored) -> String {
        let sequence = stored.sequence.to_string();
        let (ty, source) = shown(stored);
        let subject = stored.event.subject().map(|subject| printable_cut(subject, 60));
        self.widths.fit(&sequence, &ty, &source);
        let pad = |text: &str, to: usize| " ".repeat(to.saturating_sub(width(text)));
        let mut line = format!(
            "{}{sequence}  {}  {}{}  {}{}  {}  {}",
            pad(&sequence, self.widths.sequence),
            paint(&clock(stored.recorded), style::FAINT),
            paint(&ty, style::STRONG),
            pad(&ty, self.widths.ty),
            paint(&source, style::NAME),
            pad(&source, self.widths.source),
            subject.unwrap_or_else(|| "-".to_owned()),
            paint(&data(stored), style::FAINT),
        );
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }
}

/// Type and source, escaped and cut.
fn shown(stored: &Stored) -> (String, String) {
    (printable_cut(stored.event.ty(), 60), printable_cut(stored.event.source(), 60))
}

/// The beginning of an event's data.
fn data(stored: &Stored) -> String {
    let Some(data) = stored.event.data() else { return String::new() };
    match std::str::from_utf8(&data) {
        Ok(text) => {
            // Cut before escaping; data may be large.
            let head: String = text.chars().take(DATA_MAX_CHARS + 1).collect();
            printable_cut(&head, DATA_MAX_CHARS)
        }
        Err(_) => printable(&format!("({} bytes of binary data)", data.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(sequence: u64, ty: &str, rest: &str) -> Stored {
        let text = format!(
            r#"{{"sequence":{sequence},"recorded":"2026-01-31T12:00:00.007Z","flow":1,"depth":0,
                "cause":null,"event":{{"specversion":"1.0","id":"1","source":"/shop",
                "type":{ty:?}{rest}}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn events_are_lines_in_columns() {
        let mut printer = Printer { json: false, widths: Widths::default() };
        let mut line =
            |stored: &Stored| anstream::adapter::strip_str(&printer.line(stored)).to_string();
        assert_eq!(
            line(&stored(9, "ticket.purchased", r#","subject":"o-1","data":{"a":1}"#)),
            "9  12:00:00.007  ticket.purchased  /shop  o-1  {\"a\":1}\n"
        );
        assert_eq!(
            line(&stored(10, "t", r#","datacontenttype":"x/y","data_base64":"/w==""#)),
            "10  12:00:00.007  t                 /shop  -  (1 bytes of binary data)\n"
        );
        assert_eq!(line(&stored(9, "t", "")), " 9  12:00:00.007  t                 /shop  -\n");
    }

    #[test]
    fn data_is_cut() {
        let long = format!(r#","datacontenttype":"text/plain","data":"{}""#, "é".repeat(200));
        assert_eq!(data(&stored(1, "t", &long)), format!("{}…", "é".repeat(DATA_MAX_CHARS)));
    }
}
