//! What a plugin may import, each capability a module: its context (what an instance keeps), the
//! implementation of the imported interface on it, and `add_to_linker`. All are always linked; what
//! is not granted answers with an error that says what to write into the configuration.

pub(crate) mod blobs;
pub(crate) mod config;
pub(crate) mod http;
pub(crate) mod log;
pub(crate) mod state;
pub(crate) mod wasi;
