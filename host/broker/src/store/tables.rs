//! Looks at the parts of a store that fjall believes without a check, before fjall does: which
//! version of a table is the current one, which files it consists of, and where in them things
//! are. All else has checksums that fjall compares as it reads.
//!
//! What fjall finds out of place here it may take for left over, and remove: a folder without the
//! file that says what is in it, files that no version names.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

use super::OpenFailure;

/// fjall's marker of a finished store.
pub(crate) const MARKER: &str = "version";

/// Names the newest version file: its number, its checksum, the kind of checksum.
const CURRENT: &str = "current";
const CURRENT_BYTES: usize = 8 + 16 + 1;

/// The end of each archive file: magic, version, kind of checksum, checksum and place of the
/// contents.
const TRAILER_BYTES: usize = 4 + 1 + 1 + 16 + 8 + 8;
const TRAILER_BEGIN: [u8; 6] = *b"SFA!\x01\x00";

/// Longest table of contents; fjall's have about ten entries.
const CONTENTS_MAX_BYTES: u64 = 64 * 1_024;

/// Longest version file; it has 33 bytes for each table file.
const VERSION_FILE_MAX_BYTES: u64 = 64 * 1_024 * 1_024;

const PIECE_BYTES: usize = 256 * 1_024;

/// The folder of the table that names all others.
const NAMES: u64 = 0;

/// Checks the files of the store in this folder; changes nothing. What no version names is left
/// over from a crash and may be half-written.
pub(crate) fn check(folder: &Path) -> Result<(), OpenFailure> {
    let marker = folder.join(MARKER);
    if !marker.exists() {
        return Err(damaged(&marker, "it is missing"));
    }
    let keyspaces = keyspaces(folder)?;
    for keyspace in &keyspaces {
        let tables = keyspace.path.join("tables");
        match keyspace.version()? {
            Some(version) => {
                for table in version.tables {
                    check_contents(&tables.join(table.number.to_string()))?;
                }
            }
            None if entries(&tables)?.is_empty() => {}
            None => return Err(damaged(&keyspace.path.join(CURRENT), "it is missing")),
        }
    }
    match keyspaces.iter().find(|keyspace| keyspace.number == NAMES) {
        None if !keyspaces.is_empty() => {
            Err(damaged(&folder.join("keyspaces").join("0"), "it is missing"))
        }
        _ => Ok(()),
    }
}

/// The folder of one table.
pub(crate) struct Keyspace {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
}

pub(crate) fn keyspaces(folder: &Path) -> Result<Vec<Keyspace>, OpenFailure> {
    let mut keyspaces = Vec::new();
    for path in entries(&folder.join("keyspaces"))? {
        if path.is_dir() {
            let number = path.file_name().and_then(|name| name.to_str()?.parse().ok());
            let number = number.ok_or_else(|| damaged(&path, "its name is no number"))?;
            keyspaces.push(Keyspace { number, path });
        }
    }
    keyspaces.sort_by_key(|keyspace| keyspace.number);
    Ok(keyspaces)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, OpenFailure> {
    let read = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(OpenFailure::Io),
    }
}

impl Keyspace {
    /// What it consists of; `None` if making it didn't come to its end.
    pub(crate) fn version(&self) -> Result<Option<Version>, OpenFailure> {
        let current = self.path.join(CURRENT);
        if !current.exists() {
            return Ok(None);
        }
        let content = read(&current, CURRENT_BYTES as u64 + 1)?;
        let parse = || {
            let content: &[u8; CURRENT_BYTES] = content.as_slice().try_into().ok()?;
            let (number, rest) = content.split_first_chunk::<8>()?;
            let (checksum, kind) = rest.split_first_chunk::<16>()?;
            (*kind == [0]).then(|| (u64::from_le_bytes(*number), u128::from_le_bytes(*checksum)))
        };
        let (number, checksum) = parse().ok_or_else(|| damaged(&current, "it can't be read"))?;
        let path = self.path.join(format!("v{number}"));
        if !path.exists() {
            return Err(damaged(&path, "it is missing"));
        }
        if xxh3_128(&read(&path, VERSION_FILE_MAX_BYTES)?) != checksum {
            return Err(damaged(&path, "its checksum is wrong"));
        }
        // From here on it is what fjall wrote.
        let tables = read_tables(&path)?;
        Ok(Some(Version { path, tables }))
    }
}

/// The current version of a keyspace: the files it consists of.
pub(crate) struct Version {
    pub(crate) path: PathBuf,
    pub(crate) tables: Vec<Table>,
}

/// One file of rows.
pub(crate) struct Table {
    /// Its name.
    pub(crate) number: u64,
    /// Of all its bytes.
    pub(crate) checksum: u128,
}

/// A file of rows, and what it should be.
pub(crate) struct TableFile {
    pub(crate) path: PathBuf,
    checksum: u128,
}

impl TableFile {
    /// Reads it all; answers its length, and whether it is as it was written.
    pub(crate) fn is_sound(&self) -> io::Result<(u64, bool)> {
        let mut file = File::open(&self.path)?;
        let mut checksum = Xxh3Default::new();
        let mut piece = vec![0; PIECE_BYTES];
        let mut length = 0;
        loop {
            let read = file.read(&mut piece)?;
            let Some(read) = piece.get(..read).filter(|read| !read.is_empty()) else { break };
            checksum.update(read);
            length += read.len() as u64;
        }
        Ok((length, checksum.digest128() == self.checksum))
    }
}

/// All files of rows.
pub(crate) fn files(folder: &Path) -> Result<Vec<TableFile>, OpenFailure> {
    let mut files = Vec::new();
    for keyspace in keyspaces(folder)? {
        for table in keyspace.version()?.into_iter().flat_map(|version| version.tables) {
            let path = keyspace.path.join("tables").join(table.number.to_string());
            files.push(TableFile { path, checksum: table.checksum });
        }
    }
    Ok(files)
}

fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>, OpenFailure> {
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| file.take(max_bytes).read_to_end(&mut content));
    read.map(|_| content).map_err(OpenFailure::Io)
}

/// Levels, runs in each, tables in each: number, kind of checksum, checksum, lowest number of its
/// batches.
fn read_tables(path: &Path) -> io::Result<Vec<Table>> {
    let archive = sfa::Reader::new(path).map_err(|error| io::Error::other(format!("{error:?}")))?;
    let section = archive.toc().section(b"tables").ok_or(io::ErrorKind::InvalidData)?;
    let mut section = section.buf_reader(path)?;
    let mut tables = Vec::new();
    for _level in 0..u8::from_le_bytes(array(&mut section)?) {
        for _run in 0..u8::from_le_bytes(array(&mut section)?) {
            for _table in 0..u32::from_le_bytes(array(&mut section)?) {
                let number = u64::from_le_bytes(array(&mut section)?);
                let [_kind] = array(&mut section)?;
                let checksum = u128::from_le_bytes(array(&mut section)?);
                let [..] = array::<8>(&mut section)?;
                tables.push(Table { number, checksum });
            }
        }
    }
    Ok(tables)
}

fn array<const N: usize>(reader: &mut impl io::Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The end of an archive file says where everything else is.
fn check_contents(path: &Path) -> Result<(), OpenFailure> {
    match has_contents(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(damaged(path, "it is missing"))
        }
        Ok(true) => Ok(()),
        Ok(false) => Err(damaged(path, "its end is damaged")),
        Err(error) => Err(error.into()),
    }
}

fn has_contents(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let Some(trailer_at) = length.checked_sub(TRAILER_BYTES as u64) else { return Ok(false) };
    file.seek(SeekFrom::Start(trailer_at))?;
    let mut trailer = [0; TRAILER_BYTES];
    file.read_exact(&mut trailer)?;
    let parse = || {
        let rest = trailer.strip_prefix(&TRAILER_BEGIN)?;
        let (checksum, rest) = rest.split_first_chunk::<16>()?;
        let (at, rest) = rest.split_first_chunk::<8>()?;
        let (bytes, _) = rest.split_first_chunk::<8>()?;
        let [at, bytes] = [at, bytes].map(|number| u64::from_le_bytes(*number));
        let fits = at.checked_add(bytes) == Some(trailer_at) && bytes <= CONTENTS_MAX_BYTES;
        fits.then(|| (u128::from_le_bytes(*checksum), at, bytes))
    };
    let Some((checksum, at, bytes)) = parse() else { return Ok(false) };
    file.seek(SeekFrom::Start(at))?;
    let mut contents = Vec::new();
    file.take(bytes).read_to_end(&mut contents)?;
    Ok(xxh3_128(&contents) == checksum)
}

fn damaged(path: &Path, what: &str) -> OpenFailure {
    OpenFailure::damaged(format!("{}: {what}", place(path)))
}

/// The last parts of a path, from the store's folder on.
pub(crate) fn place(path: &Path) -> String {
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    let begin =
        parts.iter().rposition(|part| part == "keyspaces").unwrap_or(parts.len().saturating_sub(1));
    parts.get(begin..).unwrap_or_default().join("/")
}
