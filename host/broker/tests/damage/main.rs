//! Damaged data folders: whatever byte is changed or cut off, it is noticed or does no harm; and
//! copies of folders in use are whole.
//!
//! `USHER_DAMAGE_POSITIONS` has more positions damaged than an ordinary run does, and
//! `USHER_DAMAGE_SEED` the same ones again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says by failing what went wrong"
)]

mod backup;
mod contents;
mod positions;
mod scene;
