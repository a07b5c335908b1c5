//! Filters and their evaluation.

use serde_json::{Map, Value as Json, json};
use usher_event::Event;

use crate::FilterError;
use crate::parse::{FILTER_MAX_DEPTH, FILTER_MAX_EXPRESSIONS, too_deep, too_many};

/// Decides which events a subscription receives.
///
/// An attribute that an event doesn't have matches nothing, so its `not` matches. Attributes that
/// aren't strings are compared in the string form that CloudEvents gives their type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(pub(crate) Expression);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expression {
    /// All of these attributes compare true; never empty.
    Compare(Comparison, Vec<(Box<str>, Box<str>)>),
    /// All of these hold; empty matches every event (an absent or empty `filters` array).
    All(Vec<Expression>),
    /// At least one of these holds; never empty.
    Any(Vec<Expression>),
    /// This doesn't hold.
    Not(Box<Expression>),
}

/// How an attribute's value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Exact,
    Prefix,
    Suffix,
}

impl Comparison {
    pub(crate) fn dialect(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Prefix => "prefix",
            Self::Suffix => "suffix",
        }
    }

    pub(crate) fn holds(self, found: &str, wanted: &str) -> bool {
        match self {
            Self::Exact => found == wanted,
            Self::Prefix => found.starts_with(wanted),
            Self::Suffix => found.ends_with(wanted),
        }
    }
}

impl Filter {
    /// The filter that matches every event, like an empty `filters` array.
    pub fn everything() -> Self {
        Self(Expression::All(Vec::new()))
    }

    /// Whether it trivially matches every event.
    pub fn is_everything(&self) -> bool {
        self.0.is_everything()
    }

    /// The conjunction of `filters`, like a `filters` array.
    ///
    /// # Errors
    /// The result exceeds a limit.
    pub fn try_all(filters: impl IntoIterator<Item = Self>) -> Result<Self, FilterError> {
        let all = Self(combine(filters.into_iter().map(|filter| filter.0)));
        let Size { depth, expressions } = all.0.size();
        if depth > FILTER_MAX_DEPTH {
            return Err(FilterError::new("", too_deep()));
        }
        if expressions > FILTER_MAX_EXPRESSIONS {
            return Err(FilterError::new("", too_many()));
        }
        Ok(all)
    }

    /// The conjunction of two filters. It may exceed the limits that each keeps, at most about
    /// twofold: for queries, not to be stored.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(combine([self.0, other.0]))
    }

    /// The filter for types that begin with `prefix`.
    ///
    /// # Errors
    /// The prefix is empty or too long.
    pub fn type_prefix(prefix: &str) -> Result<Self, FilterError> {
        Self::from_json(&json!({ "prefix": { "type": prefix } }))
    }

    /// Whether the event matches.
    pub fn matches(&self, event: &Event) -> bool {
        self.0.holds(event)
    }

    /// Whether it selects types that begin with `prefix`: some `exact` or `prefix` comparison of
    /// `type` does, outside a `not`.
    pub fn names_types(&self, prefix: &str) -> bool {
        self.0.names_types(prefix)
    }

    /// The filter as JSON that [`Filter::from_json`] accepts: an empty array for
    /// [`Filter::everything`], otherwise an object.
    pub fn to_json(&self) -> Json {
        if self.is_everything() { Json::Array(Vec::new()) } else { self.0.to_json() }
    }
}

impl std::fmt::Display for Filter {
    /// The filter as compact JSON.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.to_json().fmt(f)
    }
}

/// The conjunction of expressions, without trivial ones.
pub(crate) fn combine(of: impl IntoIterator<Item = Expression>) -> Expression {
    let mut of: Vec<_> = of.into_iter().filter(|one| !one.is_everything()).collect();
    match (of.pop(), of.is_empty()) {
        (None, _) => Expression::All(of),
        (Some(only), true) => only,
        (Some(last), false) => {
            of.push(last);
            Expression::All(of)
        }
    }
}

/// What the limits are checked against.
struct Size {
    depth: usize,
    expressions: usize,
}

impl Expression {
    fn is_everything(&self) -> bool {
        matches!(self, Self::All(of) if of.is_empty())
    }

    /// Counts in the same way as the parser.
    fn size(&self) -> Size {
        let members = match self {
            Self::Compare(_, attributes) => {
                return Size { depth: 1, expressions: 1 + attributes.len() };
            }
            Self::All(of) | Self::Any(of) => of.as_slice(),
            Self::Not(inner) => std::slice::from_ref(&**inner),
        };
        members.iter().map(Self::size).fold(Size { depth: 1, expressions: 1 }, |sum, member| Size {
            depth: sum.depth.max(1 + member.depth),
            expressions: sum.expressions + member.expressions,
        })
    }

    fn names_types(&self, prefix: &str) -> bool {
        match self {
            Self::Compare(Comparison::Exact | Comparison::Prefix, attributes) => attributes
                .iter()
                .any(|(name, wanted)| &**name == "type" && wanted.starts_with(prefix)),
            Self::Compare(Comparison::Suffix, _) | Self::Not(_) => false,
            Self::All(of) | Self::Any(of) => of.iter().any(|member| member.names_types(prefix)),
        }
    }

    pub(crate) fn holds(&self, event: &Event) -> bool {
        match self {
            Self::Compare(comparison, attributes) => attributes.iter().all(|(name, wanted)| {
                match &**name {
                    // Fast path: most filters compare the type.
                    "type" => comparison.holds(event.ty(), wanted),
                    name => {
                        event.attribute(name).is_some_and(|found| comparison.holds(&found, wanted))
                    }
                }
            }),
            Self::All(of) => of.iter().all(|expression| expression.holds(event)),
            Self::Any(of) => of.iter().any(|expression| expression.holds(event)),
            Self::Not(inner) => !inner.holds(event),
        }
    }

    pub(crate) fn to_json(&self) -> Json {
        let list = |of: &[Self]| Json::Array(of.iter().map(Self::to_json).collect());
        match self {
            Self::Compare(comparison, attributes) => {
                let attributes: Map<_, _> = attributes
                    .iter()
                    .map(|(name, value)| (name.to_string(), Json::from(&**value)))
                    .collect();
                json!({ comparison.dialect(): attributes })
            }
            Self::All(of) => json!({ "all": list(of) }),
            Self::Any(of) => json!({ "any": list(of) }),
            Self::Not(inner) => json!({ "not": inner.to_json() }),
        }
    }
}
