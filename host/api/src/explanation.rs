//! `/events/{sequence}/deliveries`: the state of an event's delivery to a subscription, or why
//! there is none.

use serde::{Deserialize, Serialize};
use usher_event::SubscriptionName;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::{Attempt, DeliveryState, SubscriptionState, Timestamp};

/// Response to `GET /events/{sequence}/deliveries/{plugin}/{name}`: the state of an event's
/// delivery to a subscription, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The event.
    pub sequence: u64,
    /// The subscription.
    pub subscription: SubscriptionName,
    /// The plugin's part of that name.
    pub plugin: String,
    /// Whether a plugin serves the subscription.
    pub served: SubscriptionState,
    /// Why none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_because: Option<String>,
    /// The state of the delivery, or why there is none.
    pub outcome: Outcome,
    /// Why the filter doesn't match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mismatch: Option<Mismatch>,
    /// First sequence of the subscription (`before_start`) or of the retained log (`expired`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begins: Option<u64>,
    /// If the event expired: whether retention may drop events the subscription has not settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<bool>,
    /// While it is pending: upper bound on the deliveries ahead of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead: Option<u64>,
    /// While it is pending: why none of those is handed out now, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_up: Option<BlockReason>,
    /// The sequence that must finish first, while it is parked or held up by a total order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<u64>,
    /// The round of the delivery, once it was redriven or replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<u32>,
    /// The attempt in flight, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// When the next attempt is due, while it waits for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// The dead letter it became, unless that was redriven or discarded since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<u64>,
    /// Whether it counts as done but may have been left out for a newer event.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_be_superseded: bool,
    /// Present if it counts as done but an earlier filter may have skipped it: the sequence from
    /// which the current filter applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter_from: Option<u64>,
    /// The failed attempts, oldest first.
    pub failures: Vec<Attempt>,
}

/// The state of an event's delivery to a subscription, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Retention removed the event.
    Expired,
    /// The subscription starts later in the log.
    BeforeStart,
    /// The subscription's filter doesn't match.
    Unmatched,
    /// There is a delivery; its state is as in a [`DeliveryReport`](super::DeliveryReport).
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
    /// Its path in the filter, such as `all[1].prefix.type`; empty for the whole filter.
    pub path: String,
    /// Why the event doesn't satisfy it.
    pub reason: String,
}

/// Why a subscription hands out no more deliveries for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BlockReason {
    /// The limit on deliveries in flight, or ready and not leased, is reached.
    InFlight,
    /// Its order is total, and the delivery `behind` is not finished.
    Total,
    /// The limit on deliveries waiting for a retry is reached.
    Retrying,
    /// The limit on parked deliveries is reached.
    Parked,
    /// The memory limit on events in flight or behind the heads of their lanes is reached.
    Memory,
    /// A delivery of its plugin runs exclusively, after too many conflicts on state.
    Alone,
    /// A subscription that matches its emissions is too far behind.
    Backlog,
    /// The subscription's `max_per_second` is used up for now.
    Rate,
    /// The key's `max_per_second_per_key` is used up for now.
    KeyRate,
    /// A newer event of its key may take its place (`debounce_ms`).
    Debounce,
}
