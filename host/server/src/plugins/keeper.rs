//! The keeper: the one task that decides what each file in the plugins folder means. It looks,
//! starts work on what changed, and takes in what the work came to; the work itself (reading,
//! compiling, draining) goes on aside, at most one piece for each file.
//!
//! When it stops, work under way is dropped: a version is either in place or it isn't.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;
use usher_event::{Digest, PluginName};
use usher_router::SwapOutcome;
use usher_runtime::Loaded;

use super::folder::{self, Content, Stamp, Unreadable};
use super::install::Installer;
use super::registry::{Plugin, Registry};
use super::watch::watch;

/// Keeps plugins and folder in step.
pub(crate) struct Keeper {
    folder: PathBuf,
    registry: Arc<Registry>,
    installer: Arc<Installer>,
    /// Where plugins are loaded: describing runs the guest.
    guests: Handle,
    files: BTreeMap<String, Known>,
    /// Which file a plugin belongs to.
    owners: BTreeMap<PluginName, String>,
    work: JoinSet<Done>,
    look: Arc<Notify>,
    /// Whether the folder could not be read at the last look.
    unreadable: bool,
}

/// What is known of a file.
#[derive(Default)]
struct Known {
    /// As of the last reading; `None` to read again.
    stamp: Option<Stamp>,
    /// What it held then.
    digest: Option<Digest>,
    /// Whether work on it is under way.
    busy: bool,
    /// The name it would have had, had it been free.
    wanted_name: Option<PluginName>,
}

/// Work that came to an end.
enum Done {
    Loaded { file: String, digest: Digest, since: Instant, result: Result<Loaded, String> },
    Installed { file: String, digest: Digest, since: Instant, result: Installed },
    Removed { name: PluginName },
}

type Installed = Result<(Box<Plugin>, SwapOutcome), (PluginName, String)>;

impl Keeper {
    pub(crate) fn new(
        folder: PathBuf,
        registry: Arc<Registry>,
        installer: Arc<Installer>,
        guests: Handle,
    ) -> Self {
        Self {
            folder,
            registry,
            installer,
            guests,
            files: BTreeMap::new(),
            owners: BTreeMap::new(),
            work: JoinSet::new(),
            look: Arc::new(Notify::new()),
            unreadable: false,
        }
    }

    /// Keeps in step until `stop` turns true. Tells `ready` when every file that was there at the
    /// start either serves or is refused.
    pub(crate) async fn run(mut self, ready: oneshot::Sender<()>, mut stop: watch::Receiver<bool>) {
        let mut watching = JoinSet::new();
        watching.spawn(watch(self.folder.clone(), Arc::clone(&self.look)));
        let mut ready = Some(ready);
        self.look_at_folder().await;
        let look = Arc::clone(&self.look);
        loop {
            if self.work.is_empty()
                && let Some(ready) = ready.take()
            {
                self.warn_of_idle_settings();
                // Nobody waits any more when the router is being stopped.
                let _ = ready.send(());
            }
            tokio::select! {
                biased;
                () = until_true(&mut stop) => return,
                Some(done) = self.work.join_next() => match done {
                    Ok(done) => self.take_in(done),
                    Err(error) => tracing::error!(%error, "work on a plugin ended without a result"),
                },
                () = look.notified() => self.look_at_folder().await,
            }
        }
    }

    async fn look_at_folder(&mut self) {
        let folder = self.folder.clone();
        let scanned = tokio::task::spawn_blocking(move || folder::scan(&folder)).await;
        let scanned = match scanned.map_err(std::io::Error::other).flatten() {
            Ok(files) => files,
            Err(error) => {
                // Nothing is removed on account of it: it may be about to be replaced.
                if !std::mem::replace(&mut self.unreadable, true) {
                    let folder = self.folder.display();
                    tracing::error!(%folder, %error, "the plugins folder can't be read; what serves serves on");
                }
                return;
            }
        };
        if std::mem::take(&mut self.unreadable) {
            tracing::info!(folder = %self.folder.display(), "the plugins folder can be read again");
        }
        let changed: Vec<_> = scanned
            .iter()
            .filter(|(file, stamp)| {
                let known = self.files.get(*file);
                known.is_none_or(|known| !known.busy && known.stamp != Some(**stamp))
            })
            .map(|(file, stamp)| (file.clone(), *stamp))
            .collect();
        let mut gone: BTreeSet<String> = self
            .files
            .iter()
            .filter(|(file, known)| !known.busy && !scanned.contains_key(*file))
            .map(|(file, _)| file.clone())
            .collect();
        for (file, stamp) in changed {
            let path = self.folder.join(&file);
            let read = tokio::task::spawn_blocking(move || folder::read(&path)).await;
            let read =
                read.unwrap_or_else(|error| Err(Unreadable::Refused(format!("not read: {error}"))));
            self.consider(file, stamp, read, &mut gone);
        }
        for file in gone {
            self.files.remove(&file);
            self.registry.forgives(&file);
            self.disown(&file, None);
        }
    }

    /// Decides what a file that is new or has changed means.
    fn consider(
        &mut self,
        file: String,
        stamp: Stamp,
        read: Result<Content, Unreadable>,
        gone: &mut BTreeSet<String>,
    ) {
        let known = self.files.entry(file.clone()).or_default();
        let content = match read {
            Ok(content) => content,
            Err(Unreadable::Unsettled) => {
                known.stamp = None;
                return;
            }
            Err(Unreadable::Refused(reason)) => {
                known.stamp = Some(stamp);
                known.digest = None;
                return self.refuse(&file, None, format!("{file} {reason}"));
            }
        };
        known.stamp = Some(stamp);
        let before = known.digest.replace(content.digest);
        if before == Some(content.digest) {
            tracing::debug!(%file, "plugin file touched, its content is the same");
            return;
        }
        if self.registry.served_from(&file).is_some_and(|(_, digest)| digest == content.digest) {
            // Back to what serves, after something that was refused.
            return self.registry.forgives(&file);
        }
        if let Some((name, from)) = self.renamed(&content.digest, gone) {
            tracing::info!(plugin = %name, %from, to = %file, "plugin file renamed");
            gone.remove(&from);
            self.files.remove(&from);
            self.registry.forgives(&from);
            self.registry.moved(&name, &file);
            self.owners.insert(name, file);
            return;
        }
        self.start_load(file, content);
    }

    /// The plugin with this digest whose file is gone.
    fn renamed(&self, digest: &Digest, gone: &BTreeSet<String>) -> Option<(PluginName, String)> {
        gone.iter().find_map(|file| {
            let (name, served) = self.registry.served_from(file)?;
            (served == *digest).then(|| (name, file.clone()))
        })
    }

    fn start_load(&mut self, file: String, content: Content) {
        self.known(&file).busy = true;
        self.known(&file).wanted_name = None;
        let installer = Arc::clone(&self.installer);
        let since = Instant::now();
        let work = async move {
            let Content { bytes, digest } = content;
            let load = AssertUnwindSafe(installer.load(&file, bytes)).catch_unwind();
            let result =
                load.await.unwrap_or_else(|_| Err(format!("{file} made the loader panic")));
            Done::Loaded { file, digest, since, result }
        };
        self.work.spawn_on(work, &self.guests);
    }

    fn take_in(&mut self, done: Done) {
        match done {
            Done::Loaded { file, digest, since, result: Ok(loaded) } => {
                self.start_install(file, digest, since, loaded);
            }
            Done::Loaded { file, digest, result: Err(reason), .. } => {
                self.refuse(&file, Some(digest), reason);
                self.idle(&file);
            }
            Done::Installed { file, since, result: Ok((plugin, outcome)), .. } => {
                self.installed(&file, *plugin, outcome, since.elapsed());
                self.idle(&file);
            }
            Done::Installed { file, digest, result: Err((name, reason)), .. } => {
                if self.registry.served_from(&file).is_none_or(|(served, _)| served != name) {
                    self.owners.remove(&name);
                }
                self.refuse(&file, Some(digest), reason);
                self.idle(&file);
            }
            Done::Removed { name } => tracing::info!(plugin = %name, "plugin removed"),
        }
    }

    fn start_install(&mut self, file: String, digest: Digest, since: Instant, loaded: Loaded) {
        let name = loaded.description().name.clone();
        if let Some(owner) = self.owners.get(&name).filter(|owner| **owner != file) {
            let reason = format!(
                "{file} says it is plugin {name}, but that name is taken by {owner}: \
                 give it another name, or remove {owner}"
            );
            self.known(&file).wanted_name = Some(name);
            self.refuse(&file, Some(digest), reason);
            return self.idle(&file);
        }
        self.owners.insert(name.clone(), file.clone());
        let installer = Arc::clone(&self.installer);
        self.work.spawn(async move {
            let install = AssertUnwindSafe(installer.install(&loaded, &file)).catch_unwind();
            let result = match install.await {
                Ok(Ok((plugin, outcome))) => Ok((Box::new(plugin), outcome)),
                Ok(Err(reason)) => Err((name, format!("{file} can't be installed: {reason}"))),
                Err(_) => Err((name, format!("installing {file} panicked"))),
            };
            Done::Installed { file, digest, since, result }
        });
    }

    fn installed(&mut self, file: &str, plugin: Plugin, outcome: SwapOutcome, took: Duration) {
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
            took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "plugin serving"
        );
        let name = plugin.name.clone();
        // The file may have held another plugin before.
        self.disown(file, Some(&name));
        self.registry.forgives(file);
        self.registry.serves(plugin);
    }

    /// Stops what a file held, but for `keep`.
    fn disown(&mut self, file: &str, keep: Option<&PluginName>) {
        let names: Vec<_> = self
            .owners
            .iter()
            .filter(|(name, owner)| *owner == file && Some(*name) != keep)
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            self.owners.remove(&name);
            self.registry.removed(&name);
            // Whoever wanted the name may have it.
            for known in
                self.files.values_mut().filter(|known| known.wanted_name == Some(name.clone()))
            {
                known.stamp = None;
                known.digest = None;
                self.look.notify_one();
            }
            let installer = Arc::clone(&self.installer);
            self.work.spawn(async move {
                installer.remove(&name).await;
                Done::Removed { name }
            });
        }
    }

    fn refuse(&mut self, file: &str, digest: Option<Digest>, reason: String) {
        let serving = self.registry.served_from(file);
        tracing::warn!(
            file,
            digest = digest.map(tracing::field::display),
            reason,
            serving = serving.map(|(name, digest)| format!("{name} {}", digest.short())),
            "plugin refused"
        );
        self.registry.refuses(file, digest, reason);
    }

    /// Work on a file is over; it may have changed meanwhile.
    fn idle(&mut self, file: &str) {
        self.known(file).busy = false;
        self.look.notify_one();
    }

    fn known(&mut self, file: &str) -> &mut Known {
        self.files.entry(file.to_owned()).or_default()
    }

    fn warn_of_idle_settings(&self) {
        for name in self.installer.configured().filter(|name| !self.owners.contains_key(*name)) {
            tracing::warn!(plugin = %name, "the configuration names a plugin that is not in the folder");
        }
    }
}

/// Returns when the value is true, or nobody is left to make it so.
async fn until_true(value: &mut watch::Receiver<bool>) {
    // The answer holds a lock; it must not live on.
    drop(value.wait_for(|value| *value).await);
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
