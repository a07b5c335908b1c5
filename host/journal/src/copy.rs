//! Copies of a journal's segments. Sealed ones never change in place, so that copies may share a file.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::JournalError;
use crate::index::Index;
use crate::reader::{Frames, Next};
use crate::segment::{HEADER_BYTES, Segment, names, remove, seed};

/// How much of a segment's end is compared.
const COMPARED_BYTES: u64 = 4_096;

/// Makes the folder of a copy, which must not be there yet.
pub(crate) fn make(to: &Path) -> Result<(), JournalError> {
    let made = DirBuilder::new().mode(0o700).create(to);
    made.map_err(JournalError::io("cannot make", to))
}

/// The earlier copy that a new one may share files with.
pub(crate) struct Base<'a> {
    folder: &'a Path,
    /// Its segments without the last one, which who starts from it writes to.
    sealed: Vec<String>,
}

impl<'a> Base<'a> {
    pub(crate) fn open(folder: &'a Path) -> Result<Self, JournalError> {
        let mut sealed = names(folder)?;
        sealed.pop();
        Ok(Self { folder, sealed })
    }

    /// Links a sealed segment into the copy, if the base has the same; whether it did.
    pub(crate) fn link(
        &self,
        from: &Path,
        segment: &Segment,
        to: &Path,
    ) -> Result<bool, JournalError> {
        if !self.sealed.contains(&segment.name()) || !self.is_same(from, segment) {
            return Ok(false);
        }
        let link = |path: fn(&Segment, &Path) -> PathBuf| {
            fs::hard_link(path(segment, self.folder), path(segment, to)).is_ok()
        };
        let is_linked = link(Segment::path) && link(Segment::index_path);
        if !is_linked {
            // Another file system, or one without links.
            remove(&segment.path(to))?;
        }
        Ok(is_linked)
    }

    /// Whether length, header, index and last bytes are the same: those of a segment that was rewritten,
    /// or that another router filled from the same beginning, are not.
    fn is_same(&self, from: &Path, segment: &Segment) -> bool {
        let compared = |folder| -> io::Result<_> {
            let file = File::open(segment.path(folder))?;
            let bytes = file.metadata()?.len();
            let mut header = [0; HEADER_BYTES as usize];
            file.read_exact_at(&mut header, 0)?;
            let begin = bytes.saturating_sub(COMPARED_BYTES);
            let mut end = vec![0; usize::try_from(bytes - begin).unwrap_or_default()];
            file.read_exact_at(&mut end, begin)?;
            Ok((bytes, header, end, fs::read(segment.index_path(folder))?))
        };
        match (compared(from), compared(self.folder)) {
            (Ok(one), Ok(other)) => one == other,
            // Without an index, or damaged: it is copied, and what is wrong is found then.
            _ => false,
        }
    }
}

/// Reads the records of a segment that come before the position `until`, and copies them.
pub(crate) fn segment(
    from: &Path,
    segment: &Segment,
    until: u64,
    to: &Path,
) -> Result<Index, JournalError> {
    let (source, target) = (segment.path(from), segment.path(to));
    let failed = |error| JournalError::io("cannot copy", &source)(error);
    let file = Arc::new(File::open(&source).map_err(failed)?);
    let size_bytes = file.metadata().map_err(failed)?.len();
    let mut frames = Frames::new(Arc::clone(&file), seed(&segment.id), HEADER_BYTES, size_bytes);
    let mut index = Index::new(segment);
    while index.end.position < until {
        match frames.next().map_err(failed)? {
            Next::Whole(header, frame) if header.position == index.end.position => {
                index.push(&header, frame.len());
            }
            _ => {
                let reason =
                    format!("the record at position {} is not readable", index.end.position);
                return Err(JournalError::damaged(&segment.name(), index.end.offset, reason));
            }
        }
    }
    let mut source = &*file;
    source.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut copy = File::create_new(&target).map_err(JournalError::io("cannot make", &target))?;
    let copied = io::copy(&mut source.take(index.end.offset), &mut copy);
    copied.and_then(|_| copy.sync_all()).map_err(failed)?;
    Ok(index)
}
