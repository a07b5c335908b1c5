//! The listener.

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::mpsc;
use tokio::time::timeout;
use usher_event::limits::JSON_MAX_BYTES;
use usher_event::{
    Delivery, Digest, Effects, Emission, Failure, FailureClass, HttpReply, Listener, Outcome,
    PluginName, Replier, ReplyMeaning, RequestSpan, Verdict,
};
use usher_tls::TlsError;

use crate::batch::Batches;
use crate::request::{Outgoing, request};
use crate::target::{Mode, Target};

/// How much of a body that is no event is read: enough for a reason and to use the connection
/// again.
const BODY_MAX_BYTES: usize = 16 * 1024;

/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(60);

/// Limit on unused connections.
const IDLE_MAX: usize = 64;

/// Delivers events to one server.
pub struct Sink {
    name: PluginName,
    target: Arc<Target>,
    client: Client<usher_outbound::Connector, Full<Bytes>>,
    batches: Batches,
    /// Told when the server wants no more events.
    gone: mpsc::Sender<PluginName>,
}

impl Sink {
    /// A sink; `gone` is told its name when its server returns 410, so that it is paused.
    ///
    /// # Errors
    /// There are no roots to verify its certificate with.
    pub fn new(
        name: PluginName,
        target: Target,
        gone: mpsc::Sender<PluginName>,
    ) -> Result<Self, TlsError> {
        let tls = target.tls()?;
        let target = Arc::new(target);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_MAX)
            .build(usher_outbound::Connector {
                origin: Arc::new(target.origin.clone()),
                addresses: target.addresses.clone().into(),
                tls,
            });
        let batches = Batches::new(target.batch);
        Ok(Self { name, target, client, batches, gone })
    }

    /// Sends events in one request.
    async fn send(&self, events: &[Outgoing]) -> (Verdict, Option<Emission>) {
        let now = SystemTime::now();
        let now_s = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let sending = self.exchange(events, now_s);
        let limit = self.target.timeout;
        let response = match timeout(limit, sending).await {
            Ok(Ok(response)) => response,
            Ok(Err(reason)) => return (silent(reason), None),
            Err(_) => {
                let reason = format!("the server took longer than {} ms", limit.as_millis());
                return (silent(reason), None);
            }
        };
        match response.meaning(Replier::Server, now) {
            ReplyMeaning::Done(emission) => (Verdict::Ack, emission),
            ReplyMeaning::Failed(verdict) => (verdict, None),
            ReplyMeaning::Gone(verdict) => {
                // Full only while earlier news of the same kind waits.
                let _ = self.gone.try_send(self.name.clone());
                (verdict, None)
            }
        }
    }

    async fn exchange(&self, events: &[Outgoing], now_s: u64) -> Result<HttpReply, String> {
        let mut request =
            request(&self.target, events, now_s).map_err(|error| error.to_string())?;
        let mut attempts = events.iter().filter_map(|one| one.span.as_ref());
        let recorded = attempts.clone().find(|span| span.is_recorded());
        let parent = recorded.or_else(|| attempts.next());
        let span = parent.map(|parent| RequestSpan::begin(parent, &request, |url| url));
        // Events of one request may be of several traces.
        if let (Some(span), [_]) = (&span, events) {
            span.tell(request.headers_mut());
        }
        let response = self.client.request(request).await.map_err(|error| causes(&error));
        if let Some(span) = span {
            span.end(response.as_ref().map(|response| response.status()).map_err(Clone::clone));
        }
        let response = response?;
        let (head, body) = response.into_parts();
        let max_bytes = match HttpReply::is_event(head.status, &head.headers) {
            true => JSON_MAX_BYTES,
            false => BODY_MAX_BYTES,
        };
        let (body, is_cut) = read(body, max_bytes).await?;
        Ok(HttpReply { status: head.status, headers: head.headers, body, is_cut })
    }
}

/// A failure that may pass.
fn retry(reason: String) -> Verdict {
    Verdict::Retry { failure: Failure::new(FailureClass::Retry, reason), after: None }
}

/// No response came: enough of these in a row open the breaker.
fn silent(reason: String) -> Verdict {
    Verdict::Retry { failure: Failure::new(FailureClass::Timeout, reason), after: None }
}

/// The body, or the beginning of it; dropping the rest closes the connection.
async fn read(mut body: Incoming, max_bytes: usize) -> Result<(Bytes, bool), String> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("the response broke off: {error}"))?;
        let Ok(data) = frame.into_data() else { continue };
        let room = max_bytes - bytes.len();
        bytes.extend_from_slice(data.get(..data.len().min(room)).unwrap_or_default());
        if data.len() > room {
            return Ok((bytes.freeze(), true));
        }
    }
    Ok((bytes.freeze(), false))
}

/// An error with all that is behind it: the outermost alone says only that it is about a connection.
fn causes(error: &hyper_util::client::legacy::Error) -> String {
    let mut text = "the server can't be reached".to_owned();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[async_trait]
impl Listener for Sink {
    fn name(&self) -> &PluginName {
        &self.name
    }

    fn version(&self) -> &str {
        "sink"
    }

    fn digest(&self) -> Digest {
        self.target.digest()
    }

    async fn handle(&self, delivery: &Delivery) -> Outcome {
        let began = Instant::now();
        if delivery.is_dry_run {
            let reason = "a dry run sends nothing".to_owned();
            return Outcome::without_effects(retry(reason), began.elapsed());
        }
        let outgoing = Outgoing::of(delivery);
        let (verdict, emission) = match self.target.mode {
            Mode::Binary | Mode::Structured => self.send(&[outgoing]).await,
            Mode::Batch => {
                let send = |batch: Vec<Outgoing>| async move { self.send(&batch).await.0 };
                let verdict = self.batches.deliver(outgoing, send).await;
                let stopped = || retry("the request was stopped".to_owned());
                (verdict.unwrap_or_else(stopped), None)
            }
        };
        let emissions = emission.into_iter().collect();
        let effects = Effects { emissions, ..Effects::default() };
        Outcome { effects, ..Outcome::without_effects(verdict, began.elapsed()) }
    }
}
