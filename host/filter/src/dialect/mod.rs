//! What a dialect of filters is. Each is one file here (a large one a folder) and one line in the
//! list of `filter.rs`.

pub(crate) mod all;
pub(crate) mod any;
mod attributes;
pub(crate) mod data;
pub(crate) mod exact;
pub(crate) mod not;
pub(crate) mod prefix;
pub(crate) mod sql;
pub(crate) mod suffix;

use std::fmt::Debug;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::cover::{Cost, Cover};
use crate::data::path::Pointer;
use crate::mismatch::Mismatch;
use crate::subject::Subject;

/// A filter expression of some dialect.
pub(crate) type Expression = Arc<dyn Dialect>;

/// What a dialect's expressions can do.
pub(crate) trait Dialect: Debug + Send + Sync {
    /// Whether the event matches. On the hot path: doesn't allocate for string attributes.
    fn holds(&self, subject: &Subject<'_>) -> bool;

    /// Why the event doesn't match; called only if it doesn't.
    fn explain(&self, subject: &Subject<'_>) -> Mismatch;

    /// Why the event must not match; called only if it does.
    fn explain_match(&self, _subject: &Subject<'_>) -> Mismatch {
        Mismatch::unwanted(&self.to_json())
    }

    /// Conditions of which every event that matches meets at least one, the cheapest to look up;
    /// `None` if there are none.
    fn cover(&self, cost: Cost<'_>) -> Option<Cover>;

    /// The single values of the payload that it looks at.
    fn pointers<'p>(&'p self, _into: &mut Vec<&'p Pointer>) {}

    /// Whether it looks at the payload.
    fn reads_data(&self) -> bool {
        false
    }

    /// Whether it selects types that begin with `prefix`, outside a `not`.
    fn selects_type_prefix(&self, prefix: &str) -> bool;

    /// What the limits are checked against; counts as the reader does.
    fn size(&self) -> Size;

    /// The expression as it is read; equal expressions have equal JSON.
    fn to_json(&self) -> Json;
}

/// What the limits are checked against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) depth: usize,
    pub(crate) expressions: usize,
}

impl Size {
    /// Something around others.
    pub(crate) fn around(members: impl IntoIterator<Item = Self>) -> Self {
        let one = Self { depth: 1, expressions: 1 };
        members.into_iter().fold(one, |sum, member| Self {
            depth: sum.depth.max(1 + member.depth),
            expressions: sum.expressions + member.expressions,
        })
    }
}

/// The member `name` with this value.
pub(crate) fn object(name: &str, value: Json) -> Json {
    Json::Object([(name.to_owned(), value)].into_iter().collect())
}

/// Expressions as a list.
pub(crate) fn list(of: &[Expression]) -> Json {
    Json::Array(of.iter().map(|one| one.to_json()).collect())
}
