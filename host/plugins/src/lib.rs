//! Plugins: from files in a folder to listeners that serve.
//!
//! Start and reload share one path: the folder is scanned, changed files are hashed, and each in
//! turn is read, loaded beside the running version, checked, and swapped into the router. A file
//! that can't be loaded changes nothing but what [`Registry::status`] reports; transient failures
//! are retried. Persistent state is in the [`PluginRecords`]; operator actions go through [`Control`].
//! [`check_folder`] checks the files without serving them.

mod backoff;
mod check;
mod control;
mod folder;
mod install;
mod load_classes;
mod optimiser;
mod outcome;
mod reconciler;
mod recorder;
mod records;
mod refusal;
mod refusal_cache;
mod registry;
mod report;
pub mod sandbox;
mod sinks;
mod subscriptions;
mod versions;
mod watch;

pub use check::{FileCheck, check_folder};
pub use control::{Control, ControlError};
pub use folder::Stamp;
pub use install::{Installer, emission_limits};
pub use outcome::HistoryEntry;
pub use reconciler::{ROLLBACKS_QUEUED_MAX, Reconciler, RollbackRequest};
pub use records::{PluginRecords, wanted_versions};
pub use refusal_cache::RefusalCache;
pub use registry::Registry;
pub use sinks::Sinks;
pub use versions::KeptVersions;
