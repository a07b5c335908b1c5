//! Filters, and the list of dialects they are written in.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use usher_event::Event;

use crate::FilterError;
use crate::cover::{Atom, Cost, Cover, Test};
use crate::data::path::Pointer;
use crate::data::scan::Pointers;
use crate::dialect::all::All;
use crate::dialect::any::Any;
use crate::dialect::data::Data;
use crate::dialect::exact::Exact;
use crate::dialect::not::Not;
use crate::dialect::prefix::Prefix;
use crate::dialect::sql::Sql;
use crate::dialect::suffix::Suffix;
use crate::dialect::{Expression, Size};
use crate::mismatch::Mismatch;
use crate::reader::{
    Entry, FILTER_MAX_DEPTH, FILTER_MAX_EXPRESSIONS, Reader, read, too_deep, too_many,
};
use crate::strict::{Strict, rounded_number};
use crate::subject::Subject;

/// The dialects of the CloudEvents Subscriptions API 1.0, and `data`.
const DIALECTS: &[Entry] = &[
    ("exact", |reader, body| read(Exact::read(reader, body))),
    ("prefix", |reader, body| read(Prefix::read(reader, body))),
    ("suffix", |reader, body| read(Suffix::read(reader, body))),
    ("all", |reader, body| read(All::read(reader, body))),
    ("any", |reader, body| read(Any::read(reader, body))),
    ("not", |reader, body| read(Not::read(reader, body))),
    ("sql", |reader, body| read(Sql::read(reader, body))),
    ("data", |reader, body| read(Data::read(reader, body))),
];

/// Maximum size of a filter's JSON.
pub const FILTER_MAX_BYTES: usize = 64 * 1024;

/// Decides which events a subscription receives.
///
/// An attribute that an event doesn't have matches nothing, so its `not` matches. Attributes that
/// aren't strings are compared in the string form that CloudEvents gives their type. Cheap to
/// clone.
#[derive(Clone)]
pub struct Filter {
    /// `None` matches every event (an absent or empty `filters` array).
    expression: Option<Expression>,
    /// The values of payloads that it looks at, which follow from it.
    pointers: Arc<Pointers>,
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter").field("expression", &self.expression).finish()
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        match (&self.expression, &other.expression) {
            (None, None) => true,
            (Some(one), Some(another)) => {
                Arc::ptr_eq(one, another) || one.to_json() == another.to_json()
            }
            _ => false,
        }
    }
}

impl Eq for Filter {}

impl Filter {
    /// The filter that matches every event, like an empty `filters` array.
    pub fn everything() -> Self {
        Self::of(None)
    }

    fn of(expression: Option<Expression>) -> Self {
        let mut of = Self { expression, pointers: Arc::default() };
        let pointers = Pointers::of(of.pointers());
        if !pointers.is_empty() {
            of.pointers = Arc::new(pointers);
        }
        of
    }

    /// Whether it trivially matches every event.
    pub fn is_everything(&self) -> bool {
        self.expression.is_none()
    }

    /// Parses a filter from JSON text; see [`Filter::from_json`].
    ///
    /// # Errors
    /// The text is too long, not JSON, or not a filter.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        if text.len() > FILTER_MAX_BYTES {
            return Err(FilterError::new(
                "",
                format!("has {} bytes, at most {FILTER_MAX_BYTES} are allowed", text.len()),
            ));
        }
        let json: Strict = serde_json::from_str(text)
            .map_err(|e| FilterError::new("", format!("not a filter in JSON: {e}")))?;
        if let Some(number) = rounded_number(text) {
            let number = Mismatch::shown_text(number);
            return Err(FilterError::new(
                "",
                format!("{number} has more digits than a 64-bit number keeps: shorten it"),
            ));
        }
        Self::from_json(&json.0)
    }

    /// Converts JSON into a filter: an object with one dialect, or an array of such objects, all of
    /// which must match (`filters` of the Subscriptions API; empty matches every event).
    ///
    /// # Errors
    /// The rule or limit it breaks, and where.
    pub fn from_json(json: &Json) -> Result<Self, FilterError> {
        let mut reader = Reader::new(DIALECTS);
        let Json::Array(of) = json else {
            return Ok(Self::of(Some(reader.expression(json)?)));
        };
        // An array of several becomes an `all`, so it counts as an expression.
        if of.len() > 1 {
            reader.count()?;
            return Ok(Self::combine(reader.deeper(|reader| reader.list(of))?));
        }
        Ok(Self::combine(reader.list(of)?))
    }

    /// The conjunction of expressions.
    fn combine(mut of: Vec<Expression>) -> Self {
        let expression = match of.len() {
            0 | 1 => of.pop(),
            _ => Some(Arc::new(All(of)) as Expression),
        };
        Self::of(expression)
    }

    /// The conjunction of `filters`, like a `filters` array.
    ///
    /// # Errors
    /// The result exceeds a limit.
    pub fn try_all(filters: impl IntoIterator<Item = Self>) -> Result<Self, FilterError> {
        let all = Self::combine(filters.into_iter().filter_map(|one| one.expression).collect());
        let Some(expression) = &all.expression else { return Ok(all) };
        let Size { depth, expressions } = expression.size();
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
        Self::combine([self, other].into_iter().filter_map(|one| one.expression).collect())
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
        self.matches_subject(&Subject::new(event, &self.pointers))
    }

    /// Why the event doesn't match; `None` if and only if it matches. Evaluates the filter again,
    /// with allocations; meant for diagnostics only.
    pub fn explain(&self, event: &Event) -> Option<Mismatch> {
        let subject = Subject::new(event, &self.pointers);
        let expression = self.expression.as_ref().filter(|one| !one.holds(&subject))?;
        Some(expression.explain(&subject))
    }

    /// Whether it selects types that begin with `prefix`: some `exact` or `prefix` comparison of
    /// `type` does, outside a `not`.
    pub fn selects_type_prefix(&self, prefix: &str) -> bool {
        self.expression.as_ref().is_some_and(|expression| expression.selects_type_prefix(prefix))
    }

    /// Whether it can match only events of some types, or types that begin so.
    pub fn names_types(&self) -> bool {
        self.type_cover().is_some()
    }

    /// Whether it looks at the payload.
    pub fn reads_data(&self) -> bool {
        self.expression.as_ref().is_some_and(|expression| expression.reads_data())
    }

    /// Whether an event matches that several filters look at.
    pub(crate) fn matches_subject(&self, subject: &Subject<'_>) -> bool {
        self.expression.as_ref().is_none_or(|expression| expression.holds(subject))
    }

    /// What an index may look it up by.
    pub(crate) fn cover(&self, cost: Cost<'_>) -> Option<Cover> {
        let cover = self.expression.as_ref()?.cover(cost)?;
        cover.cost(cost).map(|_| cover)
    }

    /// The types that it can match, as far as equality and prefixes tell.
    pub(crate) fn type_cover(&self) -> Option<Cover> {
        let narrows = |atom: &Atom| !matches!(atom.test, Test::EndsWith(_) | Test::Within(..));
        self.cover(&|atom| (atom.is_of_type() && narrows(atom)).then_some(1))
    }

    /// The values of payloads that it looks at.
    pub(crate) fn pointers(&self) -> Vec<&Pointer> {
        let mut pointers = Vec::new();
        if let Some(expression) = &self.expression {
            expression.pointers(&mut pointers);
        }
        pointers
    }

    /// The filter as JSON that [`Filter::from_json`] accepts: an empty array for
    /// [`Filter::everything`], otherwise an object.
    pub fn to_json(&self) -> Json {
        match &self.expression {
            None => Json::Array(Vec::new()),
            Some(expression) => expression.to_json(),
        }
    }
}

impl std::fmt::Display for Filter {
    /// The filter as compact JSON.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.to_json().fmt(f)
    }
}
