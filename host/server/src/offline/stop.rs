//! Commands that run until they are stopped.

use std::thread;

/// Exit status of a process that a second signal ended, as shells have it for SIGINT.
const INTERRUPTED: i32 = 130;

/// Runs `then` at the first SIGINT or SIGTERM; the second ends the process.
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
            let mut next = async || {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            };
            next().await;
            then();
            next().await;
            std::process::exit(INTERRUPTED);
        });
    });
    Ok(())
}
