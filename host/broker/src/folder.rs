//! The data folder: its format, lock and layout.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::OpenError;
use crate::files::{make_folder, replace_file};

/// The format this version writes, and the newest it reads.
pub(crate) const FORMAT: u32 = 4;

/// The oldest format this version upgrades to the newest.
const FORMAT_OLDEST: u32 = 1;

/// The journal's folder.
pub const JOURNAL: &str = "journal";
/// That of the tables.
pub(crate) const TABLES: &str = "tables";
/// That of blobs.
pub(crate) const BLOBS: &str = "blobs";

/// Says, in a copy of a data folder, where its journal ended.
const COPY_FILE: &str = "copy";
const FORMAT_FILE: &str = "format";
const LOCK_FILE: &str = "lock";

/// Maximum bytes read of the small files.
const SMALL_FILE_MAX_BYTES: u64 = 64;

/// A data folder locked by this process until dropped.
pub(crate) struct Folder {
    path: PathBuf,
    lock: Arc<File>,
    /// Its format as it was found.
    format: u32,
}

impl Folder {
    /// Creates the folder if needed, checks its format and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        make_folder(path).map_err(refused("cannot make the data folder", path))?;
        let format_path = path.join(FORMAT_FILE);
        let found = check_format(path)?;
        let lock = lock(path)?;
        let folder = Self { path: path.to_owned(), lock, format: found.unwrap_or(FORMAT) };
        // Of an older one once it is upgraded.
        if found.is_none() {
            folder.write_format().map_err(refused("cannot write", &format_path))?;
        }
        Ok(folder)
    }

    /// Locks an existing folder without upgrading its format.
    pub(crate) fn open_as_it_is(path: &Path) -> Result<Self, OpenError> {
        let Some(format) = check_format(path)? else {
            let reason = "it has no format file".to_owned();
            return Err(OpenError::Foreign { path: path.to_owned(), reason });
        };
        if format != FORMAT {
            return Err(OpenError::OlderFormat { path: path.to_owned(), found: format });
        }
        Ok(Self { path: path.to_owned(), lock: lock(path)?, format })
    }

    /// Whether its format is the newest.
    pub(crate) fn is_current(&self) -> bool {
        self.format == FORMAT
    }

    /// Its format as it was found.
    pub(crate) fn format(&self) -> u32 {
        self.format
    }

    /// Makes its format the newest.
    pub(crate) fn write_format(&self) -> io::Result<()> {
        write_format(&self.path)
    }

    /// The lock, held until the last clone is dropped.
    pub(crate) fn lock(&self) -> Arc<File> {
        Arc::clone(&self.lock)
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// Path of the journal.
    pub(crate) fn journal(&self) -> PathBuf {
        self.path.join(JOURNAL)
    }

    /// Path of the tables.
    pub(crate) fn tables(&self) -> PathBuf {
        self.path.join(TABLES)
    }

    /// Path of the store of formats 1 to 3.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Path of the blobs.
    pub(crate) fn blobs(&self) -> PathBuf {
        self.path.join(BLOBS)
    }

    /// Whether it is a copy that nothing was committed to yet: its journal ends where it ended when it was
    /// made, at `end`. If it ends elsewhere it isn't marked as a copy any more.
    pub(crate) fn is_new_copy(&self, end: u64) -> io::Result<bool> {
        let Some(copied) = copied_until(&self.path)? else { return Ok(false) };
        if copied != end {
            std::fs::remove_file(self.path.join(COPY_FILE))?;
        }
        Ok(copied == end)
    }
}

/// Marks a folder as a copy whose journal ends at this position.
pub(crate) fn mark_copy(path: &Path, end: u64) -> io::Result<()> {
    replace_file(path, COPY_FILE, format!("{end}\n").as_bytes())
}

/// Where the journal of a backup ended when that was made; `None` for another data folder.
///
/// # Errors
/// The disk fails.
pub fn copied_until(data: &Path) -> io::Result<Option<u64>> {
    let file = match File::open(data.join(COPY_FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut text = String::new();
    file.take(SMALL_FILE_MAX_BYTES).read_to_string(&mut text)?;
    // Other content is no position of a journal.
    Ok(Some(text.trim_end().parse().unwrap_or(u64::MAX)))
}

fn refused<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> OpenError + 'a {
    move |source| OpenError::Io { what, path: path.to_owned(), source }
}

/// The format of a folder; `None` if there is nothing in it.
pub(crate) fn check_format(path: &Path) -> Result<Option<u32>, OpenError> {
    let format_path = &path.join(FORMAT_FILE);
    let foreign =
        |reason: &str| OpenError::Foreign { path: path.to_owned(), reason: reason.to_owned() };
    let file = match File::open(format_path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match [JOURNAL, "log", BLOBS].iter().find(|name| path.join(name).exists()) {
                Some(name) => Err(foreign(&format!("it has a {name} but no format file"))),
                None => Ok(None),
            };
        }
        Err(error) => return Err(refused("cannot read", format_path)(error)),
    };
    let mut text = String::new();
    file.take(SMALL_FILE_MAX_BYTES)
        .read_to_string(&mut text)
        .map_err(refused("cannot read", format_path))?;
    let number = text.trim_end().strip_prefix("usher ").and_then(|number| number.parse().ok());
    match number {
        Some(found) if found > FORMAT => {
            Err(OpenError::NewerFormat { path: path.to_owned(), found, supported: FORMAT })
        }
        Some(found) if found >= FORMAT_OLDEST => Ok(Some(found)),
        _ => Err(foreign("its format file can't be understood")),
    }
}

/// Writes the format file, which marks a folder as a data folder.
pub(crate) fn write_format(path: &Path) -> io::Result<()> {
    replace_file(path, FORMAT_FILE, format!("usher {FORMAT}\n").as_bytes())
}

fn lock(path: &Path) -> Result<Arc<File>, OpenError> {
    let lock_path = path.join(LOCK_FILE);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(&lock_path).map_err(refused("cannot write", &lock_path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Best effort, for the message only.
            let _ = file.take(SMALL_FILE_MAX_BYTES).read_to_string(&mut text);
            return Err(OpenError::InUse { path: path.to_owned(), pid: text.trim().parse().ok() });
        }
        Err(TryLockError::Error(error)) => return Err(refused("cannot lock", &lock_path)(error)),
    }
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(refused("cannot write", &lock_path))?;
    Ok(Arc::new(file))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_second_instance_is_refused_by_name() {
        let data = tempfile::tempdir().unwrap();
        let first = Folder::open(data.path()).unwrap();
        let Err(error) = Folder::open(data.path()) else { panic!("opened twice") };
        let pid = std::process::id();
        assert!(matches!(&error, OpenError::InUse { pid: Some(found), .. } if *found == pid));
        assert!(error.to_string().contains(&format!("in use by process {pid}")));
        drop(first);
        Folder::open(data.path()).unwrap();
    }

    #[test]
    fn a_newer_format_is_refused_and_nothing_changed() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("format"), "usher 5\n").unwrap();
        let Err(error) = Folder::open(data.path()) else { panic!("opened a newer format") };
        assert!(matches!(error, OpenError::NewerFormat { found: 5, supported: 4, .. }));
        let names: Vec<_> =
            fs::read_dir(data.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["format"]);
    }

    #[test]
    fn an_older_format_is_upgraded() {
        let data = tempfile::tempdir().unwrap();
        for older in 1..FORMAT {
            fs::write(data.path().join("format"), format!("usher {older}\n")).unwrap();
            let folder = Folder::open(data.path()).unwrap();
            assert_eq!((folder.is_current(), folder.format()), (false, older));
            folder.write_format().unwrap();
            assert_eq!(fs::read_to_string(data.path().join("format")).unwrap(), "usher 4\n");
        }
        fs::write(data.path().join("format"), "usher 0\n").unwrap();
        assert!(matches!(Folder::open(data.path()), Err(OpenError::Foreign { .. })));
    }

    #[test]
    fn a_folder_of_something_else_is_refused() {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir(data.path().join("log")).unwrap();
        assert!(matches!(Folder::open(data.path()), Err(OpenError::Foreign { .. })));
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("format"), "something\n").unwrap();
        assert!(matches!(Folder::open(data.path()), Err(OpenError::Foreign { .. })));
    }
}
