//! The states in which producers are refused or deliveries are held, by the names that they have in
//! the configuration, the log, the metrics and the HTTP API.

/// A state in which producers are refused or deliveries are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// Too little is free on the disk: producers are refused.
    DiskFull,
    /// More arrives than the router takes in: producers are asked to come back later.
    Busy,
    /// A subscription is too far behind: producers are refused.
    Backlog,
    /// A subscription waits for another that is too far behind and takes what it emits.
    HeldBack,
    /// Nothing serves a subscription.
    NotServed,
    /// A plugin was paused.
    Paused,
    /// A plugin failed too often.
    Quarantined,
    /// A plugin gets single deliveries only, because it fails.
    BreakerOpen,
    /// As many deliveries of a subscription as may be wait for another attempt.
    RetriesFull,
    /// As many deliveries of a subscription as may be wait for one of the same key before them.
    ParkedFull,
}

impl State {
    /// All of them.
    pub(crate) const ALL: [Self; 10] = [
        Self::DiskFull,
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
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::DiskFull => "disk_full",
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
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::DiskFull => {
                "producers are refused: less is free on the disk than broker.disk_reserve_bytes; make \
                 room there"
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
