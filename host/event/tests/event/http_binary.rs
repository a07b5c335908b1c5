//! HTTP binary mode, both ways.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use usher_event::{Event, EventError, Value, http_binary};

use crate::arbitrary::{self, with_text_extensions};
use crate::minimal;

/// Names and values.
type Headers<'a> = &'a [(&'a str, &'a [u8])];

fn headers(more: Headers<'_>) -> HeaderMap {
    let all: [(&str, &[u8]); 4] =
        [("ce-specversion", b"1.0"), ("ce-id", b"1"), ("ce-source", b"/s"), ("ce-type", b"t")];
    let mut headers = HeaderMap::new();
    for (name, value) in all.iter().chain(more) {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_bytes(value).unwrap());
    }
    headers
}

fn read(more: Headers<'_>) -> Result<Event, EventError> {
    http_binary::from_parts(&headers(more), Bytes::new())
}

#[test]
fn the_example_of_the_specification() {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("Host", "webhook.example.com"),
        ("CE-SpecVersion", "1.0"),
        ("ce-type", "com.example.someevent"),
        ("ce-time", "2018-04-05T03:56:24Z"),
        ("ce-id", "1234-1234-1234"),
        ("Ce-Source", "/mycontext/subcontext"),
        ("ce-comexampleothervalue", "5"),
        ("Content-Type", "application/json; charset=utf-8"),
        ("Content-Length", "15"),
    ] {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.insert(name, HeaderValue::from_static(value));
    }
    let body = Bytes::from_static(b"{ \"much\": 1 }\r\n");
    let event = http_binary::from_parts(&headers, body.clone()).unwrap();
    let expected =
        Event::builder("1234-1234-1234", "/mycontext/subcontext", "com.example.someevent")
            .time("2018-04-05T03:56:24Z")
            .datacontenttype("application/json; charset=utf-8")
            .extension("comexampleothervalue", Value::String("5".into()))
            .data(body)
            .build()
            .unwrap();
    assert_eq!(event, expected);
}

#[test]
fn values_are_decoded_once() {
    let cases: &[(&[u8], &str)] = &[
        (b"plain", "plain"),
        (b"Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        (b"Euro%20%e2%82%ac", "Euro €"),
        (b"%41%2541", "A%41"),
        (b"100%", "100%"),
        (b"%zz", "%zz"),
        ("raw é".as_bytes(), "raw é"),
        (b"\"quoted value\"", "quoted value"),
        (b"  \"padded\" ", "padded"),
        (br#""a \"b\" \\ c%20d""#, r#"a "b" \ c d"#),
        (b"a \"b\" c", "a \"b\" c"),
        (b"\"\"", ""),
    ];
    for (value, text) in cases {
        let event = read(&[("ce-ext", value)]).unwrap_or_else(|e| panic!("{text:?}: {e}"));
        assert_eq!(event.extension("ext"), Some(Value::String((*text).into())));
    }
}

#[test]
fn what_is_refused_and_why() {
    let cases: &[(Headers<'_>, &str)] = &[
        (&[("ce-subject", b"%C0%A0")], r#"attribute "subject" must be UTF-8, found "#),
        (&[("ce-subject", b"\xff")], r#"attribute "subject" must be UTF-8, found "#),
        (&[("ce-subject", b"\"%ff\"")], r#"attribute "subject" must be UTF-8, found "#),
        (&[("ce-subject", b"\"a")], r#"attribute "subject" must have a closing quote at its end"#),
        (&[("ce-subject", b"\"a\\\"")], r#"attribute "subject" must have a closing quote"#),
        (&[("ce-subject", b"\"a\" b")], r#"attribute "subject" must have a closing quote"#),
        (&[("ce-subject", b"")], r#"attribute "subject" must not be empty"#),
        (&[("ce-subject", b"a%0Ab")], r#"attribute "subject" must have no control characters"#),
        (&[("ce-id", b"2")], r#"attribute "id" must be in one ce-id header only"#),
        (&[("ce-time", b"now")], r#"attribute "time" must be a date and time"#),
        (&[("ce-my-ext", b"1")], r#"attribute "my-ext" must have a name of a-z and 0-9 only"#),
        (&[("ce-", b"1")], r#"attribute "" must have a name of a-z and 0-9"#),
        (&[("ce-data", b"1")], "data is CloudEvents' own"),
        (
            &[("ce-datacontenttype", b"a/b")],
            r#"attribute "datacontenttype" must be in the content-type header"#,
        ),
        (&[("content-type", b"json")], r#"attribute "datacontenttype" must be a media type"#),
        (
            &[("content-type", b"a/b"), ("content-type", b"a/b")],
            r#"attribute "datacontenttype" must be in one content-type header only"#,
        ),
    ];
    for (more, expected) in cases {
        let error = read(more).expect_err(expected).to_string();
        assert!(error.starts_with(expected), "{error}, expected {expected}");
    }
    for missing in ["specversion", "id", "source", "type"] {
        let mut headers = headers(&[]);
        headers.remove(format!("ce-{missing}"));
        let error = http_binary::from_parts(&headers, Bytes::new()).unwrap_err();
        assert_eq!(error.attribute(), Some(missing));
        assert!(error.broken_rule().starts_with("is required"), "{error}");
    }
    let mut headers = headers(&[]);
    headers.insert("ce-specversion", HeaderValue::from_static("0.3"));
    let error = http_binary::from_parts(&headers, Bytes::new()).unwrap_err();
    assert_eq!(error.to_string(), r#"attribute "specversion" must be "1.0", found "0.3""#);
}

#[test]
fn what_is_written() {
    let event = minimal()
        .subject("Euro € \"%\"")
        .extension("n", Value::Integer(-5))
        .extension("b", Value::Binary(vec![251, 255].into()))
        .datacontenttype("text/plain; charset=\"utf-8\"")
        .data("x")
        .build()
        .unwrap();
    let (headers, body) = http_binary::to_parts(&event);
    let mut written: Vec<_> =
        headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    written.sort_unstable();
    assert_eq!(
        written,
        [
            ("ce-b", "+/8="),
            ("ce-id", "1"),
            ("ce-n", "-5"),
            ("ce-source", "/s"),
            ("ce-specversion", "1.0"),
            ("ce-subject", "Euro%20%E2%82%AC%20%22%25%22"),
            ("ce-type", "t"),
            ("content-type", "text/plain; charset=\"utf-8\""),
        ]
    );
    assert_eq!(body, "x");
}

#[test]
fn json_without_a_content_type_gets_the_one_it_implies() {
    let content_type = |data: Option<&'static str>| {
        let builder = minimal();
        let event = data.map_or(builder.clone(), |data| builder.data(data)).build().unwrap();
        http_binary::to_parts(&event).0.get(CONTENT_TYPE).cloned()
    };
    assert_eq!(content_type(Some("{\"a\":1}")).unwrap(), "application/json");
    assert_eq!(content_type(Some("no json")), None);
    assert_eq!(content_type(None), None);
}

proptest! {
    #[test]
    fn events_survive_http(event in arbitrary::event()) {
        let (headers, body) = http_binary::to_parts(&event);
        let mut read = http_binary::from_parts(&headers, body).unwrap();
        let mut expected = with_text_extensions(&event, |_| false);
        // HTTP doesn't distinguish no data from empty data, and has no implied content type.
        if event.datacontenttype().is_none() || event.data().is_some_and(|data| data.is_empty()) {
            prop_assert_eq!(read.data().unwrap_or_default(), expected.data().unwrap_or_default());
            let bare = |event: &Event| {
                let mut builder = Event::builder(event.id(), event.source(), event.ty());
                for (name, value) in event.extensions() {
                    builder = builder.extension(name, value);
                }
                builder.build().unwrap()
            };
            (read, expected) = (bare(&read), bare(&expected));
        }
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn hostile_header_values_are_harmless(value in prop::collection::vec(any::<u8>(), 0..20)) {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            let mut headers = headers(&[]);
            headers.insert("ce-subject", value);
            if let Ok(event) = http_binary::from_parts(&headers, Bytes::new()) {
                prop_assert!(event.subject().is_some_and(|subject| !subject.is_empty()));
            }
        }
    }
}
