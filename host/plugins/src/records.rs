//! Per-plugin records that survive restarts, in the folder `plugins` of the data folder: one small
//! JSON file per plugin, and the bytes of the versions that can be rolled back to. A file is
//! replaced atomically and fsynced before the record in memory changes.
//!
//! This is not the store: an unreadable file is logged, and its plugin starts with an empty record.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use usher_broker::{make_folder, replace_file};
use usher_event::{Digest, FailureClass, PluginName, text};
use usher_router::{FailedTrial, Quarantine};

use super::outcome::{HistoryEntry, Outcome};

/// Format version of the files.
const VERSION: u32 = 1;
/// Limit on the bytes read of a file.
const FILE_MAX_BYTES: u64 = 1024 * 1024;
/// Limit on the history entries of one plugin.
pub(crate) const HISTORY_MAX: usize = 100;
/// Attempts to copy a plugin whose versions change during the copy.
const COPY_TRIES_MAX: u32 = 5;
/// Limit on a stored reason.
const REASON_MAX_BYTES: usize = 1024;

/// The persistent record of one plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    v: u32,
    /// Whether an operator paused it.
    #[serde(default)]
    pub is_paused: bool,
    /// Its quarantine, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<KeptQuarantine>,
    /// The version that serves, or served last, and is not on trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good: Option<Digest>,
    /// The previous good version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Digest>,
    /// The newest version that acknowledged a delivery. One that only rejects proves nothing
    /// against another version in a trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acked: Option<Digest>,
    /// The version that was rolled back and stays disabled until its file changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off: Option<Rollback>,
    /// Outcomes of the newest [`HISTORY_MAX`] changes, oldest first.
    #[serde(default)]
    pub history: VecDeque<HistoryEntry>,
}

impl Record {
    /// Appends to the history; evicts the oldest entry.
    pub fn past(&mut self, past: HistoryEntry) {
        while self.history.len() >= HISTORY_MAX {
            self.history.pop_front();
        }
        let outcome = match past.outcome {
            Outcome::Refused(reason) => Outcome::Refused(cut(&reason)),
            Outcome::RolledBack(reason) => Outcome::RolledBack(cut(&reason)),
            other => other,
        };
        self.history.push_back(HistoryEntry { outcome, ..past });
    }

    /// Marks a version as good; the former good one becomes `before`.
    pub fn mark_good(&mut self, digest: Digest) {
        if self.good != Some(digest) {
            self.before = self.good.replace(digest);
        }
    }
}

/// A version that was rolled back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// When, Unix milliseconds.
    pub time_ms: u64,
    /// The version that was rolled back.
    pub digest: Digest,
    /// The version that serves instead.
    pub good: Digest,
    /// Failed deliveries of its trial; absent if an operator rolled it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<u32>,
    /// The reason.
    pub reason: String,
    /// Whether its event is in the log.
    pub is_reported: bool,
}

impl Rollback {
    /// The rollback after a failed trial.
    pub fn after(failed: &FailedTrial) -> Self {
        let FailedTrial { time_ms, digest, good, failures, deliveries, class, reason } = failed;
        let reason = cut(&format!(
            "{failures} of its first {deliveries} deliveries failed, the last with {class}: {reason}"
        ));
        let (time_ms, digest, good, failures) = (*time_ms, *digest, *good, Some(*failures));
        Self { time_ms, digest, good, failures, reason, is_reported: false }
    }

    /// A rollback requested by an operator.
    pub fn asked(digest: Digest, good: Digest, time_ms: u64) -> Self {
        let reason = "an operator rolled it back".to_owned();
        Self { time_ms, digest, good, failures: None, reason, is_reported: false }
    }
}

/// A persisted quarantine, and whether it was reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptQuarantine {
    time_ms: u64,
    digest: Digest,
    failures: u64,
    window_ms: u64,
    class: String,
    reason: String,
    /// Whether its event is in the log.
    pub is_reported: bool,
}

impl KeptQuarantine {
    /// Converts from the router's type, as not reported yet.
    pub fn new(quarantine: &Quarantine) -> Self {
        Self {
            time_ms: quarantine.time_ms,
            digest: quarantine.digest,
            failures: quarantine.failures,
            window_ms: usher_event::millis(quarantine.window),
            class: quarantine.class.as_str().to_owned(),
            reason: cut(&quarantine.reason),
            is_reported: false,
        }
    }

    /// Converts to the router's type.
    pub fn quarantine(&self) -> Quarantine {
        Quarantine {
            time_ms: self.time_ms,
            digest: self.digest,
            failures: self.failures,
            window: Duration::from_millis(self.window_ms),
            class: FailureClass::from_name(&self.class).unwrap_or(FailureClass::Host),
            reason: self.reason.clone(),
        }
    }

    /// Whether both are the same quarantine.
    pub fn is(&self, quarantine: &Quarantine) -> bool {
        (self.time_ms, self.digest) == (quarantine.time_ms, quarantine.digest)
    }
}

/// The records of all plugins, including removed ones.
pub struct PluginRecords {
    /// `None`: in memory only.
    folder: Option<PathBuf>,
    records: Mutex<BTreeMap<PluginName, Record>>,
    /// Held while a file is written, so that files and records change in the same order.
    writing: tokio::sync::Mutex<()>,
    changes: watch::Sender<u64>,
}

impl PluginRecords {
    /// Reads the records of a data folder.
    ///
    /// # Errors
    /// The folder can't be created or listed.
    pub fn open(data: &Path) -> io::Result<Self> {
        let folder = data.join("plugins");
        make_folder(&folder)?;
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
        Ok(Self::new(Some(folder), records))
    }

    /// Keeps records in memory only, for tests.
    pub fn in_memory() -> Self {
        Self::new(None, BTreeMap::new())
    }

    fn new(folder: Option<PathBuf>, records: BTreeMap<PluginName, Record>) -> Self {
        let writing = tokio::sync::Mutex::default();
        Self { folder, records: Mutex::new(records), writing, changes: watch::Sender::new(0) }
    }

    /// Notifies of every change of a record.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The plugin of which this version is disabled, and the rollback that disabled it.
    pub fn disabled_by(&self, digest: &Digest) -> Option<(PluginName, Rollback)> {
        let records = self.records();
        let mut all = records.iter();
        all.find_map(|(name, record)| {
            let off = record.off.as_ref().filter(|off| off.digest == *digest)?;
            Some((name.clone(), off.clone()))
        })
    }

    /// Stores the bytes of a version, so that it can be rolled back to once its file has changed,
    /// and removes those no longer needed: on a quiet topic no version ever becomes good, and they
    /// would accumulate.
    ///
    /// # Errors
    /// The disk can't be written or listed.
    pub async fn keep(&self, name: &PluginName, digest: Digest, bytes: Bytes) -> io::Result<()> {
        let Some(folder) = self.folder.clone() else { return Ok(()) };
        // The sweep of a concurrent change would remove these bytes.
        let _writing = self.writing.lock().await;
        let (name, record) = (name.clone(), self.record(name));
        let kept = tokio::task::spawn_blocking(move || {
            let file = bytes_file(&name, digest);
            if !folder.join(&file).exists() {
                replace_file(&folder, &file, &bytes)?;
            }
            Self::sweep(&folder, &name, &record, Some(digest))
        });
        kept.await.map_err(io::Error::other).flatten()
    }

    /// Path of the stored bytes of a version, if there are any.
    pub fn kept(&self, name: &PluginName, digest: Digest) -> Option<PathBuf> {
        let path = self.folder.as_ref()?.join(bytes_file(name, digest));
        path.exists().then_some(path)
    }

    /// Removes stored bytes that can't be rolled back to, except `present`, which may become good.
    fn sweep(
        folder: &Path,
        name: &PluginName,
        record: &Record,
        present: Option<Digest>,
    ) -> io::Result<()> {
        let wanted: Vec<String> = [record.good, record.before, present]
            .into_iter()
            .flatten()
            .map(|digest| bytes_file(name, digest))
            .collect();
        let prefix = format!("{name}.");
        for entry in fs::read_dir(folder)? {
            let file = entry?.file_name();
            let Some(file) = file.to_str() else { continue };
            let is_own = file.starts_with(&prefix) && file.ends_with(".wasm");
            if is_own && !wanted.iter().any(|wanted| wanted == file) {
                fs::remove_file(folder.join(file))?;
            }
        }
        Ok(())
    }

    /// The record of a plugin; empty if there is none.
    pub fn record(&self, name: &PluginName) -> Record {
        self.records().get(name).cloned().unwrap_or_default()
    }

    /// Changes the record of a plugin; returns once it is fsynced.
    ///
    /// # Errors
    /// The disk can't be written, and the record is unchanged.
    pub async fn change(
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
            let of = |record: &Record| {
                (record.good, record.before, record.off.as_ref().map(|off| off.digest))
            };
            let is_swept = of(&record) != of(&before);
            let written = tokio::task::spawn_blocking(move || {
                write(&folder, &name, &record)?;
                if is_swept { Self::sweep(&folder, &name, &record, None) } else { Ok(()) }
            });
            let written = written.await;
            written.map_err(io::Error::other).flatten()?;
        }
        self.records().insert(name.clone(), record);
        self.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Copies all records and stored bytes into another data folder, which must not have any yet;
    /// returns the number of bytes written. Each plugin's record and bytes are consistent. Changes
    /// don't wait for the copy. Blocks on the disk: not for executors.
    ///
    /// # Errors
    /// A disk fails, or a plugin's versions change faster than they can be copied.
    pub fn copy_to(&self, data: &Path) -> io::Result<u64> {
        let Some(from) = &self.folder else { return Ok(0) };
        let to = data.join("plugins");
        fs::create_dir(&to)?;
        let names: Vec<_> = self.records().keys().cloned().collect();
        let mut sum_bytes = 0;
        for name in names {
            let copied = self.copy_plugin(from, &to, &name);
            let words = |error| io::Error::other(format!("what is kept of plugin {name}: {error}"));
            sum_bytes += copied.map_err(words)?;
        }
        Ok(sum_bytes)
    }

    fn copy_plugin(&self, from: &Path, to: &Path, name: &PluginName) -> io::Result<u64> {
        let mut tries = 0;
        loop {
            tries += 1;
            let record = self.record(name);
            let mut sum_bytes = 0;
            for digest in [record.good, record.before].into_iter().flatten() {
                let file = bytes_file(name, digest);
                match fs::read(from.join(&file)) {
                    Ok(bytes) => {
                        replace_file(to, &file, &bytes)?;
                        sum_bytes += bytes.len() as u64;
                    }
                    // Never kept, or swept since the record was read.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            // A change in progress may be sweeping bytes: wait for it before comparing.
            let now = {
                let _writing = self.writing.blocking_lock();
                self.record(name)
            };
            if (now.good, now.before) == (record.good, record.before) {
                write(to, name, &record)?;
                Self::sweep(to, name, &record, None)?;
                return Ok(sum_bytes);
            }
            if tries == COPY_TRIES_MAX {
                return Err(io::Error::other("its versions change too fast; try again"));
            }
        }
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<PluginName, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes_file(name: &PluginName, digest: Digest) -> String {
    // Unambiguous: plugin names contain no dot.
    format!("{name}.{digest}.wasm")
}

fn cut(reason: &str) -> String {
    text::head(reason, REASON_MAX_BYTES).to_owned()
}

/// The plugin of a record's file; `None` for other files.
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
    replace_file(folder, &format!("{name}.json"), &text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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
        let records = PluginRecords::open(data.path()).unwrap();
        let kept = KeptQuarantine::new(&quarantine());
        records.change(&echo, |record| record.quarantine = Some(kept)).await.unwrap();
        records.change(&other, |record| record.is_paused = true).await.unwrap();
        // Left behind by a crash.
        fs::write(data.path().join("plugins/echo.json.new"), "half").unwrap();
        let records = PluginRecords::open(data.path()).unwrap();
        let kept = records.record(&echo).quarantine.unwrap();
        assert_eq!((kept.quarantine(), kept.is_reported), (quarantine(), false));
        assert!(records.record(&other).is_paused);
        assert_eq!(records.record(&"none".parse().unwrap()), Record::default());
    }

    #[tokio::test]
    async fn what_can_not_be_read_begins_anew_and_what_can_not_be_written_is_not_so() {
        let data = tempfile::tempdir().unwrap();
        let name = "echo".parse().unwrap();
        for text in ["", "{", r#"{"v":2}"#, "[]"] {
            fs::create_dir_all(data.path().join("plugins")).unwrap();
            fs::write(data.path().join("plugins/echo.json"), text).unwrap();
            let records = PluginRecords::open(data.path()).unwrap();
            assert_eq!(records.record(&name), Record::default(), "{text}");
        }
        let records = PluginRecords::open(data.path()).unwrap();
        fs::remove_dir_all(data.path()).unwrap();
        assert!(records.change(&name, |record| record.is_paused = true).await.is_err());
        assert!(!records.record(&name).is_paused);
    }

    #[tokio::test]
    async fn a_copy_has_the_records_and_the_bytes_they_name() {
        let data = tempfile::tempdir().unwrap();
        let (echo, other): (PluginName, PluginName) =
            ("echo".parse().unwrap(), "other".parse().unwrap());
        let records = PluginRecords::open(data.path()).unwrap();
        let versions = [&b"one"[..], b"two", b"three"];
        for bytes in versions {
            let digest = Digest::of(bytes);
            records.keep(&echo, digest, Bytes::from_static(bytes)).await.unwrap();
            records.change(&echo, |record| record.mark_good(digest)).await.unwrap();
        }
        // On trial: no record names it.
        let trial = Digest::of(b"four");
        records.keep(&echo, trial, Bytes::from_static(b"four")).await.unwrap();
        let kept = KeptQuarantine::new(&quarantine());
        records.change(&echo, |record| record.quarantine = Some(kept)).await.unwrap();
        records.change(&other, |record| record.is_paused = true).await.unwrap();

        let copy = tempfile::tempdir().unwrap();
        let records = Arc::new(records);
        let copy_to = async || {
            let (records, to) = (Arc::clone(&records), copy.path().to_owned());
            tokio::task::spawn_blocking(move || records.copy_to(&to)).await.unwrap()
        };
        assert_eq!(copy_to().await.unwrap(), 3 + 5);
        let copied = PluginRecords::open(copy.path()).unwrap();
        for name in [&echo, &other] {
            assert_eq!(copied.record(name), records.record(name));
        }
        for (bytes, is_there) in [(versions[0], false), (versions[1], true), (versions[2], true)] {
            let kept = copied.kept(&echo, Digest::of(bytes));
            assert_eq!(kept.map(|path| fs::read(path).unwrap()), is_there.then(|| bytes.to_vec()));
        }
        assert!(copied.kept(&echo, trial).is_none());
        assert!(copy_to().await.is_err(), "there is something already");
    }
}
