//! Event filters: the six dialects of the CloudEvents Subscriptions API 1.0 (`exact`, `prefix`,
//! `suffix`, `all`, `any`, `not`), parsed and checked once, evaluated without allocation, and an
//! index over the filters of many subscriptions. No I/O, no clock.

mod error;
mod filter;
mod index;
mod mismatch;
mod parse;
mod strict;

pub use error::FilterError;
pub use filter::Filter;
pub use index::FilterIndex;
pub use mismatch::Mismatch;
pub use parse::{FILTER_MAX_BYTES, FILTER_MAX_DEPTH, FILTER_MAX_EXPRESSIONS, VALUE_MAX_BYTES};
