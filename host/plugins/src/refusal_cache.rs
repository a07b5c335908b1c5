//! Caches refusals that were expensive to find out and would repeat, by digest, across restarts.
//! Valid only for the same program version and the same compiler limits.
//!
//! One small JSON file in the folder `plugins` of the data folder. Best effort: if it can't be read
//! or written, a plugin file is tried again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use usher_event::{Digest, text};

use usher_broker::{Clock as _, SystemClock, replace_file};
use usher_config::CompilerConfig;

/// Format version of the file.
const VERSION: u32 = 1;
/// Its name; no plugin's name begins with a dot, so it can't collide with a record.
const FILE: &str = ".refused.json";
/// Limit on the size of a file that is read.
const FILE_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Limit on refusals; the oldest is evicted.
const REFUSALS_MAX: usize = 1_024;
/// Limit on a stored reason.
const REASON_MAX_BYTES: usize = 2 * 1024;

/// The cached refusals.
pub struct RefusalCache {
    /// `None`: in memory only.
    folder: Option<PathBuf>,
    /// The program version and limits for which they are valid.
    by: String,
    refused: Mutex<BTreeMap<Digest, Refused>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Refused {
    time_ms: u64,
    reason: String,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    v: u32,
    by: String,
    refused: BTreeMap<Digest, Refused>,
}

impl RefusalCache {
    /// Reads the refusals of a data folder; empty if they can't be read or are no longer valid.
    pub fn open(data: &Path, compiler: CompilerConfig) -> Self {
        let CompilerConfig { memory_bytes, cpu_ms, wall_ms } = compiler;
        let version = env!("CARGO_PKG_VERSION");
        let space = rustix::process::getrlimit(rustix::process::Resource::As).current;
        let by = format!(
            "usher {version}, {memory_bytes} bytes, {cpu_ms} ms, {wall_ms} ms, address space {space:?}"
        );
        let folder = data.join("plugins");
        let refused = read(&folder.join(FILE), &by).unwrap_or_default();
        Self { folder: Some(folder), by, refused: Mutex::new(refused) }
    }

    /// Keeps refusals in memory only.
    #[cfg(test)]
    pub fn in_memory() -> Self {
        Self { folder: None, by: String::new(), refused: Mutex::default() }
    }

    /// Why these bytes were refused, if they were.
    pub(super) fn reason(&self, digest: &Digest) -> Option<String> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.get(digest).map(|refused| refused.reason.clone())
    }

    /// Persists a refusal, best effort. Blocks on the disk: not for executors.
    pub(super) fn remember(&self, digest: Digest, reason: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = text::head(reason, REASON_MAX_BYTES);
        refused
            .insert(digest, Refused { time_ms: SystemClock.now_ms(), reason: reason.to_owned() });
        while refused.len() > REFUSALS_MAX
            && let Some((oldest, _)) = refused.iter().min_by_key(|(_, refused)| refused.time_ms)
        {
            let oldest = *oldest;
            refused.remove(&oldest);
        }
        let Some(folder) = &self.folder else { return };
        let kept = Kept { v: VERSION, by: self.by.clone(), refused: refused.clone() };
        let written = serde_json::to_vec(&kept)
            .map_err(std::io::Error::from)
            .and_then(|text| replace_file(folder, FILE, &text));
        if let Err(error) = written {
            tracing::warn!(%error, "a refusal can't be kept; the next start tries the file again");
        }
    }
}

fn read(path: &Path, by: &str) -> Option<BTreeMap<Digest, Refused>> {
    if fs::metadata(path).ok()?.len() > FILE_MAX_BYTES {
        return None;
    }
    let kept: Kept = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    (kept.v == VERSION && kept.by == by).then_some(kept.refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_hold_until_something_else_judges() {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir(data.path().join("plugins")).unwrap();
        let limits = CompilerConfig::default();
        let digest = Digest::of(b"a bomb");
        RefusalCache::open(data.path(), limits).remember(digest, "it takes too long");
        let again = RefusalCache::open(data.path(), limits);
        assert_eq!(again.reason(&digest).as_deref(), Some("it takes too long"));
        assert_eq!(again.reason(&Digest::of(b"another")), None);
        let others = CompilerConfig { cpu_ms: limits.cpu_ms + 1, ..limits };
        assert_eq!(RefusalCache::open(data.path(), others).reason(&digest), None);
        fs::write(data.path().join("plugins").join(FILE), "{").unwrap();
        assert_eq!(RefusalCache::open(data.path(), limits).reason(&digest), None);
    }

    #[test]
    fn so_many_are_remembered_and_no_more() {
        let refusal_cache = RefusalCache::in_memory();
        for number in 0..REFUSALS_MAX + 10 {
            refusal_cache.remember(Digest::of(number.to_string().as_bytes()), "no");
        }
        assert_eq!(refusal_cache.refused.lock().unwrap().len(), REFUSALS_MAX);
    }
}
