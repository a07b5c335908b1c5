//! Connections: accepting them, bounding them, ending them.
//!
//! Each connection has a task in one set. When the server stops, it accepts no more, lets
//! requests under way finish for the drain time, and then drops what is left; none outlives
//! [`serve`].

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::stall::StallGuard;
use super::state::Api;
use crate::app::App;

/// Request line and header fields together.
const HEADER_MAX_BYTES: usize = 64 * 1024;

/// Pause after a failed accept (out of file descriptors, most likely), so as not to spin.
const ACCEPT_PAUSE_MS: u64 = 100;

/// How long a client may refuse to take what is sent to it.
const STALL_MAX_MS: u64 = 30_000;

/// Serves the API on `listener` until `stop` turns true (or its sender is gone), then drains.
///
/// Dropping the future closes all connections at once.
pub(crate) async fn serve(listener: TcpListener, app: Arc<App>, mut stop: watch::Receiver<bool>) {
    let http = app.config.http.clone();
    let drain = app.config.drain;
    let api = Api::new(app, stop.clone());
    let router = super::router(api.clone());
    let permits = Arc::new(Semaphore::new(http.max_connections));
    let mut connections = JoinSet::new();

    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &permits) => accepted,
        };
        match accepted {
            Ok((socket, permit)) => {
                let router = router.clone();
                let stop = stop.clone();
                let metrics = api.clone();
                connections.spawn(async move {
                    let _permit = permit;
                    let _open = metrics.metrics.connection();
                    connection(socket, router, http.header_timeout, stop).await;
                });
            }
            Err(error) => {
                warn!(%error, "can't accept a connection");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            }
        }
    }

    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(drain, ended).await.is_err() {
        warn!(connections = connections.len(), "closing connections that did not end in time");
        connections.shutdown().await;
    }
}

/// The next connection, as soon as there is room for one.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    let (socket, _) = listener.accept().await?;
    Ok((socket, permit))
}

/// Waits until the server is to stop; a sender that is gone says so, too.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// One connection from its first to its last request.
async fn connection(
    socket: TcpStream,
    router: Router,
    header_timeout: Duration,
    mut stop: watch::Receiver<bool>,
) {
    if let Err(error) = socket.set_nodelay(true) {
        debug!(%error, "can't set TCP_NODELAY");
    }
    let socket = StallGuard::new(socket, Duration::from_millis(STALL_MAX_MS));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .max_buf_size(HEADER_MAX_BYTES)
            .serve_connection(TokioIo::new(socket), TowerToHyperService::new(router))
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended early");
    }
}
