//! The router between a broker in memory and listeners written for the purpose.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says by failing what went wrong"
)]

mod dispatch;
mod harness;
mod swap;
