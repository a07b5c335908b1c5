//! Dead letters, and the audit log of operator actions.

use usher_event::{Event, FailureClass, PluginName, SubscriptionName};

use super::{Actor, AttemptRecord, StoredEvent};

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
        let Self { subscription, plugin, class, type_prefix, from_ms, to_ms, .. } = self;
        subscription.as_ref().is_none_or(|name| dead.subscription == *name)
            && plugin.as_ref().is_none_or(|name| dead.subscription.plugin() == name.as_str())
            && class.is_none_or(|class| dead.class() == Some(class))
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

/// An operator's action, as the audit log records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Unique number; increasing, never reused.
    pub number: u64,
    /// When it was done, Unix milliseconds.
    pub time_ms: u64,
    /// Who did it.
    pub actor: Actor,
    /// The subscription it was applied to; `None` for a plugin change.
    pub subscription: Option<SubscriptionName>,
    /// What was done.
    pub action: AuditAction,
}

/// What an operator did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditAction {
    /// Redrove a dead letter.
    Redrive(AuditedDeadLetter),
    /// Redrove a dead letter with an edited event.
    RedriveEdited {
        /// The dead letter.
        dead: AuditedDeadLetter,
        /// The new event's sequence.
        sequence: u64,
    },
    /// Discarded a dead letter.
    Discard(AuditedDeadLetter),
    /// Replayed events of the log.
    Replay {
        /// The first sequence replayed.
        first: u64,
        /// The last sequence replayed.
        last: u64,
        /// Number of events replayed.
        events: u64,
    },
    /// Changed a plugin's state.
    Plugin {
        /// The plugin.
        plugin: PluginName,
        /// The change.
        change: PluginChange,
    },
}

/// An operator's change to a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PluginChange {
    /// Stops deliveries to it.
    Pause,
    /// Resumes deliveries to it.
    Resume,
    /// Lifts its quarantine.
    Release,
    /// Replaces it with the previous version.
    Rollback,
}

impl PluginChange {
    /// All variants.
    pub const ALL: [Self; 4] = [Self::Pause, Self::Resume, Self::Release, Self::Rollback];

    /// The name used in JSON and storage.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Release => "release",
            Self::Rollback => "rollback",
        }
    }

    /// The change with this name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|change| change.as_str() == name)
    }
}

impl AuditAction {
    /// The name used in JSON.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Redrive(_) => "redrive",
            Self::RedriveEdited { .. } => "redrive_edited",
            Self::Discard(_) => "discard",
            Self::Replay { .. } => "replay",
            Self::Plugin { change, .. } => change.as_str(),
        }
    }
}

/// What the audit log keeps of a dead letter that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditedDeadLetter {
    /// Its id.
    pub id: u64,
    /// When it was given up, Unix milliseconds.
    pub time_ms: u64,
    /// Failure class of the last attempt.
    pub class: Option<FailureClass>,
    /// The event's sequence.
    pub sequence: u64,
    /// The event's source.
    pub source: String,
    /// The event's id.
    pub event_id: String,
    /// The event's type.
    pub ty: String,
}

impl AuditedDeadLetter {
    /// Summarizes a dead letter.
    pub(crate) fn new(
        id: u64,
        time_ms: u64,
        attempts: &[AttemptRecord],
        sequence: u64,
        event: &Event,
    ) -> Self {
        Self {
            id,
            time_ms,
            class: attempts.last().map(|attempt| attempt.class),
            sequence,
            source: event.source().to_owned(),
            event_id: event.id().to_owned(),
            ty: event.ty().to_owned(),
        }
    }
}
