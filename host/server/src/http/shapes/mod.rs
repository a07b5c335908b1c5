//! The JSON of the HTTP API, one struct for each shape.
//!
//! The server writes them and the command line reads the same structs, so that what people see
//! and what programs get is one truth. `openapi.json` describes them; a test holds the two
//! together.

mod convert;
mod dry_run;
mod scalar;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use usher_event::{Digest, PluginName, ScheduleName, SubscriptionName};

pub(crate) use scalar::{CloudEvent, Timestamp};

/// Answer to `POST /events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Accepted {
    /// One for each event, in the order they came.
    pub(crate) events: Vec<AcceptedEvent>,
}

/// What became of one published event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AcceptedEvent {
    /// The event's id.
    pub(crate) id: String,
    /// The event's source.
    pub(crate) source: String,
    /// Its place in the log; for a duplicate, that of the first.
    pub(crate) sequence: u64,
    /// Whether an event with this id and source was there before.
    pub(crate) duplicate: bool,
}

/// Answer to `GET /events`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Events {
    /// The events, in order.
    pub(crate) events: Vec<Stored>,
    /// The sequence to read on from.
    pub(crate) next: u64,
    /// The newest committed sequence, 0 when the log is empty.
    pub(crate) last: u64,
}

/// An event in the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stored {
    /// Its place in the log.
    pub(crate) sequence: u64,
    /// When it was appended.
    pub(crate) recorded: Timestamp,
    /// The first event of its flow.
    pub(crate) flow: u64,
    /// How many emissions lie between the flow's first event and this one.
    pub(crate) depth: u16,
    /// How it came about; `null` for a published one.
    pub(crate) cause: Option<Cause>,
    /// The event, in the CloudEvents JSON format.
    pub(crate) event: CloudEvent,
}

/// The delivery that an event came of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cause {
    /// `emission`; `redrive` where an operator redrove a dead letter with this event; `report`
    /// where the router reports a dead letter.
    pub(crate) kind: String,
    /// The event that was delivered.
    pub(crate) parent: u64,
    /// To which subscription.
    pub(crate) subscription: SubscriptionName,
    /// At which attempt.
    pub(crate) attempt: u32,
    /// How long the listener took, microseconds.
    pub(crate) took_us: u64,
}

/// Answer to `GET /flows/{id}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Flow {
    /// The sequence of its first event.
    pub(crate) flow: u64,
    /// Whether nothing is left to happen: every delivery done or dead, nothing delayed.
    pub(crate) settled: bool,
    /// Whether events were left out because the flow is too large.
    pub(crate) truncated: bool,
    /// Its events by sequence; a parent comes before its children.
    pub(crate) events: Vec<FlowEvent>,
    /// Emissions that wait for their delay, soonest first.
    pub(crate) delayed: Vec<Delayed>,
}

/// An event of a flow, with its deliveries.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FlowEvent {
    /// The event.
    #[serde(flatten)]
    pub(crate) stored: Stored,
    /// Its deliveries, by subscription.
    pub(crate) deliveries: Vec<DeliveryReport>,
}

/// Where one delivery stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeliveryReport {
    /// To which subscription.
    pub(crate) subscription: SubscriptionName,
    /// The plugin's part of that name.
    pub(crate) plugin: String,
    /// How it stands.
    pub(crate) state: DeliveryState,
    /// Which round it is in, once it was redriven or replayed: 2 after the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) round: Option<u32>,
    /// Which attempt is under way, while one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) attempt: Option<u32>,
    /// When the next attempt is due, while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) due: Option<Timestamp>,
    /// The sequence of the same key that has to be over first, while it is parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) behind: Option<u64>,
    /// The dead letter it became, unless that was redriven or discarded since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dead_letter: Option<u64>,
    /// The failed attempts, oldest first.
    pub(crate) failures: Vec<Attempt>,
}

/// How a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DeliveryState {
    /// Not handed out yet, or about to be again.
    Pending,
    /// The listener has it.
    InFlight,
    /// Waits for one of the same key before it.
    Parked,
    /// Failed; another attempt is due.
    Waiting,
    /// Acknowledged.
    Done,
    /// Given up: a dead letter.
    Dead,
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    /// In which round of its delivery; absent in the first, and in a dead letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) round: Option<u32>,
    /// Which attempt of its round; the first is 1.
    pub(crate) attempt: u32,
    /// When it ended.
    pub(crate) time: Timestamp,
    /// How long it took, microseconds.
    pub(crate) took_us: u64,
    /// What kind of failure.
    pub(crate) class: String,
    /// What happened.
    pub(crate) reason: String,
    /// The plugin's call stack, where there is one.
    pub(crate) backtrace: Option<String>,
    /// Which bytes handled it.
    pub(crate) digest: Option<Digest>,
    /// Their author's version.
    pub(crate) version: Option<String>,
    /// Whether it counts towards the most attempts.
    pub(crate) counted: bool,
    /// The wait the plugin asked for, milliseconds, where that was longer than it may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) asked_ms: Option<u64>,
}

/// How many attempts of this round have failed; attempts of those before don't count.
pub(crate) fn failed_in(round: Option<u32>, failures: &[Attempt]) -> u32 {
    let last = failures.last().filter(|last| last.round == round);
    last.map_or(0, |last| last.attempt)
}

/// Answer to `GET /events/{sequence}/deliveries/{plugin}/{name}`: what became of an event for a
/// subscription, or why nothing did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Explanation {
    /// The event.
    pub(crate) sequence: u64,
    /// The subscription.
    pub(crate) subscription: SubscriptionName,
    /// The plugin's part of that name.
    pub(crate) plugin: String,
    /// Whether anything serves the subscription.
    pub(crate) served: SubscriptionState,
    /// Why nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) paused_because: Option<String>,
    /// What became of the event.
    pub(crate) outcome: Outcome,
    /// Why the filter says no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mismatch: Option<Mismatch>,
    /// Where it begins: the subscription (`before_start`) or what retention kept (`expired`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) begins: Option<u64>,
    /// Whether retention takes what the subscription has not settled, where the event is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<bool>,
    /// While it is pending: at most so many deliveries come before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ahead: Option<u64>,
    /// While it is pending: why none of those goes out now, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) held_up: Option<HeldUp>,
    /// The sequence that has to be over first: while it is parked, or held up by a total order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) behind: Option<u64>,
    /// Which round the delivery is in, once it was redriven or replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) round: Option<u32>,
    /// Which attempt is under way, while one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) attempt: Option<u32>,
    /// When the next attempt is due, while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) due: Option<Timestamp>,
    /// The dead letter it became, unless that was redriven or discarded since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dead_letter: Option<u64>,
    /// Where it counts as done, but an earlier filter may have passed it over: the sequence from
    /// which the present one has been applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) filter_from: Option<u64>,
    /// The failed attempts, oldest first.
    pub(crate) failures: Vec<Attempt>,
}

/// What became of an event for a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Retention let the event go.
    Expired,
    /// The subscription began later in the log.
    BeforeStart,
    /// The subscription's filter says no.
    Unmatched,
    /// As of a [`DeliveryReport`].
    #[serde(untagged)]
    Delivery(DeliveryState),
}

/// The part of a filter that an event doesn't satisfy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mismatch {
    /// Where in the filter, such as `all[1].prefix.type`; empty for all of it.
    pub(crate) path: String,
    /// What is wrong with the event there.
    pub(crate) reason: String,
}

/// Why a subscription hands out nothing more for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HeldUp {
    /// As many deliveries as may be are under way, or ready and nobody takes them.
    InFlight,
    /// Its order is total, and the delivery `behind` is not over.
    Total,
    /// As many deliveries as may be wait for another attempt.
    Retrying,
    /// As many deliveries as may be are parked.
    Parked,
    /// The events under way, or behind the heads of their lanes, take as much memory as may be.
    Memory,
    /// A delivery of its plugin runs alone because state changed under it too often.
    Alone,
    /// A subscription that would take what it emits is too far behind.
    Backlog,
}

/// An emission that waits for its delay.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Delayed {
    /// When it will be appended.
    pub(crate) due: Timestamp,
    /// How it came about.
    pub(crate) cause: Cause,
    /// The event.
    pub(crate) event: CloudEvent,
}

/// Answer to `GET /plugins`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plugins {
    /// By name; files that never loaded come last.
    pub(crate) plugins: Vec<Plugin>,
}

/// One plugin, or a file that never became one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plugin {
    /// Its name; `null` for a file that never loaded.
    pub(crate) name: Option<PluginName>,
    /// The author's version.
    pub(crate) version: Option<String>,
    /// The author's line about it.
    pub(crate) summary: Option<String>,
    /// Which bytes serve, or served last.
    pub(crate) digest: Option<Digest>,
    /// The file's name in the plugins folder.
    pub(crate) file: String,
    /// How it stands.
    pub(crate) state: PluginState,
    /// Whether it is left alone for a while because it fails.
    pub(crate) breaker: Breaker,
    /// Why it stands so, where there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The newer file that was refused while this version serves on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<Refused>,
    /// `warm` or `fresh`; absent for a file that never loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) isolation: Option<String>,
    /// The subscriptions it serves.
    pub(crate) subscriptions: Vec<SubscriptionName>,
    /// What it would like to have.
    pub(crate) capabilities: Vec<Capability>,
    /// What it has done.
    pub(crate) stats: PluginStats,
}

/// How a plugin stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PluginState {
    /// It takes deliveries.
    Serving,
    /// An operator paused it; its events wait.
    Paused,
    /// It failed too often; its events wait.
    Quarantined,
    /// Its file is gone; its events wait.
    Removed,
    /// Its file could not be loaded and no version before it serves.
    Refused,
}

/// Whether a plugin is left alone for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Breaker {
    /// No.
    Closed,
    /// It failed; single deliveries show whether it still does.
    Open,
}

/// Answer to `POST /plugins/{plugin}/pause` and its like: what stands between a plugin and its
/// deliveries now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PluginStanding {
    /// The plugin.
    pub(crate) name: PluginName,
    /// Whether an operator paused it.
    pub(crate) paused: bool,
    /// Whether it is quarantined.
    pub(crate) quarantined: bool,
    /// Whether it is left alone for a while because it fails.
    pub(crate) breaker: Breaker,
    /// The bytes that serve.
    pub(crate) digest: Option<Digest>,
}

/// Answer to `GET /plugins/{plugin}/history`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PluginHistory {
    /// The plugin.
    pub(crate) name: PluginName,
    /// How its changes ended, oldest first.
    pub(crate) history: Vec<PluginChange>,
}

/// How a change of a plugin ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PluginChange {
    /// When.
    pub(crate) time: Timestamp,
    /// `loaded`, `unchanged`, `refused`, `rolled_back` or `removed`.
    pub(crate) outcome: String,
    /// The bytes it is about.
    pub(crate) digest: Option<Digest>,
    /// Their author's version, where it is known.
    pub(crate) version: Option<String>,
    /// Why, where they were refused or rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// A file that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refused {
    /// Its name in the plugins folder.
    pub(crate) file: String,
    /// Its digest, where it could be read.
    pub(crate) digest: Option<Digest>,
    /// Why it was not taken.
    pub(crate) reason: String,
    /// When.
    pub(crate) time: Timestamp,
}

/// A capability a plugin asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Capability {
    /// `config`, `secrets`, `state`, `blobs` or `http`.
    pub(crate) name: String,
    /// What for, in the author's words.
    pub(crate) reason: String,
    /// Whether the configuration grants it.
    pub(crate) granted: bool,
    /// Whether the version before did not ask for it.
    #[serde(default)]
    pub(crate) added: bool,
}

/// What a plugin has done since it began to serve, whatever its versions since; what a removed one
/// had done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PluginStats {
    /// Deliveries handled, failed ones included.
    pub(crate) handled: u64,
    /// Failed deliveries by class; classes without any are left out.
    pub(crate) failed: BTreeMap<String, u64>,
    /// Host calls denied to its present version for want of a grant.
    pub(crate) denied: u64,
    /// Time spent in the plugin altogether, microseconds.
    pub(crate) handle_time_us: u64,
    /// Sandboxes of its present version, at work or waiting for it.
    pub(crate) instances: u64,
}

/// Answer to `GET /subscriptions`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Subscriptions {
    /// By name.
    pub(crate) subscriptions: Vec<Subscription>,
}

/// Where a subscription stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Subscription {
    /// Its full name, `PLUGIN/NAME`.
    pub(crate) name: SubscriptionName,
    /// The plugin's part of the name.
    pub(crate) plugin: String,
    /// Whether anything serves it.
    pub(crate) state: SubscriptionState,
    /// Why nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) paused_because: Option<String>,
    /// Its filter, as of the CloudEvents Subscriptions API.
    pub(crate) filter: Value,
    /// Where it would begin if it were new.
    pub(crate) start: Start,
    /// Which deliveries wait for others.
    pub(crate) order: Order,
    /// What becomes of failed deliveries.
    pub(crate) retry: Retry,
    /// Every match before this sequence is settled or waits for a retry.
    pub(crate) cursor: u64,
    /// Events of the log it hasn't looked at, and deliveries ready that nobody took.
    pub(crate) lag: u64,
    /// Whom it keeps waiting because that is too many; absent where nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) holds_back: Option<HoldsBack>,
    /// The subscription that has to catch up before it gets any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) held_back_by: Option<SubscriptionName>,
    /// The oldest event it is not done with or hasn't looked at; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) oldest_unsettled: Option<Unsettled>,
    /// Deliveries under way.
    pub(crate) in_flight: u64,
    /// Deliveries that wait for another attempt.
    pub(crate) retrying: u64,
    /// When the next of those is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next_retry: Option<Timestamp>,
    /// Emissions of its deliveries that wait for their delay.
    pub(crate) delayed: u64,
    /// Deliveries that wait for one of the same key before them.
    pub(crate) parked: u64,
    /// Keys whose first delivery failed and waits for another attempt.
    pub(crate) stalled_lanes: u64,
    /// Acknowledged since the router started.
    pub(crate) acked: u64,
    /// Failed attempts since the router started.
    pub(crate) failed: u64,
    /// Dead letters it has.
    pub(crate) dead: u64,
    /// Whether retention may take events it has not settled.
    pub(crate) expires: bool,
    /// Deliveries that were not over when retention took their event, since it was made.
    pub(crate) expired: u64,
    /// Deliveries that may be under way at once.
    pub(crate) max_in_flight: u32,
}

/// Whom a subscription that is too far behind keeps waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HoldsBack {
    /// Producers.
    Producers,
    /// Producers, and plugins whose emissions it would take.
    Plugins,
}

/// Which deliveries of a subscription wait for others, as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// None.
    None,
    /// Those whose event has the same value of this attribute.
    Key(String),
    /// All.
    Total,
}

/// Where a new subscription begins, as the configuration has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Start {
    /// With the next event.
    Latest,
    /// With the oldest event in the log.
    Earliest,
    /// With this event.
    Sequence(u64),
    /// With the first event recorded then or later.
    Time(Timestamp),
}

/// A retry policy, as the configuration has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Retry {
    /// Wait before the second attempt.
    pub(crate) first_delay_ms: u64,
    /// Growth from one wait to the next.
    pub(crate) factor: f64,
    /// The longest wait.
    pub(crate) max_delay_ms: u64,
    /// Spread as a fraction of the wait.
    pub(crate) jitter: f64,
    /// Attempts in all.
    pub(crate) max_attempts: u32,
    /// How long after the first failure the last attempt may start.
    pub(crate) max_age_ms: u64,
    /// What is different for some classes of failure.
    pub(crate) classes: BTreeMap<String, ClassRetry>,
}

/// What of a retry policy is different for one class of failure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClassRetry {
    /// Wait before the second attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) first_delay_ms: Option<u64>,
    /// Growth from one wait to the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) factor: Option<f64>,
    /// The longest wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_delay_ms: Option<u64>,
    /// Failures of this class at which it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_attempts: Option<u32>,
}

/// An event that a subscription is not done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unsettled {
    /// Its place in the log.
    pub(crate) sequence: u64,
    /// When it was appended; absent where the log has lost it meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) recorded: Option<Timestamp>,
}

/// Answer to `DELETE /subscriptions/{plugin}/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SubscriptionGone {
    /// The subscription that is no more.
    pub(crate) name: SubscriptionName,
}

/// Whether a subscription is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SubscriptionState {
    /// A plugin takes its deliveries.
    Active,
    /// Nothing serves it; its events wait.
    Paused,
}

/// Answer to `GET /dead-letters`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeadLetters {
    /// By id, oldest first.
    pub(crate) dead_letters: Vec<DeadLetter>,
    /// Read on after this id; `null` where that was all.
    pub(crate) next: Option<u64>,
    /// The newest id there ever was; 0 where there was none.
    pub(crate) last: u64,
}

/// A delivery that was given up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeadLetter {
    /// Names it; rises, is never reused.
    pub(crate) id: u64,
    /// When it was given up.
    pub(crate) time: Timestamp,
    /// The subscription that could not deal with it.
    pub(crate) subscription: SubscriptionName,
    /// The plugin's part of that name.
    pub(crate) plugin: String,
    /// How many attempts were made in all.
    pub(crate) attempt_count: u32,
    /// What kind of failure ended it; empty where no attempt was made.
    pub(crate) class: String,
    /// What ended it.
    pub(crate) reason: String,
    /// The event, whole.
    pub(crate) event: Stored,
    /// The failed attempts, oldest first: the first and the newest. Only in
    /// `GET /dead-letters/{id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) attempts: Option<Vec<Attempt>>,
}

/// Answer to a redrive or discard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeadLetterGone {
    /// The dead letter that is no more.
    pub(crate) id: u64,
    /// The new event's sequence, where another one is delivered in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sequence: Option<u64>,
}

/// Answer to `GET /schedules`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Schedules {
    /// By name.
    pub(crate) schedules: Vec<Schedule>,
}

/// An event at each tick of a calendar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Schedule {
    /// Its name.
    pub(crate) name: ScheduleName,
    /// When its ticks are: a cron pattern.
    pub(crate) cron: String,
    /// The time zone that is meant in.
    pub(crate) time_zone: String,
    /// What becomes of missed ticks: `skip`, `once` or `all`.
    pub(crate) missed: String,
    /// The type of its events.
    #[serde(rename = "type")]
    pub(crate) ty: String,
    /// Their source.
    pub(crate) source: String,
    /// The next tick; absent if there is none before the year 5000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<Timestamp>,
    /// The newest tick that became an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<Timestamp>,
    /// Ticks that became events.
    pub(crate) emitted: u64,
    /// Ticks that were missed and passed over.
    pub(crate) passed_over: u64,
}

/// Answer to `GET /audit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Audit {
    /// By number, oldest first.
    pub(crate) records: Vec<AuditRecord>,
}

/// Something an operator did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuditRecord {
    /// Names it; rises, is never reused.
    pub(crate) number: u64,
    /// When it was done.
    pub(crate) time: Timestamp,
    /// To dead letters: `redrive`, `redrive_edited`, `discard`; to subscriptions: `replay`; to plugins:
    /// `pause`, `resume`, `release`, `rollback`.
    pub(crate) action: String,
    /// To which plugin, or to which one's subscription.
    pub(crate) plugin: String,
    /// To which subscription; not where it was done to a plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subscription: Option<SubscriptionName>,
    /// The dead letter that is no more, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dead_letter: Option<AuditedDeadLetter>,
    /// The new event's sequence, where another one is delivered in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sequence: Option<u64>,
    /// What was replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) replay: Option<AuditedReplay>,
}

/// What is remembered of one step of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuditedReplay {
    /// The first event's sequence.
    pub(crate) first: u64,
    /// The last one's.
    pub(crate) last: u64,
    /// How many events.
    pub(crate) events: u64,
}

/// Answer to `POST /subscriptions/{plugin}/{name}/replay`: what one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replayed {
    /// Events that are delivered now.
    pub(crate) events: u64,
    /// Events left alone because a delivery of them is yet to come or under way.
    pub(crate) pending: u64,
    /// Events left alone because they are a dead letter of the subscription.
    pub(crate) dead: u64,
    /// The sequence that the replay ends before.
    pub(crate) to: u64,
    /// The sequence to go on from; absent where that was all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<u64>,
}

/// Answer to `POST /subscriptions/{plugin}/{name}/dry-run`: one step of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DryRuns {
    /// What would become of each event, in order.
    pub(crate) deliveries: Vec<DryRun>,
    /// The sequence that the dry run ends before.
    pub(crate) to: u64,
    /// The sequence to go on from; absent where that was all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<u64>,
}

/// What a plugin would do with an event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DryRun {
    /// The event's sequence.
    pub(crate) sequence: u64,
    /// Its type.
    #[serde(rename = "type")]
    pub(crate) ty: String,
    /// Which bytes ran.
    pub(crate) digest: Digest,
    /// Their author's version.
    pub(crate) version: String,
    /// `ack`, `retry` or `reject`.
    pub(crate) verdict: String,
    /// Why, unless it is `ack`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<DryRunFailure>,
    /// How long it took, microseconds.
    pub(crate) took_us: u64,
    /// What it would emit, in order.
    pub(crate) emissions: Vec<DryRunEmission>,
    /// What it would write to its state.
    pub(crate) writes: Vec<DryRunWrite>,
    /// What it would do to its blobs.
    pub(crate) blobs: Vec<DryRunBlob>,
}

/// Why a plugin would not acknowledge an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DryRunFailure {
    /// The kind of failure.
    pub(crate) class: String,
    /// What happened.
    pub(crate) reason: String,
    /// The guest's call stack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) backtrace: Option<String>,
    /// The shortest wait it asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after_ms: Option<u64>,
}

/// An event that would be emitted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DryRunEmission {
    /// How long it would wait before it is appended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) delay_ms: Option<u64>,
    /// The event; its id and time would be other ones.
    pub(crate) event: CloudEvent,
}

/// A value of state that would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DryRunWrite {
    /// In which bucket.
    pub(crate) bucket: String,
    /// Of which key.
    pub(crate) key: String,
    /// Bytes of the new value; absent where the key would be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size_bytes: Option<u64>,
}

/// A blob that would be put or deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DryRunBlob {
    /// Which blob.
    pub(crate) digest: Digest,
    /// Its size; absent where it would be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size_bytes: Option<u64>,
    /// Its media type; absent where it would be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<String>,
}

/// What is remembered of a dead letter that is no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuditedDeadLetter {
    /// Its id.
    pub(crate) id: u64,
    /// When it was given up.
    pub(crate) time: Timestamp,
    /// What kind of failure ended it.
    pub(crate) class: Option<String>,
    /// The event's sequence.
    pub(crate) sequence: u64,
    /// The event's source.
    pub(crate) source: String,
    /// The event's id.
    pub(crate) event_id: String,
    /// The event's type.
    #[serde(rename = "type")]
    pub(crate) ty: String,
}

/// Answer to `POST /backup`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Backup {
    /// Where the copy is.
    pub(crate) folder: String,
    /// The newest event in it.
    pub(crate) last_sequence: u64,
    /// Rows of all tables.
    pub(crate) rows: u64,
    /// Blobs in it.
    pub(crate) blobs: u64,
    /// Size of rows, blobs and what is kept of plugins.
    pub(crate) bytes: u64,
}

/// Answer to `GET /blobs`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Blobs {
    /// By digest.
    pub(crate) blobs: Vec<Blob>,
}

/// A blob and who put it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Blob {
    /// SHA-256 of the content: its name.
    pub(crate) digest: Digest,
    /// Length of the content.
    pub(crate) size_bytes: u64,
    /// Media type, as it was put.
    pub(crate) content_type: String,
    /// The plugin that put it.
    pub(crate) plugin: PluginName,
    /// When it was committed.
    pub(crate) created: Timestamp,
}

/// Answer to `GET /healthz` and `GET /readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Health {
    /// `ok`.
    pub(crate) status: String,
}

/// An error (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Problem {
    /// What kind of problem, as a URI.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The kind in words; the same for every problem of the kind.
    pub(crate) title: String,
    /// The HTTP status.
    pub(crate) status: u16,
    /// What is wrong here, and what to do.
    pub(crate) detail: String,
    /// The attribute that breaks a rule, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) attribute: Option<String>,
    /// The member of the batch it is about; the first is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) member: Option<usize>,
}
