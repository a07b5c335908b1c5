//! Damaged data folders: any byte that is changed or cut off is noticed or harmless; and copies of
//! folders in use are complete.
//!
//! `USHER_DAMAGE_POSITIONS` sets how many positions are damaged, and `USHER_DAMAGE_SEED` repeats
//! the same ones.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says by failing what went wrong"
)]

mod backup;
mod contents;
#[path = "../golden/mod.rs"]
mod golden;
mod positions;
mod scene;
mod tables;
mod upgrade;
