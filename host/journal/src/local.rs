//! Segment files on a disk of this machine; one process at a time.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::index::{Index, Place};
use crate::reader::{Frames, Next};
use crate::record::check_place;
use crate::recovery;
use crate::segment::{
    HEADER_BYTES, JournalId, ReplicaOf, SEGMENT_MIN_BYTES, Segment, list, names, new_id, remove,
    seed, sync_folder,
};
use crate::writer::Writer;
use crate::{
    Copied, Entry, FirstFailure, Journal, JournalError, Payload, Record, Records, Replica, closed,
    copy, rewrite,
};

/// Sealed segments whose files and indexes are kept open for readers.
const OPENED_MAX: usize = 64;

/// Options of a [`LocalJournal`].
#[derive(Clone, Copy, Debug)]
pub struct LocalOptions {
    /// Size of a segment; one holds at least one record.
    pub segment_bytes: u64,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 * 1_024 * 1_024 }
    }
}

/// What was found when a journal was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Whether it had been closed, and not interrupted.
    pub was_closed: bool,
    /// Bytes of records that were under way, which were cut off, and the segment they were in.
    pub torn: Option<(u64, String)>,
}

/// A journal in a folder. Dropping it without [`Journal::close`] is like a crash.
pub struct LocalJournal {
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    seed: u64,
    segments: RwLock<Vec<Segment>>,
    writer: Mutex<Writer>,
    syncing: Mutex<()>,
    /// Records before this position are durable.
    durable: AtomicU64,
    end: AtomicU64,
    epoch: AtomicU64,
    failed: FirstFailure,
    /// Used last, last. Also held while a segment is replaced, so that file and index are of one.
    opened: Mutex<VecDeque<Arc<Opened>>>,
}

/// A sealed segment for readers.
struct Opened {
    segment: Segment,
    file: Arc<File>,
    index: Index,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LocalJournal {
    /// Opens the journal of a folder, or makes one. What is there stays as it is until the journal is
    /// claimed: then a torn tail is cut off.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn open(folder: &Path, options: LocalOptions) -> Result<(Self, Recovery), JournalError> {
        let segment_bytes = options.segment_bytes.max(SEGMENT_MIN_BYTES);
        if let Some(found) = recovery::find(folder)? {
            let torn = (found.torn_bytes > 0).then(|| (found.torn_bytes, found.last.name()));
            let recovery = Recovery { was_closed: found.was_closed, torn };
            return Ok((Self::found(folder, segment_bytes, found), recovery));
        }
        let id = new_id().map_err(JournalError::io("cannot get random numbers for", folder))?;
        let begin = ReplicaOf { id, position: 0, sequence: 1 };
        let recovery = Recovery { was_closed: true, torn: None };
        Ok((Self::make(folder, segment_bytes, begin)?, recovery))
    }

    /// Begins a replica of another journal in a folder, in the place of what journal there is.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn replica(
        folder: &Path,
        options: LocalOptions,
        of: ReplicaOf,
    ) -> Result<Self, JournalError> {
        if folder.exists() {
            rewrite::forget(folder)?;
            closed::forget(folder)?;
        }
        // The newest first: what a crash leaves is a replica that ends earlier.
        for name in names(folder)?.iter().rev() {
            let path = folder.join(name);
            remove(&path.with_extension("index"))?;
            remove(&path)?;
        }
        Self::make(folder, options.segment_bytes.max(SEGMENT_MIN_BYTES), of)
    }

    fn make(folder: &Path, segment_bytes: u64, begin: ReplicaOf) -> Result<Self, JournalError> {
        let made = DirBuilder::new().mode(0o700).recursive(true).create(folder);
        made.map_err(JournalError::io("cannot make", folder))?;
        folder.parent().map_or(Ok(()), sync_folder)?;
        let writer = Writer::first(folder, segment_bytes, begin)?;
        let segments = vec![writer.segment];
        Ok(Self::on(folder, writer, segments, 0))
    }

    /// Opens the journal of a folder to be read; `None` if there is none.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn read_only(folder: &Path) -> Result<Option<Self>, JournalError> {
        let found = recovery::find(folder)?;
        Ok(found.map(|found| Self::found(folder, SEGMENT_MIN_BYTES, found)))
    }

    fn found(folder: &Path, segment_bytes: u64, found: recovery::Recovered) -> Self {
        let writer = Writer::at_end(folder, segment_bytes, &found);
        Self::on(folder, writer, found.segments, found.epoch)
    }

    fn on(folder: &Path, writer: Writer, segments: Vec<Segment>, epoch: u64) -> Self {
        let end = writer.index.end.position;
        let shared = Shared {
            folder: folder.to_owned(),
            seed: seed(&writer.segment.id),
            segments: RwLock::new(segments),
            writer: Mutex::new(writer),
            syncing: Mutex::default(),
            durable: AtomicU64::new(end),
            end: AtomicU64::new(end),
            epoch: AtomicU64::new(epoch),
            failed: FirstFailure::default(),
            opened: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The id of the journal in a folder; `None` if there is none.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn id_in(folder: &Path) -> Result<Option<JournalId>, JournalError> {
        let segments = list(folder)?;
        Ok(segments.into_iter().find_map(|found| found.header.ok()).map(|header| header.id))
    }

    /// Whether a folder has the segments of a journal.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn exists(folder: &Path) -> Result<bool, JournalError> {
        Ok(!names(folder)?.is_empty())
    }
}

impl Shared {
    fn sync_file(&self, file: &File, segment: &Segment, end: u64) -> Result<(), JournalError> {
        file.sync_data().map_err(|error| {
            self.failed.note(JournalError::io("cannot fsync", &segment.path(&self.folder))(error))
        })?;
        self.durable.fetch_max(end, Ordering::AcqRel);
        Ok(())
    }

    fn start(&self) -> u64 {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.first().map_or(0, |first| first.first_position)
    }

    /// The last segment that satisfies this, and the first position of the one after it.
    fn segment(&self, is_before: impl Fn(&Segment) -> bool) -> Option<(Segment, Option<u64>)> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let count = segments.partition_point(is_before);
        let found = segments.get(count.checked_sub(1)?)?;
        Some((*found, segments.get(count).map(|next| next.first_position)))
    }

    /// A segment's file, where in it to begin, and where its records end.
    fn place(
        &self,
        segment: &Segment,
        place: impl Fn(&Index) -> Place,
    ) -> Result<(Arc<File>, Place, u64), JournalError> {
        {
            let writer = lock(&self.writer);
            if writer.segment == *segment {
                let index = &writer.index;
                return Ok((Arc::clone(&writer.file), place(index), index.end.offset));
            }
        }
        let opened = self.opened(segment)?;
        Ok((Arc::clone(&opened.file), place(&opened.index), opened.index.end.offset))
    }

    fn opened(&self, segment: &Segment) -> Result<Arc<Opened>, JournalError> {
        let mut all = lock(&self.opened);
        if let Some(found) = all.iter().position(|opened| opened.segment == *segment)
            && let Some(opened) = all.remove(found)
        {
            all.push_back(Arc::clone(&opened));
            return Ok(opened);
        }
        let path = segment.path(&self.folder);
        let file = match File::open(&path) {
            Ok(file) => Arc::new(file),
            // Trimmed since it was looked up.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && self.start() > segment.first_position =>
            {
                let (asked, start) = (segment.first_position, self.start());
                return Err(JournalError::Trimmed { asked, start });
            }
            Err(error) => return Err(JournalError::io("cannot read", &path)(error)),
        };
        let index = match Index::read(&self.folder, segment)? {
            Some(index) => index,
            None => self.rebuild(segment, &file)?,
        };
        let opened = Arc::new(Opened { segment: *segment, file, index });
        if all.len() >= OPENED_MAX {
            all.pop_front();
        }
        all.push_back(Arc::clone(&opened));
        Ok(opened)
    }

    /// The index of a sealed segment, as far as its records are readable; the rest is found to be
    /// damaged by who reads it.
    fn rebuild(&self, segment: &Segment, file: &Arc<File>) -> Result<Index, JournalError> {
        let failed = |error| JournalError::io("cannot read", &segment.path(&self.folder))(error);
        let size_bytes = file.metadata().map_err(failed)?.len();
        let mut frames = Frames::new(Arc::clone(file), self.seed, HEADER_BYTES, size_bytes);
        let mut index = Index::new(segment);
        while let Next::Whole(header, frame) = frames.next().map_err(failed)? {
            index.push(&header, frame.len());
        }
        Ok(index)
    }
}

impl Replica for LocalJournal {
    fn follow(&self, epoch: u64) -> Result<(), JournalError> {
        lock(&self.shared.writer).begin()?;
        self.shared.epoch.store(epoch, Ordering::Release);
        Ok(())
    }
}

impl Journal for LocalJournal {
    fn id(&self) -> JournalId {
        lock(&self.shared.writer).segment.id
    }

    fn claim(&self) -> Result<u64, JournalError> {
        lock(&self.shared.writer).begin()?;
        Ok(self.shared.epoch.fetch_add(1, Ordering::AcqRel) + 1)
    }

    fn start(&self) -> u64 {
        self.shared.start()
    }

    fn end(&self) -> u64 {
        self.shared.end.load(Ordering::Acquire)
    }

    fn append(&self, epoch: u64, position: u64, entry: &Entry<'_>) -> Result<(), JournalError> {
        let shared = &*self.shared;
        entry.check_size()?;
        let mut writer = lock(&shared.writer);
        shared.failed.check()?;
        let (newest, end) = (shared.epoch.load(Ordering::Acquire), writer.index.end.position);
        check_place((epoch, newest), (position, end))?;
        let payload_bytes = entry.payload_bytes();
        if writer.is_full(payload_bytes) && writer.is_empty() {
            writer.grow(payload_bytes).map_err(|error| shared.failed.note(error))?;
        } else if writer.is_full(payload_bytes) {
            // Only the last segment may have records that aren't durable.
            shared.sync_file(&writer.file, &writer.segment, end)?;
            let (segment, index) =
                writer.roll(payload_bytes).map_err(|error| shared.failed.note(error))?;
            tracing::debug!(segment = segment.name(), end = index.end.position, "segment sealed");
            let mut segments = shared.segments.write().unwrap_or_else(PoisonError::into_inner);
            segments.push(writer.segment);
        }
        let durable = shared.durable.load(Ordering::Acquire);
        writer.append(entry, epoch, durable).map_err(|error| shared.failed.note(error))?;
        shared.end.store(position + 1, Ordering::Release);
        Ok(())
    }

    fn sync(&self, position: u64) -> Result<(), JournalError> {
        let shared = &*self.shared;
        let is_durable = || shared.durable.load(Ordering::Acquire) > position;
        if is_durable() {
            return Ok(());
        }
        // One fsync covers all that was appended before it began.
        let _syncing = lock(&shared.syncing);
        if is_durable() {
            return Ok(());
        }
        shared.failed.check()?;
        let (file, segment, end) = {
            let writer = lock(&shared.writer);
            (Arc::clone(&writer.file), writer.segment, writer.index.end.position)
        };
        shared.sync_file(&file, &segment, end)
    }

    fn read(&self, from: u64, to: u64) -> Result<Records, JournalError> {
        let (start, to) = (self.start(), to.min(self.end()));
        if from < start {
            return Err(JournalError::Trimmed { asked: from, start });
        }
        Ok(Box::new(Reading { shared: Arc::clone(&self.shared), next: from, to, within: None }))
    }

    fn near(&self, sequence: u64) -> Result<u64, JournalError> {
        match self.shared.segment(|segment| segment.first_sequence <= sequence) {
            Some((segment, _)) => {
                let (_, place, _) = self.shared.place(&segment, |index| index.near(sequence))?;
                Ok(place.position)
            }
            None => Ok(self.start()),
        }
    }

    fn close(&self) -> Result<(), JournalError> {
        let shared = &self.shared;
        shared.failed.check()?;
        if let Some(last) = self.end().checked_sub(1) {
            self.sync(last)?;
        }
        let mut writer = lock(&shared.writer);
        if !writer.is_begun() {
            return Ok(());
        }
        writer.settle();
        let (segment, end) = (&writer.segment, &writer.index.end);
        // Gives what was allocated in advance back.
        let cut = writer.file.set_len(end.offset).and_then(|()| writer.file.sync_all());
        cut.map_err(JournalError::io("cannot close", &segment.path(&shared.folder)))?;
        // Nothing may be appended to what is cut to its end.
        shared.failed.close("the journal is closed");
        closed::write(&shared.folder, segment, end)
    }

    fn trimmable(&self, before: u64) -> u64 {
        self.shared
            .segment(|segment| segment.first_position <= before)
            .map_or_else(|| self.start(), |(segment, _)| segment.first_position)
    }

    fn size_bytes(&self, from: u64) -> Result<u64, JournalError> {
        let shared = &*self.shared;
        let (last, mut bytes) = {
            let writer = lock(&shared.writer);
            (writer.segment, writer.index.end.offset)
        };
        let segments = shared.segments.read().unwrap_or_else(PoisonError::into_inner).clone();
        let before = segments.partition_point(|segment| segment.first_position <= from);
        for segment in segments.into_iter().skip(before.saturating_sub(1)) {
            let path = segment.path(&shared.folder);
            bytes += match fs::metadata(&path) {
                _ if segment == last => 0,
                Ok(found) => found.len(),
                // Trimmed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                Err(error) => return Err(JournalError::io("cannot read", &path)(error)),
            };
        }
        Ok(bytes)
    }

    fn part(&self, from: u64) -> Option<Range<u64>> {
        let segments = self.shared.segments.read().unwrap_or_else(PoisonError::into_inner);
        let count = segments.partition_point(|segment| segment.first_position < from);
        let (first, next) = (segments.get(count)?, segments.get(count + 1)?);
        Some(first.first_position..next.first_position)
    }

    fn rewrite(&self, part: Range<u64>, payload: &mut Payload<'_>) -> Result<bool, JournalError> {
        let shared = &*self.shared;
        let start = self.start();
        let found = shared.segment(|segment| segment.first_position <= part.start);
        let segment = match found {
            Some((segment, Some(next))) if (segment.first_position..next) == part => segment,
            _ => return Err(JournalError::Trimmed { asked: part.start, start }),
        };
        let (file, place, limit) = shared.place(&segment, |index| index.at(part.start))?;
        let frames = Frames::new(file, shared.seed, place.offset, limit);
        let written = rewrite::write(&shared.folder, &segment, frames, part.end, payload);
        if !matches!(written, Ok(Some(_))) {
            rewrite::forget(&shared.folder)?;
        }
        let Some(index) = written? else { return Ok(false) };
        let mut opened = lock(&shared.opened);
        if self.start() > segment.first_position {
            return Err(JournalError::Trimmed { asked: part.start, start: self.start() });
        }
        rewrite::swap(&shared.folder, &segment, &index)?;
        opened.retain(|opened| opened.segment != segment);
        Ok(true)
    }

    fn copy_to(
        &self,
        folder: &Path,
        until: u64,
        base: Option<&Path>,
        is_stopping: &dyn Fn() -> bool,
    ) -> Result<Copied, JournalError> {
        let shared = &*self.shared;
        let from = &shared.folder;
        copy::make(folder)?;
        let base = base.map(copy::Base::open).transpose()?;
        let segments = shared.segments.read().unwrap_or_else(PoisonError::into_inner).clone();
        let ends = segments.iter().skip(1).map(|next| next.first_position).chain([u64::MAX]);
        let mut copied = Copied { end: until, ..Copied::default() };
        for (segment, end) in segments.iter().zip(ends) {
            if is_stopping() {
                return Err(JournalError::Failed("the copy was stopped".to_owned()));
            }
            let path = segment.path(folder);
            let failed = |error| JournalError::io("cannot copy to", &path)(error);
            let is_sealed = end <= until;
            let is_linked = match &base {
                Some(base) if is_sealed => base.link(from, segment, folder)?,
                _ => false,
            };
            if !is_linked {
                let index = copy::segment(from, segment, end.min(until), folder)?;
                if is_sealed {
                    index.write(folder, segment).map_err(failed)?;
                } else {
                    closed::write(folder, segment, &index.end)?;
                }
            }
            let bytes = fs::metadata(&path).map_err(failed)?.len();
            copied.segments += 1;
            copied.bytes += bytes;
            copied.linked_bytes += if is_linked { bytes } else { 0 };
            if !is_sealed {
                break;
            }
        }
        sync_folder(folder)?;
        Ok(copied)
    }

    fn trim(&self, before: u64) -> Result<u64, JournalError> {
        let shared = &*self.shared;
        let first = || {
            let segments = shared.segments.read().unwrap_or_else(PoisonError::into_inner);
            let next = segments.get(1)?;
            segments.first().copied().filter(|_| next.first_position <= before)
        };
        let mut is_changed = false;
        // The oldest first, each once the one before it is gone: what a crash or a failure leaves is a
        // journal that starts later.
        while let Some(segment) = first() {
            remove(&segment.index_path(&shared.folder))?;
            remove(&segment.path(&shared.folder))?;
            shared.segments.write().unwrap_or_else(PoisonError::into_inner).remove(0);
            lock(&shared.opened).retain(|opened| opened.segment != segment);
            is_changed = true;
        }
        if is_changed {
            sync_folder(&shared.folder)?;
        }
        Ok(self.start())
    }
}

impl std::fmt::Debug for LocalJournal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalJournal").field("folder", &self.shared.folder).finish_non_exhaustive()
    }
}

/// Reads records segment by segment.
struct Reading {
    shared: Arc<Shared>,
    /// The position of the next record.
    next: u64,
    to: u64,
    within: Option<Within>,
}

/// The segment that is being read.
struct Within {
    segment: Segment,
    frames: Frames,
    /// The first position of the segment after it.
    until: Option<u64>,
}

impl Reading {
    fn enter(&self) -> Result<Within, JournalError> {
        let found = self.shared.segment(|segment| segment.first_position <= self.next);
        let (segment, until) = found.ok_or_else(|| JournalError::Trimmed {
            asked: self.next,
            start: self.shared.start(),
        })?;
        let (file, place, limit) = self.shared.place(&segment, |index| index.at(self.next))?;
        let frames = Frames::new(file, self.shared.seed, place.offset, limit);
        Ok(Within { segment, frames, until })
    }

    fn read(&mut self) -> Result<Record, JournalError> {
        loop {
            let mut within = match self.within.take() {
                Some(within) if within.until != Some(self.next) => within,
                _ => self.enter()?,
            };
            let (offset, name) = (within.frames.offset(), within.segment.name());
            let next = within.frames.next().map_err(|error| {
                JournalError::io("cannot read", &within.segment.path(&self.shared.folder))(error)
            })?;
            match next {
                Next::Whole(header, _) if header.position < self.next => {}
                Next::Whole(header, frame) if header.position == self.next => {
                    self.within = Some(within);
                    return Ok(header.record(&frame));
                }
                Next::Whole(..) | Next::Blank | Next::Bad => {
                    let reason = format!("the record at position {} is not readable", self.next);
                    return Err(JournalError::damaged(&name, offset, reason));
                }
            }
            self.within = Some(within);
        }
    }
}

impl Iterator for Reading {
    type Item = Result<Record, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.to {
            return None;
        }
        let read = self.read();
        match &read {
            Ok(_) => self.next += 1,
            Err(_) => self.next = self.to,
        }
        Some(read)
    }
}
