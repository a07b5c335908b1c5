//! The configuration file. It belongs to a program, not to a library, so its code is taken in here.

#[path = "../../../host/server/src/config/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    reason = "only reading it matters here; whoever uses the rest is elsewhere"
)]
mod written;

use std::cell::OnceCell;
use std::fs;

use tempfile::TempDir;
use written::{Flags, load};

thread_local! {
    /// Where the file lies, with a folder of plugins beside it.
    static FOLDER: OnceCell<Option<TempDir>> = const { OnceCell::new() };
}

pub(crate) fn config(input: &[u8]) {
    FOLDER.with(|folder| {
        let made = || {
            let folder = tempfile::tempdir().ok()?;
            fs::create_dir(folder.path().join("plugins")).ok()?;
            Some(folder)
        };
        let Some(folder) = folder.get_or_init(made) else { return };
        let file = folder.path().join("usher.toml");
        if fs::write(&file, input).is_err() {
            return;
        }
        let flags = Flags { config: Some(file), ..Flags::default() };
        if let Err(problems) = load(&flags) {
            assert!(!problems.0.is_empty(), "refused without a word");
            assert!(problems.0.iter().all(|problem| !problem.what.is_empty()), "{problems}");
        }
    });
}
