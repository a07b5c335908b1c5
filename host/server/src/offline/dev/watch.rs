//! Tells when sources of a project have changed: once for changes that come together.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, channel};
use std::thread;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use usher_author::Project;

use super::message::Message;

/// Editors write in several steps.
const DEBOUNCE: Duration = Duration::from_millis(40);

/// Watches what the manifest names, and the manifest itself. Dropping the result ends it.
pub(super) fn watch(
    project: &Project,
    sender: SyncSender<Message>,
) -> notify::Result<RecommendedWatcher> {
    let (files, folders) = places(project);
    let watched: BTreeSet<_> =
        files.iter().filter_map(|file| file.parent()).map(Path::to_owned).collect();
    let recursive = folders.clone();
    let is_wanted = move |path: &PathBuf| {
        files.contains(path) || folders.iter().any(|folder| path.starts_with(folder))
    };
    // Unbounded, but of unit messages that are drained at once.
    let (changed, changes) = channel();
    let report = move |event: notify::Result<notify::Event>| {
        // Errors mean that something was missed.
        let is_change = match &event {
            Ok(event) => {
                !matches!(event.kind, EventKind::Access(_))
                    && event.paths.iter().any(|path| is_source(path) && is_wanted(path))
            }
            Err(_) => true,
        };
        if is_change {
            // Fails only once nobody waits any more.
            let _ = changed.send(());
        }
    };
    let mut watcher = notify::recommended_watcher(report)?;
    for folder in watched {
        watcher.watch(&folder, RecursiveMode::NonRecursive)?;
    }
    for folder in recursive {
        watcher.watch(&folder, RecursiveMode::Recursive)?;
    }
    thread::spawn(move || {
        while changes.recv().is_ok() {
            while !matches!(changes.recv_timeout(DEBOUNCE), Err(RecvTimeoutError::Timeout)) {}
            if sender.send(Message::Changed).is_err() {
                return;
            }
        }
    });
    Ok(watcher)
}

/// Files and folders to watch, as the watcher names them. Of files it is their folder that is watched,
/// since editors replace files.
fn places(project: &Project) -> (BTreeSet<PathBuf>, Vec<PathBuf>) {
    let (mut files, mut folders) = (BTreeSet::new(), Vec::new());
    let manifest = project.folder.join(usher_author::MANIFEST);
    for path in project.watch.iter().chain([&manifest]) {
        if path.is_dir() {
            folders.extend(path.canonicalize());
        } else if let (Some(folder), Some(name)) = (path.parent(), path.file_name()) {
            files.extend(folder.canonicalize().map(|folder| folder.join(name)));
        }
    }
    (files, folders)
}

/// What tools leave beside sources is none.
fn is_source(path: &Path) -> bool {
    !path.components().any(|part| {
        let name = part.as_os_str().to_string_lossy();
        name == "__pycache__"
            || name.ends_with('~')
            || name.ends_with(".swp")
            || name.ends_with(".wasm")
    })
}
