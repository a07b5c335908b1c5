//! Compiled code on disk: reused, and only if it is what was written.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;
use usher_runtime::{CompileBudget, Grants, Limits, Runtime, RuntimeError, RuntimeOptions};

use crate::support::logs::capture;
use crate::support::{Setup, block_on, guest_bytes, options};

fn open(dir: &Path) -> Result<Runtime, RuntimeError> {
    Runtime::new(RuntimeOptions { cache_dir: Some(dir.to_owned()), ..options() })
}

/// Loads a guest in a new runtime and runs it; returns whether it came from the cache.
fn serve(dir: &Path) -> bool {
    let runtime = open(dir).unwrap();
    let loaded =
        block_on(runtime.load(guest_bytes("hop"), "hop.wasm", CompileBudget::Patient)).unwrap();
    let setup = Setup::new(&loaded, Grants::default(), Limits::default());
    assert_eq!(setup.deliver(&json!({"n": 1})).unwrap().len(), 1);
    loaded.from_cache()
}

fn entry(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let entries: Vec<_> = files.filter(|path| path.file_name().unwrap() != "key").collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries[0].clone()
}

#[test]
fn a_second_start_does_not_compile() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path().join("cache");
    assert!(!serve(&dir));
    assert!(serve(&dir));
    assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
    for file in fs::read_dir(&dir).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_damaged_entry_is_compiled_and_written_again() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path().join("cache");
    serve(&dir);
    let path = entry(&dir);
    let whole = fs::read(&path).unwrap();
    let flipped = |position: usize| {
        let mut bytes = whole.clone();
        bytes[position] ^= 1;
        bytes
    };
    let damages = [
        flipped(0),
        flipped(31),
        flipped(32),
        flipped(whole.len() - 1),
        whole[..40].to_vec(),
        vec![],
    ];
    for damaged in damages {
        fs::write(&path, &damaged).unwrap();
        let (from_cache, _) = capture(|| serve(&dir));
        assert!(!from_cache, "{} bytes", damaged.len());
        assert!(serve(&dir), "written again");
    }
}

#[test]
fn an_entry_under_another_name_is_not_used() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path().join("cache");
    serve(&dir);
    let runtime = open(&dir).unwrap();
    let echo = || {
        block_on(runtime.load(guest_bytes("echo"), "echo.wasm", CompileBudget::Patient)).unwrap()
    };
    let hop = entry(&dir);
    assert!(!echo().from_cache());
    // hop's code, in the place of echo's.
    let files = fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path());
    let other = files.into_iter().find(|path| *path != hop && path.file_name().unwrap() != "key");
    fs::copy(&hop, other.unwrap()).unwrap();
    assert!(!echo().from_cache());
}

#[test]
fn entries_of_another_key_are_not_used() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path().join("cache");
    serve(&dir);
    fs::remove_file(dir.join("key")).unwrap();
    assert!(!serve(&dir));
}

#[test]
fn files_open_to_others_are_not_used() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path().join("cache");
    serve(&dir);
    fs::set_permissions(entry(&dir), fs::Permissions::from_mode(0o666)).unwrap();
    assert!(!serve(&dir));
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    let error = open(&dir).map(drop).unwrap_err().to_string();
    assert!(error.contains("chmod 700"), "{error}");
}

#[test]
fn baseline_code_gives_way_to_optimised_code() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path().join("cache");
    let runtime = open(&dir).unwrap();
    let bytes = guest_bytes("hop");
    let load = || runtime.load_quickly(bytes.clone(), "hop.wasm", CompileBudget::Quick);
    let loaded = block_on(load()).unwrap();
    assert!(!loaded.is_optimised() && !loaded.from_cache());
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "only the key: it isn't kept");
    let setup = Setup::new(&loaded, Grants::default(), Limits::default());
    let made = || {
        assert_eq!(setup.deliver(&json!({"n": 1})).unwrap().len(), 1);
        setup.listener.stats().instances_made
    };
    assert_eq!((made(), made()), (1, 1));

    let other = block_on(runtime.optimise(&setup.listener, guest_bytes("echo")));
    assert!(other.is_err() && !loaded.is_optimised(), "that is another component");
    block_on(runtime.optimise(&setup.listener, bytes.clone())).unwrap();
    assert!(loaded.is_optimised());
    // The idle instance is gone; the next ones have the new code.
    assert_eq!(setup.listener.stats().instances, 0);
    assert_eq!((made(), made()), (2, 2));
    let again = block_on(load()).unwrap();
    assert!(again.is_optimised() && again.from_cache());
}
