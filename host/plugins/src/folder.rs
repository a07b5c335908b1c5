//! The plugins folder on disk: scanning it, detecting changes, and reading files so that the bytes
//! hashed are the bytes compiled.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use usher_event::Digest;

/// Limit on plugin files in a folder.
pub(crate) const FILES_MAX: usize = 4_096;
/// Limit on the size of a plugin file.
pub(crate) const FILE_MAX_BYTES: u64 = usher_runtime::COMPONENT_MAX_BYTES as u64;

/// Metadata of a file; differs if the file may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    size_bytes: u64,
    modified_ns: i128,
    /// Changes even if a copying program resets the modification time.
    changed_ns: i128,
}

impl Stamp {
    /// The stamp of the file at `path`; `None` if it is missing or not accessible.
    pub fn at(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|metadata| Self::of(&metadata))
    }

    /// How large the file is.
    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn of(metadata: &Metadata) -> Self {
        let nanos = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
        Self {
            inode: metadata.ino(),
            size_bytes: metadata.len(),
            modified_ns: nanos(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: nanos(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Identity of a folder (device and inode), to detect that it was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FolderId(u64, u64);

impl FolderId {
    /// The folder that is at this path now.
    ///
    /// # Errors
    /// Its metadata can't be read.
    pub(crate) fn of(folder: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(folder)?;
        Ok(Self(metadata.dev(), metadata.ino()))
    }
}

impl Stamp {
    /// Whether it is the same file, even if renamed.
    pub fn same_file(&self, other: &Self) -> bool {
        self.inode == other.inode
    }
}

/// A plugin file's content.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub bytes: Bytes,
    pub digest: Digest,
}

/// Result of a scan.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    /// Plugin files by name.
    pub files: BTreeMap<String, Stamp>,
    /// Plugin files whose names are not UTF-8, lossily converted.
    pub misnamed: BTreeSet<String>,
}

/// The reason for refusing a file whose name is not UTF-8.
pub(crate) fn misnamed(file: &str) -> String {
    format!("{file} has a name that is not UTF-8: rename it, for instance to plugin.wasm")
}

/// Scans the folder for files whose names end in `.wasm` and don't begin with a dot.
///
/// # Errors
/// The folder can't be read, or holds too many files.
pub(crate) fn scan(folder: &Path) -> io::Result<Scanned> {
    let Scanned { mut files, mut misnamed } = Scanned::default();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if !is_plugin_file(&name.to_string_lossy()) {
            continue;
        }
        let Some(name) = name.to_str() else {
            if misnamed.len() < FILES_MAX {
                misnamed.insert(name.to_string_lossy().into_owned());
            }
            continue;
        };
        // Relative to the open folder, not by path: if the folder is replaced during the scan, the
        // files of the old one must not appear deleted.
        match entry.metadata() {
            Ok(metadata) => files.insert(name.to_owned(), Stamp::of(&metadata)),
            // Deleted since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if files.len() > FILES_MAX {
            let what = format!("more than {FILES_MAX} .wasm files; use several routers");
            return Err(io::Error::other(what));
        }
    }
    Ok(Scanned { files, misnamed })
}

fn is_plugin_file(name: &str) -> bool {
    !name.starts_with('.') && Path::new(name).extension().is_some_and(|ext| ext == "wasm")
}

/// Why a file could not be read.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// It is gone or was modified during the read: retry when it changes.
    Changed,
    /// It can't be a plugin.
    Refused(String),
    /// An I/O error that may be transient, such as running out of file descriptors.
    Failed(String),
}

/// Reads and hashes a file. Symbolic links, pipes and devices are refused; a file that changes
/// during the read is [`Unreadable::Changed`].
///
/// # Errors
/// See [`Unreadable`].
pub(crate) fn read(path: &Path) -> Result<Content, Unreadable> {
    // Non-blocking: opening a pipe would block until its other end is opened.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unreadable::Changed),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            let reason = "is a symbolic link: put the file itself into the plugins folder";
            return Err(Unreadable::Refused(reason.to_owned()));
        }
        Err(error) => return Err(Unreadable::Failed(format!("can't be opened: {error}"))),
    };
    let failed = |error: io::Error| Unreadable::Failed(format!("can't be read: {error}"));
    let before = file.metadata().map_err(failed)?;
    if !before.is_file() {
        return Err(Unreadable::Refused("is not a regular file".to_owned()));
    }
    if before.len() > FILE_MAX_BYTES {
        let reason = format!("has {} bytes, the limit is {FILE_MAX_BYTES}", before.len());
        return Err(Unreadable::Refused(reason));
    }
    let bytes = read_all(&file, before.len()).map_err(failed)?;
    let after = file.metadata().map_err(failed)?;
    if Stamp::of(&before) != Stamp::of(&after) || bytes.len() as u64 != after.len() {
        return Err(Unreadable::Changed);
    }
    Ok(Content { digest: Digest::of(&bytes), bytes: bytes.into() })
}

/// Runs [`read`] on the blocking pool.
///
/// # Errors
/// See [`Unreadable`].
pub(super) async fn read_aside(path: PathBuf) -> Result<Content, Unreadable> {
    let reading = tokio::task::spawn_blocking(move || read(&path)).await;
    reading.unwrap_or_else(|error| Err(Unreadable::Failed(format!("can't be read: {error}"))))
}

fn read_all(file: &File, size_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or(0));
    file.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(path: &Path) -> String {
        match read(path) {
            Err(Unreadable::Refused(reason)) => reason,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn only_plugin_files_are_seen_and_changes_show() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.wasm", "a.wasm", ".hidden.wasm", "a.wasm.tmp", "readme.md", "wasm"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        use std::os::unix::ffi::OsStrExt as _;
        let odd = std::ffi::OsStr::from_bytes(b"caf\xe9.wasm");
        std::fs::write(folder.path().join(odd), "odd").unwrap();
        let Scanned { files: before, misnamed } = scan(folder.path()).unwrap();
        assert_eq!(before.keys().collect::<Vec<_>>(), ["a.wasm", "b.wasm"]);
        assert_eq!(misnamed.into_iter().collect::<Vec<_>>(), ["caf\u{fffd}.wasm"]);
        std::fs::write(folder.path().join("a.wasm"), "longer than before").unwrap();
        let after = scan(folder.path()).unwrap().files;
        assert_ne!(before["a.wasm"], after["a.wasm"]);
        assert_eq!(before["b.wasm"], after["b.wasm"]);
        assert!(scan(&folder.path().join("none")).is_err());
    }

    #[test]
    fn regular_files_are_read_and_hashed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wasm");
        std::fs::write(&path, b"abc").unwrap();
        let content = read(&path).unwrap();
        assert_eq!((&content.bytes[..], content.digest), (&b"abc"[..], Digest::of(b"abc")));
        assert!(matches!(read(&folder.path().join("b.wasm")), Err(Unreadable::Changed)));
    }

    #[test]
    fn anything_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a.wasm"), b"abc").unwrap();
        std::os::unix::fs::symlink(path("a.wasm"), path("link.wasm")).unwrap();
        assert!(refusal(&path("link.wasm")).contains("symbolic link"));
        std::fs::create_dir(path("folder.wasm")).unwrap();
        assert!(refusal(&path("folder.wasm")).contains("regular file"));
        let made = std::process::Command::new("mkfifo").arg(path("pipe.wasm")).status().unwrap();
        assert!(made.success());
        assert!(refusal(&path("pipe.wasm")).contains("regular file"));
        File::create(path("large.wasm")).unwrap().set_len(FILE_MAX_BYTES + 1).unwrap();
        assert!(refusal(&path("large.wasm")).contains("the limit is"));
    }
}
