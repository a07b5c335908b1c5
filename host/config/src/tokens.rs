//! `[token.NAME]`: tokens of which the configuration has the hash.

use std::collections::BTreeMap;

use usher_access::{PREFIX_MAX_BYTES, Permissions, SCOPES_MAX, TokenHash, TokenScope};
use usher_event::{TokenName, read_time};

use super::table::{At, Table};

/// Limit on tokens.
const TOKENS_MAX: usize = 256;

/// A token of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenConfig {
    /// The hash of its secret.
    pub hash: TokenHash,
    /// What it permits.
    pub permissions: Permissions,
    /// When it expires, Unix milliseconds.
    pub expires_ms: Option<u64>,
}

pub(super) fn read_all(table: &Table<'_>) -> BTreeMap<TokenName, TokenConfig> {
    let mut tokens = BTreeMap::new();
    for (At { value, span }, table) in table.tables() {
        let source = table.source();
        if tokens.len() >= TOKENS_MAX {
            let what = format!("there are more than {TOKENS_MAX} tokens");
            source.problem(&span, what, Some("remove some".to_owned()));
            break;
        }
        let name = value.parse::<TokenName>();
        if let Err(error) = &name {
            source.problem(&span, error, Some("rename it".to_owned()));
        }
        if let (Some(token), Ok(name)) = (read(table, &span), name) {
            tokens.insert(name, token);
        }
    }
    tokens
}

fn read(table: Table<'_>, at: &std::ops::Range<usize>) -> Option<TokenConfig> {
    let source = table.source();
    let hash = hash(&table, at);
    let permissions = permissions(&table, at);
    let expires_ms = table.string("expires").and_then(|At { value, span }| {
        let time_ms = read_time(value);
        if time_ms.is_none() {
            let what = format!("expires can't be {value:?}");
            let hint = "use RFC 3339, such as expires = \"2026-01-31T12:00:00Z\"".to_owned();
            source.problem(&span, what, Some(hint));
        }
        time_ms
    });
    table.finish();
    Some(TokenConfig { hash: hash?, permissions, expires_ms })
}

fn hash(table: &Table<'_>, at: &std::ops::Range<usize>) -> Option<TokenHash> {
    let source = table.source();
    let is_there = table.value("hash").is_some();
    let Some(At { value, span }) = table.string("hash") else {
        if !is_there {
            let hint = "`usher tokens hash` prints a new secret and its hash".to_owned();
            source.problem(at, format!("[{}] needs a hash", table.name()), Some(hint));
        }
        return None;
    };
    // Without the value, which may be a secret that was taken for its hash.
    let hint = "write hash = \"sha256:…\", not the secret itself".to_owned();
    value.parse().map_err(|error| source.problem(&span, error, Some(hint))).ok()
}

fn permissions(table: &Table<'_>, at: &std::ops::Range<usize>) -> Permissions {
    let source = table.source();
    let scope = |At { value, span }: At<&str>| {
        let parsed = value.parse::<TokenScope>();
        parsed.map_err(|error| source.problem(&span, error, None)).ok()
    };
    let written = table.strings("scopes");
    if written.is_empty() || written.len() > SCOPES_MAX {
        let what = format!("[{}] needs 1 to {SCOPES_MAX} scopes", table.name());
        source.problem(at, what, Some("write scopes = [\"publish\"]".to_owned()));
    }
    let scopes = written.into_iter().filter_map(scope).collect();
    let source_prefix = table.string("source_prefix").map(|At { value, span }| {
        if value.is_empty() || value.len() > PREFIX_MAX_BYTES {
            let what = format!("source_prefix must have 1 to {PREFIX_MAX_BYTES} bytes");
            source.problem(&span, what, Some("leave it out to allow any source".to_owned()));
        }
        value.to_owned()
    });
    Permissions { scopes, source_prefix }
}
