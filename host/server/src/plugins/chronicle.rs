//! What is kept of each plugin across restarts: one small JSON file for each, in the folder
//! `plugins` of the data folder, replaced as a whole and fsynced. Only then is it true here.
//!
//! It is not the store: a file that can't be read is told in the log, and its plugin begins anew.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use usher_event::{Digest, FailureClass, PluginName};
use usher_router::Quarantine;

/// The version of the files.
const VERSION: u32 = 1;
/// The longest file that is read.
const FILE_MAX_BYTES: u64 = 1024 * 1024;
/// How much of a failure's reason is kept.
const REASON_MAX_BYTES: usize = 1024;

/// What is kept of one plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    v: u32,
    /// Whether an operator paused it.
    #[serde(default)]
    pub(crate) is_paused: bool,
    /// Why it is quarantined, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) quarantine: Option<KeptQuarantine>,
}

/// A quarantine, and whether it was reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptQuarantine {
    time_ms: u64,
    digest: Digest,
    failures: u64,
    window_ms: u64,
    class: String,
    reason: String,
    /// Whether its event is in the log.
    pub(crate) is_reported: bool,
}

impl KeptQuarantine {
    /// One that was not reported yet.
    pub(crate) fn new(quarantine: &Quarantine) -> Self {
        let reason = &quarantine.reason;
        let end = reason.floor_char_boundary(REASON_MAX_BYTES);
        Self {
            time_ms: quarantine.time_ms,
            digest: quarantine.digest,
            failures: quarantine.failures,
            window_ms: u64::try_from(quarantine.window.as_millis()).unwrap_or(u64::MAX),
            class: quarantine.class.as_str().to_owned(),
            reason: reason.get(..end).unwrap_or(reason).to_owned(),
            is_reported: false,
        }
    }

    /// As the router has it.
    pub(crate) fn quarantine(&self) -> Quarantine {
        Quarantine {
            time_ms: self.time_ms,
            digest: self.digest,
            failures: self.failures,
            window: Duration::from_millis(self.window_ms),
            class: FailureClass::from_name(&self.class).unwrap_or(FailureClass::Host),
            reason: self.reason.clone(),
        }
    }

    /// Whether it is this one.
    pub(crate) fn is(&self, quarantine: &Quarantine) -> bool {
        (self.time_ms, self.digest) == (quarantine.time_ms, quarantine.digest)
    }
}

/// The records of all plugins there ever were.
pub(crate) struct Chronicle {
    /// `None` where nothing outlives the process.
    folder: Option<PathBuf>,
    records: Mutex<BTreeMap<PluginName, Record>>,
    /// Held while a file is written, so that files and records change in the same order.
    writing: tokio::sync::Mutex<()>,
}

impl Chronicle {
    /// Reads what is kept in a data folder.
    ///
    /// # Errors
    /// The folder can't be made or listed.
    pub(crate) fn open(data: &Path) -> io::Result<Self> {
        let folder = data.join("plugins");
        fs::create_dir_all(&folder)?;
        let mut records = BTreeMap::new();
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let Some(name) = name_of(&path) else { continue };
            match read(&path) {
                Ok(record) => drop(records.insert(name, record)),
                Err(error) => tracing::error!(
                    plugin = %name,
                    file = %path.display(),
                    %error,
                    "what was kept of a plugin can't be read; it begins anew"
                ),
            }
        }
        let (records, writing) = (Mutex::new(records), tokio::sync::Mutex::default());
        Ok(Self { folder: Some(folder), records, writing })
    }

    /// One that forgets.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Self {
        Self { folder: None, records: Mutex::default(), writing: tokio::sync::Mutex::default() }
    }

    /// What is kept of a plugin.
    pub(crate) fn record(&self, name: &PluginName) -> Record {
        self.records().get(name).cloned().unwrap_or_default()
    }

    /// Changes what is kept of a plugin; returns once the disk has it.
    ///
    /// # Errors
    /// The disk does not have it, and nothing has changed.
    pub(crate) async fn change(
        &self,
        name: &PluginName,
        change: impl FnOnce(&mut Record),
    ) -> io::Result<()> {
        let _writing = self.writing.lock().await;
        let before = self.record(name);
        let mut record = Record { v: VERSION, ..before.clone() };
        change(&mut record);
        if record == before {
            return Ok(());
        }
        if let Some(folder) = self.folder.clone() {
            let (name, record) = (name.clone(), record.clone());
            let written = tokio::task::spawn_blocking(move || write(&folder, &name, &record)).await;
            written.map_err(io::Error::other).flatten()?;
        }
        self.records().insert(name.clone(), record);
        Ok(())
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<PluginName, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The plugin whose file this is.
fn name_of(path: &Path) -> Option<PluginName> {
    path.file_name()?.to_str()?.strip_suffix(".json")?.parse().ok()
}

fn read(path: &Path) -> io::Result<Record> {
    let mut text = String::new();
    File::open(path)?.take(FILE_MAX_BYTES).read_to_string(&mut text)?;
    let record: Record = serde_json::from_str(&text)?;
    match record.v {
        VERSION => Ok(record),
        other => Err(io::Error::other(format!("it is of version {other}, this one reads 1"))),
    }
}

fn write(folder: &Path, name: &PluginName, record: &Record) -> io::Result<()> {
    let text = serde_json::to_vec(record)?;
    replace(folder, &format!("{name}.json"), &text)
}

/// Puts a file into the folder as a whole: after a crash there is the old one or the new one.
fn replace(folder: &Path, file: &str, content: &[u8]) -> io::Result<()> {
    let partial = folder.join(format!("{file}.new"));
    let mut new = File::create(&partial)?;
    new.write_all(content)?;
    new.sync_all()?;
    fs::rename(&partial, folder.join(file))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quarantine() -> Quarantine {
        Quarantine {
            time_ms: 7,
            digest: Digest::of(b"x"),
            failures: 21,
            window: Duration::from_secs(60),
            class: FailureClass::Trap,
            reason: "unreachable".to_owned(),
        }
    }

    #[tokio::test]
    async fn what_was_changed_is_there_after_a_restart() {
        let data = tempfile::tempdir().unwrap();
        let (echo, other) = ("echo".parse().unwrap(), "other".parse().unwrap());
        let chronicle = Chronicle::open(data.path()).unwrap();
        let kept = KeptQuarantine::new(&quarantine());
        chronicle.change(&echo, |record| record.quarantine = Some(kept)).await.unwrap();
        chronicle.change(&other, |record| record.is_paused = true).await.unwrap();
        // Left behind by a crash.
        fs::write(data.path().join("plugins/echo.json.new"), "half").unwrap();
        let chronicle = Chronicle::open(data.path()).unwrap();
        let kept = chronicle.record(&echo).quarantine.unwrap();
        assert_eq!((kept.quarantine(), kept.is_reported), (quarantine(), false));
        assert!(chronicle.record(&other).is_paused);
        assert_eq!(chronicle.record(&"none".parse().unwrap()), Record::default());
    }

    #[tokio::test]
    async fn what_can_not_be_read_begins_anew_and_what_can_not_be_written_is_not_so() {
        let data = tempfile::tempdir().unwrap();
        let name = "echo".parse().unwrap();
        for text in ["", "{", r#"{"v":2}"#, "[]"] {
            fs::create_dir_all(data.path().join("plugins")).unwrap();
            fs::write(data.path().join("plugins/echo.json"), text).unwrap();
            let chronicle = Chronicle::open(data.path()).unwrap();
            assert_eq!(chronicle.record(&name), Record::default(), "{text}");
        }
        let chronicle = Chronicle::open(data.path()).unwrap();
        fs::remove_dir_all(data.path()).unwrap();
        assert!(chronicle.change(&name, |record| record.is_paused = true).await.is_err());
        assert!(!chronicle.record(&name).is_paused);
    }
}
