//! HTTP bodies bounded in bytes and time.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::{Error, WasiBody};

use super::transcript::Noted;

/// A request body that fails beyond `limit_bytes`.
pub(super) struct RequestBody {
    inner: WasiBody,
    limit_bytes: u64,
    left_bytes: u64,
    noted: Option<Noted>,
}

impl RequestBody {
    pub(super) fn new(inner: WasiBody, limit_bytes: u64, noted: Option<Noted>) -> Self {
        Self { inner, limit_bytes, left_bytes: limit_bytes, noted }
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
            frame => {
                if let (Some(noted), Some(Ok(frame))) = (&self.noted, &frame)
                    && let Some(data) = frame.data_ref()
                {
                    noted.sent(data);
                }
                frame
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A response body that fails beyond `limit_bytes`, at `deadline`, or when the peer sends nothing
/// for `pause`. Holds the call's slot.
pub(super) struct ResponseBody<B = Incoming> {
    inner: B,
    limit_bytes: u64,
    left_bytes: u64,
    deadline: Instant,
    pause: Duration,
    timer: Pin<Box<Sleep>>,
    noted: Option<Noted>,
    _slot: OwnedSemaphorePermit,
}

impl<B> ResponseBody<B> {
    pub(super) fn new(
        inner: B,
        limit_bytes: u64,
        deadline: Instant,
        pause: Duration,
        slot: OwnedSemaphorePermit,
        noted: Option<Noted>,
    ) -> Self {
        let timer = Box::pin(tokio::time::sleep_until(until(deadline, pause)));
        let left_bytes = limit_bytes;
        Self { inner, limit_bytes, left_bytes, deadline, pause, timer, noted, _slot: slot }
    }

    /// Notes what the guest is told in place of the next frame.
    fn fail(&self, error: Error) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(noted) = &self.noted {
            noted.failed(&error);
        }
        Poll::Ready(Some(Err(error)))
    }
}

/// End of a pause that starts now, capped at the deadline.
fn until(deadline: Instant, pause: Duration) -> Instant {
    Instant::now().checked_add(pause).map_or(deadline, |end| end.min(deadline))
}

/// Deducts a frame's bytes; `false` if fewer are left.
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

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes, Error: Into<Error>> + Unpin,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        // Check the deadline first: with a peer that drips bytes, the body may never be pending
        // long enough for the timer to fire.
        if Instant::now() > this.deadline {
            return this.fail(Error::HttpResponseTimeout);
        }
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if !take(&mut this.left_bytes, &frame) {
                    return this.fail(Error::HttpResponseBodySize(Some(this.limit_bytes)));
                }
                if let (Some(noted), Some(data)) = (&this.noted, frame.data_ref()) {
                    noted.heard(data);
                }
                let end = until(this.deadline, this.pause);
                this.timer.as_mut().reset(end);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => this.fail(error.into()),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                ready!(this.timer.as_mut().poll(cx));
                this.fail(Error::HttpResponseTimeout)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::stream;
    use http_body_util::{BodyExt as _, Full, StreamBody};
    use tokio::sync::Semaphore;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    /// Bytes received under these limits from a body of `pieces` times 3 bytes, one per second.
    async fn received(
        pieces: u64,
        limit_bytes: u64,
        total: Duration,
        pause: Duration,
    ) -> Result<usize, Error> {
        let pieces = stream::unfold(0, move |sent| async move {
            if sent == pieces {
                return None;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, Error>(Frame::data(Bytes::from_static(b"abc"))), sent + 1))
        });
        let inner = StreamBody::new(Box::pin(pieces));
        let slot = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let body = ResponseBody::new(inner, limit_bytes, Instant::now() + total, pause, slot, None);
        Ok(body.collect().await?.to_bytes().len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_has_so_many_bytes() {
        for limit_bytes in [13, 12] {
            let bytes = received(4, limit_bytes, DAY, DAY).await;
            assert_eq!(bytes.ok(), Some(12), "{limit_bytes}");
        }
        let error = received(4, 11, DAY, DAY).await.unwrap_err();
        assert!(matches!(error, Error::HttpResponseBodySize(Some(11))), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_has_so_much_time() {
        for limit_ms in [4_001, 4_000] {
            let limit = Duration::from_millis(limit_ms);
            assert_eq!(received(4, 100, limit, DAY).await.ok(), Some(12), "{limit_ms} in all");
        }
        for limit_ms in [1_001, 1_000] {
            let limit = Duration::from_millis(limit_ms);
            assert_eq!(received(4, 100, DAY, limit).await.ok(), Some(12), "{limit_ms} between");
        }
        let below = Duration::from_millis(1);
        let too_late = [
            received(4, 100, Duration::from_secs(4) - below, DAY).await,
            received(4, 100, DAY, Duration::from_secs(1) - below).await,
        ];
        for error in too_late {
            assert!(matches!(error, Err(Error::HttpResponseTimeout)));
        }
    }

    #[tokio::test]
    async fn a_request_has_so_many_bytes() {
        let sent = async |limit_bytes| {
            let inner = Full::new(Bytes::from_static(b"0123456789"));
            let inner = inner.map_err(|never| match never {}).boxed_unsync();
            let sent = RequestBody::new(inner, limit_bytes, None).collect().await;
            sent.map(|sent| sent.to_bytes().len())
        };
        for limit_bytes in [11, 10] {
            assert_eq!(sent(limit_bytes).await.ok(), Some(10), "{limit_bytes}");
        }
        let error = sent(9).await.unwrap_err();
        assert!(matches!(error, Error::HttpRequestBodySize(Some(9))), "{error}");
    }
}
