//! Splits a file or stream of events into batches, with one batch in memory at a time.
//!
//! Accepts one JSON event, an array, or concatenated events (one per line or not). Only the extent
//! and JSON syntax of each event are checked here, and its line is noted for error messages; the
//! router validates the contents.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use serde::de::IgnoredAny;

const BATCH_MAX_EVENTS: usize = 512;

/// Exceeded only by a batch of one larger event. Also the size of the read buffer.
const BATCH_MAX_BYTES: usize = 1024 * 1024;

/// Bounds the search for an event's end.
const EVENT_MAX_BYTES: usize = usher_event::limits::JSON_MAX_BYTES;

/// Ignored at the start of a file (RFC 8259, section 8.1).
pub(crate) const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
const BYTE_ORDER_MARK_BEGIN: u8 = 0xef;

/// A feed can't be read any further.
#[derive(Debug)]
pub enum FeedError {
    /// Invalid input.
    Syntax {
        /// Line number, from 1.
        line: u64,
        /// What is wrong.
        what: String,
    },
    /// Reading failed.
    Io(io::Error),
}

impl fmt::Display for FeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { line, what } => write!(f, "line {line}: {what}"),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

impl From<io::Error> for FeedError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// One event's text.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    /// The line it starts on, from 1.
    pub line: u64,
    /// The JSON object.
    pub json: Vec<u8>,
}

/// Events from a reader, in batches.
pub struct Feed<R> {
    reader: BufReader<R>,
    line: u64,
    state: ParserState,
    /// Whether a byte order mark was skipped.
    has_mark: bool,
    /// Didn't fit into the previous batch.
    held: Option<Piece>,
    /// Ended the previous batch; returned by the next call.
    failed: Option<FeedError>,
}

/// Parser state between events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ParserState {
    /// Nothing read yet; an array may begin.
    Start,
    /// In concatenated events.
    Plain,
    /// After `[`: expects an event or `]`.
    Opened,
    /// After an event in an array: expects `,` or `]`.
    BehindEvent,
    /// After `,`: expects an event.
    BehindComma,
    /// After `]`: expects the end of input.
    Closed,
    /// An error was returned; the feed has ended.
    Failed,
}

impl<R: Read> Feed<R> {
    /// A feed from `reader`.
    pub fn new(reader: R) -> Self {
        Self {
            reader: BufReader::with_capacity(BATCH_MAX_BYTES, reader),
            line: 1,
            state: ParserState::Start,
            has_mark: false,
            held: None,
            failed: None,
        }
    }

    /// The next batch; empty at the end. A batch ends early when no further event is buffered, so
    /// that events from a pipe aren't held back.
    ///
    /// # Errors
    /// Invalid input or a failed read: returned once, after all events before it. The feed then
    /// ends.
    pub fn batch(&mut self) -> Result<Vec<Piece>, FeedError> {
        if let Some(error) = self.failed.take() {
            self.state = ParserState::Failed;
            return Err(error);
        }
        if self.state == ParserState::Failed {
            return Ok(Vec::new());
        }
        let mut batch: Vec<Piece> = Vec::new();
        let mut batch_bytes = 0;
        while batch.len() < BATCH_MAX_EVENTS && (batch.is_empty() || self.has_more_at_hand()) {
            let next = match self.held.take() {
                Some(piece) => Ok(Some(piece)),
                None => self.piece(),
            };
            match next {
                Ok(None) => break,
                Ok(Some(piece)) => {
                    batch_bytes += piece.json.len();
                    if batch_bytes > BATCH_MAX_BYTES && !batch.is_empty() {
                        self.held = Some(piece);
                        break;
                    }
                    batch.push(piece);
                }
                Err(error) if batch.is_empty() => {
                    self.state = ParserState::Failed;
                    return Err(error);
                }
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            }
        }
        Ok(batch)
    }

    /// Whether another event, or part of one, is available without blocking.
    fn has_more_at_hand(&self) -> bool {
        self.held.is_some() || self.reader.buffer().iter().any(|byte| !is_between(*byte))
    }

    /// The next event's text; `None` at the end.
    fn piece(&mut self) -> Result<Option<Piece>, FeedError> {
        loop {
            let Some(byte) = self.peek()? else {
                return match self.state {
                    ParserState::Start | ParserState::Plain | ParserState::Closed => Ok(None),
                    _ => Err(self.syntax("the array does not end; expected ']'")),
                };
            };
            self.state = match (byte, self.state) {
                (b' ' | b'\t' | b'\r' | b'\n', state) => state,
                (_, ParserState::Closed) => {
                    return Err(self.syntax("there is something behind the array"));
                }
                (BYTE_ORDER_MARK_BEGIN, ParserState::Start) if !self.has_mark => {
                    self.skip_mark()?;
                    continue;
                }
                (0xfe | 0xff, ParserState::Start) => {
                    return Err(self.syntax("this is UTF-16, expected UTF-8; save it as that"));
                }
                (b'[', ParserState::Start) => ParserState::Opened,
                (b']', ParserState::Opened | ParserState::BehindEvent) => ParserState::Closed,
                (b',', ParserState::BehindEvent) => ParserState::BehindComma,
                (b'{', ParserState::Start | ParserState::Plain) => {
                    self.state = ParserState::Plain;
                    return self.object().map(Some);
                }
                (b'{', ParserState::Opened | ParserState::BehindComma) => {
                    self.state = ParserState::BehindEvent;
                    return self.object().map(Some);
                }
                (_, ParserState::Start) => {
                    return Err(self
                        .syntax("expected an event, which starts with '{', or an array of them"));
                }
                (_, ParserState::BehindEvent) => return Err(self.syntax("expected ',' or ']'")),
                _ => return Err(self.syntax("expected an event, which starts with '{'")),
            };
            self.skip(byte);
        }
    }

    /// Reads from an object's `{` to its `}`.
    fn object(&mut self) -> Result<Piece, FeedError> {
        let line = self.line;
        let mut json = Vec::new();
        let mut extent = Extent::default();
        loop {
            let chunk = fill(&mut self.reader)?;
            if chunk.is_empty() {
                return Err(FeedError::Syntax { line, what: "the event does not end".to_owned() });
            }
            let end = chunk.iter().position(|byte| extent.ends_with(*byte));
            let taken = chunk.get(..end.map_or(chunk.len(), |end| end + 1)).unwrap_or_default();
            self.line += taken.iter().filter(|byte| **byte == b'\n').count() as u64;
            json.extend_from_slice(taken);
            let taken_bytes = taken.len();
            self.reader.consume(taken_bytes);
            if json.len() > EVENT_MAX_BYTES {
                return Err(FeedError::Syntax {
                    line,
                    what: format!("the event is longer than {EVENT_MAX_BYTES} bytes"),
                });
            }
            if end.is_some() {
                break;
            }
        }
        match serde_json::from_slice::<IgnoredAny>(&json) {
            Ok(_) => Ok(Piece { line, json }),
            Err(error) => {
                let text = error.to_string();
                let what = text.split(" at line ").next().unwrap_or_default();
                Err(FeedError::Syntax {
                    line: line + (error.line() as u64).saturating_sub(1),
                    what: format!("not JSON: {what} (column {})", error.column()),
                })
            }
        }
    }

    fn peek(&mut self) -> Result<Option<u8>, FeedError> {
        Ok(fill(&mut self.reader)?.first().copied())
    }

    fn skip(&mut self, byte: u8) {
        self.line += u64::from(byte == b'\n');
        self.reader.consume(1);
    }

    /// Skips the byte order mark that some editors write.
    fn skip_mark(&mut self) -> Result<(), FeedError> {
        self.has_mark = true;
        for expected in BYTE_ORDER_MARK {
            if self.peek()? != Some(*expected) {
                return Err(
                    self.syntax("found bytes that are not UTF-8, expected an event in JSON")
                );
            }
            self.skip(*expected);
        }
        Ok(())
    }

    fn syntax(&self, what: &str) -> FeedError {
        FeedError::Syntax { line: self.line, what: what.to_owned() }
    }
}

/// Returns the buffered bytes, reading more if there are none; empty at the end of input. Retries
/// interrupted reads.
fn fill<R: Read>(reader: &mut BufReader<R>) -> io::Result<&[u8]> {
    while reader.buffer().is_empty() {
        match reader.fill_buf() {
            Ok([]) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(reader.buffer())
}

fn is_between(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b']')
}

/// Finds the end of a JSON object by counting braces outside strings.
#[derive(Default)]
struct Extent {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Extent {
    /// Consumes the next byte; returns whether it ends the object.
    fn ends_with(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' => self.depth += 1,
            b'}' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns one part per read, like a pipe.
    struct Parts(std::vec::IntoIter<&'static str>);

    impl Read for Parts {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let part = self.0.next().unwrap_or_default().as_bytes();
            buffer[..part.len()].copy_from_slice(part);
            Ok(part.len())
        }
    }

    /// Lines and texts of all events, and the error at the end.
    fn read(text: &str) -> (Vec<(u64, String)>, Option<String>) {
        let mut feed = Feed::new(text.as_bytes());
        let mut events = Vec::new();
        loop {
            match feed.batch() {
                Ok(batch) if batch.is_empty() => return (events, None),
                Ok(batch) => events.extend(
                    batch.into_iter().map(|p| (p.line, String::from_utf8(p.json).unwrap())),
                ),
                Err(error) => {
                    assert!(feed.batch().unwrap().is_empty(), "an error is told once");
                    return (events, Some(error.to_string()));
                }
            }
        }
    }

    #[test]
    fn all_three_forms_are_read() {
        let one = [(1, "{\"a\":1}".to_owned())];
        let two = [(1, "{\"a\":1}".to_owned()), (2, "{\"b\":\"}]\\\"\"}".to_owned())];
        for (text, expected) in [
            ("", &[][..]),
            (" \n", &[]),
            ("[]", &[]),
            ("{\"a\":1}", &one),
            ("[{\"a\":1}]\n", &one),
            ("\u{feff}{\"a\":1}", &one),
            ("\u{feff}[{\"a\":1}]", &one),
            ("{\"a\":1}\n{\"b\":\"}]\\\"\"}", &two),
            ("{\"a\":1}\r\n{\"b\":\"}]\\\"\"}\r\n\r\n", &two),
            ("[{\"a\":1},\n{\"b\":\"}]\\\"\"}\n]", &two),
        ] {
            assert_eq!(read(text), (expected.to_vec(), None), "{text}");
        }
        let pretty = "{\n  \"a\": {\n    \"b\": []\n  }\n}\n{}";
        let (events, error) = read(pretty);
        assert_eq!((events[1].0, error), (6, None));
    }

    #[test]
    fn errors_name_the_line() {
        for (text, good, error) in [
            ("x", 0, "line 1: expected an event, which starts with '{', or an array of them"),
            ("{}\n7\n{}", 1, "line 2: expected an event, which starts with '{'"),
            ("{}\n{\"a\"\n:1", 1, "line 2: the event does not end"),
            ("{}\n{\"a\" 1}", 1, "line 2: not JSON: expected `:` (column 6)"),
            ("[{}\n", 1, "line 2: the array does not end; expected ']'"),
            ("[{} {}]", 1, "line 1: expected ',' or ']'"),
            ("[{},]", 1, "line 1: expected an event, which starts with '{'"),
            ("[{}]\n{}", 1, "line 2: there is something behind the array"),
        ] {
            let (events, found) = read(text);
            assert_eq!((events.len(), found.as_deref()), (good, Some(error)), "{text}");
        }
    }

    #[test]
    fn batches_are_bounded_in_events_and_bytes() {
        let mut feed = Feed::new(io::Cursor::new("{}\n".repeat(BATCH_MAX_EVENTS + 3)));
        assert_eq!(feed.batch().unwrap().len(), BATCH_MAX_EVENTS);
        assert_eq!(feed.batch().unwrap().len(), 3);

        let large = format!("{{\"a\":\"{}\"}}\n", "x".repeat(400_000));
        let mut feed = Feed::new(io::Cursor::new(large.repeat(5)));
        let mut sizes = Vec::new();
        loop {
            let batch = feed.batch().unwrap();
            if batch.is_empty() {
                break;
            }
            assert!(batch.iter().map(|piece| piece.json.len()).sum::<usize>() <= BATCH_MAX_BYTES);
            sizes.push(batch.len());
        }
        assert_eq!(sizes.iter().sum::<usize>(), 5, "{sizes:?}");

        let endless = format!("{{\"a\":\"{}", "x".repeat(EVENT_MAX_BYTES));
        let error = Feed::new(endless.as_bytes()).batch().unwrap_err().to_string();
        assert_eq!(error, format!("line 1: the event is longer than {EVENT_MAX_BYTES} bytes"));
    }

    #[test]
    fn what_a_pipe_brings_goes_out_at_once() {
        let parts = vec!["{}\n{}\n", "{\"a\"", ":1}\n"];
        let mut feed = Feed::new(Parts(parts.into_iter()));
        assert_eq!(feed.batch().unwrap().len(), 2);
        assert_eq!(feed.batch().unwrap().len(), 1);
        assert_eq!(feed.batch().unwrap().len(), 0);
    }
}
