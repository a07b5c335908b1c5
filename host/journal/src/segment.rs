//! Segment files: `POSITION.segment`, named by the position of their first record, with a header and
//! then records end to end. Only the last one is written to.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::rand::{GetRandomFlags, getrandom};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::JournalError;

/// Size of a segment's header.
pub(crate) const HEADER_BYTES: u64 = 64;

/// Size up to which preallocation gives way to a full disk.
pub(crate) const SEGMENT_MIN_BYTES: u64 = 1_024 * 1_024;

const MAGIC: &[u8; 8] = b"usherjnl";
/// Of segment, record and index; a newer one is refused.
const VERSION: u32 = 1;
const SUFFIX: &str = ".segment";
const INDEX_SUFFIX: &str = ".index";
/// Where the next segment is prepared.
const SPARE: &str = "spare.new";
/// In the header of the first segment of a journal, for the one before.
const NONE: u64 = u64::MAX;

/// Tells journals apart: 16 random bytes.
pub type JournalId = [u8; 16];

/// Which journal a folder is a replica of, and where in it the replica begins.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaOf {
    /// The journal.
    pub id: JournalId,
    /// The position of the first record.
    pub position: u64,
    /// The sequence of the first event in it or after it.
    pub sequence: u64,
}

/// The id of a journal that is to be.
///
/// # Errors
/// The system has no random numbers.
pub fn new_id() -> io::Result<JournalId> {
    let mut id = JournalId::default();
    getrandom(&mut id, GetRandomFlags::empty())?;
    Ok(id)
}

/// The seed of a journal's checksums.
pub(crate) fn seed(id: &JournalId) -> u64 {
    xxh3_64(id)
}

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) id: JournalId,
    /// The position of its first record.
    pub(crate) first_position: u64,
    /// The sequence of the first event in it or after it.
    pub(crate) first_sequence: u64,
    /// The first position of the segment before.
    pub(crate) previous: Option<u64>,
}

impl Segment {
    pub(crate) fn name(&self) -> String {
        name(self.first_position)
    }

    pub(crate) fn path(&self, folder: &Path) -> PathBuf {
        folder.join(self.name())
    }

    pub(crate) fn index_path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{:020}{INDEX_SUFFIX}", self.first_position))
    }

    pub(crate) fn write(&self) -> [u8; HEADER_BYTES as usize] {
        let previous = self.previous.unwrap_or(NONE);
        let mut bytes = [0; HEADER_BYTES as usize];
        let numbers = [self.first_position, self.first_sequence, previous];
        let version = u64::from(VERSION).to_le_bytes();
        let fields = [&MAGIC[..], &version, &self.id]
            .into_iter()
            .map(<[u8]>::to_vec)
            .chain(numbers.map(|number| number.to_le_bytes().to_vec()));
        let checked: Vec<u8> = fields.flatten().collect();
        let checksum = xxh3_64_with_seed(&checked, seed(&self.id)).to_le_bytes();
        for (byte, value) in bytes.iter_mut().zip(checked.iter().chain(&checksum)) {
            *byte = *value;
        }
        bytes
    }

    /// Why bytes are not a header, as words; `Err(None)` if nothing was written yet.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Option<String>> {
        let wrong = |words: &str| Err(Some(words.to_owned()));
        let Some(bytes) = bytes.first_chunk::<{ HEADER_BYTES as usize }>() else {
            return Err(None);
        };
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(None);
        }
        let (words, _) = bytes.as_chunks::<8>();
        let &[magic, version, id0, id1, position, sequence, previous, checksum] = words else {
            return wrong("its header is too short");
        };
        if magic != *MAGIC {
            return wrong("it does not begin like a journal segment");
        }
        match u64::from_le_bytes(version) {
            version if version == u64::from(VERSION) => {}
            version => {
                return wrong(&format!("its header has version {version}, supported is {VERSION}"));
            }
        }
        let mut id = JournalId::default();
        for (byte, value) in id.iter_mut().zip(id0.iter().chain(&id1)) {
            *byte = *value;
        }
        let checked = bytes.get(..HEADER_BYTES as usize - 8).unwrap_or_default();
        if xxh3_64_with_seed(checked, seed(&id)) != u64::from_le_bytes(checksum) {
            return wrong("its header does not match its checksum");
        }
        let previous = u64::from_le_bytes(previous);
        Ok(Self {
            id,
            first_position: u64::from_le_bytes(position),
            first_sequence: u64::from_le_bytes(sequence),
            previous: (previous != NONE).then_some(previous),
        })
    }
}

fn name(first_position: u64) -> String {
    format!("{first_position:020}{SUFFIX}")
}

/// A segment's file as it was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// Its header, or why it has none; `None` if nothing was written.
    pub(crate) header: Result<Segment, Option<String>>,
}

/// All segments of a folder in the order of their names, and so of their positions.
pub(crate) fn list(folder: &Path) -> Result<Vec<Found>, JournalError> {
    let found = names(folder)?.into_iter().map(|name| {
        let path = folder.join(&name);
        let header = read_header(&path).map_err(JournalError::io("cannot read", &path))?;
        let position = name.strip_suffix(SUFFIX).unwrap_or_default();
        let header = header.and_then(|header| match position.parse::<u64>() {
            Ok(position) if position == header.first_position => Ok(header),
            _ => Err(Some(format!(
                "it begins with position {}, which is not its name: it was renamed or doubled",
                header.first_position
            ))),
        });
        Ok(Found { name, path, header })
    });
    found.collect()
}

/// The file names of a folder's segments, in the order of their positions; none if there is no folder.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>, JournalError> {
    let failed = |error| JournalError::io("cannot read", folder)(error);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        if let Some(name) = name.to_str().filter(|name| name.ends_with(SUFFIX)) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn read_header(path: &Path) -> io::Result<Result<Segment, Option<String>>> {
    let file = File::open(path)?;
    let mut bytes = [0; HEADER_BYTES as usize];
    let mut read = 0;
    while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    Ok(Segment::read(bytes.get(..read).unwrap_or_default()))
}

/// Makes a file of up to `bytes` that the next segment will be, aside. A disk that is nearly full
/// gets a smaller one, of at least `min_bytes`. Returns its size.
pub(crate) fn prepare(folder: &Path, bytes: u64, min_bytes: u64) -> Result<u64, JournalError> {
    let path = folder.join(SPARE);
    let failed = |error| JournalError::io("cannot make", &path)(error);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(&path).map_err(failed)?;
    let mut size_bytes = bytes.max(min_bytes);
    loop {
        match allocate(&file, size_bytes) {
            Ok(()) => break,
            Err(error) if is_full(&error) && size_bytes > min_bytes.max(SEGMENT_MIN_BYTES) => {
                file.set_len(0).map_err(failed)?;
                size_bytes = (size_bytes / 2).max(min_bytes).max(SEGMENT_MIN_BYTES);
            }
            Err(error) => return Err(failed(error)),
        }
    }
    file.sync_all().map_err(failed)?;
    Ok(size_bytes)
}

/// Whether there is no room, on the disk or for this user.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Gives a file its final size, so that writing to it changes no metadata of the file's size.
pub(crate) fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        // Some file systems can't.
        Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(bytes),
        done => Ok(done?),
    }
}

/// Makes the prepared file this segment: header and name are durable when this returns, the name
/// last, so that a segment without a header is damage.
pub(crate) fn begin(folder: &Path, segment: &Segment) -> Result<File, JournalError> {
    let (spare, path) = (folder.join(SPARE), segment.path(folder));
    let failed = |error| JournalError::io("cannot begin", &path)(error);
    let file = OpenOptions::new().read(true).write(true).open(&spare).map_err(failed)?;
    file.write_all_at(&segment.write(), 0).and_then(|()| file.sync_data()).map_err(failed)?;
    fs::rename(&spare, &path).map_err(failed)?;
    sync_folder(folder)?;
    Ok(file)
}

/// Fsyncs a folder, which makes its entries durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), JournalError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(JournalError::io("cannot fsync", folder))
}

/// Removes a file, which may be gone already.
pub(crate) fn remove(path: &Path) -> Result<(), JournalError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(JournalError::io("cannot remove", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The format that docs/storage.md describes, byte for byte: a segment's header, and a record.
    #[test]
    fn bytes_are_those_of_the_golden_file() {
        let segment =
            Segment { id: [7; 16], first_position: 3, first_sequence: 9, previous: Some(1) };
        let payload: [&[u8]; 2] = [b"pay", b"load"];
        let entry = crate::Entry { first_sequence: 9, events: 2, payload: &payload };
        let mut frame = Vec::new();
        crate::record::write(&mut frame, &entry, 3, 5, 2, seed(&segment.id));
        let hex = |bytes: &[u8]| -> String {
            let words = bytes.chunks(8).map(|word| {
                word.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n"
            });
            words.collect()
        };
        let found = format!("{}\n{}", hex(&segment.write()), hex(&frame));
        assert_eq!(found, include_str!("../tests/golden/segment-v1.txt"), "{found}");
    }

    #[test]
    fn every_bit_of_a_header_is_checked() {
        let segment =
            Segment { id: [5; 16], first_position: 3, first_sequence: 9, previous: Some(1) };
        let whole = segment.write();
        assert_eq!(Segment::read(&whole), Ok(segment));
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Segment::read(&bytes).is_err(), "bit {bit}");
        }
        assert_eq!(Segment::read(&[0; 64]), Err(None));
        assert_eq!(Segment::read(&whole[..40]), Err(None));
    }
}
