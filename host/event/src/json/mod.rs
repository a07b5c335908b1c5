//! The CloudEvents JSON format 1.0.2, for one event and for batches.
//!
//! JSON data is kept as it was written, byte for byte (but for white space around it), and written
//! the same way, with line breaks between its tokens turned into spaces: an event's JSON is always
//! one line. Data that isn't JSON is a string where it is UTF-8 text, and Base64 otherwise.

mod members;
mod read;
mod write;

pub(crate) use read::check_specversion;
pub use read::{batch_from_slice, from_slice};
pub use write::to_vec;
