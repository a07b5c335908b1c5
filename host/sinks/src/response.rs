//! What a response means for a delivery.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use usher_event::text::cut_chars;
use usher_event::{Emission, Event, Failure, FailureClass, Verdict, http_binary, json, media};

/// How much of an error's body goes into the reason.
const SHOWN_MAX_CHARS: usize = 200;

/// A response, as far as it was read.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The whole body, or its beginning if `is_cut`.
    pub(crate) body: Bytes,
    pub(crate) is_cut: bool,
}

/// What comes of a response.
pub(crate) enum Meaning {
    /// Acknowledged, perhaps with an event.
    Done(Option<Emission>),
    /// Not.
    Failed(Verdict),
    /// The server wants no more events (410).
    Gone(Verdict),
}

impl Response {
    /// Whether its body is an event.
    pub(crate) fn is_event(status: StatusCode, headers: &HeaderMap) -> bool {
        status.is_success() && (is_structured(headers) || headers.contains_key("ce-specversion"))
    }

    /// What it means.
    pub(crate) fn meaning(self, now: SystemTime) -> Meaning {
        let status = self.status;
        if status.is_success() {
            return match self.emission() {
                Ok(emission) => Meaning::Done(emission),
                Err(reason) => {
                    let reason =
                        format!("the server's reply is no event that can be emitted: {reason}");
                    Meaning::Failed(reject(reason))
                }
            };
        }
        let reason = self.reason();
        match status {
            StatusCode::GONE => Meaning::Gone(retry(reason, None)),
            StatusCode::NOT_FOUND
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::CONFLICT
            | StatusCode::TOO_EARLY
            | StatusCode::TOO_MANY_REQUESTS => {
                Meaning::Failed(retry(reason, self.retry_after(now)))
            }
            _ if status.is_server_error() => Meaning::Failed(retry(reason, self.retry_after(now))),
            _ => Meaning::Failed(reject(reason)),
        }
    }

    /// The event that it carries (Knative's reply).
    fn emission(&self) -> Result<Option<Emission>, String> {
        if !Self::is_event(self.status, &self.headers) {
            return Ok(None);
        }
        if self.is_cut {
            return Err("it is too large".to_owned());
        }
        let event = match is_structured(&self.headers) {
            true => json::from_slice(&self.body),
            false => http_binary::from_parts(&self.headers, self.body.clone()),
        };
        event.map(|event| Some(emission(&event))).map_err(|error| error.to_string())
    }

    fn reason(&self) -> String {
        let status = self.status;
        if status.is_redirection() {
            let to = self.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
            let to = cut_chars(to.unwrap_or("another address"), SHOWN_MAX_CHARS).into_owned();
            return format!(
                "the server returned {status}, to {to}; redirects are not followed: change the sink's url"
            );
        }
        let text = String::from_utf8_lossy(&self.body);
        let text = cut_chars(text.trim(), SHOWN_MAX_CHARS);
        match text.is_empty() {
            true => format!("the server returned {status}"),
            false => format!("the server returned {status}: {text}"),
        }
    }

    /// `Retry-After`: seconds or a date (RFC 9110, section 10.2.3).
    fn retry_after(&self, now: SystemTime) -> Option<Duration> {
        let value = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
        match value.parse::<u64>() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(now).ok(),
        }
    }
}

const STRUCTURED: &str = "application/cloudevents+json";

fn is_structured(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| media::essence(value).eq_ignore_ascii_case(STRUCTURED))
}

/// What the listener's part of an event is; the rest is the router's.
fn emission(event: &Event) -> Emission {
    let is_own =
        |name: &str| !["causationid", "correlationid", "traceparent", "tracestate"].contains(&name);
    Emission {
        ty: event.ty().to_owned(),
        subject: event.subject().map(str::to_owned),
        datacontenttype: event.datacontenttype().map(str::to_owned),
        dataschema: event.dataschema().map(str::to_owned),
        extensions: event
            .extensions()
            .filter(|(name, _)| is_own(name))
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        data: event.data(),
        delay_ms: None,
    }
}

/// A failure that may pass.
pub(crate) fn retry(reason: String, after: Option<Duration>) -> Verdict {
    Verdict::Retry { failure: Failure::new(FailureClass::Retry, reason), after }
}

fn reject(reason: String) -> Verdict {
    Verdict::Reject { failure: Failure::new(FailureClass::Reject, reason) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, fields: &[(&str, &str)], body: &str) -> Response {
        let headers = fields.iter().map(|(name, value)| {
            (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap())
        });
        let status = StatusCode::from_u16(status).unwrap();
        let body = Bytes::copy_from_slice(body.as_bytes());
        Response { status, headers: headers.collect(), body, is_cut: false }
    }

    fn words(meaning: Meaning) -> String {
        match meaning {
            Meaning::Done(None) => "done".to_owned(),
            Meaning::Done(Some(emission)) => format!("emits {}", emission.ty),
            Meaning::Gone(_) => "gone".to_owned(),
            Meaning::Failed(Verdict::Retry { after, .. }) => {
                format!("retry {:?}", after.map(|after| after.as_secs()))
            }
            Meaning::Failed(Verdict::Reject { failure }) => format!("reject {}", failure.reason),
            Meaning::Failed(Verdict::Ack) => "ack".to_owned(),
        }
    }

    #[test]
    fn statuses_mean_what_they_say() {
        let now = httpdate::parse_http_date("Sat, 31 Jan 2026 12:00:00 GMT").unwrap();
        let event = r#"{"specversion":"1.0","id":"1","source":"/crm","type":"contact.added","data":{"a":1}}"#;
        let structured = ("content-type", "application/cloudevents+json; charset=utf-8");
        for (status, fields, body, expected) in [
            (200, &[][..], "fine", "done"),
            (204, &[], "", "done"),
            (202, &[structured], event, "emits contact.added"),
            (
                200,
                &[("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/c"), ("ce-type", "t")],
                "",
                "emits t",
            ),
            (200, &[structured], "{}", "reject the server's reply"),
            (429, &[("retry-after", "7")], "", "retry Some(7)"),
            (503, &[("retry-after", "Sat, 31 Jan 2026 12:01:00 GMT")], "", "retry Some(60)"),
            (503, &[("retry-after", "soon")], "", "retry None"),
            (500, &[], "", "retry None"),
            (404, &[], "", "retry None"),
            (410, &[], "", "gone"),
            (400, &[], "no such\u{7f}field", "reject the server returned 400 Bad Request: no such"),
            (301, &[("location", "https://other.example/")], "", "reject the server returned 301"),
        ] {
            let found = words(response(status, fields, body).meaning(now));
            assert!(found.starts_with(expected), "{status}: {found}");
        }
        let mut large = response(200, &[structured], event);
        large.is_cut = true;
        assert!(words(large.meaning(now)).contains("too large"));
    }

    #[test]
    fn a_reply_keeps_what_is_the_listeners() {
        let event = r#"{"specversion":"1.0","id":"1","source":"/crm","type":"t","subject":"s","traceparent":"x","own":"y","data":1}"#;
        let fields = [("content-type", "application/cloudevents+json")];
        let Meaning::Done(Some(emission)) =
            response(200, &fields, event).meaning(SystemTime::now())
        else {
            panic!()
        };
        assert_eq!(emission.subject.as_deref(), Some("s"));
        let names: Vec<_> = emission.extensions.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["own"]);
    }
}
