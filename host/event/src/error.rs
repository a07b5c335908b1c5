//! Errors for invalid events: the attribute, the rule and what was found.

use std::borrow::Cow;
use std::fmt;

use crate::limits::FOUND_MAX_CHARS;
use crate::text::cut_chars;

/// Why bytes, JSON, headers or a builder don't make a valid event.
///
/// The message repeats at most [`FOUND_MAX_CHARS`] characters of the input, escaped, so it is safe
/// to log and to return to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventError(Box<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    kind: EventErrorKind,
    attribute: Option<String>,
    rule: Cow<'static, str>,
    found: Option<String>,
}

/// Category of an [`EventError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventErrorKind {
    /// The input can't be parsed: not JSON, not the compact encoding.
    Malformed,
    /// An attribute or the data breaks a rule of CloudEvents or of Usher.
    Rule,
    /// A size, length or count exceeds a limit.
    TooLarge,
}

impl EventError {
    /// The input as a whole can't be parsed.
    pub(crate) fn malformed(what: impl Into<Cow<'static, str>>) -> Self {
        Self::make(EventErrorKind::Malformed, None, what.into())
    }

    /// An attribute (or `data`) breaks a rule; `rule` continues a sentence that starts with it.
    pub(crate) fn rule(attribute: &str, rule: impl Into<Cow<'static, str>>) -> Self {
        Self::make(EventErrorKind::Rule, Some(attribute), rule.into())
    }

    /// An attribute, or with `None` the event, exceeds a limit.
    pub(crate) fn too_large(attribute: Option<&str>, rule: impl Into<Cow<'static, str>>) -> Self {
        Self::make(EventErrorKind::TooLarge, attribute, rule.into())
    }

    fn make(kind: EventErrorKind, attribute: Option<&str>, rule: Cow<'static, str>) -> Self {
        Self(Box::new(Inner {
            kind,
            attribute: attribute.map(|name| cut(name).into_owned()),
            rule,
            found: None,
        }))
    }

    /// Adds the offending text, truncated and quoted.
    pub(crate) fn found(mut self, text: &str) -> Self {
        self.0.found = Some(format!("{:?}", cut(text)));
        self
    }

    /// Adds a description of what was found, unquoted.
    pub(crate) fn found_a(mut self, what: impl Into<String>) -> Self {
        self.0.found = Some(what.into());
        self
    }

    /// The category.
    pub fn kind(&self) -> EventErrorKind {
        self.0.kind
    }

    /// The offending attribute (or `data`, `data_base64`), if it is a single one; truncated.
    pub fn attribute(&self) -> Option<&str> {
        self.0.attribute.as_deref()
    }

    /// The broken rule.
    pub fn broken_rule(&self) -> &str {
        &self.0.rule
    }
}

/// Truncates text to [`FOUND_MAX_CHARS`].
pub(crate) fn cut(text: &str) -> Cow<'_, str> {
    cut_chars(text, FOUND_MAX_CHARS)
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { attribute, rule, found, .. } = &*self.0;
        match attribute.as_deref() {
            Some(name @ ("data" | "data_base64")) => write!(f, "{name} {rule}")?,
            Some(name) => write!(f, "attribute {name:?} {rule}")?,
            None => f.write_str(rule)?,
        }
        match found {
            Some(found) => write!(f, ", found {found}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for EventError {}

/// Why a batch is refused. One invalid member refuses the whole batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchError {
    /// Index of the invalid member, from 0; `None` if the batch itself is invalid.
    pub member: Option<usize>,
    /// What is wrong with it.
    pub reason: EventError,
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.member {
            Some(member) => write!(f, "member {member} of the batch (from 0): {}", self.reason),
            None => fmt::Display::fmt(&self.reason, f),
        }
    }
}

impl std::error::Error for BatchError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_name_attribute_rule_and_finding() {
        let cases = [
            (EventError::rule("id", "must not be empty"), r#"attribute "id" must not be empty"#),
            (EventError::rule("data", "is there twice"), "data is there twice"),
            (EventError::malformed("not JSON"), "not JSON"),
            (
                EventError::rule("time", "must be RFC 3339").found("a\nb"),
                r#"attribute "time" must be RFC 3339, found "a\nb""#,
            ),
        ];
        for (error, text) in cases {
            assert_eq!(error.to_string(), text);
        }
        let batch = BatchError { member: Some(2), reason: EventError::malformed("x") };
        assert_eq!(batch.to_string(), "member 2 of the batch (from 0): x");
    }

    #[test]
    fn long_findings_are_cut() {
        let error = EventError::rule(&"n".repeat(5_000), "is odd").found(&"é".repeat(5_000));
        assert!(error.to_string().len() < 400, "{error}");
        assert!(error.to_string().contains('…'));
    }
}
