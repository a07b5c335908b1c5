//! Why an event doesn't match a filter.

use std::fmt;

use serde_json::Value as Json;
use usher_event::text::cut_chars;

/// Maximum characters of a value in an explanation.
const VALUE_MAX_CHARS: usize = 80;

/// Maximum characters of a filter in an explanation.
const FILTER_MAX_CHARS: usize = 200;

/// The part of a filter that an event doesn't satisfy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    path: String,
    reason: String,
}

impl Mismatch {
    /// A mismatch that concerns no part of the filter.
    pub fn because(reason: impl Into<String>) -> Self {
        Self { path: String::new(), reason: reason.into() }
    }

    /// Where in the filter, such as `all[1].prefix.type`; empty for its root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Why it doesn't match there, such as `type is "a", needs to be "b"`.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// A filter for an explanation, truncated.
    pub(crate) fn shown(json: &Json) -> String {
        Self::shown_text(&json.to_string())
    }

    /// A filter that must not match, and does.
    pub(crate) fn unwanted(json: &Json) -> Self {
        Self::because(format!("must not match {}, and does", Self::shown(json)))
    }

    /// A text for an explanation, truncated.
    pub(crate) fn shown_text(text: &str) -> String {
        cut_chars(text, FILTER_MAX_CHARS).into_owned()
    }

    /// A value of the payload, as it is written, or its absence.
    pub(crate) fn found(json: Option<&str>) -> String {
        match json {
            Some(json) => {
                let mut found = "is ".to_owned();
                for one in cut_chars(json, VALUE_MAX_CHARS).chars() {
                    match one {
                        '"' | '\\' | '\'' => found.push(one),
                        other => found.extend(other.escape_debug()),
                    }
                }
                found
            }
            None => "is not there".to_owned(),
        }
    }

    /// Puts a part of the path in front.
    pub(crate) fn below(self, place: &str) -> Self {
        let path = match self.path.is_empty() {
            true => place.to_owned(),
            false => format!("{place}.{}", self.path),
        };
        Self { path, ..self }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.reason)
        } else {
            write!(f, "{} (at {})", self.reason, self.path)
        }
    }
}

/// Quotes a value, escaped and truncated.
pub(crate) fn quoted(value: &str) -> String {
    format!("{:?}", cut_chars(value, VALUE_MAX_CHARS))
}
