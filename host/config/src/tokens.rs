//! `[token.NAME]`: tokens of which the configuration has the hash.

use std::collections::BTreeMap;

use usher_access::{PREFIX_MAX_BYTES, Permissions, SCOPES_MAX, TokenHash, TokenScope};
use usher_event::{TokenName, read_time};

use super::table::{At, Table};

/// Limit on tokens.
const TOKENS_MAX: usize = 256;

/// Limit on a DNS name (RFC 1035, section 2.3.4).
const NAME_MAX_BYTES: usize = 253;

/// A token of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenConfig {
    /// What a caller proves with that it has it.
    pub proof: Proof,
    /// What it permits.
    pub permissions: Permissions,
    /// When it expires, Unix milliseconds.
    pub expires_ms: Option<u64>,
}

/// What proves that a caller has a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A secret with this hash.
    Secret(TokenHash),
    /// A client certificate for this DNS name.
    Certificate(String),
}

pub(super) fn read_all(
    table: &Table<'_>,
    verifies_clients: bool,
) -> BTreeMap<TokenName, TokenConfig> {
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
        if let (Some(token), Ok(name)) = (read(table, &span, verifies_clients), name) {
            tokens.insert(name, token);
        }
    }
    tokens
}

fn read(
    table: Table<'_>,
    at: &std::ops::Range<usize>,
    verifies_clients: bool,
) -> Option<TokenConfig> {
    let source = table.source();
    let proof = proof(&table, at, verifies_clients);
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
    Some(TokenConfig { proof: proof?, permissions, expires_ms })
}

fn proof(table: &Table<'_>, at: &std::ops::Range<usize>, verifies_clients: bool) -> Option<Proof> {
    let source = table.source();
    let (hash, certificate) = (table.value("hash"), table.value("certificate"));
    if hash.is_some() == certificate.is_some() {
        let what = format!("[{}] needs either hash or certificate", table.name());
        let hint = "`usher tokens hash` prints a new secret and its hash".to_owned();
        source.problem(at, what, Some(hint));
        return None;
    }
    if let Some(At { value, span }) = table.string("certificate") {
        let name = value.trim_end_matches('.').to_ascii_lowercase();
        if name.is_empty() || name.len() > NAME_MAX_BYTES || name.contains('*') {
            let hint = "write the DNS name in the client's certificate".to_owned();
            source.problem(&span, format!("certificate can't be {value:?}"), Some(hint));
        }
        if !verifies_clients {
            let what = "certificate needs client_ca_file in [tls], which clients are verified with";
            source.problem(&span, what, Some("add client_ca_file = \"CA.pem\"".to_owned()));
        }
        return Some(Proof::Certificate(name));
    }
    let At { value, span } = table.string("hash")?;
    // Without the value, which may be a secret that was taken for its hash.
    let hint = "write hash = \"sha256:…\", not the secret itself".to_owned();
    let hash = value.parse().map_err(|error| source.problem(&span, error, Some(hint))).ok();
    hash.map(Proof::Secret)
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
