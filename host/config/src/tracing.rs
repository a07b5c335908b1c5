//! `[tracing]`: where spans are sent.

use std::ops::Range;
use std::path::Path;

use http::Uri;
use usher_telemetry::TracingOptions;

use super::headers;
use super::plugin::roots;
use super::table::{At, Table};

const SERVICE_NAME_DEFAULT: &str = "usher";
const SERVICE_NAME_MAX_BYTES: usize = 255;

/// Reads the table.
pub(super) fn read(root: &Table<'_>, folder: &Path) -> Option<TracingOptions> {
    let at = root.value("tracing")?.span();
    let table = root.table("tracing")?;
    let source = table.source();
    let endpoint = endpoint(&table, &at);
    let added = table.table("headers").map(|table| headers::read(&table, folder));
    let ca_file = table.string("ca_file").map(|At { value, .. }| folder.join(value));
    if ca_file.is_some() {
        // Reports a file that can't be used.
        let _ = roots(&table, folder);
    }
    let sample_ratio = table.number("sample_ratio", 0.0..=1.0).unwrap_or(1.0);
    let service_name = match table.string("service_name") {
        None => SERVICE_NAME_DEFAULT,
        Some(At { value, span }) => {
            if value.is_empty() || value.len() > SERVICE_NAME_MAX_BYTES {
                let what = format!("service_name must have 1 to {SERVICE_NAME_MAX_BYTES} bytes");
                source.problem(&span, what, Some("shorten it".to_owned()));
            }
            value
        }
    }
    .to_owned();
    table.finish();
    let headers = added.unwrap_or_default();
    Some(TracingOptions { endpoint: endpoint?, headers, ca_file, service_name, sample_ratio })
}

fn endpoint(table: &Table<'_>, at: &Range<usize>) -> Option<Uri> {
    let hint = || Some("write endpoint = \"http://localhost:4318\"".to_owned());
    if table.value("endpoint").is_none() {
        table.source().problem(at, "[tracing] needs an endpoint", hint());
    }
    let At { value, span } = table.string("endpoint")?;
    let endpoint = value.parse::<Uri>().ok().filter(|uri| {
        let is_plain = uri.query().is_none() && !value.contains(['#', '@']);
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() && is_plain
    });
    if endpoint.is_none() {
        table.source().problem(&span, format!("endpoint can't be {value:?}"), hint());
    }
    endpoint
}
