//! `[[ingest]]`: further paths that take events as `/events` does.

use usher_api::routes;

use super::table::{At, Table};

/// Limit on paths.
const PATHS_MAX: usize = 64;
const PATH_MAX_BYTES: usize = 256;

/// First segments that the API keeps for itself besides those of its routes.
const RESERVED: [&str; 2] = ["ui", "nodes"];

pub(super) fn read_all(table: &Table<'_>) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    for At { value: table, span } in table.list("ingest") {
        paths.extend(own_path(&table, &span, &paths));
        table.finish();
    }
    paths
}

/// Reads `path`, a path that the configuration adds to those of the API and to `others`. Reports
/// what is wrong with it.
pub(super) fn own_path(
    table: &Table<'_>,
    at: &std::ops::Range<usize>,
    others: &[String],
) -> Option<String> {
    let hint = || Some("choose a path of your own, such as path = \"/api/events\"".to_owned());
    if table.value("path").is_none() {
        let what = format!("[[{}]] needs a path", table.name());
        table.source().problem(at, what, hint());
    }
    let At { value, span } = table.string("path")?;
    let is_plain = |segment: &str| {
        let is_dots = matches!(segment, "." | "..");
        let allowed =
            |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~' | b':');
        !segment.is_empty() && !is_dots && !segment.starts_with(':') && segment.bytes().all(allowed)
    };
    let is_path = value.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_plain));
    let first = value.split('/').nth(1);
    let is_of_api = routes::ALL.iter().any(|route| route.path.split('/').nth(1) == first)
        || first.is_some_and(|first| RESERVED.contains(&first));
    let what = match () {
        () if !is_path => "must begin with a slash and have segments of letters, digits and -_.~:",
        () if value.len() > PATH_MAX_BYTES => "is too long",
        () if is_of_api => "is below a path of the API",
        () if others.iter().any(|other| other == value) => "is there twice",
        () if others.len() >= PATHS_MAX => "is one too many",
        () => return Some(value.to_owned()),
    };
    table.source().problem(&span, format!("path {value:?} {what}"), hint());
    None
}
