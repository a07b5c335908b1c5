//! `[plugin.NAME.limits]`: what one plugin may use, within the runtime's ranges, and no part beyond
//! its whole.

use serde_json::{Map, Value};
use usher_runtime::Limits;

use super::table::Table;

/// The values of two limits.
type Two = fn(&Limits) -> (u64, u64);

/// Limits on a part with that on the whole it is a part of.
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

/// The limits; what the table leaves out is as the runtime's default.
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
        // A whole that was lowered below the default of its part needs no word: it is met first.
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
    // Every key is a row and every value in its range, so this can't fail; the rows and the
    // fields are made from one table.
    serde_json::from_value(written.into()).unwrap_or_default()
}
