//! Dead letters, and what operators did about them.

use usher_event::{Event, FailureClass, PluginName, SubscriptionName};

use super::{AttemptRecord, StoredEvent};

/// A delivery that was given up.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Names it; rises, is never reused.
    pub id: u64,
    /// When it was given up, Unix milliseconds.
    pub time_ms: u64,
    /// The subscription that could not deal with it.
    pub subscription: SubscriptionName,
    /// The event, whole.
    pub stored: StoredEvent,
    /// The failed attempts, oldest first; the last one is what ended it. At most
    /// [`crate::ATTEMPTS_KEPT`], the first and the newest.
    pub attempts: Vec<AttemptRecord>,
    /// How many attempts were made in all.
    pub attempt_count: u32,
}

impl DeadLetter {
    /// What kind of failure ended it.
    pub fn class(&self) -> Option<FailureClass> {
        self.attempts.last().map(|attempt| attempt.class)
    }
}

/// Which dead letters to list: those that are all of this.
#[derive(Clone, Debug, Default)]
pub struct DeadLetterQuery {
    /// Only those after this id.
    pub after: Option<u64>,
    /// At most so many; an engine may answer with fewer and say where to read on.
    pub max: usize,
    /// Of this subscription.
    pub subscription: Option<SubscriptionName>,
    /// Of this plugin's subscriptions.
    pub plugin: Option<PluginName>,
    /// That ended with this kind of failure.
    pub class: Option<FailureClass>,
    /// Whose event's type begins with this.
    pub type_prefix: Option<String>,
    /// Given up at this time or later, Unix milliseconds.
    pub from_ms: Option<u64>,
    /// Given up before this time, Unix milliseconds.
    pub to_ms: Option<u64>,
}

impl DeadLetterQuery {
    /// Whether this is one of them.
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

/// Some of the dead letters.
#[derive(Clone, Debug, Default)]
pub struct DeadLetterPage {
    /// By id, oldest first.
    pub letters: Vec<DeadLetter>,
    /// Read on after this id; `None` where that was all.
    pub next: Option<u64>,
    /// The newest id of all there ever were; 0 where there was none.
    pub last: u64,
}

/// Something an operator did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Names it; rises, is never reused.
    pub number: u64,
    /// When it was done, Unix milliseconds.
    pub time_ms: u64,
    /// To which subscription; `None` where it was done to a plugin.
    pub subscription: Option<SubscriptionName>,
    /// What was done.
    pub action: AuditAction,
}

/// What an operator did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditAction {
    /// Had a dead letter's event delivered again.
    Redrive(AuditedDeadLetter),
    /// Had another event delivered in place of a dead letter's.
    RedriveEdited {
        /// The dead letter.
        dead: AuditedDeadLetter,
        /// The new event's sequence.
        sequence: u64,
    },
    /// Dropped a dead letter.
    Discard(AuditedDeadLetter),
    /// Had events of the log delivered again.
    Replay {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
        /// How many.
        events: u64,
    },
    /// Changed how a plugin stands.
    Plugin {
        /// Which.
        plugin: PluginName,
        /// How.
        change: PluginChange,
    },
}

/// What an operator does to a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PluginChange {
    /// Keeps deliveries from it.
    Pause,
    /// Lets it have them again.
    Resume,
    /// Lifts its quarantine.
    Release,
    /// Puts the version before in its place.
    Rollback,
}

impl PluginChange {
    /// All of them.
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

/// What is remembered of a dead letter that is no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditedDeadLetter {
    /// Its id.
    pub id: u64,
    /// When it was given up, Unix milliseconds.
    pub time_ms: u64,
    /// What kind of failure ended it.
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
    /// What is remembered of this one.
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
