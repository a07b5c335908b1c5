//! Per-plugin records that survive restarts and takeovers: a document of the journal for each, which is
//! durable before the record in memory changes. An unreadable one is logged, and its plugin starts with an
//! empty record. The bytes of the versions that they name are in files: see [`KeptVersions`].

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use usher_broker::{
    Actor, Broker, BrokerError, Change, DOCUMENT_MAX_BYTES, Document, Log, Operation,
};
use usher_event::{Digest, FailureClass, PluginName, text};
use usher_router::{FailedTrial, Quarantine};

use super::outcome::{HistoryEntry, Outcome};
use super::versions::KeptVersions;

/// What the names of the documents begin with.
const DOCUMENTS: &str = "plugins/";
/// Format version of the documents.
const VERSION: u32 = 1;
/// Limit on the history entries of one plugin.
pub(crate) const HISTORY_MAX: usize = 100;
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

    /// The versions that can be rolled back to.
    fn versions(&self) -> impl Iterator<Item = Digest> + use<> {
        [self.good, self.before].into_iter().flatten()
    }

    fn read(text: &[u8]) -> io::Result<Self> {
        let record: Self = serde_json::from_slice(text)?;
        match record.v {
            VERSION => Ok(record),
            other => Err(io::Error::other(format!("it is of version {other}, this one reads 1"))),
        }
    }

    fn document(&self, name: &PluginName) -> Document {
        // Names, numbers and texts: nothing that JSON can't have.
        let text = serde_json::to_vec(self).unwrap_or_default();
        Document { name: format!("{DOCUMENTS}{name}").into(), content: Some(Bytes::from(text)) }
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
    broker: Arc<dyn Broker>,
    versions: KeptVersions,
    records: Mutex<BTreeMap<PluginName, Record>>,
    /// Held while a record is written, so that journal and memory change in the same order, and while
    /// versions are kept or swept.
    writing: tokio::sync::Mutex<()>,
    changes: watch::Sender<u64>,
}

impl PluginRecords {
    /// Reads the records in the journal. Those that an earlier version has left in the data folder move there
    /// first.
    ///
    /// # Errors
    /// The data folder can't be used, or the journal.
    pub async fn open(data: &Path, broker: Arc<dyn Broker>) -> anyhow::Result<Self> {
        let data = data.to_owned();
        let opened = spawn_blocking(move || {
            let versions = KeptVersions::open(&data)?;
            Ok::<_, io::Error>((versions, left_in(&data.join("plugins"))?))
        });
        let (versions, left) = opened.await??;
        let known = read_all(&broker.documents(DOCUMENTS).await?);
        let records = Self::new(broker, versions, known);
        for (name, record, path) in left {
            let is_known = records.records().contains_key(&name);
            if !is_known {
                records.change(&name, |new| *new = record).await?;
            }
            spawn_blocking(move || fs::remove_file(path)).await??;
        }
        Ok(records)
    }

    /// Without records, and keeps no versions; for tests.
    pub fn empty(broker: Arc<dyn Broker>) -> Self {
        Self::new(broker, KeptVersions::nowhere(), BTreeMap::new())
    }

    fn new(
        broker: Arc<dyn Broker>,
        versions: KeptVersions,
        records: BTreeMap<PluginName, Record>,
    ) -> Self {
        let (writing, changes) = (tokio::sync::Mutex::default(), watch::Sender::new(0));
        Self { broker, versions, records: Mutex::new(records), writing, changes }
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
        // The sweep of a concurrent change would remove these bytes.
        let _writing = self.writing.lock().await;
        let (versions, name) = (self.versions.clone(), name.clone());
        let wanted: Vec<_> = self.record(&name).versions().chain([digest]).collect();
        let kept = spawn_blocking(move || {
            versions.keep(&name, digest, &bytes)?;
            versions.sweep(&name, &wanted)
        });
        kept.await.map_err(io::Error::other).flatten()
    }

    /// Path of the stored bytes of a version, if there are any.
    pub fn kept(&self, name: &PluginName, digest: Digest) -> Option<PathBuf> {
        self.versions.path(name, digest)
    }

    /// The record of a plugin; empty if there is none.
    pub fn record(&self, name: &PluginName) -> Record {
        self.records().get(name).cloned().unwrap_or_default()
    }

    /// Changes the record of a plugin; returns once it is fsynced.
    ///
    /// # Errors
    /// The journal can't be written to, and the record is unchanged.
    pub async fn change(
        &self,
        name: &PluginName,
        change: impl FnOnce(&mut Record),
    ) -> Result<(), BrokerError> {
        self.change_by(None, name, change).await
    }

    /// The same, and records the operator's action that it comes of in the same commit.
    ///
    /// # Errors
    /// The journal can't be written to, and the record is unchanged.
    pub async fn change_by(
        &self,
        by: Option<(&Actor, Change)>,
        name: &PluginName,
        change: impl FnOnce(&mut Record),
    ) -> Result<(), BrokerError> {
        let _writing = self.writing.lock().await;
        let before = self.record(name);
        let mut record = Record { v: VERSION, ..before.clone() };
        change(&mut record);
        if record == before && by.is_none() {
            return Ok(());
        }
        let documents = vec![record.document(name)];
        match by {
            None => self.broker.keep(documents).await?,
            Some((actor, change)) => {
                self.broker.operate(actor, Operation::Keep(change, documents)).await?;
            }
        }
        let off = |record: &Record| record.off.as_ref().map(|off| off.digest);
        let is_swept = record.versions().ne(before.versions()) || off(&record) != off(&before);
        let wanted: Vec<_> = record.versions().collect();
        self.records().insert(name.clone(), record);
        self.changes.send_modify(|count| *count += 1);
        if is_swept {
            let (versions, name) = (self.versions.clone(), name.clone());
            let swept = spawn_blocking(move || versions.sweep(&name, &wanted));
            if let Err(error) = swept.await.map_err(io::Error::other).flatten() {
                tracing::warn!(%error, "versions of plugins that aren't needed any more can't be removed");
            }
        }
        Ok(())
    }

    /// Copies the versions that records name to another data folder, which must not have any yet; returns the
    /// number of bytes. One that becomes good meanwhile may be missing. Blocks on the disk: not for
    /// executors.
    ///
    /// # Errors
    /// A disk fails, or there are some already.
    pub fn copy_versions_to(&self, data: &Path) -> io::Result<u64> {
        fs::create_dir(data.join("plugins"))?;
        let to = KeptVersions::open(data)?;
        let records = self.records().clone();
        let mut sum_bytes = 0;
        for (name, digest) in versions_of(&records) {
            let copied = self.versions.copy(&name, digest, &to);
            let words = |error| io::Error::other(format!("a version of plugin {name}: {error}"));
            sum_bytes += copied.map_err(words)?;
        }
        Ok(sum_bytes)
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<PluginName, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The versions that a node keeps which has this log, since they may have to be rolled back to.
///
/// # Errors
/// It can't be read.
pub async fn wanted_versions(log: &dyn Log) -> Result<Vec<(PluginName, Digest)>, BrokerError> {
    Ok(versions_of(&read_all(&log.documents(DOCUMENTS).await?)))
}

fn versions_of(records: &BTreeMap<PluginName, Record>) -> Vec<(PluginName, Digest)> {
    let of = |(name, record): (&PluginName, &Record)| {
        let versions: Vec<_> = record.versions().collect();
        versions.into_iter().map(|digest| (name.clone(), digest)).collect::<Vec<_>>()
    };
    records.iter().flat_map(of).collect()
}

fn cut(reason: &str) -> String {
    text::head(reason, REASON_MAX_BYTES).to_owned()
}

/// The records among documents.
fn read_all(documents: &BTreeMap<Box<str>, Bytes>) -> BTreeMap<PluginName, Record> {
    let mut records = BTreeMap::new();
    for (document, content) in documents {
        let name = document.strip_prefix(DOCUMENTS).and_then(|name| name.parse().ok());
        let Some(name) = name else { continue };
        match Record::read(content) {
            Ok(record) => drop(records.insert(name, record)),
            Err(error) => tell_unreadable(&name, document, &error),
        }
    }
    records
}

/// Records that an earlier version has left in this folder, with their files.
fn left_in(folder: &Path) -> io::Result<Vec<(PluginName, Record, PathBuf)>> {
    let mut left = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let file = path.file_name().and_then(|name| name.to_str());
        let name = file.and_then(|file| file.strip_suffix(".json")?.parse().ok());
        let Some(name) = name else { continue };
        match read_file(&path) {
            Ok(record) => left.push((name, record, path)),
            Err(error) => tell_unreadable(&name, &path.display().to_string(), &error),
        }
    }
    Ok(left)
}

fn tell_unreadable(plugin: &PluginName, place: &str, error: &io::Error) {
    tracing::error!(%plugin, place, %error, "a plugin's record can't be read; it starts with an empty one");
}

fn read_file(path: &Path) -> io::Result<Record> {
    let mut text = Vec::new();
    File::open(path)?.take(DOCUMENT_MAX_BYTES as u64).read_to_end(&mut text)?;
    Record::read(&text)
}

#[cfg(test)]
mod tests {
    use usher_broker::{
        EmbeddedBroker, Lifecycle as _, MemoryDisk, Operator as _, Options, PluginChange,
    };

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

    fn broker(disk: &MemoryDisk) -> Arc<EmbeddedBroker> {
        EmbeddedBroker::on(disk, Options::new("")).unwrap()
    }

    #[tokio::test]
    async fn what_was_changed_is_there_after_a_restart() {
        let (data, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
        let (echo, other): (PluginName, PluginName) =
            ("echo".parse().unwrap(), "other".parse().unwrap());
        let before = broker(&disk);
        let records = PluginRecords::open(data.path(), before.clone()).await.unwrap();
        let kept = KeptQuarantine::new(&quarantine());
        records.change(&echo, |record| record.quarantine = Some(kept)).await.unwrap();
        let change = Change::Plugin { plugin: other.clone(), change: PluginChange::Pause };
        let by = Actor::named("ops");
        let paused = |record: &mut Record| record.is_paused = true;
        records.change_by(Some((&by, change)), &other, paused).await.unwrap();
        assert_eq!(before.audit(None, 10).await.unwrap().len(), 1);
        drop(records);
        before.close().await.unwrap();
        drop(before);
        let records = PluginRecords::open(data.path(), broker(&disk)).await.unwrap();
        let kept = records.record(&echo).quarantine.unwrap();
        assert_eq!((kept.quarantine(), kept.is_reported), (quarantine(), false));
        assert!(records.record(&other).is_paused);
        assert_eq!(records.record(&"none".parse().unwrap()), Record::default());
    }

    #[tokio::test]
    async fn what_can_not_be_read_begins_anew_and_what_can_not_be_written_is_not_so() {
        let (data, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
        let (name, broker) = ("echo".parse().unwrap(), broker(&disk));
        for text in ["", "{", r#"{"v":2}"#, "[]"] {
            let content = Some(Bytes::from_static(text.as_bytes()));
            let document = Document { name: "plugins/echo".into(), content };
            broker.keep(vec![document]).await.unwrap();
            let records = PluginRecords::open(data.path(), broker.clone()).await.unwrap();
            assert_eq!(records.record(&name), Record::default(), "{text}");
        }
        let records = PluginRecords::open(data.path(), broker.clone()).await.unwrap();
        broker.close().await.unwrap();
        assert!(records.change(&name, |record| record.is_paused = true).await.is_err());
        assert!(!records.record(&name).is_paused);
    }

    #[tokio::test]
    async fn files_of_an_earlier_version_move_into_the_journal() {
        let (data, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
        let folder = data.path().join("plugins");
        let paused = Record { v: VERSION, is_paused: true, ..Record::default() };
        let text = serde_json::to_vec(&paused).unwrap();
        fs::create_dir(&folder).unwrap();
        for (file, text) in [
            ("echo.json", &text[..]),
            ("known.json", &text),
            ("broken.json", b"{"),
            // Left behind by a crash.
            ("echo.json.new", b"half"),
        ] {
            fs::write(folder.join(file), text).unwrap();
        }
        let broker = broker(&disk);
        let known: PluginName = "known".parse().unwrap();
        let document = Record { v: VERSION, ..Record::default() }.document(&known);
        broker.keep(vec![document]).await.unwrap();
        let records = PluginRecords::open(data.path(), broker.clone()).await.unwrap();
        assert!(records.record(&"echo".parse().unwrap()).is_paused);
        assert!(!records.record(&known).is_paused, "what the journal has counts");
        assert_eq!(records.record(&"broken".parse().unwrap()), Record::default());
        assert!(!folder.join("echo.json").exists() && !folder.join("known.json").exists());
        let records = PluginRecords::open(data.path(), broker).await.unwrap();
        assert!(records.record(&"echo".parse().unwrap()).is_paused);
    }

    #[tokio::test]
    async fn the_versions_that_records_name_are_kept_and_copied() {
        let (data, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
        let echo: PluginName = "echo".parse().unwrap();
        let broker = broker(&disk);
        let records = PluginRecords::open(data.path(), broker.clone()).await.unwrap();
        let versions = [&b"one"[..], b"two", b"three"];
        for bytes in versions {
            let digest = Digest::of(bytes);
            records.keep(&echo, digest, Bytes::from_static(bytes)).await.unwrap();
            records.change(&echo, |record| record.mark_good(digest)).await.unwrap();
        }
        let wanted = [(echo.clone(), Digest::of(b"three")), (echo.clone(), Digest::of(b"two"))];
        assert_eq!(wanted_versions(&*broker).await.unwrap(), wanted);
        // On trial: no record names it.
        let trial = Digest::of(b"four");
        records.keep(&echo, trial, Bytes::from_static(b"four")).await.unwrap();
        assert!(records.kept(&echo, trial).is_some());

        let copy = tempfile::tempdir().unwrap();
        let records = Arc::new(records);
        let copy_to = async || {
            let (records, to) = (Arc::clone(&records), copy.path().to_owned());
            spawn_blocking(move || records.copy_versions_to(&to)).await.unwrap()
        };
        assert_eq!(copy_to().await.unwrap(), 3 + 5);
        let copied = KeptVersions::open(copy.path()).unwrap();
        for (bytes, is_there) in [(versions[0], false), (versions[1], true), (versions[2], true)] {
            for kept in
                [records.kept(&echo, Digest::of(bytes)), copied.path(&echo, Digest::of(bytes))]
            {
                let kept = kept.map(|path| fs::read(path).unwrap());
                assert_eq!(kept, is_there.then(|| bytes.to_vec()));
            }
        }
        assert!(copied.path(&echo, trial).is_none());
        assert!(copy_to().await.is_err(), "there is something already");
    }
}
