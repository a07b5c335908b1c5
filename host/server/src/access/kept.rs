//! `tokens.json` in the data folder: tokens with the hashes of their secrets, and when each token
//! was last used. Replaced atomically and fsynced before the tokens in memory change.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use usher_access::{Permissions, TokenHash, TokenScope};
use usher_config::Proof;
use usher_event::TokenName;

use super::token::Token;

const FILE: &str = "tokens.json";
const VERSION: u32 = 1;

/// The file.
pub(super) struct Kept {
    /// `None`: in memory only.
    folder: Option<PathBuf>,
    /// As written.
    last_used_ms: Mutex<BTreeMap<TokenName, u64>>,
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
    /// Reads the file; without one there are no tokens.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Vec<Token>)> {
        let path = folder.join(FILE);
        let named = |error: String| io::Error::other(format!("{}: {error}", path.display()));
        let content: Content = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Content { v: VERSION, tokens: Vec::new(), last_used_ms: BTreeMap::new() }
            }
            Err(error) => return Err(named(error.to_string())),
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| named(error.to_string()))?
            }
        };
        if content.v != VERSION {
            return Err(named(format!("is of version {}, which is not known here", content.v)));
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
        let last_used_ms = Mutex::new(content.last_used_ms);
        Ok((Self { folder: Some(folder.to_owned()), last_used_ms }, tokens))
    }

    #[cfg(test)]
    pub(super) fn nowhere() -> Self {
        Self { folder: None, last_used_ms: Mutex::default() }
    }

    /// When a token was last used, as written.
    pub(super) fn last_used_ms(&self, name: &TokenName) -> Option<u64> {
        self.last_used().get(name).copied()
    }

    /// Writes the tokens, if some have been used since the last time.
    pub(super) async fn write_if_used(&self, tokens: &[Arc<Token>]) -> io::Result<()> {
        let is_new = tokens.iter().any(|token| {
            token.last_used_ms().is_some_and(|ms| self.last_used_ms(&token.name) != Some(ms))
        });
        if is_new { self.write(tokens).await } else { Ok(()) }
    }

    /// Replaces the file. Those of the configuration are left out.
    pub(super) async fn write(&self, tokens: &[Arc<Token>]) -> io::Result<()> {
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
        let used =
            tokens.iter().filter_map(|token| Some((token.name.clone(), token.last_used_ms()?)));
        let last_used_ms: BTreeMap<_, _> = used.collect();
        let content =
            Content { v: VERSION, tokens: rows.collect(), last_used_ms: last_used_ms.clone() };
        if let Some(folder) = self.folder.clone() {
            let text = serde_json::to_vec(&content)?;
            let write = move || usher_broker::replace_file(&folder, FILE, &text);
            tokio::task::spawn_blocking(write).await.map_err(io::Error::other).flatten()?;
        }
        *self.last_used() = last_used_ms;
        Ok(())
    }

    fn last_used(&self) -> std::sync::MutexGuard<'_, BTreeMap<TokenName, u64>> {
        self.last_used_ms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
