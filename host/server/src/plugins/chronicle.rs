//! What is kept of each plugin across restarts, in the folder `plugins` of the data folder: one
//! small JSON file for each, and the bytes of the versions to go back to. A file is replaced as a
//! whole and fsynced; only then is what it says true here.
//!
//! It is not the store: a file that can't be read is told in the log, and its plugin begins anew.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use usher_event::{Digest, FailureClass, PluginName};
use usher_router::{FailedTrial, Quarantine};

use super::outcome::{Outcome, Past};

/// The version of the files.
const VERSION: u32 = 1;
/// The longest file that is read.
const FILE_MAX_BYTES: u64 = 1024 * 1024;
/// The most changes of one plugin that are remembered.
pub(crate) const HISTORY_MAX: usize = 100;
/// How often a plugin is copied whose versions change meanwhile.
const COPY_TRIES_MAX: u32 = 5;
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
    /// The bytes that serve, or served last, and are not on trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) good: Option<Digest>,
    /// Those that were good before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<Digest>,
    /// The newest bytes that acknowledged a delivery. Only such say by rejecting an event that another
    /// version is worse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) acked: Option<Digest>,
    /// Bytes that were rolled back and stay off until their file changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) off: Option<Rollback>,
    /// How changes ended, oldest first; the newest [`HISTORY_MAX`].
    #[serde(default)]
    pub(crate) history: VecDeque<Past>,
}

impl Record {
    /// Takes down how a change ended.
    pub(crate) fn past(&mut self, past: Past) {
        while self.history.len() >= HISTORY_MAX {
            self.history.pop_front();
        }
        let outcome = match past.outcome {
            Outcome::Refused(reason) => Outcome::Refused(cut(reason)),
            Outcome::RolledBack(reason) => Outcome::RolledBack(cut(reason)),
            other => other,
        };
        self.history.push_back(Past { outcome, ..past });
    }

    /// These bytes are good.
    pub(crate) fn is_good(&mut self, digest: Digest) {
        if self.good != Some(digest) {
            self.before = self.good.replace(digest);
        }
    }
}

/// Bytes that were rolled back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rollback {
    /// When, Unix milliseconds.
    pub(crate) time_ms: u64,
    /// Which.
    pub(crate) digest: Digest,
    /// The bytes in their place.
    pub(crate) good: Digest,
    /// How many of the first deliveries failed; absent where an operator wanted it so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failures: Option<u32>,
    /// Why, in words.
    pub(crate) reason: String,
    /// Whether its event is in the log.
    pub(crate) is_reported: bool,
}

impl Rollback {
    /// What follows from a trial that failed.
    pub(crate) fn after(failed: &FailedTrial) -> Self {
        let FailedTrial { time_ms, digest, good, failures, deliveries, class, reason } = failed;
        let reason = cut(format!(
            "{failures} of its first {deliveries} deliveries failed, the last with {class}: {reason}"
        ));
        let (time_ms, digest, good, failures) = (*time_ms, *digest, *good, Some(*failures));
        Self { time_ms, digest, good, failures, reason, is_reported: false }
    }

    /// What an operator asked for.
    pub(crate) fn asked(digest: Digest, good: Digest, time_ms: u64) -> Self {
        let reason = "an operator rolled it back".to_owned();
        Self { time_ms, digest, good, failures: None, reason, is_reported: false }
    }
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
        Self {
            time_ms: quarantine.time_ms,
            digest: quarantine.digest,
            failures: quarantine.failures,
            window_ms: u64::try_from(quarantine.window.as_millis()).unwrap_or(u64::MAX),
            class: quarantine.class.as_str().to_owned(),
            reason: cut(quarantine.reason.clone()),
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
    changes: watch::Sender<u64>,
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
        Ok(Self::new(Some(folder), records))
    }

    /// One that forgets.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Self {
        Self::new(None, BTreeMap::new())
    }

    fn new(folder: Option<PathBuf>, records: BTreeMap<PluginName, Record>) -> Self {
        let writing = tokio::sync::Mutex::default();
        Self { folder, records: Mutex::new(records), writing, changes: watch::Sender::new(0) }
    }

    /// Changes whenever something kept does.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The plugin whose bytes these are that stay off, and how that came.
    pub(crate) fn off(&self, digest: &Digest) -> Option<(PluginName, Rollback)> {
        let records = self.records();
        let mut all = records.iter();
        all.find_map(|(name, record)| {
            let off = record.off.as_ref().filter(|off| off.digest == *digest)?;
            Some((name.clone(), off.clone()))
        })
    }

    /// Keeps the bytes of a version, so that it can come back when its file has changed, and lets go
    /// of those that were kept for nothing: on a quiet topic no version ever becomes a good one.
    ///
    /// # Errors
    /// The disk does not take them.
    pub(crate) async fn keep(
        &self,
        name: &PluginName,
        digest: Digest,
        bytes: Bytes,
    ) -> io::Result<()> {
        let Some(folder) = self.folder.clone() else { return Ok(()) };
        // A sweep for a change that is under way doesn't know of these bytes.
        let _writing = self.writing.lock().await;
        let (name, record) = (name.clone(), self.record(name));
        let kept = tokio::task::spawn_blocking(move || {
            let file = bytes_file(&name, digest);
            if !folder.join(&file).exists() {
                replace(&folder, &file, &bytes)?;
            }
            Self::sweep(&folder, &name, &record, Some(digest))
        });
        kept.await.map_err(io::Error::other).flatten()
    }

    /// Where the bytes of a version are, if they were kept.
    pub(crate) fn kept(&self, name: &PluginName, digest: Digest) -> Option<PathBuf> {
        let path = self.folder.as_ref()?.join(bytes_file(name, digest));
        path.exists().then_some(path)
    }

    /// Lets go of bytes that are not gone back to, but for `present`, which may become good.
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

    /// Writes what is kept of every plugin into another data folder, which has nothing of it yet;
    /// answers how many bytes. Each plugin's record and bytes fit together; who changes them doesn't
    /// wait. Blocks on the disk: not for executors.
    ///
    /// # Errors
    /// A disk fails, or a plugin's versions change faster than they can be copied.
    pub(crate) fn copy_to(&self, data: &Path) -> io::Result<u64> {
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
                        replace(to, &file, &bytes)?;
                        sum_bytes += bytes.len() as u64;
                    }
                    // Never kept, or swept since the record was read.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            // Bytes are swept while a change is under way, so one must not be.
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
    // A name has no dot.
    format!("{name}.{digest}.wasm")
}

/// A reason as long as it may be.
fn cut(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(REASON_MAX_BYTES));
    reason
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
pub(super) fn replace(folder: &Path, file: &str, content: &[u8]) -> io::Result<()> {
    let partial = folder.join(format!("{file}.new"));
    let mut new = File::create(&partial)?;
    new.write_all(content)?;
    new.sync_all()?;
    fs::rename(&partial, folder.join(file))?;
    File::open(folder)?.sync_all()
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

    #[tokio::test]
    async fn a_copy_has_the_records_and_the_bytes_they_name() {
        let data = tempfile::tempdir().unwrap();
        let (echo, other): (PluginName, PluginName) =
            ("echo".parse().unwrap(), "other".parse().unwrap());
        let chronicle = Chronicle::open(data.path()).unwrap();
        let versions = [&b"one"[..], b"two", b"three"];
        for bytes in versions {
            let digest = Digest::of(bytes);
            chronicle.keep(&echo, digest, Bytes::from_static(bytes)).await.unwrap();
            chronicle.change(&echo, |record| record.is_good(digest)).await.unwrap();
        }
        // On trial: no record names it.
        let trial = Digest::of(b"four");
        chronicle.keep(&echo, trial, Bytes::from_static(b"four")).await.unwrap();
        let kept = KeptQuarantine::new(&quarantine());
        chronicle.change(&echo, |record| record.quarantine = Some(kept)).await.unwrap();
        chronicle.change(&other, |record| record.is_paused = true).await.unwrap();

        let copy = tempfile::tempdir().unwrap();
        let chronicle = Arc::new(chronicle);
        let copy_to = async || {
            let (chronicle, to) = (Arc::clone(&chronicle), copy.path().to_owned());
            tokio::task::spawn_blocking(move || chronicle.copy_to(&to)).await.unwrap()
        };
        assert_eq!(copy_to().await.unwrap(), 3 + 5);
        let copied = Chronicle::open(copy.path()).unwrap();
        for name in [&echo, &other] {
            assert_eq!(copied.record(name), chronicle.record(name));
        }
        for (bytes, is_there) in [(versions[0], false), (versions[1], true), (versions[2], true)] {
            let kept = copied.kept(&echo, Digest::of(bytes));
            assert_eq!(kept.map(|path| fs::read(path).unwrap()), is_there.then(|| bytes.to_vec()));
        }
        assert!(copied.kept(&echo, trial).is_none());
        assert!(copy_to().await.is_err(), "there is something already");
    }
}
