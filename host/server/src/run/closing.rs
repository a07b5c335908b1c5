//! Shutdown of `usher run`: its causes, the stop order and the exit codes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;
use usher_broker::BrokerError;

use crate::access::Access;
use crate::running::Running;

/// Exit codes.
pub(super) const EXIT_DONE: u8 = 0;
pub(super) const EXIT_FAILED: u8 = 1;
pub(super) const EXIT_CONFIG: u8 = 2;
pub(super) const EXIT_POISONED: u8 = 3;

/// Timeout for closing the broker, after the drain.
const CLOSE_MAX: Duration = Duration::from_secs(10);
/// Timeout for clients to read their responses once the broker is poisoned.
const POISONED_DRAIN: Duration = Duration::from_secs(2);
/// Timeout for the plugin watcher to end: only a hung file system can delay it.
const WATCHER_END: Duration = Duration::from_secs(2);

/// Names of the concurrent parts in the log.
pub(super) const HTTP: &str = "HTTP server";
pub(super) const WATCHER: &str = "plugin watcher";

/// Why the router stops.
pub(super) enum Why {
    /// SIGTERM or SIGINT.
    Asked,
    /// Another node is to take over.
    Leaving,
    /// The broker is poisoned: nothing can be committed.
    StoreFailed(String),
    /// A part exited by itself; without it the router would only look alive.
    PartEnded(&'static str),
}

impl Why {
    pub(super) fn ended(what: &'static str, ended: Result<(), JoinError>) -> Self {
        report(what, ended);
        Self::PartEnded(what)
    }
}

/// What has to be stopped. Tasks that have already ended are `None`.
pub(super) struct Parts {
    pub(super) app: Arc<Running>,
    pub(super) access: Arc<Access>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) http: Option<JoinHandle<()>>,
    pub(super) reconciler: Option<JoinHandle<()>>,
}

/// Returns the handle unless its task has finished: a finished one must not be awaited again.
pub(super) fn running(part: JoinHandle<()>) -> Option<JoinHandle<()>> {
    (!part.is_finished()).then_some(part)
}

impl Parts {
    /// Stops the router; returns the exit code.
    pub(super) async fn stop(self, why: Why) -> u8 {
        match why {
            Why::Asked | Why::Leaving => self.close().await,
            Why::StoreFailed(reason) => self.abandon(&reason).await,
            Why::PartEnded(what) => {
                tracing::error!("the {what} ended by itself; stopping, start the router again");
                self.close().await.max(EXIT_FAILED)
            }
        }
    }

    /// Closes intake, drains requests and deliveries, closes the broker.
    async fn close(self) -> u8 {
        let Self { app, access, stop, http, reconciler } = self;
        tracing::info!(drain_ms = usher_event::millis(app.config.drain), "stopping");
        app.readiness.set(Err("the router is stopping"));
        app.intake.close();
        stop.send_replace(true);
        // The watcher first, so that nothing is installed during the drain.
        if let Some(reconciler) = reconciler {
            match timeout(WATCHER_END, reconciler).await {
                Ok(ended) => report(WATCHER, ended),
                Err(_) => tracing::warn!("the {WATCHER} did not end in time; going on without it"),
            }
        }
        let serving = async {
            if let Some(http) = http {
                report(HTTP, http.await);
            }
        };
        let (drained, ()) = tokio::join!(app.router.shutdown(app.config.drain), serving);
        if !drained {
            tracing::warn!("deliveries did not end in time; they run again after the next start");
        }
        let closing = async {
            access.flush(&*app.broker).await;
            app.broker.close().await
        };
        let closed = timeout(CLOSE_MAX, closing).await;
        if let Some(cluster) = app.cluster.as_ref().filter(|_| closed.is_err()) {
            // A commit may be waiting for servers that are away: the next owner finds out about it.
            cluster.journal().stop();
        }
        let poisoned = app.broker.poisoned().borrow().clone();
        stop_tracing(&app).await;
        exit_code(closed.ok(), poisoned)
    }

    /// Stops after a store failure. Nothing can be committed, so only error responses are waited
    /// for.
    async fn abandon(self, reason: &str) -> u8 {
        tracing::error!(
            reason,
            "the store failed; stopping, the next start recovers what was committed"
        );
        self.app.readiness.set(Err("the store failed"));
        self.app.intake.close();
        self.stop.send_replace(true);
        if let Some(http) = self.http
            && timeout(POISONED_DRAIN, http).await.is_err()
        {
            tracing::warn!("clients did not take their answers in time");
        }
        stop_tracing(&self.app).await;
        EXIT_POISONED
    }
}

/// Sends the spans that wait; takes a few seconds at most.
async fn stop_tracing(app: &Running) {
    if let Some(exporter) = app.exporter.clone() {
        report("tracing", tokio::task::spawn_blocking(move || exporter.stop()).await);
    }
}

/// Maps the result of closing the broker (`None`: timed out) and a store failure during shutdown to
/// the exit code.
fn exit_code(closed: Option<Result<(), BrokerError>>, poisoned: Option<String>) -> u8 {
    match (closed, poisoned) {
        (Some(Err(BrokerError::Poisoned(reason))), _) | (_, Some(reason)) => {
            tracing::error!(
                reason,
                "the store failed while stopping; the next start recovers what was committed"
            );
            EXIT_POISONED
        }
        (Some(Ok(())), None) => {
            tracing::info!("stopped");
            EXIT_DONE
        }
        (Some(Err(error)), None) => {
            tracing::error!(%error, "the broker did not close cleanly; it recovers at the next start");
            EXIT_FAILED
        }
        (None, None) => {
            tracing::error!("the broker did not close in time; it recovers at the next start");
            EXIT_FAILED
        }
    }
}

pub(super) fn report(what: &str, ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the {what} failed");
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use usher_broker::{EmbeddedBroker, Options};

    use super::*;
    use crate::http::tests::app;

    /// Parts over an in-memory broker; the HTTP task ends on `stop`.
    fn parts(reconciler: Option<JoinHandle<()>>) -> Parts {
        let (stop, mut stopped) = watch::channel(false);
        let http = tokio::spawn(async move { drop(stopped.wait_for(|stop| *stop).await) });
        let app = Arc::new(app(EmbeddedBroker::in_memory(Options::new("")).unwrap()));
        let access = Arc::new(Access::without_tokens(Arc::clone(&app.clock)));
        Parts { app, access, stop, http: Some(http), reconciler }
    }

    #[tokio::test]
    async fn a_watcher_that_hangs_does_not_hold_up_the_end() {
        let reconciler = tokio::spawn(pending());
        assert_eq!(parts(Some(reconciler)).stop(Why::Asked).await, EXIT_DONE);
    }

    #[tokio::test]
    async fn without_its_watcher_the_router_stops_in_order_and_says_that_it_failed() {
        let reconciler = tokio::spawn(async { panic!("a test") });
        let why = Why::ended(WATCHER, reconciler.await);
        let parts = parts(None);
        let app = Arc::clone(&parts.app);
        assert_eq!(parts.stop(why).await, EXIT_FAILED);
        assert!(!app.intake.is_open());
        assert!(app.broker.subscriptions().await.is_err(), "the broker is not closed");
    }

    #[test]
    fn a_store_that_fails_while_stopping_has_its_own_exit_code() {
        let failed = || "disk".to_owned();
        let cases = [
            (Some(Ok(())), None, EXIT_DONE),
            (Some(Ok(())), Some(failed()), EXIT_POISONED),
            (Some(Err(BrokerError::Poisoned(failed()))), None, EXIT_POISONED),
            (Some(Err(BrokerError::Closed)), None, EXIT_FAILED),
            (Some(Err(BrokerError::Closed)), Some(failed()), EXIT_POISONED),
            (None, None, EXIT_FAILED),
            (None, Some(failed()), EXIT_POISONED),
        ];
        for (closed, poisoned, expected) in cases {
            let case = format!("{closed:?} {poisoned:?}");
            assert_eq!(exit_code(closed, poisoned), expected, "{case}");
        }
    }
}
