//! The configuration file.

use std::cell::OnceCell;
use std::fs;

use tempfile::TempDir;
use usher_config::{Flags, load};

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
