//! Why JSON is not a filter, and where in it.

use std::fmt;

/// A filter that breaks the rules. The path leads from the filter's root to what is wrong, such
/// as `any[1].prefix.type`; it is empty where that is the root itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    path: String,
    reason: String,
}

/// How much of a path an error repeats; names in it come from outside.
const PATH_MAX_CHARS: usize = 200;

impl FilterError {
    pub(crate) fn new(path: &str, reason: impl Into<String>) -> Self {
        let path = path.trim_start_matches('.');
        let mut shown: String =
            path.chars().take(PATH_MAX_CHARS).flat_map(char::escape_debug).collect();
        if path.chars().nth(PATH_MAX_CHARS).is_some() {
            shown.push('…');
        }
        Self { path: shown, reason: reason.into() }
    }

    /// Where in the filter; empty for its root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong there.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "filter: {}", self.reason)
        } else {
            write!(f, "filter, at {}: {}", self.path, self.reason)
        }
    }
}

impl std::error::Error for FilterError {}
