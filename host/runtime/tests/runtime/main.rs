//! The runtime against guests: well-behaved ones built from tests/guests, and hostile ones written
//! down here as text.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod support;

mod cache;
mod capabilities;
mod containment;
mod foreign;
mod http;
mod isolation;
mod limits;
mod loading;
mod logs;
