//! Decides when to scan the plugins folder: soon after the system reports a change, and every
//! second in any case, because notifications get lost (network file systems, a replaced folder, too
//! many watches).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::folder::FolderId;

/// Scan interval without notifications.
const RESCAN_EVERY: Duration = Duration::from_secs(1);
/// Debounce after a notification, so that a file is not read half written.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// Debounce after a file was closed or moved here: it is most likely complete.
const DEBOUNCE_WHOLE: Duration = Duration::from_millis(10);
/// Limit on debouncing while notifications keep coming.
const DEBOUNCE_MAX: Duration = Duration::from_secs(1);

/// Notifications so far.
#[derive(Clone, Copy, Debug, Default)]
struct Report {
    count: u64,
    /// Whether the last one means that a file is complete.
    whole: bool,
}

/// Notifies `look` each time the folder should be scanned. Runs until cancelled.
pub(super) async fn watch(folder: PathBuf, look: Arc<Notify>) {
    let (sender, mut reports) = watch::channel(Report::default());
    // Identifies the watched folder, which may be replaced.
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

/// Returns when it is time to scan.
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
            // The sender is owned by the calling task; it can't be dropped.
            _ = reports.changed() => {}
        }
    }
}

/// Whether an event means that a file is complete; `None` if it can't concern a plugin file.
fn relevant(event: &notify::Result<notify::Event>) -> Option<bool> {
    // Errors, such as an overflow of the system's queue, mean that notifications were lost.
    let Ok(event) = event else { return Some(false) };
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(true),
        EventKind::Access(_) => None,
        _ => Some(false),
    }
}
