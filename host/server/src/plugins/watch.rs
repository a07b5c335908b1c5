//! When to look at the plugins folder: soon after the system reports a change there, and every
//! second all the same, because reports get lost (network file systems, a folder that was
//! replaced, too many watches).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::folder::FolderId;

/// How often to look without any report.
const RESCAN_EVERY: Duration = Duration::from_secs(1);
/// How long to wait after a report for the next one, so that a file is not read half written.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// The same after a report that a file was closed or moved here: it is most likely whole.
const DEBOUNCE_WHOLE: Duration = Duration::from_millis(10);
/// The longest wait when reports don't end.
const DEBOUNCE_MAX: Duration = Duration::from_secs(1);

/// What the reports said so far.
#[derive(Clone, Copy, Debug, Default)]
struct Report {
    count: u64,
    /// Whether the last one said that a file is whole.
    whole: bool,
}

/// Wakes `look` each time the folder wants a look; ends when its task is dropped.
pub(super) async fn watch(folder: PathBuf, look: Arc<Notify>) {
    let (sender, mut reports) = watch::channel(Report::default());
    // The folder that is watched: another one may be put in its place.
    let mut watched: Option<(FolderId, RecommendedWatcher)> = None;
    loop {
        let present = FolderId::of(&folder).ok();
        if watched.as_ref().map(|(id, _)| *id) != present {
            let watcher = present.and_then(|id| Some((id, watcher(&folder, sender.clone())?)));
            watched = watcher;
        }
        next_look(&mut reports).await;
        look.notify_one();
    }
}

fn watcher(folder: &std::path::Path, sender: watch::Sender<Report>) -> Option<RecommendedWatcher> {
    let report = move |event: notify::Result<notify::Event>| {
        let Some(whole) = relevant(&event) else { return };
        sender.send_modify(|report| {
            report.count = report.count.wrapping_add(1);
            report.whole = whole;
        });
    };
    let watcher = notify::recommended_watcher(report).and_then(|mut watcher| {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    let refused = |error: &notify::Error| {
        tracing::debug!(
            folder = %folder.display(),
            %error,
            "no reports of changes in the plugins folder; looking every second instead"
        );
    };
    watcher.inspect_err(refused).ok()
}

/// Returns when it is time to look.
async fn next_look(reports: &mut watch::Receiver<Report>) {
    let rescan = Instant::now() + RESCAN_EVERY;
    if timeout_at(rescan, reports.changed()).await.is_err() {
        return;
    }
    let latest = Instant::now() + DEBOUNCE_MAX;
    loop {
        let whole = reports.borrow_and_update().whole;
        let wait = if whole { DEBOUNCE_WHOLE } else { DEBOUNCE };
        let until = (Instant::now() + wait).min(latest);
        tokio::select! {
            () = sleep_until(until) => return,
            // The other end is in the task that waits here; it can't be gone.
            _ = reports.changed() => {}
        }
    }
}

/// Whether an event may concern a plugin file, and if so whether it says that a file is whole.
fn relevant(event: &notify::Result<notify::Event>) -> Option<bool> {
    // Errors such as an overflow of the system's buffer mean that reports were lost.
    let Ok(event) = event else { return Some(false) };
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(true),
        EventKind::Access(_) => None,
        _ => Some(false),
    }
}
