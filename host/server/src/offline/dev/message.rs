//! What happens while `usher dev` runs.

use serde_json::Value;
use usher_api::Stored;

/// What may happen.
pub(super) enum Message {
    /// The router says where it listens.
    Listening(String),
    /// A line of the router's log, as JSON.
    Log(Value),
    /// An event was appended.
    Event(Box<Stored>),
    /// Sources were changed.
    Changed,
    /// The author entered a line.
    Line(String),
    /// The router ended.
    Ended,
    /// The author wants to end.
    Stop,
}
