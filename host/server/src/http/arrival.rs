//! Tracks whose turn it is while a request's body arrives, and disposes of an unread rest.
//!
//! A rest that has already arrived is discarded and the connection is reused. If the client is
//! still sending, the response closes the connection, and `Socket::linger` reads on for a while so
//! that the client receives the response instead of a reset (RFC 9112, section 9.6).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderValue, header};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::sync::oneshot;

use super::connections::Connection;

/// Limit on an unread rest that is discarded without closing the connection.
const REST_MAX_BYTES: usize = 64 * 1024;

/// What is known of a request's body while others have it.
pub(super) struct Lent(Option<(oneshot::Receiver<(bool, Body)>, bool)>);

/// Lends a request's body to those who handle it.
pub(super) fn lend(request: Request, client: &Arc<Connection>) -> (Request, Lent) {
    if request.body().is_end_stream() {
        return (request, Lent(None));
    }
    let (head, body) = request.into_parts();
    // A client that waits for "100 Continue" has not sent the body; polling it would request it.
    let waits = head.headers.contains_key(header::EXPECT);
    let (back, left) = oneshot::channel();
    let client = Arc::clone(client);
    let lent = ReturnedBody { body, client, is_begun: false, back: Some(back) };
    (Request::from_parts(head, Body::new(lent)), Lent(Some((left, waits))))
}

impl Lent {
    /// Closes the connection after the response if the client is still sending.
    pub(super) fn settle(self, response: &mut Response) {
        if let Some((mut left, waits)) = self.0
            && let Ok((is_begun, body)) = left.try_recv()
            && ((waits && !is_begun) || !has_arrived(body))
        {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// Whether the rest of a body has arrived; discards what has.
fn has_arrived(mut body: Body) -> bool {
    let mut read_bytes = 0;
    while read_bytes <= REST_MAX_BYTES {
        match body.frame().now_or_never() {
            None | Some(Some(Err(_))) => return false,
            Some(None) => return true,
            Some(Some(Ok(frame))) => read_bytes += frame.data_ref().map_or(0, Bytes::len),
        }
    }
    false
}

/// A body lent to the handler; returned through `back` if it is dropped with a rest unread.
struct ReturnedBody {
    body: Body,
    client: Arc<Connection>,
    /// Whether it has been polled.
    is_begun: bool,
    back: Option<oneshot::Sender<(bool, Body)>>,
}

impl HttpBody for ReturnedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.is_begun = true;
        let frame = Pin::new(&mut self.body).poll_frame(context);
        match &frame {
            Poll::Pending => self.client.awaits_body(),
            Poll::Ready(Some(Ok(frame))) => {
                self.client.body_came(frame.data_ref().map_or(0, Bytes::len));
                if self.body.is_end_stream() {
                    self.client.routers_turn();
                }
            }
            Poll::Ready(_) => self.client.routers_turn(),
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ReturnedBody {
    fn drop(&mut self) {
        self.client.routers_turn();
        if let Some(back) = self.back.take()
            && !self.body.is_end_stream()
        {
            // Fails only if the connection is gone.
            let _ = back.send((self.is_begun, std::mem::take(&mut self.body)));
        }
    }
}
