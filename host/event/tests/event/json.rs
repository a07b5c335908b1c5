//! The JSON format, both ways.

use proptest::prelude::*;
use usher_event::limits::{EXTENSIONS_MAX, FOREIGN_EXTENSION_NAME_MAX_BYTES, JSON_MAX_BYTES};
use usher_event::{Event, EventErrorKind, Value, json};

use crate::arbitrary::{self, with_text_extensions};
use crate::minimal;

/// The JSON of a minimal event with more members.
fn with(members: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{members}}}"#)
}

fn read(text: &str) -> Event {
    json::from_slice(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn the_examples_of_the_specification() {
    let event = read(
        r#"{
            "specversion" : "1.0",
            "type" : "com.example.someevent",
            "source" : "/mycontext",
            "subject": null,
            "id" : "C234-1234-1234",
            "time" : "2018-04-05T17:31:00Z",
            "comexampleextension1" : "value",
            "comexampleothervalue" : 5,
            "unsetextension": null,
            "datacontenttype" : "application/json",
            "data" : {
                "appinfoA" : "abc",
                "appinfoB" : 123,
                "appinfoC" : true
            }
        }"#,
    );
    assert_eq!(event.id(), "C234-1234-1234");
    assert_eq!(event.ty(), "com.example.someevent");
    assert_eq!(event.source(), "/mycontext");
    assert_eq!(event.subject(), None);
    assert_eq!(event.time(), Some("2018-04-05T17:31:00Z"));
    assert_eq!(
        event.extensions().collect::<Vec<_>>(),
        [
            ("comexampleextension1", Value::String("value".into())),
            ("comexampleothervalue", Value::Integer(5)),
        ]
    );
    let data: serde_json::Value = serde_json::from_slice(&event.data().unwrap()).unwrap();
    let expected = serde_json::json!({"appinfoA": "abc", "appinfoB": 123, "appinfoC": true});
    assert_eq!(data, expected);
}

#[test]
fn data_by_content_type() {
    let cases: &[(&str, Option<&[u8]>)] = &[
        ("", None),
        (r#","data":null"#, Some(b"null")),
        (r#","data":"I'm just a string""#, Some(b"\"I'm just a string\"")),
        (
            r#","data" : {"a" : [1.0, 2e3],  "b":"\u0041"} "#,
            Some(br#"{"a" : [1.0, 2e3],  "b":"\u0041"}"#),
        ),
        (
            r#","data":12345678901234567890123,"datacontenttype":"a/b+json""#,
            Some(b"12345678901234567890123"),
        ),
        (r#","datacontenttype":null,"data":true"#, Some(b"true")),
        (
            r#","datacontenttype":"application/xml","data":"<much wow=\"xml\"/>""#,
            Some(b"<much wow=\"xml\"/>"),
        ),
        (r#","data":"\u00e9","datacontenttype":"text/plain""#, Some("é".as_bytes())),
        (r#","data_base64":"/wA=""#, Some(&[0xff, 0])),
        (r#","data_base64":"","datacontenttype":"application/json""#, Some(b"")),
        (r#","data_base64":null"#, None),
        (r#","data_base64":null,"data":1"#, Some(b"1")),
    ];
    for (members, data) in cases {
        assert_eq!(read(&with(members)).data().as_deref(), *data, "{members}");
    }
}

#[test]
fn what_is_refused_and_why() {
    let long_name = "n".repeat(FOREIGN_EXTENSION_NAME_MAX_BYTES + 1);
    let long_named = with(&format!(r#","{long_name}":1"#));
    let cases: &[(&str, &str)] = &[
        ("", "not an event in JSON: EOF while parsing a value at line 1 column 0"),
        ("[]", "not an event in JSON: invalid type: sequence, expected an event: a JSON object"),
        ("{", "not an event in JSON: EOF while parsing an object"),
        (&format!("{} x", with("")), "not an event in JSON: trailing characters"),
        ("{}", r#"attribute "specversion" is required"#),
        (r#"{"specversion":"1.0","source":"/s","type":"t"}"#, r#"attribute "id" is required"#),
        (
            r#"{"specversion":"1.0","id":"1","source":null,"type":"t"}"#,
            r#"attribute "source" is required"#,
        ),
        (r#"{"specversion":"1.0","id":"1","source":"/s"}"#, r#"attribute "type" is required"#),
        (r#"{"specversion":"0.3"}"#, r#"attribute "specversion" must be "1.0", found "0.3""#),
        (
            r#"{"specversion":1.0}"#,
            r#"attribute "specversion" must be a string, found the number 1.0"#,
        ),
        (
            r#"{"specversion":"1.0","id":7,"source":"/s","type":"t"}"#,
            r#"attribute "id" must be a string, found the number 7"#,
        ),
        (&with(r#","subject":["a"]"#), r#"attribute "subject" must be a string, found an array"#),
        (&with(r#","time":{"a":{}}"#), r#"attribute "time" must be a string, found an object"#),
        (
            &with(r#","dataschema":true"#),
            r#"attribute "dataschema" must be a string, found the boolean true"#,
        ),
        (&with(r#","id":"2""#), r#"attribute "id" is there twice"#),
        (&with(r#","ext":null,"ext":1"#), r#"attribute "ext" is there twice"#),
        (&with(r#","data":1,"data":1"#), "data is there twice"),
        (&with(r#","data":1,"data_base64":"""#), "data and data_base64 must not both be there"),
        (&with(r#","data_base64":"a""#), "data_base64 must be Base64 with padding (RFC 4648): "),
        (&with(r#","data_base64":5"#), "data_base64 must be a string, found the number 5"),
        (
            &with(r#","data":{"a":1},"datacontenttype":"text/plain""#),
            r#"data must be a string where datacontenttype is not a JSON type, found "{\"a\":1}""#,
        ),
        (
            &with(r#","data":"\ud800","datacontenttype":"text/plain""#),
            "data must be a valid string: ",
        ),
        (
            &with(r#","ext":1.5"#),
            r#"attribute "ext" must be a whole number from -2147483648 to 2147483647, found the number 1.5"#,
        ),
        (
            &with(r#","ext":2147483648"#),
            r#"attribute "ext" must be a whole number from -2147483648 to 2147483647, found the number 2147483648"#,
        ),
        (
            &with(r#","ext":18446744073709551615"#),
            r#"attribute "ext" must be a whole number from -2147483648 to 2147483647, found the number 18446744073709551615"#,
        ),
        (
            &with(r#","ext":{}"#),
            r#"attribute "ext" must be a string, a whole number or a boolean, found an object"#,
        ),
        (&with(r#","Ext":1"#), r#"attribute "Ext" must have a name of a-z and 0-9 only"#),
        (&with(r#","":1"#), r#"attribute "" must have a name of a-z and 0-9"#),
        (&with(r#","subject":"\ud800""#), r#"not an event in JSON: member "subject": "#),
        (
            &with(r#","subject":"a\u0000""#),
            r#"attribute "subject" must have no control characters, surrogates or noncharacters, found U+0000"#,
        ),
        (&long_named, r#"attribute "nnnnnnnnnnnn"#),
    ];
    for (text, expected) in cases {
        match json::from_slice(text.as_bytes()) {
            Ok(event) => panic!("{text} was taken: {event:?}"),
            Err(error) => {
                let error = error.to_string();
                assert!(error.starts_with(expected), "{text}\n  gives {error}\n  not {expected}");
            }
        }
    }
}

#[test]
fn names_from_elsewhere_may_be_longer() {
    let name = "n".repeat(FOREIGN_EXTENSION_NAME_MAX_BYTES);
    let event = read(&with(&format!(r#","{name}":true"#)));
    assert_eq!(event.extension(&name), Some(Value::Boolean(true)));
}

#[test]
fn too_much_is_refused_as_too_large() {
    let members = |count: usize| (0..count).map(|i| format!(r#","x{i}":1"#)).collect::<String>();
    assert_eq!(read(&with(&members(EXTENSIONS_MAX))).extensions().count(), EXTENSIONS_MAX);
    let cases = [
        with(&members(EXTENSIONS_MAX + 1)),
        with(&members(10_000)),
        with(&format!(r#","subject":"{}""#, "s".repeat(5_000))),
        with(&format!(r#","data":"{}""#, "d".repeat(300_000))),
        " ".repeat(JSON_MAX_BYTES + 1),
    ];
    for text in cases {
        let error = json::from_slice(text.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), EventErrorKind::TooLarge, "{error}");
    }
}

#[test]
fn invalid_utf8_is_refused() {
    for members in [r#","subject":"?""#, r#","data":"?""#, r#","data":"?","datacontenttype":"a/b""#]
    {
        let mut text = with(members).into_bytes();
        let at = text.iter().position(|b| *b == b'?').unwrap();
        text[at] = 0xff;
        assert_eq!(json::from_slice(&text).unwrap_err().kind(), EventErrorKind::Malformed);
    }
}

#[test]
fn what_is_written() {
    let cases = [
        (minimal(), ""),
        (minimal().data("{\"a\": 1}"), r#","data":{"a": 1}"#),
        (minimal().data("[\r\n1,\n2]\n"), r#","data":[  1, 2]"#),
        (minimal().data("null"), r#","data":null"#),
        (minimal().data("{bad"), r#","data_base64":"e2JhZA==""#),
        (minimal().data(""), r#","data_base64":"""#),
        (
            minimal().datacontenttype("text/plain").data("a\n\"b\""),
            r#","datacontenttype":"text/plain","data":"a\n\"b\"""#,
        ),
        (
            minimal().datacontenttype("text/plain").data("\0"),
            r#","datacontenttype":"text/plain","data_base64":"AA==""#,
        ),
        (
            minimal().datacontenttype("text/plain; charset=latin1").data("é"),
            r#","datacontenttype":"text/plain; charset=latin1","data_base64":"w6k=""#,
        ),
        (
            minimal()
                .subject("é\"")
                .time("2018-04-05T17:31:00.500Z")
                .dataschema("urn:a")
                .extension("yes", Value::Boolean(true))
                .extension("bytes", Value::Binary(vec![255].into()))
                .extension("number", Value::Integer(-1)),
            r#","subject":"é\"","time":"2018-04-05T17:31:00.500Z","dataschema":"urn:a","bytes":"/w==","number":-1,"yes":true"#,
        ),
    ];
    for (builder, members) in cases {
        let text = String::from_utf8(json::to_vec(&builder.build().unwrap())).unwrap();
        let expected =
            format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{members}}}"#);
        assert_eq!(text, expected);
    }
}

proptest! {
    #[test]
    fn events_survive_json(event in arbitrary::event()) {
        let text = json::to_vec(&event);
        prop_assert!(!text.contains(&b'\n') && !text.contains(&b'\r'));
        let read = json::from_slice(&text).unwrap();
        let expected = with_text_extensions(&event, |value| {
            matches!(value, Value::Boolean(_) | Value::Integer(_))
        });
        // Only white space around and between JSON tokens may change.
        let json_data = event.has_json_type() && text.windows(8).any(|w| w == b",\"data\":");
        if json_data {
            let tokens = |event: &Event| -> serde_json::Value {
                serde_json::from_slice(&event.data().unwrap()).unwrap()
            };
            prop_assert_eq!(tokens(&read), tokens(&expected));
            prop_assert_eq!(read.attribute("subject"), expected.attribute("subject"));
        } else {
            prop_assert_eq!(&read, &expected);
        }
        prop_assert_eq!(json::to_vec(&read), text);
    }

    #[test]
    fn hostile_json_is_harmless(
        event in arbitrary::event(),
        at in any::<prop::sample::Index>(),
        put in prop::collection::vec(any::<u8>(), 0..6),
    ) {
        let mut text = json::to_vec(&event);
        let at = at.index(text.len());
        text.splice(at..(at + 2).min(text.len()), put);
        if let Ok(event) = json::from_slice(&text) {
            prop_assert_eq!(Event::from_encoded(event.encoded().clone()).unwrap(), event);
        }
    }
}
