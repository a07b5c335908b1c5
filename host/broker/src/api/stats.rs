//! What there is: counters, sizes, blobs.

use usher_event::PluginName;

/// A blob and who put it.
#[derive(Clone, Debug)]
pub struct BlobRecord {
    /// Digest, size, type.
    pub info: usher_event::BlobInfo,
    /// The plugin that put it.
    pub plugin: PluginName,
    /// When it was committed, Unix milliseconds.
    pub created_ms: u64,
}

/// Counters since start and present sizes.
#[derive(Clone, Debug, Default)]
pub struct BrokerStats {
    /// Events appended.
    pub appended: u64,
    /// Published events that were there before.
    pub duplicates: u64,
    /// Commits (each one fsync).
    pub commits: u64,
    /// Deliveries acknowledged.
    pub acked: u64,
    /// Failed attempts.
    pub failed: u64,
    /// Settlements dropped because state had changed.
    pub conflicts: u64,
    /// Settlements ignored because their lease no longer held: settled before, unsubscribed…
    pub stale: u64,
    /// Dead letters now.
    pub dead_letters: u64,
    /// The newest committed sequence.
    pub last_sequence: u64,
    /// The oldest sequence the log still has; one above the newest if it has none.
    pub first_sequence: u64,
    /// Size of the events in the log, as they are encoded.
    pub log_bytes: u64,
    /// Events that retention let go since the process started.
    pub expired: u64,
    /// Batches that were not published because a subscription was too far behind.
    pub refused: u64,
    /// Settlements dropped because a subscription that takes their emissions was too far behind.
    pub held_back: u64,
    /// Emissions that wait for their delay.
    pub delayed: u64,
    /// Ticks of schedules that became events since the process started.
    pub ticks: u64,
    /// Ticks of schedules that were missed and passed over since then.
    pub ticks_passed_over: u64,
    /// The latest time at which an event was recorded, Unix milliseconds; 0 if there is none. Where it
    /// lies ahead, the clock was wrong then or is now.
    pub newest_recorded_ms: u64,
    /// Whether too little is free on the disk for what producers publish.
    pub is_disk_full: bool,
    /// Commands waiting for the committer.
    pub waiting: u64,
}
