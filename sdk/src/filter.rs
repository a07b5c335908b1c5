//! Filters of the CloudEvents Subscriptions API 1.0, by builder.

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
    /// Events of one type.
    #[must_use]
    pub fn event_type(ty: &str) -> Self {
        Self::exact("type", ty)
    }

    /// Events of all types that begin like this.
    #[must_use]
    pub fn type_prefix(prefix: &str) -> Self {
        Self::prefix("type", prefix)
    }

    /// Events with exactly this value of an attribute.
    #[must_use]
    pub fn exact(attribute: &str, value: &str) -> Self {
        Self(json!({ "exact": { attribute: value } }))
    }

    /// Events where an attribute begins like this.
    #[must_use]
    pub fn prefix(attribute: &str, value: &str) -> Self {
        Self(json!({ "prefix": { attribute: value } }))
    }

    /// Events where an attribute ends like this.
    #[must_use]
    pub fn suffix(attribute: &str, value: &str) -> Self {
        Self(json!({ "suffix": { attribute: value } }))
    }

    /// Events that pass each of these; at least one.
    #[must_use]
    pub fn all(filters: impl IntoIterator<Item = Self>) -> Self {
        Self(json!({ "all": Self::values(filters) }))
    }

    /// Events that pass one of these or more; at least one.
    #[must_use]
    pub fn any(filters: impl IntoIterator<Item = Self>) -> Self {
        Self(json!({ "any": Self::values(filters) }))
    }

    /// Events that don't pass this one.
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
    /// The filter as JSON, as the contract has it.
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
        check(
            Filter::any([Filter::event_type("a"), Filter::prefix("subject", "o-")]),
            r#"{"any":[{"exact":{"type":"a"}},{"prefix":{"subject":"o-"}}]}"#,
        );
        check(Filter::exact("subject", "\""), r#"{"exact":{"subject":"\""}}"#);
    }
}
