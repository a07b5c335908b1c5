//! The CloudEvents JSON format 1.0.2, for one event and for batches.
//!
//! JSON data is kept verbatim, without surrounding whitespace, and written back with line breaks
//! between tokens replaced by spaces: an event's JSON is always one line. Other data is written as
//! a string if it is UTF-8 text, else as Base64.

mod members;
mod read;
mod write;

pub(crate) use read::check_specversion;
pub use read::{batch_from_slice, from_slice};
pub use write::to_vec;
