//! Events in the three modes of the HTTP binding, and in the encoding that is stored. The first byte
//! chooses. What can be read is written and read again, and must be the same event.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use usher_event::{Event, http_binary, json};

pub(crate) fn codecs(input: &[u8]) {
    let Some((mode, rest)) = input.split_first() else { return };
    match mode % 4 {
        0 => {
            if let Ok(event) = json::from_slice(rest) {
                check(&event);
            }
        }
        1 => {
            if let Ok(events) = json::batch_from_slice(rest) {
                events.iter().for_each(check);
            }
        }
        2 => {
            let (headers, body) = parts(rest);
            if let Ok(event) = http_binary::from_parts(&headers, body) {
                check(&event);
                let (headers, body) = http_binary::to_parts(&event);
                let again = http_binary::from_parts(&headers, body);
                // A media type may come in that JSON implies.
                assert_eq!(again.as_ref().map(Event::data), Ok(event.data()), "{event:?}");
                assert_eq!(again.as_ref().map(Event::id), Ok(event.id()), "{event:?}");
            }
        }
        _ => {
            if let Ok(event) = Event::from_encoded(Bytes::copy_from_slice(rest)) {
                check(&event);
            }
        }
    }
}

/// An event is the same after a turn through the formats that keep all of it.
fn check(event: &Event) {
    let encoded = Event::from_encoded(event.encoded().clone());
    assert_eq!(encoded.as_ref(), Ok(event), "by its encoding");
    let written = json::to_vec(event);
    assert!(!written.contains(&b'\n'), "more than a line: {event:?}");
    let again = json::from_slice(&written);
    assert_eq!(again.as_ref().map(Event::identity), Ok(event.identity()), "{event:?}");
}

/// `name: value` lines, then an empty one and the body.
fn parts(input: &[u8]) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    let mut rest = input;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = rest.split_at(end);
        rest = after.get(1..).unwrap_or_default();
        if line.is_empty() {
            break;
        }
        let mut halves = line.splitn(2, |byte| *byte == b':');
        let name = HeaderName::from_bytes(halves.next().unwrap_or_default());
        let value = HeaderValue::from_bytes(halves.next().unwrap_or_default().trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value)
            && headers.len() < 100
        {
            headers.append(name, value);
        }
    }
    (headers, Bytes::copy_from_slice(rest))
}
