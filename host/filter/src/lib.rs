//! Event filters: the six dialects of the CloudEvents Subscriptions API 1.0 (`exact`, `prefix`,
//! `suffix`, `all`, `any`, `not`), parsed and checked once, evaluated without allocation, and an
//! index over the filters of many subscriptions. No I/O, no clock.

mod dialect;
mod error;
mod filter;
mod index;
mod mismatch;
mod reader;
mod strict;
mod types;

pub use error::FilterError;
pub use filter::{FILTER_MAX_BYTES, Filter};
pub use index::FilterIndex;
pub use mismatch::Mismatch;
pub use reader::{FILTER_MAX_DEPTH, FILTER_MAX_EXPRESSIONS, VALUE_MAX_BYTES};
