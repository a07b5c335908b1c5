//! The members of a CloudEvents JSON object as parsed: borrowed where possible; only their number
//! is checked.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::cut;
use crate::limits::EXTENSIONS_MAX;

/// Members beyond this are skipped; no valid event has that many (all extensions, CloudEvents' own,
/// data).
pub(super) const MEMBERS_MAX: usize = EXTENSIONS_MAX + 16;

/// A JSON object's members in order, duplicates included.
pub(super) struct Members<'a> {
    pub(super) attributes: Vec<(Cow<'a, str>, Scalar<'a>)>,
    pub(super) data: Option<&'a RawValue>,
    /// Whether `data` occurs twice; the last one is kept.
    pub(super) data_twice: bool,
    /// Whether there are more than [`MEMBERS_MAX`]; the rest is skipped.
    pub(super) too_many: bool,
}

/// A member's value; kinds that can't be an attribute value keep only what errors report.
#[derive(Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Null,
    Boolean(bool),
    Integer(i64),
    String(Cow<'a, str>),
    Fraction(f64),
    Large(u64),
    Array,
    Object,
}

impl Scalar<'_> {
    /// Describes the value for error messages.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Boolean(value) => format!("the boolean {value}"),
            Self::Integer(value) => format!("the number {value}"),
            Self::Large(value) => format!("the number {value}"),
            Self::Fraction(value) => format!("the number {value:?}"),
            Self::String(text) => format!("the string {:?}", cut(text)),
            Self::Array => "an array".to_owned(),
            Self::Object => "an object".to_owned(),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event: a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Members {
            attributes: Vec::with_capacity(12),
            data: None,
            data_twice: false,
            too_many: false,
        };
        while let Some(Text(name)) = map.next_key()? {
            if name == "data" {
                members.data_twice |= members.data.is_some();
                members.data = Some(map.next_value()?);
            } else if members.attributes.len() == MEMBERS_MAX {
                members.too_many = true;
                map.next_value::<de::IgnoredAny>()?;
            } else {
                // The name helps to locate an invalid escape.
                let value = map
                    .next_value_seed(ScalarSeed)
                    .map_err(|e| de::Error::custom(format!("member {:?}: {e}", cut(&name))))?;
                members.attributes.push((name, value));
            }
        }
        Ok(members)
    }
}

/// A string that borrows unless it contains escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(ScalarSeed)? {
            Scalar::String(text) => Ok(Self(text)),
            other => {
                Err(de::Error::custom(format!("expected a string, found {}", other.describe())))
            }
        }
    }
}

struct ScalarSeed;

impl<'de> DeserializeSeed<'de> for ScalarSeed {
    type Value = Scalar<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ScalarSeed {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map_or(Scalar::Large(value), Scalar::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Fraction(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::String(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::String(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Scalar::String(Cow::Owned(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<de::IgnoredAny>()?.is_some() {}
        Ok(Scalar::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<de::IgnoredAny, de::IgnoredAny>()?.is_some() {}
        Ok(Scalar::Object)
    }
}
