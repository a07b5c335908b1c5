//! Parses filters from JSON. All limits are checked here, so evaluation needs none.

use serde_json::Value as Json;
use usher_event::check_attribute_name;

use crate::filter::{Comparison, Expression, combine};
use crate::strict::Strict;
use crate::{Filter, FilterError};

/// Maximum nesting depth; the root is at depth 1.
pub const FILTER_MAX_DEPTH: usize = 16;

/// Maximum number of expressions and compared attributes in a filter.
pub const FILTER_MAX_EXPRESSIONS: usize = 256;

/// Maximum length of a value to compare with; attributes are never longer.
pub const VALUE_MAX_BYTES: usize = usher_event::limits::ATTRIBUTE_MAX_BYTES;

/// Maximum size of a filter's JSON.
pub const FILTER_MAX_BYTES: usize = 64 * 1024;

impl Filter {
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
        Self::from_json(&json.0)
    }

    /// Converts JSON into a filter: an object with one dialect, or an array of such objects, all of
    /// which must match (`filters` of the Subscriptions API; empty matches every event).
    ///
    /// # Errors
    /// The rule or limit it breaks, and where.
    pub fn from_json(json: &Json) -> Result<Self, FilterError> {
        let mut reader = Reader { path: String::new(), expressions: 0 };
        let of = match json {
            Json::Array(of) => of.as_slice(),
            one => return reader.expression(one, 1).map(Self),
        };
        // An array of several becomes an `all`, so it counts as an expression.
        let depth = if of.len() > 1 {
            reader.count()?;
            2
        } else {
            1
        };
        Ok(Self(combine(reader.list(of, depth)?)))
    }
}

struct Reader {
    path: String,
    expressions: usize,
}

impl Reader {
    fn expression(&mut self, json: &Json, depth: usize) -> Result<Expression, FilterError> {
        if depth > FILTER_MAX_DEPTH {
            return Err(self.error(too_deep()));
        }
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
        self.within(&format!(".{dialect}"), |reader| match dialect.as_str() {
            "exact" => reader.comparison(Comparison::Exact, body),
            "prefix" => reader.comparison(Comparison::Prefix, body),
            "suffix" => reader.comparison(Comparison::Suffix, body),
            "all" => Ok(Expression::All(reader.list_of(body, depth)?)),
            "any" => Ok(Expression::Any(reader.list_of(body, depth)?)),
            "not" => Ok(Expression::Not(Box::new(reader.expression(body, depth + 1)?))),
            _ => Err(reader
                .error("is not a dialect there is: use exact, prefix, suffix, all, any or not")),
        })
    }

    fn comparison(&mut self, how: Comparison, body: &Json) -> Result<Expression, FilterError> {
        let Json::Object(object) = body else {
            return Err(self.error(format!(
                "expected an object of attributes and strings, found {}",
                kind(body)
            )));
        };
        if object.is_empty() {
            return Err(self.error("is empty: name an attribute"));
        }
        let mut attributes = Vec::with_capacity(object.len());
        for (name, value) in object {
            self.count()?;
            check_attribute_name(name).map_err(|reason| self.error(reason))?;
            let value = self.within(&format!(".{name}"), |reader| reader.value(value))?;
            attributes.push((name.as_str().into(), value));
        }
        // Order in JSON is irrelevant; sort, so that equal filters compare equal.
        attributes.sort_unstable();
        Ok(Expression::Compare(how, attributes))
    }

    fn value(&mut self, json: &Json) -> Result<Box<str>, FilterError> {
        match json {
            Json::String(text) if text.is_empty() => Err(self.error("must not be empty")),
            Json::String(text) if text.len() > VALUE_MAX_BYTES => Err(self
                .error(format!("has {} bytes, at most {VALUE_MAX_BYTES} are allowed", text.len()))),
            Json::String(text) => Ok(text.as_str().into()),
            other => Err(self.error(format!("expected a string, found {}", kind(other)))),
        }
    }

    fn list_of(&mut self, body: &Json, depth: usize) -> Result<Vec<Expression>, FilterError> {
        match body {
            Json::Array(of) if of.is_empty() => {
                Err(self.error("is empty: at least one filter is needed"))
            }
            Json::Array(of) => self.list(of, depth + 1),
            other => {
                Err(self.error(format!("expected an array of filters, found {}", kind(other))))
            }
        }
    }

    fn list(&mut self, of: &[Json], depth: usize) -> Result<Vec<Expression>, FilterError> {
        of.iter()
            .enumerate()
            .map(|(i, json)| {
                self.within(&format!("[{i}]"), |reader| reader.expression(json, depth))
            })
            .collect()
    }

    fn within<T>(
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

    fn count(&mut self) -> Result<(), FilterError> {
        self.expressions += 1;
        if self.expressions > FILTER_MAX_EXPRESSIONS {
            return Err(self.error(too_many()));
        }
        Ok(())
    }

    fn error(&self, reason: impl Into<String>) -> FilterError {
        FilterError::new(&self.path, reason)
    }
}

pub(crate) fn too_deep() -> String {
    format!("nests deeper than {FILTER_MAX_DEPTH}")
}

pub(crate) fn too_many() -> String {
    format!("the filter has more than {FILTER_MAX_EXPRESSIONS} expressions and attributes")
}

fn kind(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}
