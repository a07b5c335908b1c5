//! The log as commands read it: its newest events, and those that follow.

use std::ops::ControlFlow;
use std::time::Duration;

use usher_api::{Events, EventsQuery, ReadOrder, Stored, StreamQuery, routes};
use usher_client::{Client, Outcome, Streamed};

use crate::ui::CliError;

const PAGE_EVENTS: usize = 200;

/// How far back the log is searched for the newest events that match.
pub const SEARCH_MAX_EVENTS: u64 = 100_000;

/// Reconnects in a row before giving up: about 5 s, enough for the router to restart.
const RECONNECTS_MAX: u32 = 10;

const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// A router's log, or what matches of it.
pub struct Log {
    /// The router.
    pub client: Client,
    /// Only events whose type starts with this.
    pub type_prefix: Option<String>,
    /// Only events that match this filter, as JSON.
    pub filter: Option<String>,
}

impl Log {
    /// A page of it.
    pub(crate) fn page(&self, query: EventsQuery) -> Result<Events, CliError> {
        let query = EventsQuery {
            max: Some(query.max.unwrap_or(PAGE_EVENTS).clamp(1, PAGE_EVENTS)),
            type_prefix: self.type_prefix.clone(),
            filter: self.filter.clone(),
            ..query
        };
        Ok(self.client.call(routes::EVENTS, &[]).query(&query).fetch()?)
    }

    /// The newest `count` events among the newest [`SEARCH_MAX_EVENTS`], oldest first, and the sequence
    /// that comes after the log's last.
    ///
    /// # Errors
    /// The router can't be asked, or refuses.
    pub fn newest(&self, count: usize) -> Result<(Vec<Stored>, u64), CliError> {
        let mut found: Vec<Stored> = Vec::new();
        let mut last = None;
        let mut to = None;
        loop {
            let max = Some(count.saturating_sub(found.len()));
            let order = Some(ReadOrder::Newest);
            let page = self.page(EventsQuery { order, to, max, ..EventsQuery::default() })?;
            found.extend(page.events);
            // What comes while this reads is left to whoever follows.
            let last = *last.get_or_insert(page.last);
            let is_enough = found.len() >= count || page.next == 0;
            if is_enough || last.saturating_sub(page.next) > SEARCH_MAX_EVENTS {
                found.truncate(count);
                found.reverse();
                return Ok((found, last.saturating_add(1)));
            }
            to = Some(page.next);
        }
    }

    /// Hands over events as they arrive, from `next` on, until `each` breaks. Reconnects until 10 streams
    /// in a row received nothing.
    ///
    /// # Errors
    /// Those of `each`; the router is gone, or refuses.
    pub fn follow(
        &self,
        mut next: u64,
        mut each: impl FnMut(Stored) -> Result<ControlFlow<()>, CliError>,
    ) -> Result<(), CliError> {
        let mut patience = Patience::default();
        loop {
            match self.follow_once(&mut next, &mut each)? {
                ControlFlow::Break(()) => return Ok(()),
                ControlFlow::Continue(Ended { why, received_any }) => {
                    if patience.ends(received_any) {
                        return Err(why);
                    }
                }
            }
            std::thread::sleep(RECONNECT_PAUSE);
        }
    }

    /// Hands over the events of one stream and returns how it ended.
    ///
    /// # Errors
    /// Failures that reconnecting doesn't fix.
    fn follow_once(
        &self,
        next: &mut u64,
        each: &mut impl FnMut(Stored) -> Result<ControlFlow<()>, CliError>,
    ) -> Result<ControlFlow<(), Ended>, CliError> {
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
                return Ok(ControlFlow::Continue(Ended { why, received_any }));
            }
            Ok(Outcome::Refused(refusal)) => return Err(CliError::new(refusal.to_string())),
            Err(error) => {
                return Ok(ControlFlow::Continue(Ended { why: error.into(), received_any }));
            }
        };
        loop {
            let why = match stream.read() {
                Ok(None) => "the router ended the stream".to_owned(),
                Ok(Some(streamed)) => {
                    // Keep-alive comments count, too.
                    received_any = true;
                    if let Streamed::Event { data, .. } = streamed {
                        let stored: Stored = serde_json::from_str(&data).map_err(|error| {
                            CliError::new(format!("invalid event in stream: {error}"))
                        })?;
                        let after = stored.sequence.saturating_add(1);
                        if each(stored)?.is_break() {
                            return Ok(ControlFlow::Break(()));
                        }
                        *next = after;
                    }
                    continue;
                }
                Err(error) => format!("the stream broke off: {error}"),
            };
            return Ok(ControlFlow::Continue(Ended { why: CliError::new(why), received_any }));
        }
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

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

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
        let client = Client::new(format!("http://{address}"));
        let log = Log { client, type_prefix: None, filter: Some("nonsense".to_owned()) };
        let error = log.follow(1, |_| panic!("an event")).unwrap_err();
        let CliError::Failed { what, .. } = error else { panic!("{error:?}") };
        assert_eq!((what.as_str(), asked.load(Ordering::SeqCst)), ("no", 1));
    }
}
