//! Reads filters and plain values from TOML.

use serde_json::{Number, Value as Json};
use toml::Spanned;
use toml::de::DeValue;
use usher_filter::Filter;

use super::table::Table;

/// Reads `filter = { exact = { type = "x" } }` or `filters = [ … ]`, all of which must match.
/// `None` if absent, or invalid, which is reported.
pub(crate) fn filter(table: &Table<'_>) -> Option<Filter> {
    let one = table.value("filter");
    let many = table.value("filters");
    match (one, many) {
        (None, None) => None,
        (Some(value), None) => read_filter(table, value),
        (None, Some(value)) if value.get_ref().is_array() => read_filter(table, value),
        (None, Some(value)) => {
            let hint = "write filters = [ { exact = { type = \"…\" } } ]".to_owned();
            table.source().problem(&value.span(), "filters must be a list", Some(hint));
            None
        }
        (Some(_), Some(value)) => {
            let hint = "put the one filter into the list".to_owned();
            let what = "filter and filters can't both be there";
            table.source().problem(&value.span(), what, Some(hint));
            None
        }
    }
}

/// Converts to JSON text, to share the parser and limits of filters from other sources.
fn read_filter(table: &Table<'_>, value: &Spanned<DeValue<'_>>) -> Option<Filter> {
    Filter::parse(&to_json(value.get_ref()).to_string())
        .map_err(|error| {
            let hint = "such as { prefix = { type = \"ticket.\" } } or \
                        { sql = \"type LIKE 'ticket.%'\" }; docs/filters.md has all dialects";
            table.source().problem(&value.span(), error, Some(hint.to_owned()));
        })
        .ok()
}

/// Converts to JSON. Dates, non-finite floats and integers beyond `i64` become strings.
pub(super) fn to_json(value: &DeValue<'_>) -> Json {
    match value {
        DeValue::String(text) => Json::String(text.to_string()),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or_else(|_| Json::String(integer.to_string()), Json::from),
        DeValue::Float(float) => float
            .as_str()
            .parse()
            .ok()
            .and_then(Number::from_f64)
            .map_or_else(|| Json::String(float.to_string()), Json::Number),
        DeValue::Boolean(boolean) => Json::Bool(*boolean),
        DeValue::Datetime(datetime) => Json::String(datetime.to_string()),
        DeValue::Array(items) => items.iter().map(|item| to_json(item.get_ref())).collect(),
        DeValue::Table(entries) => entries
            .iter()
            .map(|(key, value)| (key.get_ref().to_string(), to_json(value.get_ref())))
            .collect(),
    }
}

/// A plugin's setting as text: strings as they are, numbers and booleans as written.
pub(crate) fn setting(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(integer) => Some(integer.to_string()),
        DeValue::Float(float) => Some(float.to_string()),
        DeValue::Boolean(boolean) => Some(boolean.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}
