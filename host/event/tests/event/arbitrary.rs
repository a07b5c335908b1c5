//! Random valid events.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use usher_event::{Event, Value};

/// Text that is valid for any string attribute.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[ -~]{1,20}",
        1 => vec(any::<char>(), 1..10).prop_map(|chars| {
            let text: String = chars.into_iter().filter(|c| {
                let code = u32::from(*c);
                !c.is_control() && !(0xfdd0..=0xfdef).contains(&code) && code & 0xfffe != 0xfffe
            }).collect();
            format!("_{text}")
        }),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::Boolean),
        any::<i32>().prop_map(Value::Integer),
        text().prop_map(Value::String),
        vec(any::<u8>(), 0..20).prop_map(|bytes| Value::Binary(bytes.into())),
        "[a-z]{1,5}:[a-z/]{0,10}".prop_map(Value::Uri),
        "[a-z/]{0,10}(#[a-z]{0,5})?".prop_map(Value::UriReference),
        time().prop_map(Value::Timestamp),
    ]
}

fn time() -> impl Strategy<Value = String> {
    "20[0-9]{2}-(0[1-9]|1[0-2])-([01][1-9]|2[0-8])T[01][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|\\+0[0-9]:30)"
}

fn extensions() -> impl Strategy<Value = Vec<(String, Value)>> {
    let name = "[a-z0-9]{1,20}".prop_filter("reserved", |name| {
        !["id", "source", "type", "subject", "time", "data", "dataschema"].contains(&&**name)
    });
    btree_map(name, value(), 0..6).prop_map(|map| map.into_iter().collect())
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..50),
        "[ -~\\n\\t]{0,50}".prop_map(String::into_bytes),
        Just(br#"{"a":[1, 2.50,"x\u0041"],"b":null}"#.to_vec()),
        Just(b"\"text\"".to_vec()),
        Just(b"null".to_vec()),
    ]
}

/// An event with any attributes, extensions of any type and any data.
pub(crate) fn event() -> impl Strategy<Value = Event> {
    let media = prop_oneof![
        Just("application/json"),
        Just("application/x+json; a=b"),
        Just("text/plain"),
        Just("text/plain; charset=iso-8859-1"),
        Just("application/octet-stream"),
    ];
    let optional =
        (option::of(text()), option::of(time()), option::of(media), option::of("urn:[a-z]{1,9}"));
    (text(), "/[a-z/]{0,20}", text(), optional, extensions(), option::of(data())).prop_map(
        |(id, source, ty, (subject, time, media, schema), extensions, data)| {
            let mut builder = Event::builder(id, source, ty);
            if let Some(subject) = subject {
                builder = builder.subject(subject);
            }
            if let Some(time) = time {
                builder = builder.time(time);
            }
            if let Some(media) = media {
                builder = builder.datacontenttype(media);
            }
            if let Some(schema) = schema {
                builder = builder.dataschema(schema);
            }
            if let Some(data) = data {
                builder = builder.data(data);
            }
            extensions
                .into_iter()
                .fold(builder, |builder, (name, value)| builder.extension(name, value))
                .build()
                .expect("the parts are valid")
        },
    )
}

/// The event as untyped codecs see its extensions: all that `keep` rejects become text.
pub(crate) fn with_text_extensions(event: &Event, keep: fn(&Value) -> bool) -> Event {
    let mut builder = Event::builder(event.id(), event.source(), event.ty());
    if let Some(text) = event.subject() {
        builder = builder.subject(text);
    }
    if let Some(text) = event.time() {
        builder = builder.time(text);
    }
    if let Some(text) = event.datacontenttype() {
        builder = builder.datacontenttype(text);
    }
    if let Some(text) = event.dataschema() {
        builder = builder.dataschema(text);
    }
    if let Some(data) = event.data() {
        builder = builder.data(data);
    }
    for (name, value) in event.extensions() {
        let value = if keep(&value) { value } else { Value::String(value.to_text().into_owned()) };
        builder = builder.extension(name, value);
    }
    builder.build().expect("it was valid before")
}
