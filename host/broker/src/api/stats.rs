//! Counters, sizes and blob records.

use bytes::Bytes;
use usher_event::PluginName;

/// A blob and the plugin that stored it.
#[derive(Clone, Debug)]
pub struct BlobRecord {
    /// Digest, size, type.
    pub info: usher_event::BlobInfo,
    /// The plugin that stored it.
    pub plugin: PluginName,
    /// When it was committed, Unix milliseconds.
    pub created_ms: u64,
}

/// A value of a plugin's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateRecord {
    /// The bucket it is in.
    pub bucket: String,
    /// Its key there.
    pub key: String,
    /// The value.
    pub value: Bytes,
}

/// Counters since process start, and current sizes.
#[derive(Clone, Debug, Default)]
pub struct BrokerStats {
    /// Events appended.
    pub appended: u64,
    /// Published events that were duplicates.
    pub duplicates: u64,
    /// Commits (each one fsync).
    pub commits: u64,
    /// Deliveries acknowledged.
    pub acked: u64,
    /// Failed attempts.
    pub failed: u64,
    /// Settlements dropped because state they had read has changed.
    pub conflicts: u64,
    /// Settlements ignored because their lease had ended: already settled, unsubscribed…
    pub stale: u64,
    /// Current number of dead letters.
    pub dead_letters: u64,
    /// The newest committed sequence.
    pub last_sequence: u64,
    /// The oldest sequence in the log; one above the newest if the log is empty.
    pub first_sequence: u64,
    /// Encoded size of the events in the log.
    pub log_bytes: u64,
    /// Events removed by retention since the process started.
    pub expired: u64,
    /// Batches refused because a subscription was too far behind.
    pub refused: u64,
    /// Settlements dropped because a subscription that takes their emissions was too far behind.
    pub held_back: u64,
    /// Emissions waiting for their delay.
    pub delayed: u64,
    /// Schedule ticks that became events since the process started.
    pub ticks: u64,
    /// Schedule ticks missed and skipped since the process started.
    pub ticks_passed_over: u64,
    /// The latest time at which an event was recorded, Unix milliseconds; 0 if there is none. If it
    /// lies in the future, the clock was wrong then or is wrong now.
    pub newest_recorded_ms: u64,
    /// Bytes free on the disk of the data folder; `None` if that is unknown.
    pub disk_free_bytes: Option<u64>,
    /// Whether publishing is refused because the disk is nearly full.
    pub is_disk_full: bool,
    /// Whether a commit waits for what keeps the journal and is away.
    pub is_journal_away: bool,
    /// Commands waiting for the committer.
    pub waiting: u64,
}
