//! The document of tokens in the journal: with the hashes of their secrets, and when each token was last
//! used.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use usher_access::{Permissions, TokenHash, TokenScope};
use usher_broker::Document;
use usher_config::Proof;
use usher_event::TokenName;

use super::token::Token;

/// The document's name.
pub(crate) const DOCUMENT: &str = "tokens";

/// The same in the data folder, where earlier versions had it.
const FILE: &str = "tokens.json";
const VERSION: u32 = 1;

/// What is kept.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) tokens: Vec<Token>,
    pub(super) last_used_ms: BTreeMap<TokenName, u64>,
}

#[derive(Serialize, Deserialize)]
struct Content {
    v: u32,
    tokens: Vec<Row>,
    last_used_ms: BTreeMap<TokenName, u64>,
}

#[derive(Serialize, Deserialize)]
struct Row {
    name: TokenName,
    hash: TokenHash,
    scopes: Vec<TokenScope>,
    source_prefix: Option<String>,
    created_ms: u64,
    expires_ms: Option<u64>,
}

impl Kept {
    /// Reads the document; without one there are no tokens.
    pub(super) fn read(document: Option<&[u8]>) -> anyhow::Result<Self> {
        let Some(document) = document else { return Ok(Self::default()) };
        let content: Content = serde_json::from_slice(document)?;
        if content.v != VERSION {
            return Err(anyhow!("it is of version {}, which is not known here", content.v));
        }
        let token = |row: Row| {
            let Row { name, hash, scopes, source_prefix, created_ms, expires_ms } = row;
            let last_used_ms = content.last_used_ms.get(&name).copied().unwrap_or(0);
            let token =
                Token::new(name, Proof::Secret(hash), Permissions { scopes, source_prefix });
            let last_used_ms = AtomicU64::new(last_used_ms);
            Token { created_ms: Some(created_ms), expires_ms, last_used_ms, ..token }
        };
        let tokens = content.tokens.into_iter().map(token).collect();
        Ok(Self { tokens, last_used_ms: content.last_used_ms })
    }

    /// Reads the file of an earlier version, if there is one.
    pub(super) fn read_file(data: &Path) -> anyhow::Result<Option<Self>> {
        let path = data.join(FILE);
        match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
            Ok(bytes) => {
                Self::read(Some(&bytes)).map(Some).with_context(|| path.display().to_string())
            }
        }
    }
}

/// Whether there is a file of an earlier version.
pub(super) fn has_file(data: &Path) -> anyhow::Result<bool> {
    let path = data.join(FILE);
    path.try_exists().with_context(|| path.display().to_string())
}

/// Removes it.
pub(super) fn remove_file(data: &Path) -> anyhow::Result<()> {
    let path = data.join(FILE);
    std::fs::remove_file(&path).with_context(|| path.display().to_string())
}

/// The document of these tokens, with when they and others were last used.
pub(super) fn write(tokens: &[Arc<Token>], last_used_ms: BTreeMap<TokenName, u64>) -> Document {
    let rows = tokens.iter().filter_map(|token| {
        Some(Row {
            name: token.name.clone(),
            hash: match &token.proof {
                Proof::Secret(hash) => *hash,
                Proof::Certificate(_) => return None,
            },
            scopes: token.permissions.scopes.clone(),
            source_prefix: token.permissions.source_prefix.clone(),
            created_ms: token.created_ms?,
            expires_ms: token.expires_ms,
        })
    });
    let content = Content { v: VERSION, tokens: rows.collect(), last_used_ms };
    // Names, numbers and texts: nothing that JSON can't have.
    let text = serde_json::to_vec(&content).unwrap_or_default();
    Document { name: DOCUMENT.into(), content: Some(Bytes::from(text)) }
}
