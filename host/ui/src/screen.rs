//! The screens there are: their addresses, and what it takes to see them.

use maud::Markup;
use usher_api::Scope;

use crate::source::Viewer;

/// A screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screen {
    /// The router as a whole.
    Overview,
    /// The log.
    Events,
    /// One event.
    Event,
    /// An event and all that it caused.
    Flow,
    /// Plugins and sinks.
    Plugins,
    /// One plugin.
    Plugin,
    /// Subscriptions.
    Subscriptions,
    /// Deliveries that were given up.
    DeadLetters,
    /// One of them.
    DeadLetter,
    /// What plugins keep.
    State,
    /// Their files.
    Blobs,
    /// Events on a clock.
    Schedules,
    /// The machines that the router runs on.
    Nodes,
    /// What operators did.
    Audit,
    /// A form that publishes an event.
    Publish,
}

/// What a screen shows.
pub(crate) struct Shown {
    pub(crate) title: String,
    /// Whether it shows itself again when something changes.
    pub(crate) is_live: bool,
    pub(crate) body: Markup,
}

impl Screen {
    /// All variants.
    pub const ALL: [Self; 15] = [
        Self::Overview,
        Self::Events,
        Self::Event,
        Self::Flow,
        Self::Plugins,
        Self::Plugin,
        Self::Subscriptions,
        Self::DeadLetters,
        Self::DeadLetter,
        Self::State,
        Self::Blobs,
        Self::Schedules,
        Self::Nodes,
        Self::Audit,
        Self::Publish,
    ];

    /// Its file.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Events => "events",
            Self::Event => "event",
            Self::Flow => "flow",
            Self::Plugins => "plugins",
            Self::Plugin => "plugin",
            Self::Subscriptions => "subscriptions",
            Self::DeadLetters => "dead-letters",
            Self::DeadLetter => "dead-letter",
            Self::State => "state",
            Self::Blobs => "blobs",
            Self::Schedules => "schedules",
            Self::Nodes => "nodes",
            Self::Audit => "audit",
            Self::Publish => "publish",
        }
    }

    /// The screen in this file.
    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|screen| screen.path() == path)
    }

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Events => "Events",
            Self::Event => "Event",
            Self::Flow => "Flow",
            Self::Plugins => "Plugins",
            Self::Plugin => "Plugin",
            Self::Subscriptions => "Subscriptions",
            Self::DeadLetters => "Dead letters",
            Self::DeadLetter => "Dead letter",
            Self::State => "State",
            Self::Blobs => "Blobs",
            Self::Schedules => "Schedules",
            Self::Nodes => "Nodes",
            Self::Audit => "Audit",
            Self::Publish => "Publish",
        }
    }

    /// Whether the navigation names it: it needs to be told nothing.
    pub(crate) const fn is_in_navigation(self) -> bool {
        !matches!(self, Self::Event | Self::Flow | Self::Plugin | Self::DeadLetter)
    }

    /// What it takes to see it.
    const fn scopes(self) -> &'static [Scope] {
        match self {
            Self::State => &[Scope::Read, Scope::ReadData],
            Self::Publish => &[Scope::Publish],
            _ => &[Scope::Read],
        }
    }

    /// Whether a viewer may see it.
    pub(crate) fn is_for(self, viewer: &Viewer) -> bool {
        self.scopes().iter().all(|scope| viewer.may(*scope))
    }

    /// The first screen that a viewer may see.
    pub fn first(viewer: &Viewer) -> Self {
        Self::ALL.into_iter().find(|screen| screen.is_for(viewer)).unwrap_or(Self::Overview)
    }
}
