//! Rollback to the previous version, because the current one failed its trial, now or before the
//! last start, or because an operator asked for it.
//!
//! Bytes that were rolled back stay disabled until their file changes: the reconciler knows what it has
//! read of a file, and the records what was disabled when the router stopped.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::sleep;
use usher_event::{Digest, PluginName};

use super::requests::{Restored, RollbackRequest};
use super::{Done, Reconciler};
use crate::outcome::Outcome;
use crate::records::Rollback;
use crate::refusal::Refusal;
use usher_broker::{Clock as _, SystemClock};

/// Delay before a failed rollback is retried.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Reconciler {
    /// Rolls back versions that have failed their trial.
    pub(super) fn look_at_trials(&mut self) {
        for (name, standing) in self.installer.standings() {
            let Some(failed) = standing.failed_trial else { continue };
            if let Some(file) = self.owners.get(&name).cloned()
                && !self.known(&file).busy
            {
                self.start_rollback(name, file, Rollback::after(&failed), None);
            }
        }
    }

    /// Starts a requested rollback, or replies why it can't.
    pub(super) fn handle_rollback(&mut self, request: RollbackRequest) {
        let RollbackRequest { name, answer } = request;
        match self.version_before(&name) {
            Ok((file, rollback)) => self.start_rollback(name, file, rollback, Some(answer)),
            // The requester may be gone.
            Err(reason) => drop(answer.send(Err(reason))),
        }
    }

    fn version_before(&mut self, name: &PluginName) -> Result<(String, Rollback), String> {
        let standing = self.installer.standings().remove(name);
        let owner = self.owners.get(name).cloned();
        let (Some(file), Some(standing)) = (owner, standing) else {
            return Err(format!("no plugin {name} is installed"));
        };
        let Some(present) = standing.digest else {
            return Err(format!("no plugin {name} is installed"));
        };
        if self.known(&file).busy {
            return Err(format!("{file} is being worked on; try again"));
        }
        let record = self.installer.record(name);
        // During a trial, `good` is the previous version.
        let mut before = [record.good, record.before].into_iter().flatten();
        let off = record.off.map(|off| off.digest);
        let good = before.find(|digest| *digest != present && Some(*digest) != off);
        let good = good.ok_or_else(|| format!("no earlier version of plugin {name} is kept"))?;
        Ok((file, Rollback::asked(present, good, SystemClock.now_ms())))
    }

    /// Handles a file whose bytes are disabled. Returns whether nothing else is to be done for it.
    pub(super) fn keep_disabled(&mut self, file: &str, digest: Digest) -> bool {
        let Some((name, rollback)) = self.installer.disabled_by(&digest) else { return false };
        if let Some((serving, _)) = self.registry.served_from(file) {
            let is_own = serving == name;
            if is_own {
                self.registry.set_refused(file, Some(digest), rollback.words());
            }
            return is_own;
        }
        if self.owners.contains_key(&name) {
            return false;
        }
        self.start_rollback(name, file.to_owned(), rollback, None);
        true
    }

    fn start_rollback(
        &mut self,
        name: PluginName,
        file: String,
        rollback: Rollback,
        answer: Option<oneshot::Sender<Result<(), String>>>,
    ) {
        self.known(&file).busy = true;
        self.owners.insert(name.clone(), file.clone());
        let installer = std::sync::Arc::clone(&self.installer);
        let work = async move {
            let result = installer.install_stored(&name, rollback.good, &file).await.map(Box::new);
            match &result {
                Ok(_) => {
                    let outcome = Outcome::RolledBack(rollback.reason.clone());
                    let (digest, off) = (rollback.digest, rollback.clone());
                    let change = |record: &mut crate::records::Record| {
                        if record.off.as_ref().is_none_or(|known| known.digest != off.digest) {
                            record.off = Some(off);
                        }
                    };
                    installer.past(&name, Some(digest), None, outcome, change).await;
                }
                Err(_) if answer.is_none() => sleep(AGAIN_AFTER).await,
                Err(_) => {}
            }
            Done::Restored(Restored { name, file, rollback: Some(rollback), result, answer })
        };
        self.work.spawn_on(work, &self.guests);
    }

    /// Reinstalls a serving version that is not what its file holds.
    pub(super) fn start_again(&mut self, name: PluginName, digest: Digest, file: String) {
        self.known(&file).busy = true;
        let installer = std::sync::Arc::clone(&self.installer);
        let work = async move {
            let result = installer.install_stored(&name, digest, &file).await.map(Box::new);
            if result.is_err() {
                sleep(AGAIN_AFTER).await;
            }
            Done::Restored(Restored { name, file, rollback: None, result, answer: None })
        };
        self.work.spawn_on(work, &self.guests);
    }

    pub(super) fn on_restored(&mut self, back: Restored) {
        let Restored { name, file, rollback, result, answer } = back;
        let told = match (result, rollback) {
            (Ok(mut plugin), None) => {
                plugin.refused = self.registry.refused_of(&name);
                self.registry.set_serving(*plugin);
                Ok(())
            }
            (Ok(plugin), Some(rollback)) => {
                tracing::warn!(
                    plugin = %name,
                    version = plugin.version,
                    digest = %plugin.digest,
                    from = %rollback.digest,
                    reason = rollback.reason,
                    outcome = "rolled_back",
                    "rolled back: the version before serves again, the other stays off until its \
                     file changes"
                );
                self.registry.set_serving(*plugin);
                self.registry.set_refused(&file, Some(rollback.digest), rollback.words());
                Ok(())
            }
            (Err(Refusal { reason, .. }), _) => {
                tracing::error!(plugin = %name, reason, "the version before can't be brought back");
                if self.registry.served_from(&file).is_none() {
                    // Nothing serves: fall back to what is in the file.
                    self.owners.remove(&name);
                    if let Some(digest) = self.known(&file).digest {
                        self.start_load(file, digest);
                        return;
                    }
                }
                Err(reason)
            }
        };
        if let Some(answer) = answer {
            // The requester may be gone.
            let _ = answer.send(told);
        }
        self.idle(&file);
    }
}

impl Rollback {
    /// The reason shown to operators.
    fn words(&self) -> String {
        format!("rolled back: {}; it stays off until its file changes", self.reason)
    }
}
