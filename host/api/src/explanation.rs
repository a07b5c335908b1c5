//! `/events/{sequence}/deliveries`: what became of an event for a subscription, or why nothing did.

use serde::{Deserialize, Serialize};
use usher_event::SubscriptionName;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::{Attempt, DeliveryState, SubscriptionState, Timestamp};

/// Answer to `GET /events/{sequence}/deliveries/{plugin}/{name}`: what became of an event for a
/// subscription, or why nothing did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The event.
    pub sequence: u64,
    /// The subscription.
    pub subscription: SubscriptionName,
    /// The plugin's part of that name.
    pub plugin: String,
    /// Whether anything serves the subscription.
    pub served: SubscriptionState,
    /// Why nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_because: Option<String>,
    /// What became of the event.
    pub outcome: Outcome,
    /// Why the filter says no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mismatch: Option<Mismatch>,
    /// Where it begins: the subscription (`before_start`) or what retention kept (`expired`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begins: Option<u64>,
    /// Whether retention takes what the subscription has not settled, where the event is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<bool>,
    /// While it is pending: at most so many deliveries come before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead: Option<u64>,
    /// While it is pending: why none of those goes out now, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_up: Option<HeldUp>,
    /// The sequence that has to be over first: while it is parked, or held up by a total order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<u64>,
    /// Which round the delivery is in, once it was redriven or replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<u32>,
    /// Which attempt is under way, while one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// When the next attempt is due, while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// The dead letter it became, unless that was redriven or discarded since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<u64>,
    /// Where it counts as done, but an earlier filter may have passed it over: the sequence from
    /// which the present one has been applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter_from: Option<u64>,
    /// The failed attempts, oldest first.
    pub failures: Vec<Attempt>,
}

/// What became of an event for a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Retention let the event go.
    Expired,
    /// The subscription began later in the log.
    BeforeStart,
    /// The subscription's filter says no.
    Unmatched,
    /// As of a [`DeliveryReport`](super::DeliveryReport).
    #[serde(untagged)]
    Delivery(DeliveryState),
}

impl ToSchema for Outcome {}

/// By hand: the derive doesn't know a variant that is untagged.
impl PartialSchema for Outcome {
    fn schema() -> RefOr<Schema> {
        let own = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(["expired", "before_start", "unmatched"]))
            .description(Some(
                "`expired`: retention removed the event; `before_start`: the subscription began \
                 later in the log; `unmatched`: its filter doesn't match.",
            ));
        OneOfBuilder::new().item(own).item(DeliveryState::schema()).into()
    }
}

/// The part of a filter that an event doesn't satisfy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Mismatch {
    /// Where in the filter, such as `all[1].prefix.type`; empty for all of it.
    pub path: String,
    /// What is wrong with the event there.
    pub reason: String,
}

/// Why a subscription hands out nothing more for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeldUp {
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
