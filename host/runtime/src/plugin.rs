//! State shared by all instances of one plugin: limits, grants, denials.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use usher_event::{BlobStore, Emission, PluginName, QuotaError, StateReader};

use crate::capabilities::http::Client;
use crate::capabilities::log::Minute;
use crate::{Grant, Grants, Limits, redaction, text};

/// Maximum distinct denials that are logged; further ones are only counted.
const DENIALS_LOGGED_MAX: usize = 64;

/// How much of a denied request is logged and remembered: the text is controlled by the guest.
const DENIED_MAX_BYTES: usize = 512;

/// One plugin, shared by its instances.
pub(crate) struct Plugin {
    /// The plugin's name, or its file name until `describe` has returned.
    pub(crate) label: Arc<str>,
    pub(crate) limits: Limits,
    pub(crate) grants: Grants,
    /// Set if state is granted.
    pub(crate) state: Option<(PluginName, Arc<dyn StateReader>)>,
    /// Set if blobs are granted.
    pub(crate) blobs: Option<(PluginName, Arc<dyn BlobStore>)>,
    /// Bytes of blobs that its deliveries have put but not yet committed.
    blobs_staged_bytes: AtomicU64,
    pub(crate) http: Arc<Client>,
    pub(crate) denials: Denials,
    /// Log budget of the current minute.
    pub(crate) log_minute: Mutex<Minute>,
    /// Current number of instances.
    pub(crate) instances: AtomicU64,
    /// Whether the call that finished last outlasted a tick.
    pub(crate) is_long: Arc<AtomicBool>,
}

impl Plugin {
    /// A plugin without grants or stores.
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

    /// Counts and logs a denial; returns the message for the guest. `what` is the denied request,
    /// `remedy` what to add to `section` of the plugin's configuration.
    pub(crate) fn deny(&self, grant: Grant, what: &str, section: &str, remedy: &str) -> String {
        self.deny_one_of(grant, what, what, section, remedy)
    }

    /// Like [`Plugin::deny`], but logs only the first denial of each `kind`.
    pub(crate) fn deny_one_of(
        &self,
        grant: Grant,
        kind: &str,
        what: &str,
        section: &str,
        remedy: &str,
    ) -> String {
        let what = text::head(what, DENIED_MAX_BYTES);
        // `what` comes from the guest and may contain a secret.
        let words = self.redact(format!(
            "{what} is not granted: add {remedy} to [plugin.{}.{section}] in usher.toml",
            self.label
        ));
        if self.denials.note(grant, text::head(kind, DENIED_MAX_BYTES)) {
            tracing::warn!(plugin = &*self.label, grant = grant.as_str(), "{words}");
        }
        words
    }

    /// Reserves `more_bytes` for a staged blob, if they fit the quota together with all other
    /// staged bytes and the committed `kept_bytes`.
    ///
    /// # Errors
    /// The quota would be exceeded.
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

    /// Redacts granted secrets in text that will be shown.
    pub(crate) fn redact(&self, text: String) -> String {
        redaction::redact(&self.grants.secrets, text)
    }

    /// Redacts granted secrets in emissions.
    pub(crate) fn redact_emissions(&self, emissions: &mut [Emission]) {
        if self.grants.secrets.is_empty() {
            return;
        }
        for emission in emissions {
            redaction::redact_emission(&self.grants.secrets, emission);
        }
    }

    /// Like [`Plugin::redact`], for text whose start was cut off.
    pub(crate) fn redact_end(&self, text: String) -> String {
        redaction::redact_end(&self.grants.secrets, text)
    }
}

/// Reservation for a staged blob; released on drop.
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
    /// Counts a denial; returns whether to log it.
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
