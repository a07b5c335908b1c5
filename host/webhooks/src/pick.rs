//! Where an attribute of the event comes from: a place in the body, a header, or a text.

use std::str::FromStr;

use http::{HeaderMap, HeaderName};
use serde_json::Value;

/// Where an attribute comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// A string or whole number in the body, by JSON Pointer (RFC 6901).
    Pointer(String),
    /// A header.
    Header(HeaderName),
    /// Always this.
    Text(String),
    /// The SHA-256 of the body: the same request again is the same event.
    Body,
    /// A random text: each request is an event of its own.
    Random,
}

/// Text that is no JSON Pointer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no JSON Pointer: write it like \"/data/id\"")]
pub struct PickError(String);

impl Pick {
    /// A place in the body.
    ///
    /// # Errors
    /// Not a JSON Pointer.
    pub fn pointer(text: &str) -> Result<Self, PickError> {
        let is_escaped = |rest: &str| rest.starts_with('0') || rest.starts_with('1');
        let mut tildes = text.split('~').skip(1);
        if text.starts_with('/') && tildes.all(is_escaped) {
            Ok(Self::Pointer(text.to_owned()))
        } else {
            Err(PickError(text.chars().take(64).collect()))
        }
    }
}

impl FromStr for Pick {
    type Err = PickError;

    fn from_str(text: &str) -> Result<Self, PickError> {
        Self::pointer(text)
    }
}

/// Where each attribute comes from: of several places, the first that has something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// `id`
    pub id: Vec<Pick>,
    /// `type`; what is picked is put behind `type_prefix`.
    pub ty: Vec<Pick>,
    /// What the type begins with.
    pub type_prefix: String,
    /// `source`
    pub source: Vec<Pick>,
    /// `subject`
    pub subject: Vec<Pick>,
    /// `time`: RFC 3339, or Unix seconds.
    pub time: Vec<Pick>,
}

/// A request, as far as attributes are picked from it.
pub(crate) struct Picked<'a> {
    pub(crate) headers: &'a HeaderMap,
    pub(crate) json: Option<&'a Value>,
    pub(crate) body: &'a [u8],
    pub(crate) random: &'a dyn Fn() -> String,
}

impl Picked<'_> {
    /// The first that there is.
    pub(crate) fn first(&self, picks: &[Pick]) -> Option<String> {
        picks.iter().find_map(|pick| self.one(pick)).filter(|text| !text.is_empty())
    }

    fn one(&self, pick: &Pick) -> Option<String> {
        match pick {
            Pick::Pointer(pointer) => self.at(pointer),
            Pick::Header(name) => Some(self.headers.get(name)?.to_str().ok()?.trim().to_owned()),
            Pick::Text(text) => Some(text.clone()),
            Pick::Body => Some(usher_event::Digest::of(self.body).to_string()),
            Pick::Random => Some((self.random)()),
        }
    }

    /// A string or whole number in the body.
    pub(crate) fn at(&self, pointer: &str) -> Option<String> {
        match self.json?.pointer(pointer)? {
            Value::String(text) => Some(text.clone()),
            // Others would lose digits on the way.
            Value::Number(number) if number.is_u64() || number.is_i64() => Some(number.to_string()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_looked_at_in_their_order() {
        let json: Value = serde_json::from_str(
            r#"{"id":12345678901234567890,"a":{"b/c":["x"]},"f":1.5,"n":null}"#,
        )
        .unwrap();
        let headers =
            [(HeaderName::from_static("x-id"), "7".parse().unwrap())].into_iter().collect();
        let random = || "random".to_owned();
        let picked = Picked { headers: &headers, json: Some(&json), body: b"{}", random: &random };
        let pointer = |text: &str| Pick::pointer(text).unwrap();
        for (picks, expected) in [
            (vec![pointer("/id")], Some("12345678901234567890")),
            (vec![pointer("/a/b~1c/0")], Some("x")),
            (vec![pointer("/f"), pointer("/n"), pointer("/a"), pointer("/no")], None),
            (vec![pointer("/no"), Pick::Header(HeaderName::from_static("x-id"))], Some("7")),
            (vec![Pick::Text("t".to_owned()), Pick::Random], Some("t")),
            (vec![Pick::Random], Some("random")),
            (vec![], None),
        ] {
            assert_eq!(picked.first(&picks).as_deref(), expected, "{picks:?}");
        }
        assert_eq!(picked.first(&[Pick::Body]).unwrap().len(), 64);
        for bad in ["", "id", "/a~", "/a~2"] {
            assert!(Pick::pointer(bad).is_err(), "{bad}");
        }
    }
}
