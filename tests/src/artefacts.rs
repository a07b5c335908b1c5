//! Paths of the artefacts under test: the `usher` binary and the wasm components.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// The repository in which this crate was compiled.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The root workspace's target folder, which xtask always uses, regardless of `CARGO_TARGET_DIR`.
pub fn target_dir() -> PathBuf {
    repository().join("target")
}

/// The binary under test: `USHER_BIN`, by default the dev profile's.
///
/// # Errors
/// It doesn't exist.
pub fn usher_binary() -> Result<PathBuf> {
    let path = std::env::var_os("USHER_BIN")
        .map_or_else(|| target_dir().join("debug").join("usher"), PathBuf::from);
    ensure!(
        path.is_file(),
        "{} is missing: run `cargo xtask test`, which builds it first, or set USHER_BIN",
        path.display()
    );
    Ok(path)
}

/// What the router calls itself as [`other_version`].
pub const OTHER_VERSION: &str = "0.0.0-other";

/// The binary under test, built as another version.
pub fn other_version() -> PathBuf {
    target_dir().join("debug").join("usher-other")
}

/// A ticket plugin (`plugins/`), by crate name.
///
/// # Errors
/// It has not been built.
pub fn plugin(name: &str) -> Result<PathBuf> {
    component(&target_dir().join("plugins"), name)
}

/// A misbehaving or probing plugin (`tests/guests/`), by crate name.
///
/// # Errors
/// It has not been built.
pub fn guest(name: &str) -> Result<PathBuf> {
    let folder =
        std::env::var_os("USHER_GUESTS").map_or_else(|| target_dir().join("guests"), PathBuf::from);
    component(&folder, name)
}

fn component(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(format!("{name}.wasm"));
    path.is_file().then_some(path).with_context(|| {
        format!("{name}.wasm is not in {}: run `cargo xtask plugins` first", folder.display())
    })
}
