//! The journal: an append-only log of commits, which is the truth that everything else a broker
//! stores is derived from.
//!
//! [`Journal`] is the seam for providers; [`LocalJournal`] keeps segment files on a disk,
//! [`MemoryJournal`] is for tests; `usher-jetstream` has one on NATS JetStream. A record is one commit;
//! what it means is its writer's. The format is documented in `docs/storage.md`.

mod closed;
mod copy;
mod error;
mod index;
mod local;
mod memory;
mod reader;
mod record;
mod recovery;
mod rewrite;
mod scan;
mod segment;
mod writer;

use std::ops::Range;
use std::path::Path;

pub use error::{FirstFailure, JournalError};
pub use local::{LocalJournal, LocalOptions, Recovery};
pub use memory::MemoryJournal;
pub use record::{Entry, RECORD_MAX_BYTES, Record, check_place};
pub use scan::{Gap, Scan, scan};
pub use segment::{JournalId, ReplicaOf, new_id};

/// Records, in the order of their positions.
pub type Records = Box<dyn Iterator<Item = Result<Record, JournalError>> + Send>;

/// What a copy has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Segments.
    pub segments: u64,
    /// Their size.
    pub bytes: u64,
    /// How much of that it shares with the earlier copy.
    pub linked_bytes: u64,
    /// Its end.
    pub end: u64,
}

/// Decides what a record's payload is from now on; `None` to leave all as it is.
pub type Payload<'a> = dyn FnMut(&Record) -> Option<Vec<u8>> + 'a;

/// A log of records that several machines may contend for. Positions are dense: each record's is one
/// above that of the record before, and the first ever is 0.
///
/// Methods block. After an error other than [`JournalError::Fenced`], [`JournalError::Position`],
/// [`JournalError::TooLarge`] and [`JournalError::Trimmed`], a provider appends nothing more: what it
/// holds is known only to the next one that opens it.
pub trait Journal: Send + Sync {
    /// What tells it from other journals.
    fn id(&self) -> JournalId;

    /// Begins an epoch: appends of every older one fail from now on, and nothing may be appended before
    /// there is one. Until then an opened journal is left as it was found.
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

    /// Whether it is known that appends fail from now on.
    ///
    /// # Errors
    /// Why they do.
    fn check(&self) -> Result<(), JournalError> {
        Ok(())
    }

    /// Whether an append is waiting for something that is away, and may be for long.
    fn is_waiting(&self) -> bool {
        false
    }

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

    /// How much room the parts from the one with this position on take.
    ///
    /// # Errors
    /// See [`JournalError`].
    fn size_bytes(&self, from: u64) -> Result<u64, JournalError>;

    /// The positions of the first part that begins at `from` or later, and that can be rewritten on its
    /// own; `None` if there is none, as at the end.
    fn part(&self, from: u64) -> Option<Range<u64>>;

    /// Gives the records of a part other payloads, all of them or none, and returns whether it did.
    /// Whoever reads meanwhile sees the one or the other.
    ///
    /// # Errors
    /// [`JournalError::Trimmed`] if there is no such part any more.
    fn rewrite(&self, part: Range<u64>, payload: &mut Payload<'_>) -> Result<bool, JournalError>;

    /// Copies the records before a position, which are durable, to a folder that isn't there yet, for a
    /// [`LocalJournal`] to open. Files of an earlier copy that are the same are linked to. Records are
    /// appended meanwhile as ever; nothing may be trimmed or rewritten. Stops early where asked to.
    ///
    /// # Errors
    /// See [`JournalError`]; a part of the folder may be there then.
    fn copy_to(
        &self,
        folder: &Path,
        until: u64,
        base: Option<&Path>,
        is_stopping: &dyn Fn() -> bool,
    ) -> Result<Copied, JournalError>;

    /// Gives up what lies before a position, as far as that is cheap, and returns the new start.
    ///
    /// # Errors
    /// See [`JournalError`].
    fn trim(&self, before: u64) -> Result<u64, JournalError>;
}

/// A journal whose records come from elsewhere.
pub trait Replica: Journal {
    /// Goes on in an epoch that was begun elsewhere.
    ///
    /// # Errors
    /// See [`JournalError`].
    fn follow(&self, epoch: u64) -> Result<(), JournalError>;
}
