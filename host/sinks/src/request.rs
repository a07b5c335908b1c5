//! Writes events into requests.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::Full;
use usher_event::{Delivery, Event, Span, TRACEPARENT, TRACESTATE, http_binary, json};
use usher_webhooks::sign;

use crate::target::{Mode, Target};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const OWN_USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("usher/", env!("CARGO_PKG_VERSION")));

/// One event, as it goes into a request.
pub(crate) struct Outgoing {
    pub(crate) event: Event,
    /// The same at every attempt, so that the server can tell that it has the event.
    pub(crate) key: String,
    /// The span of the attempt, if it is traced.
    pub(crate) span: Option<Span>,
}

impl Outgoing {
    pub(crate) fn of(delivery: &Delivery) -> Self {
        let (event, span) = (delivery.event.clone(), delivery.span.clone());
        Self { event, key: delivery.idempotency_key(&["sink"]), span }
    }
}

/// A request with these events, of which there is one unless the mode is [`Mode::Batch`].
pub(crate) fn request(
    target: &Target,
    events: &[Outgoing],
    now_s: u64,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let first = events.first();
    let (mut headers, body) = match (target.mode, first) {
        (Mode::Binary, Some(outgoing)) => http_binary::to_parts(&outgoing.event),
        (Mode::Structured, Some(outgoing)) => {
            typed("application/cloudevents+json", json::to_vec(&outgoing.event))
        }
        (Mode::Batch, _) | (_, None) => {
            let events: Vec<_> = events.iter().map(|one| json::to_vec(&one.event)).collect();
            let body = [&b"["[..], &events.join(&b','), b"]"].concat();
            typed("application/cloudevents-batch+json", body)
        }
    };
    headers.insert(USER_AGENT, OWN_USER_AGENT);
    let key = match events {
        [only] => only.key.clone(),
        several => {
            let keys: Vec<_> = several.iter().map(|one| &*one.key).collect();
            usher_event::Digest::of(keys.join("\n").as_bytes()).to_string()
        }
    };
    // An event may have anything there, which is no trace context then.
    let trace = first.filter(|one| events.len() == 1 && one.event.trace_context().is_some());
    for name in [TRACEPARENT, TRACESTATE] {
        // Where the attempt is traced, the request is a span of its own.
        let trace = trace.filter(|one| name == TRACESTATE || one.span.is_none());
        let value = trace.and_then(|one| one.event.attribute(name)).filter(|text| text.is_ascii());
        if let Some(Ok(value)) = value.map(|value| HeaderValue::from_str(&value)) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if !target.keys.is_empty() {
        let signature = sign(&target.keys, &key, now_s, &body);
        headers.insert(HeaderName::from_static("webhook-id"), HeaderValue::try_from(&key)?);
        headers.insert(HeaderName::from_static("webhook-timestamp"), now_s.into());
        let signature = HeaderValue::try_from(signature)?;
        headers.insert(HeaderName::from_static("webhook-signature"), signature);
    }
    headers.insert(IDEMPOTENCY_KEY, HeaderValue::try_from(key)?);
    // Those of the configuration win, but for the host, which is the URL's.
    for (name, value) in &target.headers {
        if name != HOST {
            headers.insert(name, value.clone());
        }
    }
    let mut request = Request::post(target.url.clone()).body(Full::new(body))?;
    *request.headers_mut() = headers;
    Ok(request)
}

fn typed(media_type: &'static str, body: Vec<u8>) -> (HeaderMap, Bytes) {
    let content_type = (CONTENT_TYPE, HeaderValue::from_static(media_type));
    ([content_type].into_iter().collect(), body.into())
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use usher_event::Value;

    use super::*;
    use crate::target::tests::target;

    fn outgoing(id: &str) -> Outgoing {
        let trace = format!("00-{}-{}-01", "ab".repeat(16), "cd".repeat(8));
        let event = Event::builder(id, "/shop", "ticket.purchased")
            .extension("traceparent", Value::String(trace))
            .data(&br#"{"seats":[1]}"#[..]);
        Outgoing { event: event.build().unwrap(), key: format!("crm.sink.{id}"), span: None }
    }

    async fn sent(mode: Mode, events: &[Outgoing]) -> (HeaderMap, String) {
        let mut target = target("https://crm.example/events");
        target.mode = mode;
        target.headers.insert("x-own", "1".parse().unwrap());
        target.keys = vec![usher_webhooks::SigningKey::standard("whsec_c2VjcmV0").unwrap()];
        let (head, body) = request(&target, events, 1_769_860_800).unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn each_mode_is_what_the_binding_says() {
        let (headers, body) = sent(Mode::Binary, &[outgoing("1")]).await;
        assert_eq!(
            (&headers["ce-id"], &headers["content-type"]),
            (&"1".parse().unwrap(), &"application/json".parse().unwrap())
        );
        assert_eq!(body, r#"{"seats":[1]}"#);
        assert!(headers.contains_key("traceparent") && headers.contains_key("x-own"));
        assert_eq!(headers["idempotency-key"], "crm.sink.1");
        assert_eq!(headers["webhook-id"], "crm.sink.1");
        assert!(headers["webhook-signature"].to_str().unwrap().starts_with("v1,"));

        let (headers, body) = sent(Mode::Structured, &[outgoing("1")]).await;
        assert_eq!(headers["content-type"], "application/cloudevents+json");
        assert_eq!(json::from_slice(body.as_bytes()).unwrap(), outgoing("1").event);

        let both = [outgoing("1"), outgoing("2")];
        let (headers, body) = sent(Mode::Batch, &both).await;
        assert_eq!(headers["content-type"], "application/cloudevents-batch+json");
        assert_eq!(json::batch_from_slice(body.as_bytes()).unwrap().len(), 2);
        assert!(!headers.contains_key("traceparent"));
        let (again, _) = sent(Mode::Batch, &both).await;
        assert_eq!(headers["idempotency-key"], again["idempotency-key"]);
    }
}
