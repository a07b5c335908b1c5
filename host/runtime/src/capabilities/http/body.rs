//! Bodies with an end: so many bytes, so much time.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::{Error, WasiBody};

/// A request's body, refused beyond a number of bytes.
pub(super) struct RequestBody {
    inner: WasiBody,
    limit_bytes: u64,
    left_bytes: u64,
}

impl RequestBody {
    pub(super) fn new(inner: WasiBody, limit_bytes: u64) -> Self {
        Self { inner, limit_bytes, left_bytes: limit_bytes }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let limit_bytes = self.limit_bytes;
        Poll::Ready(match frame {
            Some(Ok(frame)) if !take(&mut self.left_bytes, &frame) => {
                Some(Err(Error::HttpRequestBodySize(Some(limit_bytes))))
            }
            frame => frame,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A response's body, cut off beyond a number of bytes, at a deadline, and where the peer pauses
/// for too long. Holds the call's slot.
pub(super) struct ResponseBody {
    inner: Incoming,
    limit_bytes: u64,
    left_bytes: u64,
    deadline: Instant,
    pause: Duration,
    timer: Pin<Box<Sleep>>,
    _slot: OwnedSemaphorePermit,
}

impl ResponseBody {
    pub(super) fn new(
        inner: Incoming,
        limit_bytes: u64,
        deadline: Instant,
        pause: Duration,
        slot: OwnedSemaphorePermit,
    ) -> Self {
        let timer = Box::pin(tokio::time::sleep_until(until(deadline, pause)));
        let left_bytes = limit_bytes;
        Self { inner, limit_bytes, left_bytes, deadline, pause, timer, _slot: slot }
    }
}

/// The end of a pause, or the deadline where that comes first.
fn until(deadline: Instant, pause: Duration) -> Instant {
    Instant::now().checked_add(pause).map_or(deadline, |end| end.min(deadline))
}

/// Takes a frame's bytes off; `false` where there are too many.
fn take(left_bytes: &mut u64, frame: &Frame<Bytes>) -> bool {
    let bytes = frame.data_ref().map_or(0, |data| data.remaining() as u64);
    match left_bytes.checked_sub(bytes) {
        Some(left) => {
            *left_bytes = left;
            true
        }
        None => false,
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        // First of all the deadline: a peer that drips never lets the body be pending for long.
        if Instant::now() >= this.deadline {
            return Poll::Ready(Some(Err(Error::HttpResponseTimeout)));
        }
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if !take(&mut this.left_bytes, &frame) {
                    let error = Error::HttpResponseBodySize(Some(this.limit_bytes));
                    return Poll::Ready(Some(Err(error)));
                }
                let end = until(this.deadline, this.pause);
                this.timer.as_mut().reset(end);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                ready!(this.timer.as_mut().poll(cx));
                Poll::Ready(Some(Err(Error::HttpResponseTimeout)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
