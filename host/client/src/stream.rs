//! `GET /events/stream`: server-sent events (WHATWG HTML, section 9.2), each one stored event.

use std::io::{self, BufRead as _, BufReader, Read};

/// Bounds a line of the stream: one event as JSON, with its envelope.
const LINE_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// An open stream.
pub struct EventStream {
    lines: BufReader<Box<dyn Read + Send>>,
}

/// What a stream brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Streamed {
    /// An event.
    Event {
        /// The `id` field: the sequence.
        id: String,
        /// The `data` field: a [`usher_api::Stored`] as JSON.
        data: String,
    },
    /// A comment, which the router sends into silence.
    KeepAlive,
}

impl EventStream {
    pub(crate) fn new(reader: impl Read + Send + 'static) -> Self {
        Self { lines: BufReader::new(Box::new(reader)) }
    }

    /// The next event or comment; `None` once the router has ended the stream.
    ///
    /// # Errors
    /// The connection broke, was silent for too long, or a line is too long or not text.
    pub fn read(&mut self) -> io::Result<Option<Streamed>> {
        let (mut id, mut data) = (String::new(), String::new());
        let mut line = String::new();
        loop {
            line.clear();
            if self.lines.by_ref().take(LINE_MAX_BYTES).read_line(&mut line)? == 0 {
                return Ok(None);
            }
            let Some(text) = line.strip_suffix('\n') else {
                // Cut off by the router's end or by the limit.
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            let text = text.strip_suffix('\r').unwrap_or(text);
            let value = |value: &str| value.strip_prefix(' ').unwrap_or(value).to_owned();
            match text.split_once(':') {
                Some(("", _)) => return Ok(Some(Streamed::KeepAlive)),
                Some(("id", text)) => id = value(text),
                Some(("data", text)) => data.push_str(&value(text)),
                None if text.is_empty() && !data.is_empty() => {
                    return Ok(Some(Streamed::Event { id, data }));
                }
                _ => {}
            }
        }
    }
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_and_comments_are_told_apart() {
        let text: &[u8] = b":\n\nid: 1\ndata: {}\n\nid: 2\ndata:{}\r\n\r\nid: 3\n";
        let mut stream = EventStream::new(text);
        let event = |id: &str| Streamed::Event { id: id.to_owned(), data: "{}".to_owned() };
        assert_eq!(stream.read().unwrap(), Some(Streamed::KeepAlive));
        assert_eq!(stream.read().unwrap(), Some(event("1")));
        assert_eq!(stream.read().unwrap(), Some(event("2")));
        assert_eq!(stream.read().unwrap(), None);
    }
}
