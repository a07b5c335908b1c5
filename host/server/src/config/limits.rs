//! `[plugin.NAME.limits]`: what one plugin may use, within the runtime's ranges.

use serde_json::Map;
use usher_runtime::Limits;

use super::table::Table;

/// The limits; what the table leaves out is as the runtime's default.
pub(crate) fn read(table: Table<'_>) -> Limits {
    let mut written = Map::new();
    for row in Limits::ROWS {
        if let Some(value) = table.integer(row.name, row.min..=row.max) {
            written.insert(row.name.to_owned(), value.into());
        }
    }
    table.finish();
    // Every key is a row and every value in its range, so this can't fail; the rows and the
    // fields are made from one table.
    serde_json::from_value(written.into()).unwrap_or_default()
}
