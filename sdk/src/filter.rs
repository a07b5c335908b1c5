//! A builder for filters: those of the CloudEvents Subscriptions API 1.0, and `data`.

use std::fmt;

use serde_json::{Value, json};

/// Says which events a subscription wants. An attribute an event doesn't have matches nothing.
///
/// ```
/// use usher_sdk::Filter;
///
/// let filter = Filter::all([
///     Filter::type_prefix("ticket."),
///     Filter::not(Filter::exact("source", "/tests")),
/// ]);
/// assert_eq!(
///     filter.to_string(),
///     r#"{"all":[{"prefix":{"type":"ticket."}},{"not":{"exact":{"source":"/tests"}}}]}"#
/// );
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Filter(Value);

impl Filter {
    /// Matches events of one type.
    #[must_use]
    pub fn event_type(ty: &str) -> Self {
        Self::exact("type", ty)
    }

    /// Matches events whose type begins with `prefix`.
    #[must_use]
    pub fn type_prefix(prefix: &str) -> Self {
        Self::prefix("type", prefix)
    }

    /// Matches events whose attribute has exactly this value.
    #[must_use]
    pub fn exact(attribute: &str, value: &str) -> Self {
        Self(json!({ "exact": { attribute: value } }))
    }

    /// Matches events whose attribute begins with this value.
    #[must_use]
    pub fn prefix(attribute: &str, value: &str) -> Self {
        Self(json!({ "prefix": { attribute: value } }))
    }

    /// Matches events whose attribute ends with this value.
    #[must_use]
    pub fn suffix(attribute: &str, value: &str) -> Self {
        Self(json!({ "suffix": { attribute: value } }))
    }

    /// Matches events for which a CloudEvents SQL expression is true.
    #[must_use]
    pub fn sql(expression: &str) -> Self {
        Self(json!({ "sql": expression }))
    }

    /// Matches events with JSON data in which a path leads to a value that meets a condition: a value to be
    /// equal to, an array of alternatives, or an object of operators, as docs/filters.md has them.
    #[must_use]
    pub fn data(path: &str, condition: Value) -> Self {
        Self(json!({ "data": { path: condition } }))
    }

    /// Matches events that match all of these filters; needs at least one.
    #[must_use]
    pub fn all(filters: impl IntoIterator<Item = Self>) -> Self {
        Self(json!({ "all": Self::values(filters) }))
    }

    /// Matches events that match any of these filters; needs at least one.
    #[must_use]
    pub fn any(filters: impl IntoIterator<Item = Self>) -> Self {
        Self(json!({ "any": Self::values(filters) }))
    }

    /// Matches events that don't match this filter.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "named as in the Subscriptions API")]
    pub fn not(filter: Self) -> Self {
        Self(json!({ "not": filter.0 }))
    }

    fn values(filters: impl IntoIterator<Item = Self>) -> Vec<Value> {
        filters.into_iter().map(|filter| filter.0).collect()
    }
}

impl fmt::Display for Filter {
    /// The filter as JSON, in the form the contract requires.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_every_dialect() {
        let check = |filter: Filter, expected: &str| assert_eq!(filter.to_string(), expected);
        check(Filter::event_type("a"), r#"{"exact":{"type":"a"}}"#);
        check(Filter::suffix("source", "/x"), r#"{"suffix":{"source":"/x"}}"#);
        check(Filter::sql("type = 'a'"), r#"{"sql":"type = 'a'"}"#);
        check(Filter::data("/a", json!({ "gte": 1 })), r#"{"data":{"/a":{"gte":1}}}"#);
        check(
            Filter::any([Filter::event_type("a"), Filter::prefix("subject", "o-")]),
            r#"{"any":[{"exact":{"type":"a"}},{"prefix":{"subject":"o-"}}]}"#,
        );
        check(Filter::exact("subject", "\""), r#"{"exact":{"subject":"\""}}"#);
    }
}
