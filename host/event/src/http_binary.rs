//! CloudEvents over HTTP in binary mode: attributes in `ce-` headers, data in the body.
//!
//! Header values are untyped text, so every extension becomes a
//! [`Value::String`](crate::Value::String).

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};

use crate::encoding::{Core, Parts};
use crate::json::check_specversion;
use crate::limits::FOREIGN_EXTENSION_NAME_MAX_BYTES;
use crate::value::ValueRef;
use crate::{Event, EventError};

const PREFIX: &str = "ce-";

/// Characters the HTTP binding percent-encodes: all outside U+0021 to U+007E, plus `"` and `%`.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// Decodes an event from the headers and body of a request or response. An empty body means no
/// data.
///
/// # Errors
/// A header can't be decoded, an attribute breaks a CloudEvents rule, or a limit is exceeded.
pub fn from_parts(headers: &HeaderMap, body: Bytes) -> Result<Event, EventError> {
    let mut attributes = Vec::with_capacity(headers.len());
    for name in headers.keys() {
        if let Some(attribute) = name.as_str().strip_prefix(PREFIX) {
            attributes.push((attribute, decode(attribute, single(headers, name, attribute)?)?));
        }
    }
    let mut parts =
        Parts { data: Some(&*body).filter(|data| !data.is_empty()), ..Parts::default() };
    let mut specversion = false;
    for (name, text) in &attributes {
        match Core::from_name(name) {
            Some(Core::DataContentType) => {
                return Err(EventError::rule(name, "must be in the content-type header"));
            }
            Some(core) => parts.set(core, text),
            None if *name == "specversion" => {
                check_specversion(text)?;
                specversion = true;
            }
            None => parts.extensions.push((name, ValueRef::String(text))),
        }
    }
    if !specversion {
        return Err(EventError::rule("specversion", "is required: send the header ce-specversion"));
    }
    let content_type = Core::DataContentType.name();
    if headers.contains_key(CONTENT_TYPE) {
        // Not a ce- header: taken verbatim, including quotes and percent signs.
        let value = single(headers, &CONTENT_TYPE, content_type)?;
        parts.set(Core::DataContentType, utf8(content_type, value.as_bytes())?);
    }
    Event::from_parts(parts, FOREIGN_EXTENSION_NAME_MAX_BYTES)
}

/// Encodes an event as headers and body.
///
/// JSON without `datacontenttype` gets the content type `application/json`, which CloudEvents
/// implies but HTTP doesn't.
pub fn to_parts(event: &Event) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    let mut add = |name: &str, text: &str| {
        let encoded = Cow::from(utf8_percent_encode(text, ENCODED));
        // Infallible: names are [a-z0-9], and encoded values are visible ASCII.
        let name = HeaderName::try_from(format!("{PREFIX}{name}"));
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&encoded)) {
            headers.insert(name, value);
        }
    };
    add("specversion", "1.0");
    for core in Core::ALL {
        match event.core_text(core) {
            Some(text) if core != Core::DataContentType => add(core.name(), text),
            _ => {}
        }
    }
    for (name, value) in event.extension_refs() {
        add(name, &value.to_text());
    }
    let data = event.data();
    let content_type = match (event.datacontenttype(), &data) {
        (None, Some(data)) if serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok() => {
            Some("application/json")
        }
        (given, _) => given,
    };
    if let Some(Ok(value)) = content_type.map(HeaderValue::from_str) {
        headers.insert(CONTENT_TYPE, value);
    }
    (headers, data.unwrap_or_default())
}

fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    attribute: &str,
) -> Result<&'a HeaderValue, EventError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(EventError::rule(attribute, format!("must be in one {name} header only"))),
    }
}

/// Removes quotes, if any, and one level of percent-encoding.
fn decode<'a>(attribute: &str, value: &'a HeaderValue) -> Result<Cow<'a, str>, EventError> {
    match unquote(attribute, value.as_bytes().trim_ascii())? {
        Cow::Borrowed(bytes) => percent_decoded(attribute, bytes),
        Cow::Owned(bytes) => {
            percent_decoded(attribute, &bytes).map(|text| text.into_owned().into())
        }
    }
}

fn percent_decoded<'a>(attribute: &str, bytes: &'a [u8]) -> Result<Cow<'a, str>, EventError> {
    match Cow::<[u8]>::from(percent_decode(bytes)) {
        Cow::Borrowed(bytes) => utf8(attribute, bytes).map(Cow::Borrowed),
        Cow::Owned(bytes) => utf8(attribute, &bytes).map(|text| Cow::Owned(text.to_owned())),
    }
}

/// Unescapes a quoted string (RFC 9110, section 5.6.4); returns anything else unchanged.
fn unquote<'a>(attribute: &str, value: &'a [u8]) -> Result<Cow<'a, [u8]>, EventError> {
    let Some(rest) = value.strip_prefix(b"\"") else { return Ok(Cow::Borrowed(value)) };
    let unbalanced = || EventError::rule(attribute, "must have a closing quote at its end");
    let mut content = Vec::with_capacity(rest.len());
    let mut bytes = rest.iter().copied();
    loop {
        match bytes.next().ok_or_else(unbalanced)? {
            b'"' => break,
            b'\\' => content.push(bytes.next().ok_or_else(unbalanced)?),
            byte => content.push(byte),
        }
    }
    if bytes.next().is_some() { Err(unbalanced()) } else { Ok(Cow::Owned(content)) }
}

fn utf8<'a>(attribute: &str, bytes: &'a [u8]) -> Result<&'a str, EventError> {
    std::str::from_utf8(bytes).map_err(|_| {
        EventError::rule(attribute, "must be UTF-8").found(&String::from_utf8_lossy(bytes))
    })
}
