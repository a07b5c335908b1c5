//! `headers`: fields that are added to each request that the router sends.

use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::secrets::SecretSource;
use super::table::{At, Table};

/// Limits on the header fields that are added to each request.
const HEADERS_MAX: usize = 32;
const HEADERS_MAX_BYTES: usize = 16 * 1024;

/// Fields that the request itself determines.
const OWN_HEADERS: [&str; 6] =
    ["host", "content-length", "transfer-encoding", "connection", "content-type", "te"];

/// `NAME = "text"`, or a secret: `NAME = { file = "PATH", prefix = "Bearer " }`.
pub(super) fn read(table: &Table<'_>, folder: &Path) -> HeaderMap {
    let source = table.source();
    let (mut headers, mut bytes) = (HeaderMap::new(), 0);
    for (At { value: name, span }, value) in table.entries() {
        let parsed = name.parse::<HeaderName>();
        let is_own = |name: &HeaderName| {
            OWN_HEADERS.contains(&name.as_str()) || name.as_str().starts_with("ce-")
        };
        let Some(header) = parsed.ok().filter(|name| !is_own(name)) else {
            let hint = "name a field that the request does not have by itself".to_owned();
            source.problem(&span, format!("headers can't have {name:?}"), Some(hint));
            continue;
        };
        let text = match value.get_ref().as_str() {
            Some(text) => Some(text.to_owned()),
            None => secret_header(table, name, value, folder),
        };
        let Some(text) = text else { continue };
        bytes += name.len() + text.len();
        let Ok(mut value) = HeaderValue::from_str(&text) else {
            source.problem(&span, format!("the value of {name} can't be part of a header"), None);
            continue;
        };
        if headers.len() >= HEADERS_MAX || bytes > HEADERS_MAX_BYTES {
            let what = format!(
                "headers are too large: at most {HEADERS_MAX} of {HEADERS_MAX_BYTES} bytes in all"
            );
            source.problem(&span, what, Some("leave some out".to_owned()));
            break;
        }
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    headers
}

fn secret_header<'a>(
    table: &Table<'a>,
    name: &str,
    value: &'a toml::Spanned<toml::de::DeValue<'a>>,
    folder: &Path,
) -> Option<String> {
    let inner = table.item(name, value)?;
    let prefix = inner.string("prefix").map(|At { value, .. }| value).unwrap_or_default();
    let span = value.span();
    let secret = SecretSource::read(inner, folder, &span)?.fetch();
    let unread =
        |(what, hint)| table.source().problem(&span, format!("{name}: {what}"), Some(hint));
    Some(format!("{prefix}{}", secret.map_err(unread).ok()?.expose()))
}
