//! Reads expressions from JSON. All limits are checked here, so evaluation needs none.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::FilterError;
use crate::dialect::{Dialect, Expression};

/// Maximum nesting depth; the root is at depth 1.
pub const FILTER_MAX_DEPTH: usize = 16;

/// Maximum number of expressions, compared attributes and conditions on data in a filter.
pub const FILTER_MAX_EXPRESSIONS: usize = 1_024;

/// Maximum number of paths in a filter that can lead to several values.
const FILTER_MAX_QUERIES: usize = 8;

/// Maximum length of a value to compare with; attributes are never longer.
pub const VALUE_MAX_BYTES: usize = usher_event::limits::ATTRIBUTE_MAX_BYTES;

/// A dialect's name, and how its expressions are read.
pub(crate) type Entry = (&'static str, fn(&mut Reader, &Json) -> Result<Expression, FilterError>);

/// An entry for a dialect with this reading.
pub(crate) fn read<D: Dialect + 'static>(
    read: Result<D, FilterError>,
) -> Result<Expression, FilterError> {
    read.map(|expression| Arc::new(expression) as Expression)
}

pub(crate) struct Reader {
    dialects: &'static [Entry],
    path: String,
    /// The root is at depth 1.
    depth: usize,
    expressions: usize,
    queries: usize,
}

impl Reader {
    pub(crate) fn new(dialects: &'static [Entry]) -> Self {
        Self { dialects, path: String::new(), depth: 1, expressions: 0, queries: 0 }
    }

    pub(crate) fn expression(&mut self, json: &Json) -> Result<Expression, FilterError> {
        self.check_depth()?;
        self.count()?;
        let Json::Object(object) = json else {
            return Err(self.error(format!(
                "expected an object such as {{\"exact\":{{\"type\":\"a\"}}}}, found {}",
                kind(json)
            )));
        };
        let mut members = object.iter();
        let (dialect, body) = match (members.next(), members.next()) {
            (Some(only), None) => only,
            (None, _) => return Err(self.error("is empty: name a dialect, such as exact")),
            (Some(_), Some(_)) => {
                return Err(self.error("has more than one dialect: combine them with all or any"));
            }
        };
        let known = self.dialects.iter().find(|(name, _)| name == dialect);
        self.within(&format!(".{dialect}"), |reader| match known {
            Some((_, read)) => read(reader, body),
            None => Err(reader.error(format!(
                "is not a dialect there is: use {}",
                listed(reader.dialects.iter().map(|(name, _)| *name))
            ))),
        })
    }

    pub(crate) fn value(&mut self, json: &Json) -> Result<Box<str>, FilterError> {
        match json {
            Json::String(text) if text.is_empty() => Err(self.error("must not be empty")),
            Json::String(text) if text.len() > VALUE_MAX_BYTES => Err(self
                .error(format!("has {} bytes, at most {VALUE_MAX_BYTES} are allowed", text.len()))),
            Json::String(text) => Ok(text.as_str().into()),
            other => Err(self.error(format!("expected a string, found {}", kind(other)))),
        }
    }

    /// Members of an expression; at least one.
    pub(crate) fn list_of(&mut self, body: &Json) -> Result<Vec<Expression>, FilterError> {
        match body {
            Json::Array(of) if of.is_empty() => {
                Err(self.error("is empty: at least one filter is needed"))
            }
            Json::Array(of) => self.deeper(|reader| reader.list(of)),
            other => {
                Err(self.error(format!("expected an array of filters, found {}", kind(other))))
            }
        }
    }

    pub(crate) fn list(&mut self, of: &[Json]) -> Result<Vec<Expression>, FilterError> {
        let members = of.iter().enumerate();
        let read = |(i, json)| self.within(&format!("[{i}]"), |reader| reader.expression(json));
        members.map(read).collect()
    }

    /// Reads a level deeper.
    pub(crate) fn deeper<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, FilterError>,
    ) -> Result<T, FilterError> {
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    pub(crate) fn within<T>(
        &mut self,
        step: &str,
        read: impl FnOnce(&mut Self) -> Result<T, FilterError>,
    ) -> Result<T, FilterError> {
        let before = self.path.len();
        self.path.push_str(step);
        let result = read(self);
        self.path.truncate(before);
        result
    }

    pub(crate) fn check_depth(&self) -> Result<(), FilterError> {
        if self.depth > FILTER_MAX_DEPTH {
            return Err(self.error(too_deep()));
        }
        Ok(())
    }

    pub(crate) fn count(&mut self) -> Result<(), FilterError> {
        self.expressions += 1;
        if self.expressions > FILTER_MAX_EXPRESSIONS {
            return Err(self.error(too_many()));
        }
        Ok(())
    }

    /// Counts a path that reads data again for itself.
    pub(crate) fn count_query(&mut self) -> Result<(), FilterError> {
        self.queries += 1;
        if self.queries > FILTER_MAX_QUERIES {
            return Err(self.error(format!(
                "the filter has more than {FILTER_MAX_QUERIES} queries that can select several values"
            )));
        }
        Ok(())
    }

    pub(crate) fn error(&self, reason: impl Into<String>) -> FilterError {
        FilterError::new(&self.path, reason)
    }
}

/// `a, b or c`.
fn listed(names: impl DoubleEndedIterator<Item = &'static str>) -> String {
    let mut names = names.rev();
    let last = names.next().unwrap_or_default();
    let before: Vec<_> = names.rev().collect();
    format!("{} or {last}", before.join(", "))
}

pub(crate) fn too_deep() -> String {
    format!("nests deeper than {FILTER_MAX_DEPTH}")
}

pub(crate) fn too_many() -> String {
    format!(
        "the filter has more than {FILTER_MAX_EXPRESSIONS} expressions, attributes and conditions"
    )
}

pub(crate) fn kind(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}
