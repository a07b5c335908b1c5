//! The compact encoding: it matches the golden files, and hostile bytes cause at worst an error.

use bytes::Bytes;
use proptest::prelude::*;
use usher_event::{Event, EventErrorKind, Value, encoding, http_binary, json};

use crate::arbitrary::{self, with_text_extensions};
use crate::minimal;

/// Hexadecimal digits to bytes; `#` starts a comment.
fn bytes_of(golden: &str) -> Vec<u8> {
    let digits: Vec<u8> = golden
        .lines()
        .flat_map(|line| line.split('#').next().unwrap_or_default().bytes())
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn full() -> Event {
    Event::builder("A234-1234-1234", "/mycontext", "com.example.someevent")
        .subject("größer")
        .time("2018-04-05T17:31:00Z")
        .datacontenttype("application/json")
        .dataschema("https://example.com/s")
        .extension("xtext", Value::String("value".into()))
        .extension("anumber", Value::Integer(-5))
        .extension("zbytes", Value::Binary(Bytes::from_static(&[0xff, 0x00])))
        .extension("flag", Value::Boolean(true))
        .extension("ref", Value::UriReference("../a".into()))
        .extension("when", Value::Timestamp("2018-04-05T17:31:00.50Z".into()))
        .extension("home", Value::Uri("urn:a".into()))
        .data("{\"much\": \"wow\"}")
        .build()
        .unwrap()
}

#[test]
fn golden_files() {
    let cases = [
        ("full", full(), include_str!("../golden/event-v1-full.hex")),
        ("minimal", minimal().build().unwrap(), include_str!("../golden/event-v1-minimal.hex")),
    ];
    for (name, event, golden) in cases {
        let golden = Bytes::from(bytes_of(golden));
        assert_eq!(event.encoded(), &golden, "{name}");
        assert_eq!(Event::from_encoded(golden).unwrap(), event, "{name}");
    }
}

#[test]
fn damaged_bytes_are_refused() {
    let good = minimal().data("d").build().unwrap().encoded().to_vec();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let cases: &[(Vec<u8>, &str)] = &[
        (vec![], "the encoded event ends within its version"),
        (with(0, 2), "not an event of encoding version 1, found version 2"),
        (with(1, 0x30), "the encoded event is damaged: wrong header"),
        (with(3, 1), "the encoded event is damaged: wrong header"),
        (with(2, 65), "the encoded event is damaged: wrong header"),
        (with(2, 1), "the encoded event ends within its extensions"),
        (with(4, 17), "the encoded event is damaged: wrong start of data"),
        (with(1, 0), "the encoded event is damaged: wrong end"),
        (with(10, 0xff), "attribute \"id\" must be UTF-8, but is not"),
        (with(10, b'\n'), "attribute \"id\" must have no control characters"),
    ];
    for (bytes, text) in cases {
        let error = Event::from_encoded(bytes.clone().into()).unwrap_err();
        assert!(error.to_string().starts_with(text), "{error}, expected {text}");
    }
    let version = Event::from_encoded(vec![encoding::VERSION + 1].into()).unwrap_err();
    assert_eq!(version.kind(), EventErrorKind::Malformed);
}

#[test]
fn extensions_out_of_order_are_refused() {
    let event = minimal()
        .extension("aa", Value::Integer(1))
        .extension("bb", Value::Integer(1))
        .build()
        .unwrap();
    let good = event.encoded().to_vec();
    for (from, to) in [(b"aa", b"cc"), (b"bb", b"aa")] {
        let at = good.windows(2).position(|pair| pair == from).unwrap();
        let mut bytes = good.clone();
        bytes[at..at + 2].copy_from_slice(to);
        let error = Event::from_encoded(bytes.into()).unwrap_err();
        assert_eq!(error.to_string(), "the encoded event is damaged: wrong order of extensions");
    }
}

/// Decodes bytes; if they are an event, uses it in every way and checks that its encoding is
/// unique.
fn exercise(bytes: Vec<u8>) {
    let bytes = Bytes::from(bytes);
    let Ok(event) = Event::from_encoded(bytes.clone()) else { return };
    assert_eq!(event.encoded(), &bytes);
    assert!(!event.id().is_empty() && !event.source().is_empty() && !event.ty().is_empty());
    assert!(format!("{event:?}").starts_with("Event {"));
    let (headers, body) = http_binary::to_parts(&event);
    http_binary::from_parts(&headers, body).expect("an event survives HTTP");
    json::from_slice(&json::to_vec(&event)).expect("an event survives JSON");
    if event.extensions().all(|(name, _)| name.len() <= 20) {
        assert_eq!(with_text_extensions(&event, |_| true).encoded(), &bytes);
    }
}

proptest! {
    #[test]
    fn reading_what_was_written_changes_nothing(event in arbitrary::event()) {
        let read = Event::from_encoded(event.encoded().clone()).unwrap();
        prop_assert_eq!(&read, &event);
        prop_assert_eq!(with_text_extensions(&read, |_| true), event);
    }

    #[test]
    fn random_bytes_are_harmless(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        exercise(bytes.clone());
        // With a valid version and header, more of the reader is reached.
        for (at, byte) in [encoding::VERSION, 16, 1, 0, 30, 0, 0, 0, 1, 0].into_iter().enumerate() {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        exercise(bytes);
    }

    #[test]
    fn truncated_events_are_harmless(event in arbitrary::event(), at in any::<prop::sample::Index>()) {
        let bytes = event.encoded();
        let kept = at.index(bytes.len());
        let attributes_end = bytes.len() - event.data().map_or(0, |data| data.len());
        let result = Event::from_encoded(bytes.slice(..kept));
        prop_assert!(kept >= attributes_end || result.is_err());
        exercise(bytes[..kept].to_vec());
    }

    #[test]
    fn flipped_bits_are_harmless(
        event in arbitrary::event(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..8), 1..4),
    ) {
        let mut bytes = event.encoded().to_vec();
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        exercise(bytes);
    }
}
