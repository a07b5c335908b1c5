//! Values, their types and casts (§3.1, §3.7), and where attributes come from (§3.2).

use std::borrow::Cow;
use std::fmt;

/// A type of values (§3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// `true` or `false`.
    Boolean,
    /// A 32-bit signed integer.
    Integer,
    /// Unicode characters.
    String,
}

impl Type {
    /// The zero value (§3.1).
    pub(crate) fn zero(self) -> Value<'static> {
        match self {
            Self::Boolean => Value::Boolean(false),
            Self::Integer => Value::Integer(0),
            Self::String => Value::String(Cow::Borrowed("")),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boolean => "Boolean",
            Self::Integer => "Integer",
            Self::String => "String",
        })
    }
}

/// A value: of an attribute, or of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// `true` or `false`.
    Boolean(bool),
    /// A 32-bit signed integer.
    Integer(i32),
    /// Text; also URIs, timestamps and what else isn't of the other types (§3.2).
    String(Cow<'a, str>),
}

impl Value<'_> {
    /// Its type.
    pub fn type_of(&self) -> Type {
        match self {
            Self::Boolean(_) => Type::Boolean,
            Self::Integer(_) => Type::Integer,
            Self::String(_) => Type::String,
        }
    }

    /// The cast to Boolean; `None` is an error (§3.7).
    pub(crate) fn to_boolean(&self) -> Option<bool> {
        match self {
            Self::Boolean(value) => Some(*value),
            Self::Integer(value) => Some(*value != 0),
            Self::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Self::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
            Self::String(_) => None,
        }
    }

    /// The cast to Integer; `None` is an error (§3.7).
    pub(crate) fn to_integer(&self) -> Option<i32> {
        match self {
            Self::Boolean(value) => Some(i32::from(*value)),
            Self::Integer(value) => Some(*value),
            Self::String(text) => text.parse().ok(),
        }
    }
}

impl<'a> Value<'a> {
    /// The cast to String, which always succeeds (§3.7).
    pub(crate) fn into_text(self) -> Cow<'a, str> {
        match self {
            Self::Boolean(true) => Cow::Borrowed("true"),
            Self::Boolean(false) => Cow::Borrowed("false"),
            Self::Integer(value) => Cow::Owned(value.to_string()),
            Self::String(text) => text,
        }
    }

    /// The cast to a type; `None` is an error (§3.7).
    pub(crate) fn cast(self, to: Type) -> Option<Self> {
        Some(match to {
            Type::Boolean => Value::Boolean(self.to_boolean()?),
            Type::Integer => Value::Integer(self.to_integer()?),
            Type::String => Value::String(self.into_text()),
        })
    }
}

/// As a literal of the language would show it, but for the escapes.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::String(text) => write!(f, "'{text}'"),
        }
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i32> for Value<'_> {
    fn from(value: i32) -> Self {
        Self::Integer(value)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::String(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::String(Cow::Owned(text))
    }
}

/// The context attributes of an event, extensions among them (§3.2).
pub trait Attributes {
    /// The value of an attribute; `None` if the event doesn't have it.
    fn attribute(&self, name: &str) -> Option<Value<'_>>;
}

/// Pairs of names and values.
impl<K: AsRef<str>> Attributes for [(K, Value<'_>)] {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        let (_, value) = self.iter().find(|(key, _)| key.as_ref() == name)?;
        Some(match value {
            Value::Boolean(value) => Value::Boolean(*value),
            Value::Integer(value) => Value::Integer(*value),
            Value::String(text) => Value::from(&**text),
        })
    }
}

impl<K: AsRef<str>, const N: usize> Attributes for [(K, Value<'_>); N] {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        self.as_slice().attribute(name)
    }
}
