//! Host capabilities, one module each: per-instance context, its implementation of the imported
//! interface, and `add_to_linker`. All are always linked; a capability that is not granted returns
//! an error that says what to add to the configuration.

pub(crate) mod blobs;
pub(crate) mod config;
pub(crate) mod http;
pub(crate) mod log;
pub(crate) mod state;
pub(crate) mod wasi;
