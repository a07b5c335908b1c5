//! A plugin's self-description.

use crate::Filter;

/// Name, version, subscriptions and requested capabilities of a plugin.
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
    /// The capabilities it requests, each with the reason; at most 16.
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

    /// Requests the events that match a filter, under a name that is unique within the plugin: a-z,
    /// 0-9 and '-', starting with a letter and not ending with '-', at most 64 bytes.
    pub fn subscribe(self, name: impl Into<String>, filter: Filter) -> Self {
        self.subscription(Subscription { name: name.into(), filter, max_in_flight: None })
    }

    /// Requests a subscription.
    pub fn subscription(mut self, subscription: Subscription) -> Self {
        self.subscriptions.push(subscription);
        self
    }

    /// Requests a capability, with the reason. The operator decides.
    pub fn wants(mut self, capability: Capability, reason: impl Into<String>) -> Self {
        self.capabilities.push((capability, reason.into()));
        self
    }
}

/// A subscription the plugin requests. The operator's configuration may change or drop it.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// Unique within the plugin; same rules as for the plugin's name.
    pub name: String,
    /// The events it receives.
    pub filter: Filter,
    /// Maximum deliveries in flight; 1 handles them one at a time.
    pub max_in_flight: Option<u32>,
}

/// A capability, granted by the operator.
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
    /// The name used in the operator's configuration.
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
