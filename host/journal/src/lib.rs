//! The journal: an append-only log of commits, which is the truth that everything else a broker
//! stores is derived from.
//!
//! [`Journal`] is the seam for providers; [`LocalJournal`] keeps segment files on a disk,
//! [`MemoryJournal`] is for tests. A record is one commit; what it means is its writer's. The format
//! is documented in `docs/storage.md`.

mod closed;
mod error;
mod index;
mod local;
mod memory;
mod reader;
mod record;
mod recovery;
mod scan;
mod segment;
mod writer;

pub use error::JournalError;
pub use local::{LocalJournal, LocalOptions, Recovery};
pub use memory::MemoryJournal;
pub use record::{Entry, RECORD_MAX_BYTES, Record};
pub use scan::{Gap, Scan, scan};
pub use segment::JournalId;

/// Records, in the order of their positions.
pub type Records = Box<dyn Iterator<Item = Result<Record, JournalError>> + Send>;

/// A log of records that several machines may contend for. Positions are dense: each record's is one
/// above that of the record before, and the first ever is 0.
///
/// Methods block. After an error other than [`JournalError::Fenced`], [`JournalError::Position`],
/// [`JournalError::TooLarge`] and [`JournalError::Trimmed`], a provider appends nothing more: what it
/// holds is known only to the next one that opens it.
pub trait Journal: Send + Sync {
    /// Begins an epoch. Appends of every older one fail from now on.
    ///
    /// # Errors
    /// See [`JournalError`].
    fn claim(&self) -> Result<u64, JournalError>;

    /// The position of the oldest record that can be read; that of the next one if there is none.
    fn start(&self) -> u64;

    /// The position that the next record gets.
    fn end(&self) -> u64;

    /// Appends a record. It is durable once [`Journal::sync`] has returned; several may be under way.
    ///
    /// # Errors
    /// [`JournalError::Fenced`] if a newer epoch has begun, [`JournalError::Position`] if `position`
    /// isn't the end.
    fn append(&self, epoch: u64, position: u64, entry: &Entry<'_>) -> Result<(), JournalError>;

    /// Waits until the record at this position, and all before it, are durable.
    ///
    /// # Errors
    /// They may or may not be.
    fn sync(&self, position: u64) -> Result<(), JournalError>;

    /// Reads from one position up to another, or to what is appended now.
    ///
    /// # Errors
    /// [`JournalError::Trimmed`] if `from` lies before the start; damage is an item.
    fn read(&self, from: u64, to: u64) -> Result<Records, JournalError>;

    /// The position of a record at or before the one that holds the event with this sequence, near
    /// enough to read on from there.
    ///
    /// # Errors
    /// See [`JournalError`].
    fn near(&self, sequence: u64) -> Result<u64, JournalError>;

    /// What [`Journal::start`] would be after a trim before this position.
    fn trimmable(&self, before: u64) -> u64;

    /// Makes everything durable and notes where it ends, so that who opens it next can tell what is
    /// missing. Nothing may be appended afterwards.
    ///
    /// # Errors
    /// See [`JournalError`].
    fn close(&self) -> Result<(), JournalError>;

    /// Gives up what lies before a position, as far as that is cheap, and returns the new start.
    ///
    /// # Errors
    /// See [`JournalError`].
    fn trim(&self, before: u64) -> Result<u64, JournalError>;
}
