//! Reloads the configuration when its file changes or on SIGHUP. An invalid file is logged and
//! otherwise ignored.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::time::sleep;

use super::memory;
use usher_config::{self as config, Adopted, Flags, LiveConfig};
use usher_plugins::Stamp;

/// Poll interval for changes of the file.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the file must stay unchanged before it is read: it may be half written.
const SETTLED_AFTER: Duration = Duration::from_millis(100);

/// Watches the file and adopts what may change at run time. Never returns.
pub(super) async fn reload(flags: Flags, live: Arc<LiveConfig>, mut hangups: Signal) -> Infallible {
    let Some(file) = flags.config.clone() else {
        // SIGHUP stays handled, so that it doesn't end the process.
        return std::future::pending().await;
    };
    let mut seen = Stamp::at(&file);
    loop {
        let is_asked = tokio::select! {
            _ = hangups.recv() => true,
            () = sleep(LOOK_EVERY) => false,
        };
        if !is_asked && Stamp::at(&file) == seen {
            continue;
        }
        seen = settled(&file).await;
        let flags = flags.clone();
        let loaded = tokio::task::spawn_blocking(move || config::load(&flags)).await;
        let file = file.display();
        match loaded {
            Ok(Ok(config)) => {
                let Adopted { is_new, needs_restart } = live.adopt(config);
                tracing::info!(%file, is_new, "configuration read again");
                memory::give_back();
                if needs_restart {
                    tracing::warn!(
                        %file,
                        "only [plugin.*], [sink.*], [retry] and [token.*] change while the router runs; for the rest, \
                         start it again"
                    );
                }
            }
            Ok(Err(problems)) => {
                tracing::error!(%file, "the configuration has problems; what was in force still is\n{problems}");
            }
            Err(error) => tracing::error!(%file, %error, "reading the configuration failed"),
        }
    }
}

/// Waits until the file is stable; returns its stamp.
async fn settled(file: &Path) -> Option<Stamp> {
    let mut before = Stamp::at(file);
    loop {
        sleep(SETTLED_AFTER).await;
        let now = Stamp::at(file);
        if now == before {
            return now;
        }
        before = now;
    }
}
