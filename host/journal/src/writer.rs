//! The end of a local journal: the segment that is written to, and the one prepared to follow it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::index::Index;
use crate::record::{self, Entry, Frame, Header, frame_bytes};
use crate::recovery::Recovered;
use crate::segment::{
    self, HEADER_BYTES, ReplicaOf, SEGMENT_MIN_BYTES, Segment, allocate, is_full, seed,
};
use crate::{JournalError, closed, rewrite};

/// Writes records to the last segment.
pub(crate) struct Writer {
    folder: PathBuf,
    segment_bytes: u64,
    pub(crate) segment: Segment,
    pub(crate) file: Arc<File>,
    size_bytes: u64,
    pub(crate) index: Index,
    /// Whether the file is ready to be written to.
    is_begun: bool,
    buffer: Vec<u8>,
    spare: Option<JoinHandle<Result<u64, JournalError>>>,
}

impl Writer {
    /// Goes on where a journal was found to end. Nothing is changed before [`Writer::begin`].
    pub(crate) fn at_end(folder: &Path, segment_bytes: u64, found: &Recovered) -> Self {
        Self {
            folder: folder.to_owned(),
            segment_bytes,
            segment: found.last,
            file: Arc::clone(&found.file),
            size_bytes: found.size_bytes,
            index: found.index.clone(),
            is_begun: false,
            buffer: Vec::new(),
            spare: None,
        }
    }

    /// Makes the first segment of a journal in this folder.
    pub(crate) fn first(
        folder: &Path,
        segment_bytes: u64,
        begin: ReplicaOf,
    ) -> Result<Self, JournalError> {
        let ReplicaOf { id, position: first_position, sequence: first_sequence } = begin;
        let segment = Segment { id, first_position, first_sequence, previous: None };
        let size_bytes = segment::prepare(folder, segment_bytes, SEGMENT_MIN_BYTES)?;
        let file = Arc::new(segment::begin(folder, &segment)?);
        Ok(Self {
            folder: folder.to_owned(),
            segment_bytes,
            segment,
            file,
            size_bytes,
            index: Index::new(&segment),
            is_begun: true,
            buffer: Vec::new(),
            spare: None,
        })
    }

    /// Opens the last segment for writing, as large as a segment is, with its torn tail cut off.
    pub(crate) fn begin(&mut self) -> Result<(), JournalError> {
        if self.is_begun {
            return Ok(());
        }
        let path = self.segment.path(&self.folder);
        let failed = |error| JournalError::io("cannot write to", &path)(error);
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(failed)?;
        let end = self.index.end.offset;
        let size_bytes = self.segment_bytes.max(end);
        // What was cut off must read as zeros, or a part of it could follow the next record.
        let cut = file.set_len(end).and_then(|()| allocate(&file, size_bytes));
        self.size_bytes = match cut {
            Ok(()) => size_bytes,
            // The next record begins another segment, or is what fails.
            Err(error) if is_full(&error) => {
                file.set_len(end).map_err(failed)?;
                end
            }
            Err(error) => return Err(failed(error)),
        };
        file.sync_all().map_err(failed)?;
        rewrite::forget(&self.folder)?;
        closed::forget(&self.folder)?;
        (self.file, self.is_begun) = (Arc::new(file), true);
        Ok(())
    }

    /// Whether anything may have been written.
    pub(crate) fn is_begun(&self) -> bool {
        self.is_begun
    }

    /// Whether a record of this size needs another segment.
    pub(crate) fn is_full(&self, payload_bytes: usize) -> bool {
        self.index.end.offset + frame_bytes(payload_bytes) as u64 > self.size_bytes
    }

    /// Whether it has no record yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.index.end.position == self.segment.first_position
    }

    /// Makes room for a record in a segment that has none: another one would have the same name.
    pub(crate) fn grow(&mut self, payload_bytes: usize) -> Result<(), JournalError> {
        let min_bytes = HEADER_BYTES + frame_bytes(payload_bytes) as u64;
        let grown = allocate(&self.file, min_bytes).and_then(|()| self.file.sync_all());
        grown.map_err(JournalError::io("cannot extend", &self.segment.path(&self.folder)))?;
        self.size_bytes = min_bytes;
        Ok(())
    }

    /// Waits until nothing is prepared any more.
    pub(crate) fn settle(&mut self) {
        let _ = self.spare.take().map(JoinHandle::join);
    }

    /// Begins the next segment; everything in the one before must be durable. Returns that.
    pub(crate) fn roll(&mut self, payload_bytes: usize) -> Result<(Segment, Index), JournalError> {
        let min_bytes = HEADER_BYTES + frame_bytes(payload_bytes) as u64;
        let prepared = match self.spare.take().map(JoinHandle::join) {
            Some(Ok(Ok(size_bytes))) if size_bytes >= min_bytes => size_bytes,
            _ => segment::prepare(&self.folder, self.segment_bytes, min_bytes)?,
        };
        let segment = Segment {
            id: self.segment.id,
            first_position: self.index.end.position,
            first_sequence: self.index.end.first_sequence,
            previous: Some(self.segment.first_position),
        };
        let file = Arc::new(segment::begin(&self.folder, &segment)?);
        // Gives unused room back. Best effort, like the index: both can be done without.
        let _ = self.file.set_len(self.index.end.offset);
        let sealed = (self.segment, std::mem::replace(&mut self.index, Index::new(&segment)));
        if let Err(error) = sealed.1.write(&self.folder, &sealed.0) {
            tracing::warn!(%error, segment = sealed.0.name(), "no index is written");
        }
        (self.segment, self.file, self.size_bytes) = (segment, file, prepared);
        Ok(sealed)
    }

    /// Writes a record at the end.
    pub(crate) fn append(
        &mut self,
        entry: &Entry<'_>,
        epoch: u64,
        durable: u64,
    ) -> Result<(), JournalError> {
        let end = self.index.end;
        record::write(
            &mut self.buffer,
            entry,
            end.position,
            epoch,
            durable,
            seed(&self.segment.id),
        );
        let written = self.file.write_all_at(&self.buffer, end.offset);
        written.map_err(JournalError::io("cannot write", &self.segment.path(&self.folder)))?;
        if let Frame::Header(header, frame_bytes) = Header::read(&self.buffer) {
            self.index.push(&header, frame_bytes);
        }
        self.prepare_next();
        Ok(())
    }

    /// Prepares the next segment in the background once this one is half full.
    fn prepare_next(&mut self) {
        if self.spare.is_none() && self.index.end.offset > self.size_bytes / 2 {
            let (folder, segment_bytes) = (self.folder.clone(), self.segment_bytes);
            let thread = std::thread::Builder::new().name("journal-spare".to_owned());
            // Without a thread it is prepared when it is needed.
            self.spare = thread
                .spawn(move || segment::prepare(&folder, segment_bytes, SEGMENT_MIN_BYTES))
                .ok();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // It must not write into a folder that somebody else opens.
        self.settle();
    }
}
