//! Tells when sources of a project have changed: once for changes that come together.

use std::path::Path;
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
    // Unbounded, but of unit messages that are drained at once.
    let (changed, changes) = channel();
    let report = move |event: notify::Result<notify::Event>| {
        // Errors mean that something was missed.
        let is_change = match &event {
            Ok(event) => {
                !matches!(event.kind, EventKind::Access(_))
                    && event.paths.iter().any(|path| is_source(path))
            }
            Err(_) => true,
        };
        if is_change {
            // Fails only once nobody waits any more.
            let _ = changed.send(());
        }
    };
    let mut watcher = notify::recommended_watcher(report)?;
    let manifest = project.folder.join(usher_author::MANIFEST);
    for path in project.watch.iter().chain([&manifest]) {
        // Of a file, watch the folder: editors replace files.
        let (path, mode) = match path.is_dir() {
            true => (path.as_path(), RecursiveMode::Recursive),
            false => (path.as_path(), RecursiveMode::NonRecursive),
        };
        if path.exists() {
            watcher.watch(path, mode)?;
        }
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
