//! What an HTTP response means for the delivery that it answers: a sink's server or a component that
//! serves HTTP.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};

use crate::text::cut_chars;
use crate::{Emission, Event, Failure, FailureClass, Verdict, http_binary, json, media};

/// How much of an error's body goes into the reason.
const SHOWN_MAX_CHARS: usize = 200;

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replier {
    /// A server elsewhere. What it doesn't find now it may find later.
    Server,
    /// A component that serves HTTP. It has all it will ever have.
    Component,
}

impl Replier {
    fn name(self) -> &'static str {
        match self {
            Self::Server => "the server",
            Self::Component => "the component",
        }
    }
}

/// A response, as far as it was read.
#[derive(Clone, Debug)]
pub struct HttpReply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// The whole body, or its beginning if `is_cut`.
    pub body: Bytes,
    /// Whether the body goes on.
    pub is_cut: bool,
}

/// What comes of a response.
#[derive(Clone, Debug)]
pub enum ReplyMeaning {
    /// Acknowledged, perhaps with an event.
    Done(Option<Emission>),
    /// Not.
    Failed(Verdict),
    /// The server wants no more events (410).
    Gone(Verdict),
}

impl HttpReply {
    /// Whether the body of a response with this head is an event.
    pub fn is_event(status: StatusCode, headers: &HeaderMap) -> bool {
        status.is_success() && (is_structured(headers) || headers.contains_key("ce-specversion"))
    }

    /// What it means.
    pub fn meaning(self, replier: Replier, now: SystemTime) -> ReplyMeaning {
        let status = self.status;
        if status.is_success() {
            return match self.emission() {
                Ok(emission) => ReplyMeaning::Done(emission),
                Err(reason) => {
                    let name = replier.name();
                    let reason =
                        format!("{name}'s reply is no event that can be emitted: {reason}");
                    ReplyMeaning::Failed(reject(reason))
                }
            };
        }
        let reason = self.reason(replier);
        match status {
            StatusCode::GONE if replier == Replier::Server => {
                ReplyMeaning::Gone(retry(reason, None))
            }
            StatusCode::NOT_FOUND if replier == Replier::Component => {
                ReplyMeaning::Failed(reject(reason))
            }
            StatusCode::NOT_FOUND
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::CONFLICT
            | StatusCode::TOO_EARLY
            | StatusCode::TOO_MANY_REQUESTS => {
                ReplyMeaning::Failed(retry(reason, self.retry_after(now)))
            }
            _ if status.is_server_error() => {
                ReplyMeaning::Failed(retry(reason, self.retry_after(now)))
            }
            _ => ReplyMeaning::Failed(reject(reason)),
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

    fn reason(&self, replier: Replier) -> String {
        let (name, status) = (replier.name(), self.status);
        if status.is_redirection() {
            let to = self.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
            let to = cut_chars(to.unwrap_or("another address"), SHOWN_MAX_CHARS).into_owned();
            let remedy = match replier {
                Replier::Server => ": change the sink's url",
                Replier::Component => "",
            };
            return format!(
                "{name} returned {status}, to {to}; redirects are not followed{remedy}"
            );
        }
        let text = String::from_utf8_lossy(&self.body);
        let text = cut_chars(text.trim(), SHOWN_MAX_CHARS);
        match text.is_empty() {
            true => format!("{name} returned {status}"),
            false => format!("{name} returned {status}: {text}"),
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

fn retry(reason: String, after: Option<Duration>) -> Verdict {
    Verdict::Retry { failure: Failure::new(FailureClass::Retry, reason), after }
}

fn reject(reason: String) -> Verdict {
    Verdict::Reject { failure: Failure::new(FailureClass::Reject, reason) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, fields: &[(&str, &str)], body: &str) -> HttpReply {
        let headers = fields.iter().map(|(name, value)| {
            (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap())
        });
        let status = StatusCode::from_u16(status).unwrap();
        let body = Bytes::copy_from_slice(body.as_bytes());
        HttpReply { status, headers: headers.collect(), body, is_cut: false }
    }

    fn words(meaning: ReplyMeaning) -> String {
        match meaning {
            ReplyMeaning::Done(None) => "done".to_owned(),
            ReplyMeaning::Done(Some(emission)) => format!("emits {}", emission.ty),
            ReplyMeaning::Gone(_) => "gone".to_owned(),
            ReplyMeaning::Failed(Verdict::Retry { after, .. }) => {
                format!("retry {:?}", after.map(|after| after.as_secs()))
            }
            ReplyMeaning::Failed(Verdict::Reject { failure }) => {
                format!("reject {}", failure.reason)
            }
            ReplyMeaning::Failed(Verdict::Ack) => "ack".to_owned(),
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
            let found = words(response(status, fields, body).meaning(Replier::Server, now));
            assert!(found.starts_with(expected), "{status}: {found}");
        }
        for (status, expected) in [(404, "reject"), (410, "reject"), (429, "retry"), (500, "retry")]
        {
            let meaning = response(status, &[], "").meaning(Replier::Component, now);
            assert!(words(meaning).starts_with(expected), "{status} of a component");
        }
        let mut large = response(200, &[structured], event);
        large.is_cut = true;
        assert!(words(large.meaning(Replier::Server, now)).contains("too large"));
    }

    #[test]
    fn a_reply_keeps_what_is_the_listeners() {
        let event = r#"{"specversion":"1.0","id":"1","source":"/crm","type":"t","subject":"s","traceparent":"x","own":"y","data":1}"#;
        let fields = [("content-type", "application/cloudevents+json")];
        let ReplyMeaning::Done(Some(emission)) =
            response(200, &fields, event).meaning(Replier::Server, SystemTime::now())
        else {
            panic!()
        };
        assert_eq!(emission.subject.as_deref(), Some("s"));
        let names: Vec<_> = emission.extensions.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["own"]);
    }
}
