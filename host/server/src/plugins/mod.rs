//! Plugins: from files in a folder to listeners that serve.
//!
//! Start and reload share one path: the folder is scanned, changed files are hashed, and each in
//! turn is read, loaded beside the running version, checked, and swapped into the router. A file
//! that can't be loaded changes nothing but what [`Registry::status`] reports; transient failures
//! are retried. Persistent state is in the [`Chronicle`]; operator actions go through [`Control`].
//! [`check_folder`] checks the files without serving them.

mod backoff;
mod books;
mod check;
mod chronicle;
mod control;
mod folder;
mod install;
mod keeper;
mod lanes;
mod outcome;
mod refusal;
mod registry;
mod remembered;
mod report;
mod subscriptions;
mod watch;

pub(crate) use check::{FileCheck, check_folder};
pub(crate) use chronicle::Chronicle;
pub(crate) use control::{Control, ControlError};
pub(crate) use folder::Stamp;
pub(crate) use install::{Installer, is_granted};
#[cfg(test)]
pub(crate) use keeper::Wish;
pub(crate) use keeper::{Keeper, WISHES_MAX};
pub(crate) use outcome::Past;
pub(crate) use registry::{Registry, unix_ms};
pub(crate) use remembered::Remembered;
