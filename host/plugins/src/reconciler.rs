//! The reconciler: the one task that reconciles installed plugins with the files in the plugins folder.
//! It scans ([`look`]), rolls back ([`rollback`]), starts work on changed files, and applies the
//! results. The work itself (reading, compiling, draining) runs in separate tasks, at most one per
//! file.
//!
//! When it stops, work in progress is dropped: a version is either installed or it isn't.

mod look;
mod requests;
mod rollback;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use usher_event::{Digest, PluginName};
use usher_router::SwapOutcome;

use super::backoff::Backoff;
use super::check::taken;
use super::folder::Stamp;
use super::install::{Installer, LoadedVersion, NotLoaded};
use super::load_classes::LoadClass;
use super::outcome::Outcome;
use super::refusal::Refusal;
use super::registry::{Configured, Entry, Registry};
use super::watch::watch;
use requests::Restored;
pub use requests::{ROLLBACKS_QUEUED_MAX, RollbackRequest};

/// Reconciles plugins with the folder.
pub struct Reconciler {
    folder: PathBuf,
    registry: Arc<Registry>,
    installer: Arc<Installer>,
    /// The executor for loads: describing a plugin runs the guest.
    guests: Handle,
    files: BTreeMap<String, FileState>,
    /// The file that each plugin belongs to.
    owners: BTreeMap<PluginName, String>,
    work: JoinSet<Done>,
    /// Loaded versions that wait to be installed.
    parked: Vec<Parked>,
    /// Whether every file present at start has been processed, except slow ones.
    has_started: bool,
    /// Number of loads started so far.
    loads: u64,
    look: Arc<Notify>,
    /// Rollbacks requested by operators.
    rollbacks: mpsc::Receiver<RollbackRequest>,
    /// Whether the last scan of the folder failed.
    unreadable: bool,
    /// Files whose names are not UTF-8, as of the last scan.
    misnamed: BTreeSet<String>,
}

/// State of a file.
#[derive(Default)]
struct FileState {
    /// Its stamp at the last read; `None` forces a reread.
    stamp: Option<Stamp>,
    /// Its digest at the last read.
    digest: Option<Digest>,
    /// Whether work on it is in progress.
    busy: bool,
    /// LoadClass of its current or last load.
    class: Option<LoadClass>,
    /// Number of the load in progress, if any.
    load: Option<u64>,
    /// The plugin name it claims but can't have, since another file owns it.
    claimed_name: Option<PluginName>,
    /// The configuration its plugin was last reinstalled for, successfully or not.
    tried: Option<Configured>,
    /// When to retry after a transient refusal.
    again: Option<Backoff>,
}

/// A loaded version that waits to be installed: a file earlier by name may be the same plugin.
struct Parked {
    file: String,
    digest: Digest,
    since: Instant,
    /// Number of its load.
    load: u64,
    fresh: LoadedVersion,
}

/// Work that finished.
enum Done {
    Loaded {
        file: String,
        digest: Digest,
        since: Instant,
        result: Result<LoadedVersion, NotLoaded>,
    },
    Installed {
        file: String,
        digest: Digest,
        since: Instant,
        result: Installed,
    },
    Restored(Restored),
    Removed {
        name: PluginName,
    },
    /// A history entry was written.
    HistoryWritten,
}

type Installed = Result<(Box<Entry>, SwapOutcome), (PluginName, Refusal)>;

impl Reconciler {
    /// Reconciles `folder` with `registry`; guests run on `guests`.
    pub fn new(
        folder: PathBuf,
        registry: Arc<Registry>,
        installer: Arc<Installer>,
        guests: Handle,
        rollbacks: mpsc::Receiver<RollbackRequest>,
    ) -> Self {
        Self {
            folder,
            registry,
            installer,
            guests,
            files: BTreeMap::new(),
            owners: BTreeMap::new(),
            work: JoinSet::new(),
            parked: Vec::new(),
            has_started: false,
            loads: 0,
            look: Arc::new(Notify::new()),
            rollbacks,
            unreadable: false,
            misnamed: BTreeSet::new(),
        }
    }

    /// Runs until `stop` turns true. Signals `ready` once every file present at start serves, is
    /// refused, or is slow to compile: readiness doesn't wait for slow compiles, which may fail.
    pub async fn run(mut self, ready: oneshot::Sender<()>, mut stop: watch::Receiver<bool>) {
        let mut watching = JoinSet::new();
        watching.spawn(watch(self.folder.clone(), Arc::clone(&self.look)));
        let recorder = self.installer.recorder();
        watching.spawn(async move { match recorder.run().await {} });
        let optimiser = self.installer.optimiser(Arc::clone(&self.registry));
        watching.spawn(async move { match optimiser.run().await {} });
        let mut ready = Some(ready);
        let look = Arc::clone(&self.look);
        look.notify_one();
        let (mut looked, mut has_warned) = (false, false);
        let mut notices = self.installer.notices();
        let mut config_changes = self.installer.config_changes();
        loop {
            if looked
                && self.is_settled()
                && let Some(ready) = ready.take()
            {
                self.has_started = true;
                // Fails only while the router is being stopped.
                let _ = ready.send(());
            }
            if self.has_started && !has_warned && self.files.values().all(|known| !known.busy) {
                has_warned = true;
                self.warn_of_idle_settings();
            }
            tokio::select! {
                biased;
                () = until_true(&mut stop) => return,
                // The senders can't be dropped: the installer holds the router and configuration.
                _ = notices.changed() => self.look_at_trials(),
                _ = config_changes.changed() => self.look_at_config(),
                Some(request) = self.rollbacks.recv() => self.handle_rollback(request),
                Some(done) = self.work.join_next() => match done {
                    Ok(done) => self.take_in(done),
                    Err(error) => tracing::error!(%error, "work on a plugin ended without a result"),
                },
                () = look.notified() => {
                    looked = true;
                    tokio::select! {
                        biased;
                        // The file system may hang; a cancelled look has decided nothing.
                        () = until_true(&mut stop) => return,
                        () = self.look_at_folder() => {}
                    }
                }
            }
        }
    }

    /// Whether work is in progress on slow files only, if at all.
    fn is_settled(&self) -> bool {
        self.files.values().all(|known| !known.busy || known.class >= Some(LoadClass::Large))
    }

    fn start_load(&mut self, file: String, digest: Digest) {
        let size_bytes = self.known(&file).stamp.map_or(0, |stamp| stamp.size_bytes());
        let class = self.installer.class_of(&digest, size_bytes);
        self.start_load_as(class, file, digest);
    }

    fn start_load_as(&mut self, class: LoadClass, file: String, digest: Digest) {
        self.registry.set_loading(&file, digest);
        self.loads += 1;
        let load = self.loads;
        let known = self.known(&file);
        known.busy = true;
        known.claimed_name = None;
        known.class = Some(class);
        known.load = Some(load);
        let installer = Arc::clone(&self.installer);
        let path = self.folder.join(&file);
        let since = Instant::now();
        let room = installer.room(class);
        let work = async move {
            let result = installer.load(path, &file, digest, class, room).await;
            Done::Loaded { file, digest, since, result }
        };
        self.work.spawn_on(work, &self.guests);
    }

    fn take_in(&mut self, done: Done) {
        let load = match &done {
            Done::Loaded { file, .. } => {
                self.files.get_mut(file).and_then(|known| known.load.take())
            }
            _ => None,
        };
        match done {
            Done::Loaded { file, digest, since, result: Ok(fresh) } => {
                let load = load.unwrap_or_default();
                self.parked.push(Parked { file, digest, since, load, fresh });
            }
            Done::Loaded { file, digest, result: Err(NotLoaded::SlowCompile), .. } => {
                tracing::info!(file, %digest, "compiling this plugin takes long; it goes on aside");
                self.start_load_as(LoadClass::Long, file, digest);
            }
            Done::Loaded { file, digest, result: Err(NotLoaded::Refused(refusal)), .. } => {
                self.refuse(&file, Some(digest), refusal);
                self.idle(&file);
            }
            Done::Loaded { file, result: Err(NotLoaded::Changed), .. } => {
                let known = self.known(&file);
                known.stamp = None;
                known.digest = None;
                self.idle(&file);
            }
            Done::Installed { file, since, result: Ok((plugin, outcome)), .. } => {
                let name = plugin.name.clone();
                let displaced = self.registry.file_of(&name).filter(|before| *before != file);
                self.installed(&file, *plugin, outcome, since.elapsed());
                if let Some(displaced) = displaced.filter(|before| self.holds(before, &name)) {
                    self.refuse_as_taken(&displaced, name, &file);
                }
                self.idle(&file);
            }
            Done::Installed { file, digest, result: Err((name, refusal)), .. } => {
                match self.registry.file_of(&name) {
                    Some(owner) => self.owners.insert(name.clone(), owner),
                    None => self.owners.remove(&name),
                };
                self.wake_wanting(&name);
                self.refuse(&file, Some(digest), refusal);
                self.idle(&file);
            }
            Done::Restored(back) => self.on_restored(back),
            Done::Removed { name } => tracing::info!(plugin = %name, "plugin removed"),
            Done::HistoryWritten => {}
        }
        self.install_parked();
    }

    /// Installs loaded versions, each once no file earlier by name can turn out to be the same
    /// plugin. Waits at start only, when all files are loaded at once: which of two files serves
    /// must not depend on which loads first.
    fn install_parked(&mut self) {
        let mut parked = std::mem::take(&mut self.parked);
        parked.sort_by(|one, other| one.file.cmp(&other.file));
        for one in parked {
            if !self.has_started && self.is_awaited(&one) {
                self.parked.push(one);
            } else {
                let Parked { file, digest, since, fresh, .. } = one;
                self.start_install(file, digest, since, fresh);
            }
        }
    }

    /// Whether a file earlier by name is still loading, in a class that is no slower. Loads that
    /// started later are not waited for: they may be waiting for this one's permit.
    fn is_awaited(&self, parked: &Parked) -> bool {
        let class = self.files.get(&parked.file).and_then(|known| known.class);
        self.files.range(..parked.file.clone()).any(|(_, known)| {
            known.load.is_some_and(|load| load < parked.load)
                && known.class <= class
                && known.class != Some(LoadClass::Long)
        })
    }

    /// Refuses a file whose plugin belongs to `owner`, which comes first by name.
    fn refuse_as_taken(&mut self, file: &str, name: PluginName, owner: &str) {
        let reason = taken(file, &name, owner);
        let known = self.known(file);
        known.claimed_name = Some(name);
        let digest = known.digest;
        self.refuse(file, digest, Refusal::permanent(reason));
    }

    fn start_install(
        &mut self,
        file: String,
        digest: Digest,
        since: Instant,
        fresh: LoadedVersion,
    ) {
        let name = fresh.loaded.description().name.clone();
        let owner = self.owners.get(&name).filter(|owner| **owner != file).cloned();
        if let Some(owner) = owner.filter(|owner| self.holds(owner, &name)) {
            // The first by name wins, whichever appeared first: what serves depends only on the
            // contents of the folder.
            if owner < file {
                self.refuse_as_taken(&file, name, &owner);
                return self.idle(&file);
            }
            if self.known(&owner).busy {
                let reason = format!("{file} takes plugin {name} over once {owner} is dealt with");
                self.refuse(&file, Some(digest), Refusal::transient(reason));
                return self.idle(&file);
            }
        }
        self.owners.insert(name.clone(), file.clone());
        let installer = Arc::clone(&self.installer);
        self.work.spawn(async move {
            let install = AssertUnwindSafe(installer.install(&fresh, &file)).catch_unwind();
            let result = match install.await {
                Ok(Ok((plugin, outcome))) => Ok((Box::new(plugin), outcome)),
                Ok(Err(refusal)) => {
                    let reason = format!("{file} can't be installed: {}", refusal.reason);
                    Err((name, Refusal { reason, ..refusal }))
                }
                Err(_) => Err((name, Refusal::transient(format!("installing {file} panicked")))),
            };
            Done::Installed { file, digest, since, result }
        });
    }

    /// Whether a file may still hold the plugin of this name. False once it holds another plugin
    /// that waits for its own name: two files that swapped contents would wait for each other
    /// forever.
    fn holds(&self, file: &str, name: &PluginName) -> bool {
        let wanted = self.files.get(file).and_then(|known| known.claimed_name.as_ref());
        wanted.is_none_or(|wanted| wanted == name)
    }

    fn installed(&mut self, file: &str, plugin: Entry, outcome: SwapOutcome, took: Duration) {
        for warning in &plugin.warnings {
            tracing::warn!(plugin = %plugin.name, "{warning}");
        }
        let (outcome, from) = match outcome {
            SwapOutcome::Loaded { .. } => ("loaded", None),
            SwapOutcome::Replaced { from, .. } => ("replaced", Some(from)),
            SwapOutcome::Unchanged { .. } => ("unchanged", None),
        };
        tracing::info!(
            plugin = %plugin.name,
            version = plugin.version,
            file,
            digest = %plugin.digest,
            outcome,
            from = from.map(tracing::field::display),
            subscriptions = plugin.subscriptions.len(),
            took_ms = usher_event::millis(took),
            "plugin serving"
        );
        self.known(file).again = None;
        let name = plugin.name.clone();
        // The file may have held another plugin before.
        self.disown(file, Some(&name));
        self.registry.clear_refusal(file);
        self.registry.set_serving(plugin);
        for asked in self.registry.added(&name) {
            tracing::warn!(
                plugin = %name,
                capability = asked.name,
                granted = asked.granted,
                reason = asked.reason,
                "the new version asks for more than the one before"
            );
        }
    }

    /// Removes the plugins that belong to a file, except `keep`.
    fn disown(&mut self, file: &str, keep: Option<&PluginName>) {
        let names: Vec<_> = self
            .owners
            .iter()
            .filter(|(name, owner)| *owner == file && Some(*name) != keep)
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            self.owners.remove(&name);
            let digest = self.registry.digest_of(&name);
            self.registry.set_removed(&name);
            self.wake_wanting(&name);
            let installer = Arc::clone(&self.installer);
            self.work.spawn(async move {
                installer.remove(&name).await;
                installer.past(&name, digest, None, Outcome::Removed, |_| {}).await;
                Done::Removed { name }
            });
        }
    }

    /// Rereads files that claimed a name which may be free now.
    fn wake_wanting(&mut self, name: &PluginName) {
        for known in
            self.files.values_mut().filter(|known| known.claimed_name.as_ref() == Some(name))
        {
            known.stamp = None;
            known.digest = None;
            self.look.notify_one();
        }
    }

    fn refuse(&mut self, file: &str, digest: Option<Digest>, refusal: Refusal) {
        let Refusal { reason, is_transient, .. } = refusal;
        let known = self.known(file);
        known.again = is_transient.then(|| Backoff::begin(known.again, Instant::now()));
        // Logged once, however often it is retried.
        if self.registry.refusal_of(file).as_ref() != Some(&reason) {
            let serving = self.registry.served_from(file);
            tracing::warn!(
                file,
                digest = digest.map(tracing::field::display),
                reason,
                serving =
                    serving.as_ref().map(|(name, digest)| format!("{name} {}", digest.short())),
                "plugin refused"
            );
            if let Some((name, _)) = serving {
                let (installer, outcome) =
                    (Arc::clone(&self.installer), Outcome::Refused(reason.clone()));
                self.work.spawn(async move {
                    installer.past(&name, digest, None, outcome, |_| {}).await;
                    Done::HistoryWritten
                });
            }
        }
        self.registry.set_refused(file, digest, reason);
    }

    /// Marks work on a file as finished and checks for changes made meanwhile.
    fn idle(&mut self, file: &str) {
        self.registry.clear_loading(file);
        self.known(file).busy = false;
        self.look.notify_one();
        self.look_at_trials();
        self.look_at_config();
    }

    /// Reinstalls plugins whose configuration has changed, including those that failed with an
    /// earlier configuration.
    fn look_at_config(&mut self) {
        for (name, digest, file, configured) in self.registry.installed() {
            let wanted = self.installer.config_of(&name);
            let known = self.known(&file);
            if configured == wanted || known.busy || known.tried.as_ref() == Some(&wanted) {
                continue;
            }
            known.tried = Some(wanted);
            tracing::info!(plugin = %name, "the plugin's configuration has changed");
            match self.known(&file).digest {
                Some(held) if held == digest => self.start_load(file, digest),
                // The file holds bytes that are disabled or can't be loaded.
                _ => self.start_again(name, digest, file),
            }
        }
    }

    fn known(&mut self, file: &str) -> &mut FileState {
        self.files.entry(file.to_owned()).or_default()
    }

    fn warn_of_idle_settings(&self) {
        if self.installer.is_for_development() {
            // Its plugin is still being built.
            return;
        }
        for name in
            self.installer.configured().iter().filter(|name| !self.owners.contains_key(*name))
        {
            tracing::warn!(plugin = %name, "the configuration names a plugin that is not in the folder");
        }
    }
}

/// Returns when the value is true or its sender is dropped.
async fn until_true(value: &mut watch::Receiver<bool>) {
    // The returned guard holds a lock; it must not be kept.
    drop(value.wait_for(|value| *value).await);
}

#[cfg(test)]
mod tests;
