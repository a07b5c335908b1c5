//! Values of the tables, to bytes and back. Reading answers `None` where the bytes can't be a row
//! of that table. The forms are described in `docs/storage.md`.

mod counters;
mod dead;
mod effects;
mod events;
mod retries;
mod schedules;
mod subscriptions;

pub(crate) use counters::*;
pub(crate) use dead::*;
pub(crate) use effects::*;
pub(crate) use events::*;
pub(crate) use retries::*;
pub(crate) use schedules::*;
pub(crate) use subscriptions::*;
pub(crate) use usher_event::millis;

/// The version of all rows that have one.
const VERSION: u8 = 1;
