//! What every instance of one plugin shares: limits, redaction, denials.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};

use crate::profile::Profile;
use crate::redaction::Redactor;
use crate::{Limits, text};

/// Maximum distinct denials that are logged; further ones are only counted.
const DENIALS_LOGGED_MAX: usize = 64;

/// How much of a denied request is logged and remembered: the text is controlled by the guest.
const DENIED_MAX_BYTES: usize = 512;

/// One plugin, shared by its instances. What a capability shares besides is its own.
pub(crate) struct Plugin {
    /// The plugin's name, or its file name until `describe` has returned.
    pub(crate) label: Arc<str>,
    pub(crate) limits: Limits,
    /// Redacts granted secrets in text that will be shown and in emissions.
    pub(crate) redactor: Redactor,
    pub(crate) denials: Denials,
    /// Current number of instances.
    pub(crate) instances: AtomicU64,
    /// Linear memory of all of them.
    pub(crate) memory_bytes: AtomicU64,
    /// Whether the call that finished last outlasted a tick.
    pub(crate) is_long: Arc<AtomicBool>,
    /// Whether all that its deliveries do is kept for [`WasmListener::observe`](crate::WasmListener::observe).
    pub(crate) is_observed: bool,
    /// Whether what it writes and is denied is logged nowhere.
    pub(crate) is_silent: bool,
    /// Where it spends its time, if that is asked for.
    pub(crate) profile: Option<Arc<Profile>>,
}

impl Plugin {
    pub(crate) fn new(label: &str, limits: Limits, redactor: Redactor) -> Self {
        Self {
            label: label.into(),
            limits,
            redactor,
            denials: Denials::default(),
            instances: AtomicU64::new(0),
            memory_bytes: AtomicU64::new(0),
            is_long: Arc::default(),
            is_observed: false,
            is_silent: false,
            profile: None,
        }
    }

    /// Whether what its deliveries are told may have to be recorded.
    pub(crate) fn is_recorded(&self) -> bool {
        self.limits.recording_bytes > 0
    }

    /// Counts and logs a denial; returns the message for the guest. `what` is the denied request,
    /// `remedy` what to add to `section` of the plugin's configuration.
    pub(crate) fn deny(
        &self,
        grant: &'static str,
        what: &str,
        section: &str,
        remedy: &str,
    ) -> String {
        self.deny_one_of(grant, what, what, section, remedy)
    }

    /// Like [`Plugin::deny`], but logs only the first denial of each `kind`.
    pub(crate) fn deny_one_of(
        &self,
        grant: &'static str,
        kind: &str,
        what: &str,
        section: &str,
        remedy: &str,
    ) -> String {
        let what = text::head(what, DENIED_MAX_BYTES);
        // `what` comes from the guest and may contain a secret.
        let words = self.redactor.redact(format!(
            "{what} is not granted: add {remedy} to [plugin.{}.{section}] in usher.toml",
            self.label
        ));
        let is_new = self.denials.note(grant, text::head(kind, DENIED_MAX_BYTES), &words);
        if is_new && !self.is_silent {
            tracing::warn!(plugin = &*self.label, grant, "{words}");
        }
        words
    }
}

/// Counts denials by grant, and remembers which were logged.
#[derive(Default)]
pub(crate) struct Denials(Mutex<Denied>);

#[derive(Default)]
struct Denied {
    counts: BTreeMap<&'static str, u64>,
    /// Words of the last one.
    last: Option<String>,
    logged: BTreeSet<(&'static str, String)>,
}

impl Denials {
    /// Counts a denial; returns whether to log it.
    fn note(&self, grant: &'static str, what: &str, words: &str) -> bool {
        let denied = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        denied.last = Some(words.to_owned());
        *denied.counts.entry(grant).or_default() += 1;
        denied.logged.len() < DENIALS_LOGGED_MAX && denied.logged.insert((grant, what.to_owned()))
    }

    /// Words of the last denial of any instance: what one is denied, all are.
    pub(crate) fn last(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last.clone()
    }

    /// How often each grant was missing; those that never were are left out.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).counts.clone()
    }
}
