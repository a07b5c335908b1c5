//! Wraps the socket of a connection: times out stalled writes, adds a body to hyper's own error
//! responses, and closes so that the peer still receives the last response.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::connections::Connection;
use super::problem;

/// Limit on what is read and discarded from a peer that keeps sending after the last response.
const LINGER_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Time limits on that: in total, and without receiving anything.
const LINGER_MAX: Duration = Duration::from_secs(5);
const LINGER_SILENCE_MAX: Duration = Duration::from_secs(1);

/// Wraps a socket; a write that makes no progress for `limit` fails.
pub(super) struct Socket<S> {
    socket: S,
    client: Arc<Connection>,
    limit: Duration,
    timer: Pin<Box<Sleep>>,
    is_stalled: bool,
    /// Unsent rest of the response that replaces one of hyper's own.
    refusal: Vec<u8>,
    /// Whether the peer has closed its side.
    has_ended: bool,
    /// What was read ahead.
    unread: Vec<u8>,
}

impl<S> Socket<S> {
    /// Wraps `socket`.
    pub(super) fn new(socket: S, client: Arc<Connection>, limit: Duration) -> Self {
        let timer = Box::pin(sleep(limit));
        let (refusal, unread) = (Vec::new(), Vec::new());
        Self { socket, client, limit, timer, is_stalled: false, refusal, has_ended: false, unread }
    }

    /// Whether something was read ahead.
    pub(super) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Passes on the result of a write; `TimedOut` once writes have been pending for `limit`.
    fn watch<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if std::mem::take(&mut self.is_stalled) {
                self.client.set_writable(true);
            }
            return written;
        }
        if !std::mem::replace(&mut self.is_stalled, true) {
            self.client.set_writable(false);
            self.timer.as_mut().reset(Instant::now() + self.limit);
        }
        ready!(self.timer.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no data")))
    }

    /// Replaces an error response that hyper wrote by itself: a 4xx with an empty body, which no
    /// handler here returns. Returns whether it was one.
    fn takes_refusal(&mut self, bytes: &[u8]) -> bool {
        if self.client.has_request() {
            return false;
        }
        let Some(refusal) = problem::replace_bare_error(bytes) else { return false };
        self.refusal = refusal;
        true
    }
}

impl<S: AsyncWrite + Unpin> Socket<S> {
    fn poll_refusal(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.refusal.is_empty() {
            let written = Pin::new(&mut self.socket).poll_write(context, &self.refusal);
            let written = ready!(self.watch(written, context))?;
            self.refusal.drain(..written.min(self.refusal.len()));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> Socket<S> {
    /// Reads ahead until it is certain whether the client begins with `start`. Cancel-safe.
    pub(super) async fn begins_with(&mut self, start: &[u8]) -> io::Result<bool> {
        loop {
            let read = self.unread.len();
            let (known, missing) = start.split_at_checked(read).unwrap_or((start, &[]));
            if self.unread != known {
                return Ok(false);
            }
            if missing.is_empty() {
                return Ok(true);
            }
            let mut buffer = vec![0; missing.len()];
            let bytes = self.socket.read(&mut buffer).await?;
            if bytes == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.unread.extend(buffer.into_iter().take(bytes));
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Sends a last response outside of any request. Best effort, bounded by `LINGER_SILENCE_MAX`.
    pub(super) async fn refuse(&mut self, answer: &[u8]) {
        let _ = timeout(LINGER_SILENCE_MAX, self.socket.write_all(answer)).await;
    }

    /// Shuts down our side and reads until the peer closes its own. Closing with unread input would
    /// reset the connection, and the peer could lose the last response.
    pub(super) async fn linger(mut self) {
        self.client.awaits_request();
        let reading = async {
            if self.has_ended || self.socket.shutdown().await.is_err() {
                return;
            }
            let mut buffer = vec![0; 16 * 1024];
            let mut read_bytes = 0;
            while read_bytes < LINGER_MAX_BYTES {
                match timeout(LINGER_SILENCE_MAX, self.socket.read(&mut buffer)).await {
                    Ok(Ok(bytes)) if bytes > 0 => read_bytes += bytes,
                    _ => return,
                }
            }
        };
        let _ = timeout(LINGER_MAX, reading).await;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let bytes = self.unread.len().min(buffer.remaining());
            buffer.put_slice(self.unread.get(..bytes).unwrap_or_default());
            self.unread.drain(..bytes);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(context, buffer);
        if let Poll::Ready(result) = &read {
            let is_empty = buffer.remaining() > 0 && buffer.filled().len() == before;
            self.has_ended |= result.is_err() || is_empty;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.takes_refusal(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.watch(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = parts
            && self.takes_refusal(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, parts);
        self.watch(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(context))?;
        ready!(Pin::new(&mut self.socket).poll_flush(context))?;
        // hyper flushes once it has nothing left to write.
        self.client.flushed();
        Poll::Ready(Ok(()))
    }

    /// Only flushes: [`Socket::linger`] does the closing.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (ours, _theirs) = duplex(4);
        let mut guarded = Socket::new(ours, Connection::alone(), LIMIT);
        let began = Instant::now();
        let error = guarded.write_all(b"more than four").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_is_served() {
        let (ours, mut theirs) = duplex(4);
        let mut guarded = Socket::new(ours, Connection::alone(), LIMIT);
        let reader = tokio::spawn(async move {
            let mut taken = Vec::new();
            let mut part = [0; 4];
            while taken.len() < 16 {
                tokio::time::sleep(Duration::from_secs(29)).await;
                let n = theirs.read(&mut part).await.unwrap();
                taken.extend_from_slice(&part[..n]);
            }
            taken
        });
        guarded.write_all(b"sixteen letters!").await.unwrap();
        assert_eq!(reader.await.unwrap(), b"sixteen letters!");
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_a_peer_that_is_still_sending() {
        let (ours, mut theirs) = duplex(64 * 1024);
        let mut socket = Socket::new(ours, Connection::alone(), LIMIT);
        socket.write_all(b"no").await.unwrap();
        let sending = async {
            for _ in 0..100 {
                theirs.write_all(&[0; 32 * 1024]).await.unwrap();
            }
            let mut answer = Vec::new();
            theirs.read_to_end(&mut answer).await.unwrap();
            drop(theirs);
            answer
        };
        let (answer, ()) = tokio::join!(sending, socket.linger());
        assert_eq!(answer, b"no");
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_does_not_wait_for_ever() {
        let (ours, _theirs) = duplex(4);
        let began = Instant::now();
        Socket::new(ours, Connection::alone(), LIMIT).linger().await;
        assert_eq!(began.elapsed(), LINGER_SILENCE_MAX);
    }

    #[tokio::test]
    async fn refusals_of_hypers_own_get_a_body() {
        let head = b"HTTP/1.1 414 URI Too Long\r\ncontent-length: 0\r\ndate: today\r\n\r\n";
        for (bytes, has_request, is_replaced) in [
            (&head[..], false, true),
            (head, true, false),
            (b"HTTP/1.1 404 Not Found\r\ncontent-length: 7\r\n\r\n", false, false),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false, false),
        ] {
            let (ours, mut theirs) = duplex(4096);
            let client = Connection::alone();
            if has_request {
                client.request_began();
            }
            let mut socket = Socket::new(ours, client, LIMIT);
            socket.write_all(bytes).await.unwrap();
            socket.flush().await.unwrap();
            drop(socket);
            let mut sent = String::new();
            theirs.read_to_string(&mut sent).await.unwrap();
            assert_eq!(sent.as_bytes() != bytes, is_replaced, "{sent}");
            if is_replaced {
                assert!(sent.contains("\r\ncontent-type: application/problem+json\r\n"), "{sent}");
                assert!(sent.contains("\r\ndate: today\r\n") && sent.contains("connection: close"));
                let (_, body) = sent.split_once("\r\n\r\n").unwrap();
                assert!(sent.contains(&format!("\r\ncontent-length: {}\r\n", body.len())));
                assert!(body.contains("\"status\":414"), "{body}");
            }
        }
    }
}
