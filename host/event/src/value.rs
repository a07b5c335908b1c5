//! Values of extension attributes: the CloudEvents type system.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The value of an extension attribute. JSON and HTTP headers carry only some of the types: a URI,
/// timestamp or binary value received that way is a [`Value::String`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// True or false.
    Boolean(bool),
    /// A 32-bit signed integer.
    Integer(i32),
    /// Text without control characters, surrogates and noncharacters.
    String(String),
    /// Bytes; Base64 in its text form.
    Binary(Bytes),
    /// An absolute URI (RFC 3986, section 4.3).
    Uri(String),
    /// A URI or a relative reference (RFC 3986, section 4.1).
    UriReference(String),
    /// An RFC 3339 date and time, kept as written.
    Timestamp(String),
}

impl Value {
    pub(crate) fn borrow(&self) -> ValueRef<'_> {
        match self {
            Self::Boolean(value) => ValueRef::Boolean(*value),
            Self::Integer(value) => ValueRef::Integer(*value),
            Self::String(text) => ValueRef::String(text),
            Self::Binary(bytes) => ValueRef::Binary(bytes),
            Self::Uri(text) => ValueRef::Uri(text),
            Self::UriReference(text) => ValueRef::UriReference(text),
            Self::Timestamp(text) => ValueRef::Timestamp(text),
        }
    }

    /// The value in its CloudEvents canonical string form.
    pub fn to_text(&self) -> Cow<'_, str> {
        self.borrow().to_text()
    }
}

/// The value of any attribute, as far as its type says how to compare it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeRef<'a> {
    /// True or false.
    Boolean(bool),
    /// A 32-bit signed integer.
    Integer(i32),
    /// Anything else in its CloudEvents canonical string form.
    Text(Cow<'a, str>),
}

/// A [`Value`] that borrows from an event's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueRef<'a> {
    Boolean(bool),
    Integer(i32),
    String(&'a str),
    Binary(&'a [u8]),
    Uri(&'a str),
    UriReference(&'a str),
    Timestamp(&'a str),
}

impl<'a> ValueRef<'a> {
    pub(crate) fn to_text(self) -> Cow<'a, str> {
        match self {
            Self::Boolean(true) => Cow::Borrowed("true"),
            Self::Boolean(false) => Cow::Borrowed("false"),
            Self::Integer(value) => Cow::Owned(value.to_string()),
            Self::Binary(bytes) => Cow::Owned(STANDARD.encode(bytes)),
            Self::String(text)
            | Self::Uri(text)
            | Self::UriReference(text)
            | Self::Timestamp(text) => Cow::Borrowed(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_are_those_of_cloudevents() {
        let cases = [
            (Value::Boolean(true), "true"),
            (Value::Boolean(false), "false"),
            (Value::Integer(i32::MIN), "-2147483648"),
            (Value::String("a b".into()), "a b"),
            (Value::Binary(Bytes::from_static(&[0xfb, 0xff, 0])), "+/8A"),
            (Value::Uri("urn:a".into()), "urn:a"),
            (Value::UriReference("/a".into()), "/a"),
            (Value::Timestamp("2018-04-05T17:31:00Z".into()), "2018-04-05T17:31:00Z"),
        ];
        for (value, text) in cases {
            assert_eq!(value.to_text(), text, "{value:?}");
        }
    }
}
