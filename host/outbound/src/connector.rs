//! Connections for hyper's client.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tower_service::Service;

use crate::{AddressRange, DialError, Origin, Stream, connect, dial};

/// Connects to one origin.
#[derive(Clone)]
pub struct Connector {
    /// The origin.
    pub origin: Arc<Origin>,
    /// Addresses that its name may lead to beside public ones.
    pub addresses: Arc<[AddressRange]>,
    /// How TLS is spoken, where the origin asks for it.
    pub tls: Option<Arc<ClientConfig>>,
}

impl Service<Uri> for Connector {
    type Response = HttpConnection;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpConnection, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { origin, addresses, tls } = self.clone();
        Box::pin(async move {
            let tcp = dial(&origin, &addresses).await?;
            let stream = connect(&origin, tcp, tls).await?;
            Ok(HttpConnection(TokioIo::new(stream)))
        })
    }
}

/// A connection that speaks HTTP/1.1.
pub struct HttpConnection(TokioIo<Box<dyn Stream>>);

impl Connection for HttpConnection {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for HttpConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for HttpConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
