//! Errors for invalid filters, with their location.

use std::fmt;

/// An invalid filter. The path leads from the root to the error, such as `any[1].prefix.type`;
/// empty for the root itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    path: String,
    reason: String,
}

/// Maximum characters of a path in an error; it contains untrusted names.
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

    /// Location in the filter; empty for the root.
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
