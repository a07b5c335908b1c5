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
use usher_outbound::{DialError, Stream, connect, dial};

use crate::target::Target;

/// Connects to one target.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) target: Arc<Target>,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl Service<Uri> for Connector {
    type Response = Connected1;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Connected1, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { target, tls } = self.clone();
        Box::pin(async move {
            let tcp = dial(&target.origin, &target.addresses).await?;
            let stream = connect(&target.origin, tcp, tls).await?;
            Ok(Connected1(TokioIo::new(stream)))
        })
    }
}

/// A connection that speaks HTTP/1.1.
pub(crate) struct Connected1(TokioIo<Box<dyn Stream>>);

impl Connection for Connected1 {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Connected1 {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for Connected1 {
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
