//! The CloudEvents rules and codecs, seen from outside. Tables of what is taken and what is
//! refused, with the words of the refusal; properties over random events and hostile bytes.

mod arbitrary;
mod batch;
mod emission;
mod encoding;
mod http_binary;
mod json;
mod rules;

use usher_event::{Event, EventBuilder};

/// The smallest event there is.
fn minimal() -> EventBuilder {
    Event::builder("1", "/s", "t")
}
