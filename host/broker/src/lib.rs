//! The broker: a durable log of events, subscriptions with cursors, and effects that commit
//! exactly once, together with the acknowledgement of the delivery that caused them.
//!
//! [`Broker`] is the engine interface, made of narrow ones; [`EmbeddedBroker`] is the in-process
//! implementation. It has three parts. The **ledger** is a pure state machine that holds all
//! delivery semantics: it takes commands and a timestamp, and returns writes and replies. The
//! **store** commits a batch of writes atomically and fsyncs it. The **committer** is one thread
//! between them: it drains the intake, applies commands to the ledger, commits, and only then hands
//! out deliveries and replies.
//! The on-disk format is documented in `docs/storage.md`.

mod api;
mod backup;
mod blobs;
mod calendar;
mod clock;
mod committer;
mod engine;
mod fetch;
mod files;
mod flow;
mod folder;
mod intake;
mod ledger;
mod limits;
mod load;
mod log;
mod memory;
mod operate;
mod options;
mod prepare;
mod queries;
mod readers;
mod rebuild;
mod replay;
mod room;
mod salvage;
mod shared;
mod standby;
mod state;
#[doc(hidden)]
pub mod stepped;
mod store;
#[doc(hidden)]
pub mod testing;
mod upgrade;
mod verify;

pub use api::*;
pub use blobs::SharedBlobs;
pub use calendar::{Calendar, CalendarError};
pub use clock::{Clock, ManualClock, SystemClock};
pub use engine::EmbeddedBroker;
pub use files::{make_folder, replace_file};
pub use folder::{JOURNAL, copied_until};
pub use limits::*;
pub use memory::MemoryDisk;
pub use options::{OpenError, Options, Retention};
pub use rebuild::rebuild;
pub use room::free_bytes;
pub use salvage::{SALVAGE_GAP_EVENTS, SalvageError, Salvaged, salvage};
pub use standby::{Standby, StandbyLog, StandbyStores, StateVersion};
#[doc(hidden)]
pub use store::read_any_row;
pub use verify::{Damage, PROBLEMS_MAX, Verified, verify};

/// Every trait of an engine, for code that calls methods of several on a concrete one.
pub mod traits {
    pub use crate::api::{Broker, Deliveries, Lifecycle, Log, Operator, Reader, Stores};
}
