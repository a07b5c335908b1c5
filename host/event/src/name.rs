//! Names of plugins, subscriptions, schedules and tokens: short, safe in paths, URIs, logs and metric labels.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Maximum length of a name, in bytes.
pub const NAME_MAX_BYTES: usize = 64;

/// An invalid name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} name {name:?} is not valid: use 1 to 64 of a-z, 0-9 and '-', \
     starting with a letter and not ending with '-'"
)]
pub struct NameError {
    what: &'static str,
    name: String,
}

fn check(what: &'static str, name: &str) -> Result<(), NameError> {
    let valid = name.len() <= NAME_MAX_BYTES
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if valid {
        Ok(())
    } else {
        Err(NameError { what, name: name.chars().take(NAME_MAX_BYTES + 1).collect() })
    }
}

macro_rules! text_type {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

macro_rules! name_type {
    ($(#[doc = $doc:literal])* $type:ident, $what:literal) => {
        $(#[doc = $doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(Arc<str>);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, NameError> {
                check($what, name)?;
                Ok(Self(name.into()))
            }
        }

        text_type!($type);
    };
}

name_type! {
    /// A plugin's name, as returned by `describe`: `[a-z][a-z0-9-]*`, not ending with `-`, at most
    /// 64 bytes.
    PluginName, "plugin"
}

name_type! {
    /// A schedule's name in the configuration; same rules as a plugin's.
    ScheduleName, "schedule"
}

name_type! {
    /// A token's name; same rules as a plugin's.
    TokenName, "token"
}

/// A subscription's full name: `PLUGIN/NAME`, each part as a plugin's name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionName(Arc<str>);

impl SubscriptionName {
    /// The subscription `name` of `plugin`.
    ///
    /// # Errors
    /// `name` is invalid.
    pub fn new(plugin: &PluginName, name: &str) -> Result<Self, NameError> {
        check("subscription", name)?;
        Ok(Self(format!("{plugin}/{name}").into()))
    }

    /// The full name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The plugin it belongs to.
    pub fn plugin(&self) -> &str {
        self.0.split_once('/').map_or(&*self.0, |(plugin, _)| plugin)
    }

    /// The part after the slash.
    pub fn local(&self) -> &str {
        self.0.split_once('/').map_or(&*self.0, |(_, local)| local)
    }
}

impl FromStr for SubscriptionName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let (plugin, local) = name.split_once('/').ok_or_else(|| NameError {
            what: "subscription",
            name: name.chars().take(130).collect(),
        })?;
        check("plugin", plugin)?;
        check("subscription", local)?;
        Ok(Self(name.into()))
    }
}

text_type!(SubscriptionName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_are_taken() {
        for name in ["a", "printer", "a1-b2", &"a".repeat(64)] {
            assert_eq!(name.parse::<PluginName>().unwrap().as_str(), name);
        }
        let full: SubscriptionName = "printer/tickets".parse().unwrap();
        assert_eq!((full.plugin(), full.local()), ("printer", "tickets"));
    }

    #[test]
    fn bad_names_are_refused() {
        for name in ["", "-a", "a-", "1a", "A", "a_b", "a/b", "é", &"a".repeat(65)] {
            assert!(name.parse::<PluginName>().is_err(), "{name}");
        }
        for name in ["printer", "/a", "a/", "a/b/c", "a//b"] {
            assert!(name.parse::<SubscriptionName>().is_err(), "{name}");
        }
    }
}
