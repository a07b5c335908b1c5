//! Which attribute values are valid: every way to make an event runs the same checks.

use usher_event::limits::{ATTRIBUTE_MAX_BYTES, EVENT_MAX_BYTES, EXTENSIONS_MAX};
use usher_event::{Event, EventBuilder, EventError, EventErrorKind, Value};

use crate::minimal;

fn set(attribute: &str, text: &str) -> Result<Event, EventError> {
    let builder: EventBuilder = match attribute {
        "id" => Event::builder(text, "/s", "t"),
        "source" => Event::builder("1", text, "t"),
        "type" => Event::builder("1", "/s", text),
        "subject" => minimal().subject(text),
        "time" => minimal().time(text),
        "datacontenttype" => minimal().datacontenttype(text),
        "dataschema" => minimal().dataschema(text),
        name => minimal().extension(name, Value::String(text.to_owned())),
    };
    builder.build()
}

#[test]
fn attributes_that_are_taken() {
    let cases: &[(&str, &[&str])] = &[
        ("id", &["A234-1234-1234", " ", "é 😀", "a/b?c"]),
        (
            "source",
            &[
                "https://github.com/cloudevents",
                "mailto:cncf-wg-serverless@lists.cncf.io",
                "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
                "cloudevents/spec/pull/123",
                "/sensors/tn-1234567/alerts",
                "1-555-123-4567",
                "/a#b",
                "?q",
            ],
        ),
        ("type", &["com.github.pull_request.opened", "com.example.object.deleted.v2", "é"]),
        ("subject", &["mynewfile.jpg", "a b"]),
        (
            "time",
            &[
                "2018-04-05T17:31:00Z",
                "2018-04-05t17:31:00z",
                "2018-04-05T17:31:00.123456789+14:00",
                "1985-04-12T23:20:50.52Z",
                "1996-12-19T16:39:57-08:00",
                "1990-12-31T23:59:60Z",
                "0000-01-01T00:00:00Z",
                "9999-12-31T23:59:59.999-23:59",
            ],
        ),
        ("datacontenttype", &["application/json", "text/xml; charset=\"utf-8\"", "image/png"]),
        ("dataschema", &["https://a.example/s.json?v=1", "urn:schema:1"]),
        ("ext", &["", "a b", "\u{10000}"]),
    ];
    for (attribute, texts) in cases {
        for text in *texts {
            let event =
                set(attribute, text).unwrap_or_else(|e| panic!("{attribute} {text:?}: {e}"));
            assert_eq!(event.attribute(attribute).as_deref(), Some(*text));
        }
    }
}

#[test]
fn attributes_that_are_refused() {
    let empty = "must not be empty";
    let characters = "must have no control characters, surrogates or noncharacters";
    let time = "must be a date and time of RFC 3339, such as 2018-04-05T17:31:00Z";
    let reference = "must be a URI reference (RFC 3986)";
    let uri = "must be an absolute URI without a fragment (RFC 3986, section 4.3)";
    let media = "must be a media type (RFC 2046), such as application/json";
    let cases: &[(&str, &str, &[&str])] = &[
        ("id", empty, &[""]),
        ("source", empty, &[""]),
        ("type", empty, &[""]),
        ("subject", empty, &[""]),
        ("time", empty, &[""]),
        ("datacontenttype", empty, &[""]),
        ("dataschema", empty, &[""]),
        ("id", characters, &["\0", "a\n", "\u{7f}", "\u{85}", "\u{fdd0}", "\u{fffe}", "\u{1ffff}"]),
        ("type", characters, &["a\tb"]),
        ("ext", characters, &["\u{9f}", "\u{10ffff}"]),
        ("source", reference, &["a b", "http://[::1", "%zz", "é", "1:2 "]),
        (
            "time",
            time,
            &[
                "2018-04-05",
                "17:31:00Z",
                "2018-04-05 17:31:00Z",
                "2018-04-05T17:31:00",
                "2018-02-30T17:31:00Z",
                "2018-04-05T24:00:00Z",
                "2018-04-05T17:31:00+24:00",
                "2018-04-05T17:31Z",
                "-001-04-05T17:31:00Z",
                "10000-01-01T00:00:00Z",
                "yesterday",
            ],
        ),
        ("datacontenttype", media, &["json", "a/b/c", "text/plain;"]),
        ("dataschema", uri, &["/relative", "schema", "https://a.example/s#f", "https://a b"]),
    ];
    for (attribute, rule, texts) in cases {
        for text in *texts {
            let Err(error) = set(attribute, text) else {
                panic!("{attribute} {text:?} was taken");
            };
            let what = (error.kind(), error.attribute(), error.broken_rule());
            assert_eq!(what, (EventErrorKind::Rule, Some(*attribute), *rule), "{text:?}");
        }
    }
}

#[test]
fn values_of_every_type_are_kept() {
    let values = [
        Value::Boolean(true),
        Value::Integer(i32::MIN),
        Value::String(String::new()),
        Value::Binary(vec![0, 255].into()),
        Value::Binary(Vec::new().into()),
        Value::Uri("https://a.example/".into()),
        Value::UriReference("#f".into()),
        Value::Timestamp("2018-04-05T17:31:00.0Z".into()),
    ];
    for value in values {
        let event = minimal().extension("ext", value.clone()).build().unwrap();
        assert_eq!(event.extension("ext"), Some(value.clone()));
        assert_eq!(event.attribute("ext").unwrap(), value.to_text());
        assert_eq!(event.extensions().collect::<Vec<_>>(), [("ext", value)]);
    }
    for value in [
        Value::Uri("relative".into()),
        Value::UriReference("a b".into()),
        Value::Timestamp("2018".into()),
        Value::String("\n".into()),
    ] {
        let error = minimal().extension("ext", value).build().unwrap_err();
        assert_eq!(error.attribute(), Some("ext"));
    }
}

#[test]
fn extension_names() {
    let longest = "a2345678901234567890";
    for name in ["a", "0", "traceparent", longest] {
        minimal().extension(name, Value::Boolean(true)).build().unwrap();
    }
    let too_long = format!("{longest}1");
    let cases = [
        ("", r#"attribute "" must have a name of a-z and 0-9"#),
        ("Ab", r#"attribute "Ab" must have a name of a-z and 0-9 only"#),
        ("a_b", r#"attribute "a_b" must have a name of a-z and 0-9 only"#),
        ("é", r#"attribute "é" must have a name of a-z and 0-9 only"#),
        ("id", r#"attribute "id" is CloudEvents' own and can't be an extension"#),
        ("data", "data is CloudEvents' own and can't be an extension"),
        ("specversion", r#"attribute "specversion" is CloudEvents' own and can't be an extension"#),
        (
            &too_long,
            r#"attribute "a23456789012345678901" must have a name of at most 20 characters"#,
        ),
    ];
    for (name, text) in cases {
        let error = minimal().extension(name, Value::Boolean(true)).build().unwrap_err();
        assert_eq!(error.to_string(), text);
    }
    let twice = minimal()
        .extension("a", Value::Boolean(true))
        .extension("b", Value::Boolean(true))
        .extension("a", Value::Integer(1));
    assert_eq!(twice.build().unwrap_err().to_string(), r#"attribute "a" is there twice"#);
}

#[test]
fn limits() {
    let value = "v".repeat(ATTRIBUTE_MAX_BYTES);
    minimal().subject(&value).build().unwrap();
    let long = format!("{value}v");
    for builder in [
        minimal().subject(&long),
        minimal().extension("ext", Value::String(long.clone())),
        minimal().extension("ext", Value::Binary(long.clone().into())),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), EventErrorKind::TooLarge);
        assert_eq!(error.broken_rule(), "must have at most 4096 bytes");
    }

    let with = |count: usize| {
        (0..count).fold(minimal(), |b, i| b.extension(format!("x{i}"), Value::Integer(0))).build()
    };
    assert_eq!(with(EXTENSIONS_MAX).unwrap().extensions().count(), EXTENSIONS_MAX);
    assert_eq!(
        with(EXTENSIONS_MAX + 1).unwrap_err().to_string(),
        "the event must have at most 64 extensions, found 65"
    );

    let overhead = minimal().build().unwrap().encoded().len();
    let room = EVENT_MAX_BYTES - overhead;
    let event = minimal().data(vec![7; room]).build().unwrap();
    assert_eq!(event.encoded().len(), EVENT_MAX_BYTES);
    let error = minimal().data(vec![7; room + 1]).build().unwrap_err();
    assert_eq!(error.kind(), EventErrorKind::TooLarge);
    assert_eq!(error.to_string(), "the event must have at most 262144 bytes, found 262145");
}

#[test]
fn accessors_answer_what_was_given() {
    let event = Event::builder("i", "/s", "t")
        .subject("u")
        .time("2018-04-05T17:31:00Z")
        .datacontenttype("text/plain")
        .dataschema("urn:a")
        .extension("b", Value::Integer(2))
        .extension("a", Value::Boolean(true))
        .data("payload")
        .build()
        .unwrap();
    assert_eq!((event.id(), event.source(), event.ty()), ("i", "/s", "t"));
    assert_eq!((event.subject(), event.dataschema()), (Some("u"), Some("urn:a")));
    assert_eq!(event.time(), Some("2018-04-05T17:31:00Z"));
    assert_eq!(event.datacontenttype(), Some("text/plain"));
    assert_eq!(event.data().as_deref(), Some(&b"payload"[..]));
    assert_eq!(event.extensions().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(event.attribute("specversion").as_deref(), Some("1.0"));
    for absent in ["data", "c", "", "0"] {
        assert_eq!(event.attribute(absent), None, "{absent}");
        assert_eq!(event.extension(absent), None, "{absent}");
    }
    assert!(!event.has_json_type());
    assert!(!format!("{event:?}").contains("payload"), "{event:?}");

    let bare = minimal().build().unwrap();
    assert_eq!((bare.subject(), bare.time(), bare.data()), (None, None, None));
    assert!(bare.has_json_type());
    assert_eq!(minimal().data("").build().unwrap().data().as_deref(), Some(&b""[..]));
}

#[test]
fn data_shares_the_memory_of_the_event() {
    let event = minimal().data("payload").build().unwrap();
    let data = event.data().unwrap();
    assert!(event.encoded().as_ptr_range().contains(&data.as_ptr()));
    assert_eq!(event.clone().encoded().as_ptr(), event.encoded().as_ptr());
}
