//! `[plugin.NAME.limits]`: resource limits of one plugin, checked against the runtime's ranges and
//! against each other.

use serde_json::{Map, Value};
use usher_runtime::Limits;

use super::table::Table;

/// The values of two limits.
type Two = fn(&Limits) -> (u64, u64);

/// Limits that another one bounds: the part, the whole, and the values of both.
const PARTS: [(&str, &str, Two); 7] = [
    ("cpu_ms", "wall_ms", |limits| (limits.cpu_ms, limits.wall_ms)),
    ("log_bytes", "log_minute_bytes", |limits| (limits.log_bytes, limits.log_minute_bytes)),
    ("state_value_bytes", "state_bytes", |limits| (limits.state_value_bytes, limits.state_bytes)),
    ("blob_bytes", "delivery_blob_bytes", |limits| (limits.blob_bytes, limits.delivery_blob_bytes)),
    ("delivery_blob_bytes", "blobs_bytes", |limits| {
        (limits.delivery_blob_bytes, limits.blobs_bytes)
    }),
    ("recycle_memory_bytes", "memory_bytes", |limits| {
        (limits.recycle_memory_bytes, limits.memory_bytes)
    }),
    ("http_connect_ms", "http_total_ms", |limits| (limits.http_connect_ms, limits.http_total_ms)),
];

/// Reads the limits; missing keys take the runtime's defaults.
pub(crate) fn read(table: Table<'_>) -> Limits {
    let mut written = Map::new();
    for row in Limits::ROWS {
        if let Some(value) = table.integer(row.name, row.min..=row.max) {
            written.insert(row.name.to_owned(), value.into());
        }
    }
    let unwritten = Limits::default();
    for (part, whole, values) in PARTS {
        let (part_default, whole_default) = values(&unwritten);
        let limit = |key, default| written.get(key).and_then(Value::as_u64).unwrap_or(default);
        let (most, of) = (limit(part, part_default), limit(whole, whole_default));
        // Lowering only the whole, below its part's default, is fine: the whole is reached first.
        if let Some(value) = table.value(part)
            && written.contains_key(part)
            && most > of
        {
            let what = format!("{part} = {most} can never be reached: {whole} is {of}");
            let hint = format!("lower {part}, or raise {whole} to {most} or more");
            table.source().problem(&value.span(), what, Some(hint));
        }
    }
    table.finish();
    // Infallible: rows and fields come from one table, and every value is within its row's range.
    serde_json::from_value(written.into()).unwrap_or_default()
}
