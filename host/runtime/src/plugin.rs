//! What all instances of one plugin share: limits, what it was granted, and what it was denied.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use usher_event::{BlobStore, Emission, PluginName, QuotaError, StateReader};

use crate::capabilities::http::Client;
use crate::capabilities::log::Minute;
use crate::{Grant, Grants, Limits, redaction, text};

/// Different denials that are logged; beyond that they are only counted.
const DENIALS_LOGGED_MAX: usize = 64;

/// What was denied is logged and remembered up to this length: the guest chose the words.
const DENIED_MAX_BYTES: usize = 512;

/// A plugin as its instances see it.
pub(crate) struct Plugin {
    /// The name, or the file's where the plugin has not said its name yet.
    pub(crate) label: Arc<str>,
    pub(crate) limits: Limits,
    pub(crate) grants: Grants,
    /// There where state is granted.
    pub(crate) state: Option<(PluginName, Arc<dyn StateReader>)>,
    /// There where blobs are granted.
    pub(crate) blobs: Option<(PluginName, Arc<dyn BlobStore>)>,
    /// Bytes of blobs that its deliveries have on disk and nothing is committed of.
    blobs_staged_bytes: AtomicU64,
    pub(crate) http: Arc<Client>,
    pub(crate) denials: Denials,
    /// What the log still takes of this plugin in the minute under way.
    pub(crate) log_minute: Mutex<Minute>,
    /// Instances there are now.
    pub(crate) instances: AtomicU64,
    /// Whether the delivery that ended last took long.
    pub(crate) is_long: Arc<AtomicBool>,
}

impl Plugin {
    /// A plugin before anything is known of it: no grants, the default limits.
    pub(crate) fn unconfigured(label: &str, limits: Limits, http: Arc<Client>) -> Self {
        Self {
            label: label.into(),
            grants: Grants::default(),
            state: None,
            blobs: None,
            blobs_staged_bytes: AtomicU64::new(0),
            http,
            log_minute: Mutex::new(Minute::new(&limits)),
            limits,
            denials: Denials::default(),
            instances: AtomicU64::new(0),
            is_long: Arc::default(),
        }
    }

    /// Counts and logs that something was denied; answers the words for the guest. `what` is what
    /// was asked for, `remedy` what to write into which part of the plugin's configuration.
    pub(crate) fn deny(&self, grant: Grant, what: &str, section: &str, remedy: &str) -> String {
        self.deny_one_of(grant, what, what, section, remedy)
    }

    /// As [`Plugin::deny`], of many things that are alike: only the first of a `kind` is logged.
    pub(crate) fn deny_one_of(
        &self,
        grant: Grant,
        kind: &str,
        what: &str,
        section: &str,
        remedy: &str,
    ) -> String {
        let what = text::head(what, DENIED_MAX_BYTES);
        // The guest may have been asked for with a secret in it.
        let words = self.redact(format!(
            "{what} is not granted: add {remedy} to [plugin.{}.{section}] in usher.toml",
            self.label
        ));
        if self.denials.note(grant, text::head(kind, DENIED_MAX_BYTES)) {
            tracing::warn!(plugin = &*self.label, grant = grant.as_str(), "{words}");
        }
        words
    }

    /// Counts `more_bytes` of blobs as staged if that, all else that is staged, and the `kept_bytes`
    /// that are committed stay within the limit together.
    ///
    /// # Errors
    /// They don't.
    pub(crate) fn stage_blob(
        self: &Arc<Self>,
        kept_bytes: u64,
        more_bytes: u64,
    ) -> Result<BlobRoom, QuotaError> {
        let quota = self.limits.quota();
        let add = |staged_bytes: u64| {
            let staged_bytes = staged_bytes.saturating_add(more_bytes);
            let after_bytes = kept_bytes.saturating_add(staged_bytes);
            quota.check_blobs(kept_bytes, after_bytes).is_ok().then_some(staged_bytes)
        };
        match self.blobs_staged_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(_) => Ok(BlobRoom { plugin: Arc::clone(self), bytes: more_bytes }),
            Err(_) => Err(QuotaError::Blobs { limit_bytes: quota.blobs_bytes }),
        }
    }

    /// Takes granted secrets out of text that is going to be shown.
    pub(crate) fn redact(&self, text: String) -> String {
        redaction::redact(&self.grants.secrets, text)
    }

    /// Takes granted secrets out of what becomes events.
    pub(crate) fn redact_emissions(&self, emissions: &mut [Emission]) {
        if self.grants.secrets.is_empty() {
            return;
        }
        for emission in emissions {
            redaction::redact_emission(&self.grants.secrets, emission);
        }
    }

    /// As [`Plugin::redact`], for text whose start was cut off.
    pub(crate) fn redact_end(&self, text: String) -> String {
        redaction::redact_end(&self.grants.secrets, text)
    }
}

/// Room for a blob, taken until this is dropped.
pub(crate) struct BlobRoom {
    plugin: Arc<Plugin>,
    bytes: u64,
}

impl Drop for BlobRoom {
    fn drop(&mut self) {
        self.plugin.blobs_staged_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Counts denials, and remembers which were logged.
#[derive(Default)]
pub(crate) struct Denials {
    counts: [AtomicU64; Grant::ALL.len()],
    logged: Mutex<BTreeSet<(Grant, String)>>,
}

impl Denials {
    /// Counts; answers whether this one is to be logged.
    fn note(&self, grant: Grant, what: &str) -> bool {
        if let Some((_, count)) = self.pairs().find(|(other, _)| *other == grant) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        logged.len() < DENIALS_LOGGED_MAX && logged.insert((grant, what.to_owned()))
    }

    fn pairs(&self) -> impl Iterator<Item = (Grant, &AtomicU64)> {
        Grant::ALL.into_iter().zip(&self.counts)
    }

    /// How often each kind was denied.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (Grant, u64)> {
        self.pairs().map(|(grant, count)| (grant, count.load(Ordering::Relaxed)))
    }
}
