//! Plugins: from files in a folder to listeners that serve.
//!
//! One path for start and change: the folder is scanned, changed files are read once and
//! hashed, loaded aside, checked, and installed into the router in place of the version
//! before. A file that can't be loaded changes nothing but what [`Registry::status`] says about
//! it. [`check_folder`] looks at the files without serving them.

mod check;
mod folder;
mod install;
mod keeper;
mod registry;
mod subscriptions;
mod watch;

pub(crate) use check::{FileCheck, check_folder};
pub(crate) use install::Installer;
pub(crate) use keeper::Keeper;
pub(crate) use registry::Registry;
