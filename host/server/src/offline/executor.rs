use std::io;

use tokio::runtime::{Builder, Runtime};

/// What the asynchronous parts of a subcommand run on.
pub(super) fn executor() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
