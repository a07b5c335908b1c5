//! The CloudEvents rules and codecs, through the public API: tables of accepted and refused input,
//! with the wording of refusals; properties over random events and hostile bytes.

// Lints recognise test helpers by this attribute alone.
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

/// The smallest valid event.
fn minimal() -> EventBuilder {
    Event::builder("1", "/s", "t")
}
