//! Plugins: from files in a folder to listeners that serve.
//!
//! One path for start and change: the folder is scanned, changed files are hashed, and each, when
//! its turn comes, is read, loaded aside, checked, and installed into the router in place of the
//! version before. A file that can't be loaded changes nothing but what [`Registry::status`] says
//! about it; where the reason may pass, it is tried again. What outlives the process is in the
//! [`Chronicle`]; what operators do to plugins goes through [`Control`]. [`check_folder`] looks at
//! the files without serving them.

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
