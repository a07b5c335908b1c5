//! States in which producers are refused or deliveries are held. Configuration, log, metrics and
//! HTTP API use the same names for them.

/// A state in which producers are refused or deliveries are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouterState {
    /// Free disk space is below the reserve: producers are refused.
    DiskFull,
    /// What keeps the journal can't be reached: producers are refused, and nothing is settled.
    JournalAway,
    /// Load exceeds the intake limits: producers are told to retry later.
    Busy,
    /// A subscription exceeds the backlog limit: producers are refused.
    Backlog,
    /// A subscription waits for one that takes its emissions and is too far behind.
    HeldBack,
    /// No plugin serves a subscription.
    NotServed,
    /// An operator paused a plugin.
    Paused,
    /// A plugin failed too often and gets no deliveries.
    Quarantined,
    /// A plugin keeps failing and gets single deliveries only.
    BreakerOpen,
    /// A subscription has reached its limit of deliveries that wait for a retry.
    RetriesFull,
    /// A subscription has reached its limit of deliveries parked behind one of the same key.
    ParkedFull,
}

impl RouterState {
    /// Every state.
    pub const ALL: [Self; 11] = [
        Self::DiskFull,
        Self::JournalAway,
        Self::Busy,
        Self::Backlog,
        Self::HeldBack,
        Self::NotServed,
        Self::Paused,
        Self::Quarantined,
        Self::BreakerOpen,
        Self::RetriesFull,
        Self::ParkedFull,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DiskFull => "disk_full",
            Self::JournalAway => "journal_away",
            Self::Busy => "busy",
            Self::Backlog => "backlog",
            Self::HeldBack => "held_back",
            Self::NotServed => "not_served",
            Self::Paused => "paused",
            Self::Quarantined => "quarantined",
            Self::BreakerOpen => "breaker_open",
            Self::RetriesFull => "retries_full",
            Self::ParkedFull => "parked_full",
        }
    }

    /// What it means, and what to do.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::DiskFull => {
                "producers are refused: less is free on the disk than broker.disk_reserve_bytes; make \
                 room there"
            }
            Self::JournalAway => {
                "producers are refused and deliveries wait: the servers that keep the journal can't be \
                 reached, or don't acknowledge; it goes on by itself once they do"
            }
            Self::Busy => {
                "producers were asked to come back later within the last 10 s: more arrives than is \
                 taken in"
            }
            Self::Backlog => {
                "producers are refused: these subscriptions are too far behind; let their plugins \
                 serve, let their events expire, or remove them"
            }
            Self::HeldBack => {
                "these subscriptions wait until those that take what they emit have caught up"
            }
            Self::NotServed => {
                "the events of these subscriptions wait; `usher subscriptions` says for what"
            }
            Self::Paused => "the events of these plugins wait for `usher plugins resume`",
            Self::Quarantined => {
                "the events of these plugins wait: they failed too often; mend and replace the file, or \
                 `usher plugins release`"
            }
            Self::BreakerOpen => "these plugins fail and get single deliveries until one succeeds",
            Self::RetriesFull => {
                "these subscriptions take nothing new: 10000 of their deliveries wait for another \
                 attempt"
            }
            Self::ParkedFull => {
                "these subscriptions take nothing new: 100000 of their deliveries wait for one of the \
                 same key before them"
            }
        }
    }
}
