//! Components that serve HTTP (`wasi:http/incoming-handler`) as listeners: a delivery is a POST
//! request in the binary mode of the CloudEvents HTTP binding, and the response says what becomes of
//! it, as that of a sink's server does.

use std::future::{Future as _, poll_fn};
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt as _, Full};
use tokio::sync::oneshot;
use tokio::task::unconstrained;
use usher_event::limits::JSON_MAX_BYTES;
use usher_event::{Delivery, HttpReply, http_binary};
use wasmtime::Store;
use wasmtime::component::ResourceTable;
use wasmtime_wasi_http::WasiBody;
use wasmtime_wasi_http::p2::bindings::Proxy;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};

use crate::capabilities;
use crate::guest::Guest;
use crate::limits::Limits;

const SUBSCRIPTION: HeaderName = HeaderName::from_static("usher-subscription");
const ATTEMPT: HeaderName = HeaderName::from_static("usher-attempt");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How much is kept of a response that is no event: the beginning of an error.
const BODY_KEPT_MAX_BYTES: usize = 4 * 1024;

/// The response is longer than it may be.
#[derive(Debug, thiserror::Error)]
#[error("the response has more than {limit_bytes} bytes")]
pub(crate) struct ResponseTooLarge {
    limit_bytes: u64,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
enum NoResponse {
    #[error("the component returned without a response")]
    Missing,
    #[error("the component responded with an error: {0:?}")]
    Error(ErrorCode),
    #[error("the response broke off: {0}")]
    Broken(String),
}

/// Calls a component with a delivery. Its response is read while it runs, since it may write the
/// body piece by piece.
pub(crate) async fn handle(
    proxy: &Proxy,
    store: &mut Store<Guest>,
    delivery: &Delivery,
    limits: &Limits,
) -> wasmtime::Result<HttpReply> {
    let (sender, receiver) = oneshot::channel();
    let mut view = capabilities::http::http(store.data_mut());
    let request = view.new_incoming_request(Scheme::Http, request(delivery)?)?;
    let out = view.new_response_outparam(sender)?;
    let call = proxy.wasi_http_incoming_handler().call_handle(&mut *store, request, out);
    let limit_bytes = limits.http_response_bytes;
    let reading = async move {
        match receiver.await {
            Ok(Ok(response)) => read(response, limit_bytes).await,
            Ok(Err(code)) => Err(NoResponse::Error(code).into()),
            Err(_) => Err(NoResponse::Missing.into()),
        }
    };
    tokio::pin!(reading);
    {
        tokio::pin!(call);
        tokio::select! {
            biased;
            // If it trapped, the trap is the reason.
            called = &mut call => called?,
            reply = &mut reading => match reply {
                // It is still writing: that can only fail now.
                Err(error) if error.is::<ResponseTooLarge>() => return Err(error),
                reply => {
                    call.await?;
                    return reply;
                }
            }
        }
    }
    // All that it will ever write is there. What it keeps open would be waited for until the deadline.
    let whole = poll_fn(|context| Poll::Ready(reading.as_mut().poll(context)));
    if let Poll::Ready(reply) = unconstrained(whole).await {
        return reply;
    }
    store.data_mut().capabilities.table = ResourceTable::new();
    reading.await?;
    Err(NoResponse::Broken("its body was not finished".to_owned()).into())
}

fn request(delivery: &Delivery) -> wasmtime::Result<Request<WasiBody>> {
    let (mut headers, body) = http_binary::to_parts(&delivery.event);
    let subscription = delivery.subscription.local();
    headers.insert(SUBSCRIPTION, HeaderValue::try_from(subscription)?);
    headers.insert(ATTEMPT, delivery.attempt.into());
    let key = delivery.idempotency_key(&["incoming-handler"]);
    headers.insert(IDEMPOTENCY_KEY, HeaderValue::try_from(key)?);
    let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
    let host = delivery.subscription.plugin();
    let mut request = Request::post(format!("http://{host}.usher/")).body(body)?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// Reads a response to its end, so that the guest can finish writing it.
async fn read<B>(response: http::Response<B>, limit_bytes: u64) -> wasmtime::Result<HttpReply>
where
    B: http_body_util::BodyExt<Data = Bytes, Error: std::fmt::Debug> + Unpin,
{
    let (head, mut body) = response.into_parts();
    let kept_max_bytes = match HttpReply::is_event(head.status, &head.headers) {
        true => JSON_MAX_BYTES,
        false => BODY_KEPT_MAX_BYTES,
    };
    let (mut kept, mut seen_bytes) = (BytesMut::new(), 0_u64);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| NoResponse::Broken(format!("{error:?}")))?;
        let Ok(data) = frame.into_data() else { continue };
        seen_bytes = seen_bytes.saturating_add(data.len() as u64);
        if seen_bytes > limit_bytes {
            return Err(ResponseTooLarge { limit_bytes }.into());
        }
        let room = kept_max_bytes - kept.len();
        kept.extend_from_slice(data.get(..data.len().min(room)).unwrap_or_default());
    }
    let is_cut = seen_bytes > kept.len() as u64;
    Ok(HttpReply { status: head.status, headers: head.headers, body: kept.freeze(), is_cut })
}
