//! Commands that run until they are stopped.

use std::thread;

/// Runs `then` once at SIGINT or SIGTERM, which no longer end the process.
///
/// # Errors
/// The signals can't be listened for.
pub(super) fn on_stop(then: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let executor = super::executor::executor()?;
    thread::spawn(move || {
        executor.block_on(async {
            let (Ok(mut interrupt), Ok(mut terminate)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            then();
        });
    });
    Ok(())
}
