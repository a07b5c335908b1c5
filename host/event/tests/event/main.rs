//! The CloudEvents rules and codecs, seen from outside. Tables of what is taken and what is
//! refused, with the words of the refusal; properties over random events and hostile bytes.

// Lints know helpers of tests by the attribute alone.
#[cfg(test)]
mod arbitrary;
#[cfg(test)]
mod batch;
#[cfg(test)]
mod emission;
#[cfg(test)]
mod encoding;
#[cfg(test)]
mod http_binary;
#[cfg(test)]
mod json;
#[cfg(test)]
mod rules;

use usher_event::{Event, EventBuilder};

/// The smallest event there is.
fn minimal() -> EventBuilder {
    Event::builder("1", "/s", "t")
}
