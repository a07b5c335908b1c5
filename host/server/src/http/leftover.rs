//! What is left of a request's body when its answer is there: read for a moment and thrown away.
//!
//! A client that is still sending would meet a closed connection otherwise, and never read the
//! answer that says why.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::{StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::sync::oneshot;

/// How much is read.
const LEFTOVER_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// How long that may take.
const LEFTOVER_MAX_MS: u64 = 2_000;

/// Answers, and lets the client finish sending.
pub(super) async fn discard_leftover(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    // Who waits for "100 Continue" has not sent the body, and reading would ask for it.
    let waits = head.headers.contains_key(header::EXPECT);
    let (back, mut left) = oneshot::channel();
    let lent = Lent { body, is_begun: false, back: Some(back) };
    let response = next.run(Request::from_parts(head, Body::new(lent))).await;
    // Who keeps the body beyond the answer still reads it.
    if let Ok((is_begun, body)) = left.try_recv()
        && (is_begun || !waits)
        && response.status() != StatusCode::REQUEST_TIMEOUT
    {
        discard(body).await;
    }
    response
}

async fn discard(mut body: Body) {
    if body.size_hint().lower() > LEFTOVER_MAX_BYTES {
        return;
    }
    let discarding = async {
        let mut read_bytes: u64 = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            if read_bytes > LEFTOVER_MAX_BYTES {
                break;
            }
        }
    };
    // Whether it ended or not makes no difference to the answer.
    let _ = tokio::time::timeout(Duration::from_millis(LEFTOVER_MAX_MS), discarding).await;
}

/// A body that goes back when whoever reads it has had enough.
struct Lent {
    body: Body,
    /// Whether any of it was asked for.
    is_begun: bool,
    back: Option<oneshot::Sender<(bool, Body)>>,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.is_begun = true;
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(back) = self.back.take()
            && !self.body.is_end_stream()
        {
            // Nobody waits for it where the connection is gone.
            let _ = back.send((self.is_begun, std::mem::take(&mut self.body)));
        }
    }
}
