//! Event filters: the dialects of the CloudEvents Subscriptions API 1.0 (`exact`, `prefix`, `suffix`,
//! `all`, `any`, `not`, `sql`) and `data`, for what payloads hold; parsed and checked once, evaluated
//! without allocation as far as attributes go, and an index over the filters of many subscriptions.
//! `docs/filters.md` has them for users. No I/O, no clock.

mod cover;
mod data;
mod dialect;
mod error;
mod eventbridge;
mod filter;
mod index;
mod mismatch;
mod projection;
mod reader;
mod strict;
mod subject;

pub use error::FilterError;
pub use eventbridge::{Translated, from_eventbridge};
pub use filter::{FILTER_MAX_BYTES, Filter};
pub use index::FilterIndex;
pub use mismatch::Mismatch;
pub use projection::{PROJECTION_MAX_PATHS, Projection, ProjectionError};
pub use reader::{FILTER_MAX_DEPTH, FILTER_MAX_EXPRESSIONS, VALUE_MAX_BYTES};
