//! Values of a payload, as they are written.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::decimal::canonical;

/// A value that was found.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found<'d> {
    Null,
    Boolean(bool),
    /// The number's text.
    Number(&'d str),
    /// The string with its quotes and escapes.
    String(&'d str),
    Array(&'d str),
    Object,
}

impl<'d> Found<'d> {
    /// What valid JSON is.
    pub(crate) fn of(raw: &'d RawValue) -> Self {
        let text = raw.get();
        match text.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b't') => Self::Boolean(true),
            Some(b'f') => Self::Boolean(false),
            Some(b'"') => Self::String(text),
            Some(b'[') => Self::Array(text),
            Some(b'{') => Self::Object,
            _ => Self::Number(text),
        }
    }

    /// A string's content.
    pub(crate) fn text(self) -> Option<Cow<'d, str>> {
        let Self::String(quoted) = self else { return None };
        if quoted.contains('\\') {
            return serde_json::from_str(quoted).ok().map(Cow::Owned);
        }
        Some(Cow::Borrowed(quoted.get(1..quoted.len().checked_sub(1)?)?))
    }

    /// An array's elements.
    pub(crate) fn elements(self) -> Option<Vec<&'d RawValue>> {
        let Self::Array(text) = self else { return None };
        serde_json::from_str(text).ok()
    }

    /// The same text for equal scalars; `None` for arrays and objects.
    pub(crate) fn key(self) -> Option<Cow<'d, str>> {
        Some(match self {
            Self::Null => Cow::Borrowed("null"),
            Self::Boolean(true) => Cow::Borrowed("true"),
            Self::Boolean(false) => Cow::Borrowed("false"),
            Self::Number(number) => Cow::Owned(canonical(number)),
            Self::String(quoted) if !quoted.contains('\\') => {
                Cow::Borrowed(quoted.get(..quoted.len().checked_sub(1)?)?)
            }
            Self::String(_) => Cow::Owned(text_key(&self.text()?)),
            Self::Array(_) | Self::Object => return None,
        })
    }
}

/// The key of a string: what no other scalar's begins with stands before it.
pub(crate) fn text_key(text: &str) -> String {
    format!("\"{text}")
}
