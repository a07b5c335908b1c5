//! One scan of the folder: finds new, changed, renamed and deleted files, and acts on them.
//!
//! All changed files are read before anything is decided, because files may have swapped names.
//! Only digests are kept, since thousands of files may wait: each is read again when it is loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use usher_event::{Digest, PluginName};

use super::{Done, Reconciler};
use crate::folder::{self, Scanned, Stamp, Unreadable};
use crate::outcome::Outcome;
use crate::refusal::Refusal;

/// Previous stamps of the changed files.
type Before = BTreeMap<String, Stamp>;

/// A plugin whose file was renamed.
struct Move {
    name: PluginName,
    from: String,
    to: String,
}

impl Reconciler {
    pub(super) async fn look_at_folder(&mut self) {
        let Some(Scanned { files: scanned, misnamed }) = self.scan().await else { return };
        self.refuse_misnamed(misnamed);
        let now = Instant::now();
        let changed: Vec<_> = scanned
            .iter()
            .filter(|(file, stamp)| {
                self.files.get(*file).is_none_or(|known| {
                    let due = known.again.is_some_and(|again| again.is_over(now));
                    !known.busy && (known.stamp != Some(**stamp) || due)
                })
            })
            .map(|(file, stamp)| (file.clone(), *stamp))
            .collect();
        let gone: BTreeSet<String> = self
            .files
            .iter()
            .filter(|(file, known)| !known.busy && !scanned.contains_key(*file))
            .map(|(file, _)| file.clone())
            .collect();
        let before: Before = changed
            .iter()
            .filter_map(|(file, _)| Some((file.clone(), self.files.get(file)?.stamp?)))
            .collect();
        let mut reads = Vec::with_capacity(changed.len());
        for (file, stamp) in changed {
            let read = folder::read_aside(self.folder.join(&file)).await;
            reads.push((file, stamp, read.map(|content| content.digest)));
        }
        // No await from here on: a look that is cancelled has decided nothing.
        let fresh: Vec<_> = reads
            .into_iter()
            .filter_map(|(file, stamp, read)| Some((self.note(&file, stamp, read, now)?, file)))
            .collect();
        self.follow_moves(self.moves(&fresh, &before, &gone));
        let mut fresh = fresh;
        // By name within a class, so that loads are queued in that order.
        fresh.sort_by_cached_key(|(digest, file)| {
            let size_bytes = self.known(file).stamp.map_or(0, |stamp| stamp.size_bytes());
            (self.installer.class_of(digest, size_bytes), file.clone())
        });
        for (digest, file) in fresh {
            self.consider(file, digest);
        }
        for file in gone {
            self.files.remove(&file);
            self.registry.clear_refusal(&file);
            self.disown(&file, None);
        }
    }

    /// Refuses files whose names are not UTF-8; clears the refusals of those that are gone.
    fn refuse_misnamed(&mut self, misnamed: BTreeSet<String>) {
        for gone in self.misnamed.difference(&misnamed) {
            self.registry.clear_refusal(gone);
        }
        for file in misnamed.difference(&self.misnamed) {
            let reason = folder::misnamed(file);
            tracing::warn!(file, reason, "plugin refused");
            self.registry.set_refused(file, None, reason);
        }
        self.misnamed = misnamed;
    }

    /// Lists the folder; `None` if it can't be read.
    async fn scan(&mut self) -> Option<Scanned> {
        let folder = self.folder.clone();
        let scanned = tokio::task::spawn_blocking(move || folder::scan(&folder)).await;
        match scanned.map_err(std::io::Error::other).flatten() {
            Ok(files) => {
                if std::mem::take(&mut self.unreadable) {
                    let folder = self.folder.display();
                    tracing::info!(%folder, "the plugins folder can be read again");
                }
                Some(files)
            }
            Err(error) => {
                // No plugin is removed: the folder may be about to be replaced.
                if !std::mem::replace(&mut self.unreadable, true) {
                    let folder = self.folder.display();
                    tracing::error!(%folder, %error, "the plugins folder can't be read; what serves serves on");
                }
                None
            }
        }
    }

    /// Records the result of a read; returns the digest if the file has to be acted on.
    fn note(
        &mut self,
        file: &str,
        stamp: Stamp,
        read: Result<Digest, Unreadable>,
        now: Instant,
    ) -> Option<Digest> {
        let known = self.known(file);
        match read {
            Ok(digest) => {
                known.stamp = Some(stamp);
                let due = known.again.is_some_and(|again| again.is_over(now));
                if known.digest.replace(digest) != Some(digest) {
                    known.again = None;
                } else if !due {
                    tracing::debug!(%file, "plugin file unchanged: its content is the same");
                    self.unchanged(file);
                    return None;
                }
                return Some(digest);
            }
            Err(Unreadable::Changed) => known.stamp = None,
            Err(Unreadable::Refused(reason)) => {
                known.stamp = Some(stamp);
                known.digest = None;
                self.refuse(file, None, Refusal::permanent(format!("{file} {reason}")));
            }
            Err(Unreadable::Failed(reason)) => {
                known.stamp = Some(stamp);
                known.digest = None;
                self.refuse(file, None, Refusal::transient(format!("{file} {reason}")));
            }
        }
        None
    }

    /// Records `Unchanged` in the history; collapses repeats.
    fn unchanged(&mut self, file: &str) {
        let Some((name, digest)) = self.registry.served_from(file) else { return };
        let history = self.installer.record(&name).history;
        if history.back().is_some_and(|past| past.outcome == Outcome::Unchanged) {
            return;
        }
        let installer = std::sync::Arc::clone(&self.installer);
        self.work.spawn(async move {
            let outcome = Outcome::Unchanged;
            installer.past(&name, Some(digest), None, outcome, |_| {}).await;
            Done::HistoryWritten
        });
    }

    /// The plugins whose file was renamed.
    fn moves(
        &self,
        fresh: &[(Digest, String)],
        before: &Before,
        gone: &BTreeSet<String>,
    ) -> Vec<Move> {
        let mut moves: Vec<Move> = Vec::new();
        for (digest, to) in fresh {
            let serving = self.registry.serving(digest);
            if serving.iter().any(|(_, from)| from == to) {
                continue;
            }
            let found = serving.into_iter().find(|(name, from)| {
                let is_moved = gone.contains(from) || self.has_become(from, to, before);
                is_moved && moves.iter().all(|earlier| earlier.name != *name)
            });
            moves.extend(found.map(|(name, from)| Move { name, from, to: to.clone() }));
        }
        moves
    }

    /// Whether the file that was named `from` is named `to` now, and another file `from`.
    fn has_become(&self, from: &str, to: &str, before: &Before) -> bool {
        let now = |file: &str| self.files.get(file).and_then(|known| known.stamp);
        match (before.get(from), now(from), now(to)) {
            (Some(was), Some(other), Some(is)) => was.same_file(&is) && !was.same_file(&other),
            _ => false,
        }
    }

    /// Reassigns all plugins before removing any: a file may lose one plugin and gain another.
    fn follow_moves(&mut self, moves: Vec<Move>) {
        for Move { name, from, to } in &moves {
            tracing::info!(plugin = %name, %from, %to, "plugin file renamed");
            self.registry.clear_refusal(from);
            self.registry.set_file(name, to);
            self.owners.insert(name.clone(), to.clone());
        }
        for Move { name, to, .. } in &moves {
            self.known(to).claimed_name = None;
            self.disown(to, Some(name));
        }
    }

    /// Acts on a new or changed file.
    fn consider(&mut self, file: String, digest: Digest) {
        if self.registry.served_from(&file).is_some_and(|(_, served)| served == digest) {
            // Renamed, or restored to the serving bytes after a refusal.
            self.known(&file).again = None;
            return self.registry.clear_refusal(&file);
        }
        if self.keep_disabled(&file, digest) {
            return;
        }
        match self.installer.refused_before(&file, &digest) {
            Some(reason) => self.refuse(&file, Some(digest), Refusal::permanent(reason)),
            None => self.start_load(file, digest),
        }
    }
}
