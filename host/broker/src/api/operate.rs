//! Operator actions: each is recorded, with who did it, in the commit that has its effect.

use std::fmt;
use std::sync::Arc;

use usher_event::{Event, PluginName, SubscriptionName};

use super::{Document, ReplayQuery, Replayed};

/// Who acts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Actor(Arc<str>);

/// The name of [`Actor::local`].
const LOCAL: &str = "local";

impl Actor {
    /// Any caller, as long as the router asks for no tokens.
    pub fn local() -> Self {
        Self(LOCAL.into())
    }

    /// An actor by name.
    pub fn named(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is [`Actor::local`].
    pub(crate) fn is_local(&self) -> bool {
        &*self.0 == LOCAL
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// Something an operator does.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Redelivers a dead letter's event to its subscription with a fresh attempt count, and removes
    /// the dead letter.
    Redrive(u64),
    /// Appends `edited` in place of a dead letter's event, delivers it to that subscription only,
    /// and removes the dead letter. `edited` is the dead letter's event with corrections; its `id`
    /// and `source` must equal the original's. The appended event gets the id
    /// `OLD/redrive/DEAD-LETTER` and the extension `redriveof`, set to the old id.
    RedriveEdited {
        /// The dead letter.
        id: u64,
        /// Its event with corrections.
        edited: Event,
    },
    /// Deletes a dead letter.
    Discard(u64),
    /// Redelivers events of the log to a subscription, marked as a replay, skipping those whose
    /// delivery is still pending. One step: continue from [`Replayed::next`].
    Replay(ReplayQuery),
    /// Removes a subscription, as [`super::Deliveries::unsubscribe`] does.
    Unsubscribe(SubscriptionName),
    /// Records a change that is made elsewhere, before it is made.
    Record(Change),
    /// Makes a change, which is to documents: see [`super::Operator::keep`].
    Keep(Change, Vec<Document>),
}

/// A change that an operator makes outside of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// To a plugin.
    Plugin {
        /// The plugin.
        plugin: PluginName,
        /// The change.
        change: PluginChange,
    },
    /// To an access token.
    Token {
        /// The token's name.
        token: String,
        /// The change.
        change: TokenChange,
    },
    /// A copy of the data folder.
    Backup {
        /// The folder it goes to.
        folder: String,
    },
    /// To a node of the router.
    Node {
        /// The node's name.
        node: String,
        /// The change.
        change: NodeChange,
    },
}

impl Change {
    /// The name used in JSON and storage.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Plugin { change, .. } => change.as_str(),
            Self::Token { change, .. } => change.as_str(),
            Self::Backup { .. } => "backup",
            Self::Node { change, .. } => change.as_str(),
        }
    }
}

/// An operator's change to a node of the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeChange {
    /// Gives it no more deliveries.
    Drain,
    /// Gives it deliveries again.
    Resume,
    /// Leaves the journal to it.
    Promote,
}

impl NodeChange {
    /// All variants.
    pub const ALL: [Self; 3] = [Self::Drain, Self::Resume, Self::Promote];

    /// The name used in JSON and storage.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain_node",
            Self::Resume => "resume_node",
            Self::Promote => "promote_node",
        }
    }

    /// The change with this name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|change| change.as_str() == name)
    }
}

/// An operator's change to access tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenChange {
    /// Creates one.
    Create,
    /// Revokes it.
    Revoke,
}

impl TokenChange {
    /// All variants.
    pub const ALL: [Self; 2] = [Self::Create, Self::Revoke];

    /// The name used in JSON and storage.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create_token",
            Self::Revoke => "revoke_token",
        }
    }

    /// The change with this name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|change| change.as_str() == name)
    }
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

/// What came of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operated {
    /// Done.
    Done,
    /// Done, by appending an event with this sequence.
    Appended(u64),
    /// Replayed.
    Replayed(Replayed),
    /// There is no such dead letter or subscription.
    NotFound,
}
