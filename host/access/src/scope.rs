//! Scopes: what a route requires and what a token has.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest prefix of a type or source, in bytes.
pub const PREFIX_MAX_BYTES: usize = 256;

/// The permission that a route requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// None: probes and the description of the API.
    Open,
    /// Appends events.
    Publish,
    /// Reads events, without their data where the token's scope is `read:attributes`, and the state
    /// of the router.
    Read,
    /// Reads what is nothing but data: blobs and the state of plugins.
    ReadData,
    /// Controls plugins and deliveries.
    Operate,
    /// Changes the router, its tokens, or copies all of its data.
    Admin,
}

impl Scope {
    /// All variants.
    pub const ALL: [Self; 6] =
        [Self::Open, Self::Publish, Self::Read, Self::ReadData, Self::Operate, Self::Admin];

    /// The simplest token scope that includes it; `None` if it requires none.
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Open => None,
            Self::Publish => Some("publish"),
            Self::Read | Self::ReadData => Some("read"),
            Self::Operate => Some("operate"),
            Self::Admin => Some("admin"),
        }
    }
}

/// What a token permits. As text: `publish`, `publish:TYPE-PREFIX`, `read`, `read:attributes`,
/// `operate`, `admin`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenScope {
    /// Publishing events, optionally only those whose type starts with this.
    Publish(Option<String>),
    /// Reading everything.
    Read,
    /// Reading everything but the data of events, blobs and the state of plugins.
    ReadAttributes,
    /// Controlling plugins and deliveries.
    Operate,
    /// Everything, including tokens.
    Admin,
}

/// Text that is not a scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// There is no such scope.
    #[error(
        "{0:?} is no scope: use publish, publish:TYPE-PREFIX, read, read:attributes, operate or admin"
    )]
    Unknown(String),
    /// The prefix is empty or too long.
    #[error("the prefix behind publish: must have 1 to {PREFIX_MAX_BYTES} bytes")]
    Prefix,
}

impl TokenScope {
    /// Whether a route that requires `scope` may be used.
    pub fn includes(&self, scope: Scope) -> bool {
        match self {
            Self::Admin => true,
            Self::Publish(_) => matches!(scope, Scope::Open | Scope::Publish),
            Self::Read => matches!(scope, Scope::Open | Scope::Read | Scope::ReadData),
            Self::ReadAttributes => matches!(scope, Scope::Open | Scope::Read),
            Self::Operate => matches!(scope, Scope::Open | Scope::Operate),
        }
    }
}

impl FromStr for TokenScope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        match (text, text.split_once(':')) {
            ("publish", _) => Ok(Self::Publish(None)),
            ("read", _) => Ok(Self::Read),
            ("operate", _) => Ok(Self::Operate),
            ("admin", _) => Ok(Self::Admin),
            (_, Some(("read", "attributes"))) => Ok(Self::ReadAttributes),
            (_, Some(("publish", prefix))) => {
                if prefix.is_empty() || prefix.len() > PREFIX_MAX_BYTES {
                    return Err(ScopeError::Prefix);
                }
                Ok(Self::Publish(Some(prefix.to_owned())))
            }
            _ => Err(ScopeError::Unknown(text.chars().take(PREFIX_MAX_BYTES).collect())),
        }
    }
}

impl fmt::Display for TokenScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish(None) => f.write_str("publish"),
            Self::Publish(Some(prefix)) => write!(f, "publish:{prefix}"),
            Self::Read => f.write_str("read"),
            Self::ReadAttributes => f.write_str("read:attributes"),
            Self::Operate => f.write_str("operate"),
            Self::Admin => f.write_str("admin"),
        }
    }
}

impl Serialize for TokenScope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TokenScope {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "openapi")]
mod openapi {
    use utoipa::openapi::schema::{ObjectBuilder, Type};
    use utoipa::openapi::{RefOr, Schema};

    impl utoipa::ToSchema for super::TokenScope {}

    impl utoipa::PartialSchema for super::TokenScope {
        fn schema() -> RefOr<Schema> {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .pattern(Some("^(publish(:.+)?|read(:attributes)?|operate|admin)$"))
                .description(Some(
                    "What a token permits: `publish`, `publish:TYPE-PREFIX`, `read`, \
                     `read:attributes` (all but data), `operate`, or `admin` (everything).",
                ))
                .into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_read_as_they_are_written() {
        for text in ["publish", "publish:ticket.", "read", "read:attributes", "operate", "admin"] {
            assert_eq!(text.parse::<TokenScope>().unwrap().to_string(), text);
        }
        let long = format!("publish:{}", "x".repeat(PREFIX_MAX_BYTES + 1));
        for text in ["", "Read", "write", "read:", "read:data", "publish:", "admin:x", &long] {
            assert!(text.parse::<TokenScope>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_scope_includes_what_it_says() {
        use Scope::*;
        let cases = [
            ("publish", &[Open, Publish][..]),
            ("publish:x", &[Open, Publish]),
            ("read", &[Open, Read, ReadData]),
            ("read:attributes", &[Open, Read]),
            ("operate", &[Open, Operate]),
            ("admin", &Scope::ALL),
        ];
        for (text, included) in cases {
            let scope: TokenScope = text.parse().unwrap();
            for one in Scope::ALL {
                assert_eq!(scope.includes(one), included.contains(&one), "{text} {one:?}");
            }
        }
    }
}
