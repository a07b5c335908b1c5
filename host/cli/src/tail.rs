//! `usher tail`: the newest events of the log, and those that follow.

use std::time::Duration;

use super::args::TailArgs;
use super::ui::error::CliError;
use super::ui::output::{Output, style};
use super::ui::table::paint;
use super::ui::text::width;
use usher_api::{Events, EventsQuery, Stored, StreamQuery, routes};
use usher_client::{Client, Outcome, Streamed};
use usher_wording::{clock, printable, printable_cut};

const PAGE_EVENTS: usize = 200;

/// How far back the log is searched for the newest events that match.
const SEARCH_MAX_EVENTS: u64 = 100_000;

/// Reconnects in a row before giving up: about 5 s, enough for the router to restart.
const RECONNECTS_MAX: u32 = 10;

const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

const DATA_MAX_CHARS: usize = 100;

/// Shows events.
pub(crate) fn run(args: &TailArgs, out: &mut Output) -> Result<(), CliError> {
    let mut tail = Tail {
        client: args.client.client()?,
        type_prefix: args.type_prefix.clone(),
        filter: args.filter.clone(),
        printer: Printer { json: args.client.json, widths: Widths::default() },
        out,
    };
    let next = match args.from {
        Some(from) => tail.print_from(from)?,
        None => tail.print_newest(args.last)?,
    };
    tail.out.flush()?;
    if args.follow { tail.follow(next) } else { Ok(()) }
}

struct Tail<'a> {
    client: Client,
    type_prefix: Option<String>,
    filter: Option<String>,
    printer: Printer,
    out: &'a mut Output,
}

impl Tail<'_> {
    fn page(&self, from: u64) -> Result<Events, CliError> {
        let query = EventsQuery {
            from: Some(from),
            max: Some(PAGE_EVENTS),
            type_prefix: self.type_prefix.clone(),
            filter: self.filter.clone(),
            ..EventsQuery::default()
        };
        Ok(self.client.call(routes::EVENTS, &[]).query(&query).fetch()?)
    }

    /// Prints everything from `from` to the end; returns the next sequence to read.
    fn print_from(&mut self, from: u64) -> Result<u64, CliError> {
        let mut next = from;
        loop {
            let page = self.page(next)?;
            self.printer.print_all(&page.events, self.out)?;
            if page.next <= next || page.next > page.last {
                return Ok(page.next.max(next));
            }
            next = page.next;
        }
    }

    /// Prints the newest `count` events that match; returns the next sequence to read.
    fn print_newest(&mut self, count: u64) -> Result<u64, CliError> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        // Events after `last` are left to `follow`.
        let newest_of_all = EventsQuery { max: Some(1), ..Default::default() };
        let request = self.client.call(routes::EVENTS, &[]).query(&newest_of_all);
        let last = request.fetch::<Events>()?.last;
        let mut newest: Vec<Stored> = Vec::new();
        let mut end = last.saturating_add(1);
        let oldest = end.saturating_sub(SEARCH_MAX_EVENTS).max(1);
        // Walks back through the log in windows, each read forwards.
        while newest.len() < count && end > oldest {
            let start = end.saturating_sub(PAGE_EVENTS as u64).max(oldest);
            let mut window = self.window(start, end)?;
            window.append(&mut newest);
            newest = window;
            end = start;
        }
        let surplus = newest.len().saturating_sub(count);
        self.printer.print_all(newest.get(surplus..).unwrap_or_default(), self.out)?;
        Ok(last.saturating_add(1))
    }

    /// The matching events in `start..end`.
    fn window(&self, start: u64, end: u64) -> Result<Vec<Stored>, CliError> {
        let mut found = Vec::new();
        let mut next = start;
        while next < end {
            let page = self.page(next)?;
            if page.next <= next {
                break;
            }
            next = page.next;
            found.extend(page.events.into_iter().filter(|stored| stored.sequence < end));
        }
        Ok(found)
    }

    /// Prints events as they arrive, from `next` on; reconnects until [`RECONNECTS_MAX`] streams in
    /// a row received nothing.
    fn follow(&mut self, mut next: u64) -> Result<(), CliError> {
        let mut patience = Patience::default();
        loop {
            let Ended { why, received_any } = self.follow_once(&mut next)?;
            if patience.ends(received_any) {
                return Err(why);
            }
            std::thread::sleep(RECONNECT_PAUSE);
        }
    }

    /// Prints the events of one stream and returns how it ended.
    ///
    /// # Errors
    /// Failures that reconnecting doesn't fix.
    fn follow_once(&mut self, next: &mut u64) -> Result<Ended, CliError> {
        let query = StreamQuery {
            from: Some(*next),
            type_prefix: self.type_prefix.clone(),
            filter: self.filter.clone(),
        };
        let mut received_any = false;
        let mut stream = match self.client.call(routes::STREAM, &[]).query(&query).stream() {
            Ok(Outcome::Done(stream)) => stream,
            Ok(Outcome::Busy(_)) => {
                let why = CliError::new("the router has no room for another stream");
                return Ok(Ended { why, received_any });
            }
            Ok(Outcome::Refused(refusal)) => return Err(CliError::new(refusal.to_string())),
            Err(error) => return Ok(Ended { why: error.into(), received_any }),
        };
        loop {
            let why = match stream.read() {
                Ok(None) => "the router ended the stream".to_owned(),
                Ok(Some(streamed)) => {
                    // Keep-alive comments count, too.
                    received_any = true;
                    if let Streamed::Event { data, .. } = streamed {
                        self.print_event(&data, next)?;
                    }
                    continue;
                }
                Err(error) => format!("the stream broke off: {error}"),
            };
            return Ok(Ended { why: CliError::new(why), received_any });
        }
    }

    /// Prints an event and advances `next` behind it.
    fn print_event(&mut self, data: &str, next: &mut u64) -> Result<(), CliError> {
        let stored: Stored = serde_json::from_str(data)
            .map_err(|error| CliError::new(format!("invalid event in stream: {error}")))?;
        self.printer.print(&stored, self.out)?;
        self.out.flush()?;
        *next = stored.sequence.saturating_add(1);
        Ok(())
    }
}

/// How a stream ended that can be reopened.
struct Ended {
    why: CliError,
    /// Whether anything was received, keep-alive comments included.
    received_any: bool,
}

/// Counts streams in a row that received nothing.
#[derive(Default)]
struct Patience {
    failures: u32,
}

impl Patience {
    /// Counts a stream that ended; returns whether to give up.
    fn ends(&mut self, received_any: bool) -> bool {
        self.failures = if received_any { 1 } else { self.failures + 1 };
        self.failures > RECONNECTS_MAX
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
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

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
    fn patience_ends_with_streams_that_bring_nothing() {
        let mut patience = Patience::default();
        for round in 0..3 {
            for failure in 1..=RECONNECTS_MAX {
                // The first stream of each round received something.
                assert!(!patience.ends(failure == 1), "round {round}, failure {failure}");
            }
        }
        assert!(patience.ends(false));
    }

    #[test]
    fn a_stream_that_is_refused_is_not_asked_for_again() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                let mut socket = socket.unwrap();
                let mut lines = BufReader::new(&socket).lines();
                while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                let body = r#"{"type":"about:blank","title":"t","status":400,"detail":"no"}"#;
                let length = body.len();
                let head = format!("HTTP/1.1 400 Bad Request\r\ncontent-length: {length}\r\n");
                write!(socket, "{head}connection: close\r\n\r\n{body}").unwrap();
            }
        });
        let mut tail = Tail {
            client: Client::new(format!("http://{address}")),
            type_prefix: None,
            filter: Some("nonsense".to_owned()),
            printer: Printer { json: false, widths: Widths::default() },
            out: &mut Output::stdout(),
        };
        let error = tail.follow(1).unwrap_err();
        let CliError::Failed { what, .. } = error else { panic!("{error:?}") };
        assert_eq!((what.as_str(), asked.load(Ordering::SeqCst)), ("no", 1));
    }

    #[test]
    fn data_is_cut() {
        let long = format!(r#","datacontenttype":"text/plain","data":"{}""#, "é".repeat(200));
        assert_eq!(data(&stored(1, "t", &long)), format!("{}…", "é".repeat(DATA_MAX_CHARS)));
    }
}
