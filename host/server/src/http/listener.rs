//! Places to listen: TCP addresses and Unix sockets.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio_rustls::server::TlsStream;
use tracing::debug;
use usher_config::Listen;

use super::connections::Origin;
use crate::access::Address;

/// Connections that the kernel keeps until they are accepted, if `net.core.somaxconn` allows so many.
/// One more than that waits a second for its next attempt.
const BACKLOG_MAX: u32 = 4_096;

/// Members of the process's group may connect, too.
const SOCKET_MODE: u32 = 0o660;

/// A connection's bytes.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// Waits for the first byte and leaves it there; ready without one where that can't be done.
    fn poll_peek(&mut self, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Stream for TcpStream {
    fn poll_peek(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        TcpStream::poll_peek(self, context, buffer).map_ok(drop)
    }
}

impl Stream for UnixStream {}

impl Stream for TlsStream<Box<dyn Stream>> {}

#[cfg(test)]
impl Stream for tokio::io::DuplexStream {}

/// A place that is listened on. Dropping it closes it, and removes the socket's file.
pub(crate) struct Listener {
    kind: Kind,
    is_local: bool,
}

enum Kind {
    Tcp { listener: TcpListener, is_tls: bool },
    Unix { listener: UnixListener, path: SocketFile },
}

struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody else may have removed it.
        let _ = fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Begins to listen.
    ///
    /// # Errors
    /// The address or socket is taken or not allowed.
    pub(crate) async fn bind(listen: &Listen) -> io::Result<Self> {
        let kind = match listen {
            Listen::Tcp { address, is_tls } => {
                Kind::Tcp { listener: bind_tcp(*address)?, is_tls: *is_tls }
            }
            Listen::Unix(path) => {
                remove_stale(path).await?;
                let listener = UnixListener::bind(path)?;
                let path = SocketFile(path.clone());
                fs::set_permissions(&path.0, fs::Permissions::from_mode(SOCKET_MODE))?;
                Kind::Unix { listener, path }
            }
        };
        Ok(Self { kind, is_local: listen.is_local() })
    }

    /// Where clients connect to, with the port that was taken.
    pub(crate) fn url(&self) -> io::Result<String> {
        Ok(match &self.kind {
            Kind::Tcp { listener, is_tls } => {
                let scheme = if *is_tls { "https" } else { "http" };
                format!("{scheme}://{}", listener.local_addr()?)
            }
            Kind::Unix { path, .. } => format!("unix:{}", path.0.display()),
        })
    }

    /// Its URL, if that is an address by which other processes may find it.
    pub(crate) fn reachable_url(&self) -> Option<String> {
        match &self.kind {
            Kind::Tcp { listener, .. } if !listener.local_addr().ok()?.ip().is_unspecified() => {
                self.url().ok()
            }
            _ => None,
        }
    }

    /// Whether clients speak TLS.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self.kind, Kind::Tcp { is_tls: true, .. })
    }

    /// Waits for a connection. Cancel-safe.
    pub(super) async fn accept(&self) -> io::Result<(Box<dyn Stream>, Origin)> {
        match &self.kind {
            Kind::Tcp { listener, .. } => {
                let (socket, peer) = listener.accept().await?;
                if let Err(error) = socket.set_nodelay(true) {
                    debug!(%error, "can't set TCP_NODELAY");
                }
                let address = Address::from(peer.ip());
                Ok((Box::new(socket), Origin { address, is_local: self.is_local }))
            }
            Kind::Unix { listener, .. } => {
                let (socket, _) = listener.accept().await?;
                Ok((Box::new(socket), Origin::LOCAL))
            }
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // As the standard library does: connections of a router before this one don't keep the address.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG_MAX)
}

/// Removes a socket that a process left behind that is gone; one that still listens stays, and
/// binding it fails.
async fn remove_stale(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt as _;
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let is_stale = is_socket
        && UnixStream::connect(path)
            .await
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if is_stale { fs::remove_file(path) } else { Ok(()) }
}
