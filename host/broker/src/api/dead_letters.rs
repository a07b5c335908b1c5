//! Dead letters.

use usher_event::{FailureClass, PluginName, SubscriptionName};

use super::{AttemptRecord, StoredEvent};

/// A delivery that was given up.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Unique id; increasing, never reused.
    pub id: u64,
    /// When it was given up, Unix milliseconds.
    pub time_ms: u64,
    /// The subscription whose delivery failed.
    pub subscription: SubscriptionName,
    /// The event.
    pub stored: StoredEvent,
    /// The recorded failed attempts, oldest first; the last one ended the delivery. At most
    /// [`crate::ATTEMPTS_KEPT`]: the first and the newest.
    pub attempts: Vec<AttemptRecord>,
    /// Total number of attempts made.
    pub attempt_count: u32,
}

impl DeadLetter {
    /// Failure class of the last attempt.
    pub fn class(&self) -> Option<FailureClass> {
        self.attempts.last().map(|attempt| attempt.class)
    }

    /// Reason of the last failure; empty if no attempt was made.
    pub fn reason(&self) -> &str {
        self.attempts.last().map_or("", |attempt| &attempt.reason)
    }
}

/// Filter for listing dead letters; all fields that are set must match.
#[derive(Clone, Debug, Default)]
pub struct DeadLetterQuery {
    /// Only ids above this one.
    pub after: Option<u64>,
    /// Maximum number to return; an engine may return fewer and say where to continue.
    pub max: usize,
    /// Of this subscription.
    pub subscription: Option<SubscriptionName>,
    /// Of this plugin's subscriptions.
    pub plugin: Option<PluginName>,
    /// With this failure class.
    pub class: Option<FailureClass>,
    /// With exactly this reason of the last failure.
    pub reason: Option<String>,
    /// Whose event's type starts with this.
    pub type_prefix: Option<String>,
    /// Given up at this time or later, Unix milliseconds.
    pub from_ms: Option<u64>,
    /// Given up before this time, Unix milliseconds.
    pub to_ms: Option<u64>,
}

impl DeadLetterQuery {
    /// Whether a dead letter matches.
    pub(crate) fn takes(&self, dead: &DeadLetter) -> bool {
        let Self { subscription, plugin, class, reason, type_prefix, from_ms, to_ms, .. } = self;
        subscription.as_ref().is_none_or(|name| dead.subscription == *name)
            && plugin.as_ref().is_none_or(|name| dead.subscription.plugin() == name.as_str())
            && class.is_none_or(|class| dead.class() == Some(class))
            && reason.as_ref().is_none_or(|reason| dead.reason() == reason)
            && type_prefix.as_ref().is_none_or(|ty| dead.stored.event.ty().starts_with(ty))
            && from_ms.is_none_or(|from_ms| dead.time_ms >= from_ms)
            && to_ms.is_none_or(|to_ms| dead.time_ms < to_ms)
    }
}

/// A page of dead letters.
#[derive(Clone, Debug, Default)]
pub struct DeadLetterPage {
    /// By id, oldest first.
    pub letters: Vec<DeadLetter>,
    /// Continue after this id; `None` on the last page.
    pub next: Option<u64>,
    /// The highest id ever assigned; 0 if there is none.
    pub last: u64,
}
