//! What a plugin says of itself.

use crate::Filter;

/// Name, version, subscriptions and wishes of a plugin.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Description {
    /// The plugin's name: a-z, 0-9 and '-', starting with a letter and not ending with '-', at
    /// most 64 bytes.
    pub name: String,
    /// The author's version; at most 64 bytes.
    pub version: String,
    /// One line for the operator; at most 256 bytes.
    pub summary: String,
    /// At most 32.
    pub subscriptions: Vec<Subscription>,
    /// What it would like to use, and what for; at most 16.
    pub capabilities: Vec<(Capability, String)>,
}

impl Description {
    /// A plugin without subscriptions. The version is most often `env!("CARGO_PKG_VERSION")`.
    pub fn new(
        name: impl Into<String>,
        version: impl Into<String>,
        summary: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            summary: summary.into(),
            subscriptions: Vec::new(),
            capabilities: Vec::new(),
        }
    }

    /// Asks for the events that pass a filter, under a name that tells this subscription from the
    /// plugin's others: a-z, 0-9 and '-', starting with a letter and not ending with '-', at most
    /// 64 bytes.
    pub fn subscribe(self, name: impl Into<String>, filter: Filter) -> Self {
        self.subscription(Subscription { name: name.into(), filter, max_in_flight: None })
    }

    /// Asks for a subscription.
    pub fn subscription(mut self, subscription: Subscription) -> Self {
        self.subscriptions.push(subscription);
        self
    }

    /// Says which capability the plugin would like, and what for. The operator decides.
    pub fn wants(mut self, capability: Capability, reason: impl Into<String>) -> Self {
        self.capabilities.push((capability, reason.into()));
        self
    }
}

/// A subscription the plugin asks for. The operator's configuration may change or drop it.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// Unique within the plugin, and otherwise as the plugin's own name.
    pub name: String,
    /// Which events.
    pub filter: Filter,
    /// How many deliveries may be under way at once; 1 for one after the other.
    pub max_in_flight: Option<u32>,
}

/// Something only the operator can allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// [`config`](crate::config): settings.
    Config,
    /// [`config`](crate::config): secrets.
    Secrets,
    /// [`state`](crate::state).
    State,
    /// [`blobs`](crate::blobs).
    Blobs,
    /// [`http`](crate::http).
    Http,
}

impl Capability {
    /// Its name, as the operator's configuration has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Secrets => "secrets",
            Self::State => "state",
            Self::Blobs => "blobs",
            Self::Http => "http",
        }
    }
}
