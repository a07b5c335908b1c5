//! On-disk cache of compiled components, so that a restart doesn't recompile.
//!
//! Entries run as native code in this process. Therefore the folder is 0700 and owned by us, each
//! file is 0600 and carries an HMAC-SHA256 under a random key kept in the same folder, and the name
//! binds component and engine. An entry that fails any check is recompiled and rewritten; the cache
//! never fails a load.
//!
//! The folder is bounded; least recently used entries are evicted first.
//!
//! An entry is `tag (32 bytes) ‖ code`; the tag covers `name ‖ code`.

use std::fs::{self, DirBuilder, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use memmap2::MmapMut;
use ring::rand::SecureRandom;
use ring::{digest, hmac, rand};
use usher_event::Digest;
use wasmtime::Engine;
use wasmtime::component::Component;

const TAG_BYTES: usize = 32;
const KEY_BYTES: usize = 32;
const KEY_FILE: &str = "key";
/// Compiled code is a few times larger than its component.
const ENTRY_MAX_BYTES: u64 = 1024 * 1024 * 1024;

const ENTRIES_MAX: usize = 4_096;
/// All entries together.
const FOLDER_MAX_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Prefix of temporary files; only a crash leaves any behind.
const TEMPORARY: &str = ".";

/// A folder of compiled components.
pub(crate) struct Cache {
    dir: PathBuf,
    key: hmac::Key,
    writes: AtomicU64,
}

impl Cache {
    /// Opens the folder, creating it if missing. Fails if other users own it or have access.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        match DirBuilder::new().mode(0o700).recursive(true).create(dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let found = fs::symlink_metadata(dir)?;
        if !found.is_dir() {
            return Err(refuse(dir, "is not a directory"));
        }
        if found.mode() & 0o077 != 0 {
            return Err(refuse(dir, "is open to other users; make it private with chmod 700"));
        }
        let cache = Self { dir: dir.to_owned(), key: placeholder(), writes: AtomicU64::new(0) };
        // A file created now has our uid; the folder must have the same owner.
        let probe = cache.temporary();
        let ours = create(&probe).and_then(|file| file.metadata());
        let _ = fs::remove_file(&probe);
        if ours?.uid() != found.uid() {
            return Err(refuse(dir, "belongs to another user"));
        }
        let key = cache.load_key(found.uid())?;
        let cache = Self { key, ..cache };
        cache.remove_leftovers()?;
        Ok(cache)
    }

    /// Whether there is an entry for a component; doesn't verify it.
    pub(crate) fn has(&self, engine: &Engine, digest: &Digest) -> bool {
        self.dir.join(entry_name(engine, digest)).exists()
    }

    /// Loads a compiled component; `None` if the entry is missing or fails a check.
    pub(crate) fn get(&self, engine: &Engine, digest: &Digest) -> Option<Component> {
        let name = entry_name(engine, digest);
        let path = self.dir.join(&name);
        let (tag, signed) = match read_entry(&path, &name) {
            Ok(entry) => entry,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%error, "compiling again: the cache entry can't be read");
                return None;
            }
        };
        if hmac::verify(&self.key, &signed, &tag).is_err() {
            tracing::warn!(entry = name, "compiling again: the cache entry was tampered with");
            return None;
        }
        let code = signed.get(name.len()..).unwrap_or_default();
        // SAFETY: `deserialize` runs its input as native code. These bytes were produced by our
        // compiler for this engine: the tag just verified was computed by `put`, with a key that
        // only this user can read, over this exact name, which identifies the component, the
        // wasmtime version and its configuration.
        #[allow(unsafe_code, reason = "loading our own compiled code")]
        let component = unsafe { Component::deserialize(engine, code) };
        note_use(&path);
        component
            .inspect_err(|error| tracing::warn!(%error, "compiling again: not usable as it is"))
            .ok()
    }

    /// Stores compiled code. Best effort: a failure is only logged.
    pub(crate) fn put(&self, engine: &Engine, digest: &Digest, code: &[u8]) {
        if let Err(error) = self.write(&entry_name(engine, digest), code) {
            tracing::warn!(%error, "compiled code was not cached; the next start compiles again");
        }
    }

    fn write(&self, name: &str, code: &[u8]) -> io::Result<()> {
        let mut signing = hmac::Context::with_key(&self.key);
        signing.update(name.as_bytes());
        signing.update(code);
        let tag = signing.sign();
        let temporary = self.temporary();
        let written = create(&temporary)
            .and_then(|mut file| file.write_all(tag.as_ref()).and_then(|()| file.write_all(code)))
            .and_then(|()| fs::rename(&temporary, self.dir.join(name)));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written.and_then(|()| self.prune(ENTRIES_MAX, FOLDER_MAX_BYTES))
    }

    /// Evicts least recently used entries until both bounds hold.
    fn prune(&self, entries_max: usize, max_bytes: u64) -> io::Result<()> {
        let mut entries = Vec::new();
        for file in fs::read_dir(&self.dir)? {
            let file = file?;
            // Concurrent writers rename and remove files at any time.
            let Some(found) = unless_gone(file.metadata())? else { continue };
            let name = file.file_name();
            if name != KEY_FILE && !name.to_string_lossy().starts_with(TEMPORARY) {
                entries.push((found.modified()?, found.len(), file.path()));
            }
        }
        entries.sort();
        let mut sum_bytes: u64 = entries.iter().map(|(_, bytes, _)| bytes).sum();
        let mut count = entries.len();
        for (_, bytes, path) in entries {
            if count <= entries_max && sum_bytes <= max_bytes {
                break;
            }
            unless_gone(fs::remove_file(path))?;
            count -= 1;
            sum_bytes -= bytes;
        }
        Ok(())
    }

    fn remove_leftovers(&self) -> io::Result<()> {
        for file in fs::read_dir(&self.dir)? {
            let file = file?;
            if file.file_name().to_string_lossy().starts_with(TEMPORARY) {
                fs::remove_file(file.path())?;
            }
        }
        Ok(())
    }

    fn temporary(&self) -> PathBuf {
        let number = self.writes.fetch_add(1, Ordering::Relaxed);
        self.dir.join(format!("{TEMPORARY}{}-{number}", std::process::id()))
    }

    /// Loads the folder's key; replaces it if it is missing, not private or not ours.
    fn load_key(&self, uid: u32) -> io::Result<hmac::Key> {
        let path = self.dir.join(KEY_FILE);
        let mut bytes = [0; KEY_BYTES];
        if let Ok((mut file, len)) = open_private(&path, KEY_BYTES as u64)
            && len == KEY_BYTES as u64
            && file.read_exact(&mut bytes).is_ok()
            && fs::symlink_metadata(&path)?.uid() == uid
        {
            return Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes));
        }
        rand::SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| io::Error::other("the system has no random numbers"))?;
        let temporary = self.temporary();
        create(&temporary)?.write_all(&bytes)?;
        fs::rename(&temporary, &path)?;
        Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
    }
}

/// Maps `NotFound` to `None`.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Updates an entry's mtime. Best effort: failure only makes the entry look older than it is.
fn note_use(path: &Path) {
    let _ = OpenOptions::new()
        .append(true)
        .open(path)
        .and_then(|file| file.set_modified(SystemTime::now()));
}

fn placeholder() -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &[0; KEY_BYTES])
}

fn refuse(dir: &Path, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, format!("{} {why}", dir.display()))
}

fn create(path: &Path) -> io::Result<fs::File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Opens a regular file that no other user can access; also returns its length.
fn open_private(path: &Path, max_bytes: u64) -> io::Result<(fs::File, u64)> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_file() || found.mode() & 0o077 != 0 {
        return Err(refuse(path, "is not a private file"));
    }
    if found.len() > max_bytes {
        return Err(refuse(path, "is larger than it can be"));
    }
    Ok((fs::File::open(path)?, found.len()))
}

/// Reads an entry: its tag, and the signed bytes (name, then code). Mapped rather than allocated,
/// so that the pages return to the system: the allocator would retain the space of a thousand
/// plugins.
fn read_entry(path: &Path, name: &str) -> io::Result<([u8; TAG_BYTES], MmapMut)> {
    let (mut file, len) = open_private(path, ENTRY_MAX_BYTES)?;
    let mut tag = [0; TAG_BYTES];
    file.read_exact(&mut tag)?;
    let code_bytes = usize::try_from(len).map_err(io::Error::other)?.saturating_sub(TAG_BYTES);
    let mut signed = MmapMut::map_anon(name.len() + code_bytes)?;
    let (named, code) = signed.split_at_mut(name.len());
    named.copy_from_slice(name.as_bytes());
    file.read_exact(code)?;
    Ok((tag, signed))
}

/// File name of an entry: the component's digest and a hash of the engine's configuration.
fn entry_name(engine: &Engine, digest: &Digest) -> String {
    struct Sha256(digest::Context);
    impl Hasher for Sha256 {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut hasher = Sha256(digest::Context::new(&digest::SHA256));
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let engine: String =
        hasher.0.finish().as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{digest}-{engine}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("cache")).unwrap();
        let names = || {
            let files = fs::read_dir(&cache.dir).unwrap();
            let mut names: Vec<_> = files
                .map(|file| file.unwrap().file_name().into_string().unwrap())
                .filter(|name| name != KEY_FILE)
                .collect();
            names.sort();
            names
        };
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (age, name) in ["d", "b", "c", "a"].into_iter().enumerate() {
            cache.write(name, b"code").unwrap();
            let file = OpenOptions::new().append(true).open(cache.dir.join(name)).unwrap();
            file.set_modified(start + Duration::from_secs(age as u64)).unwrap();
        }
        cache.prune(3, u64::MAX).unwrap();
        assert_eq!(names(), ["a", "b", "c"]);
        note_use(&cache.dir.join("b"));
        // An entry is a tag and four bytes.
        cache.prune(usize::MAX, 2 * (TAG_BYTES as u64 + 4)).unwrap();
        assert_eq!(names(), ["a", "b"]);
    }

    #[test]
    fn entries_are_put_side_by_side() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("cache")).unwrap();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let cache = &cache;
                scope.spawn(move || {
                    for number in 0..50 {
                        cache.write(&format!("{writer}-{number}"), b"code").unwrap();
                        cache.prune(3, u64::MAX).unwrap();
                    }
                });
            }
        });
    }

    #[test]
    fn leftovers_of_a_crash_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("cache");
        let temporary = Cache::open(&dir).unwrap().temporary();
        fs::write(&temporary, b"half").unwrap();
        Cache::open(&dir).unwrap();
        assert!(!temporary.exists());
    }
}
