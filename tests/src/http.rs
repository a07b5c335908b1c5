//! A small HTTP client for the router's API; error statuses are returned, not errors.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use ureq::http::{Request, Response};

use crate::wait::{PATIENCE, wait_for};

const BODY_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// A client for one router.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    agent: ureq::Agent,
}

/// A response.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// All headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// The router's acknowledgement of a published event.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Receipt {
    /// The event's id.
    pub id: String,
    /// Its source.
    pub source: String,
    /// Its sequence in the log.
    pub sequence: u64,
    /// Whether it was there before.
    pub duplicate: bool,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// It isn't JSON; the error includes the body.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| {
            format!("status {} with a body that is not JSON: {}", self.status, self.text())
        })
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's first value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Client {
    /// A client for the router at this URL (without a trailing slash).
    pub fn new(base: impl Into<String>) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .proxy(None)
            .max_redirects(0)
            .timeout_global(Some(PATIENCE))
            .build();
        Self { base: base.into(), agent: config.into() }
    }

    /// The router's URL.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends any request.
    ///
    /// # Errors
    /// There was no response.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &[u8])],
        body: &[u8],
    ) -> Result<Answer> {
        let url = format!("{}{path}", self.base);
        let mut request = Request::builder().method(method).uri(&url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.to_vec())?;
        let response = self.agent.run(request).with_context(|| format!("{method} {url}"))?;
        read(response).with_context(|| format!("{method} {url}"))
    }

    /// GET.
    ///
    /// # Errors
    /// There was no response.
    pub fn get(&self, path: &str) -> Result<Answer> {
        self.request("GET", path, &[], &[])
    }

    /// GET of JSON that must exist.
    ///
    /// # Errors
    /// There was no response, or it isn't a 200 with JSON.
    pub fn get_json(&self, path: &str) -> Result<Value> {
        let answer = self.get(path)?;
        ensure!(answer.status == 200, "GET {path}: {} {}", answer.status, answer.text());
        answer.json()
    }

    /// POST without a body.
    ///
    /// # Errors
    /// There was no response.
    pub fn post(&self, path: &str) -> Result<Answer> {
        self.request("POST", path, &[], &[])
    }

    /// POST of a body with its content type.
    ///
    /// # Errors
    /// There was no response.
    pub fn post_as(&self, path: &str, content_type: &str, body: &[u8]) -> Result<Answer> {
        self.request("POST", path, &[("content-type", content_type.as_bytes())], body)
    }

    /// Publishes one event in structured mode.
    ///
    /// # Errors
    /// The event was not accepted.
    pub fn publish(&self, event: &Value) -> Result<Receipt> {
        let body = serde_json::to_vec(event)?;
        let answer = self.post_as("/events", "application/cloudevents+json", &body)?;
        receipts(&answer)?.pop().context("accepted, but without a receipt")
    }

    /// Publishes a batch.
    ///
    /// # Errors
    /// The batch was not accepted.
    pub fn publish_batch(&self, events: &[Value]) -> Result<Vec<Receipt>> {
        let body = serde_json::to_vec(events)?;
        receipts(&self.post_as("/events", "application/cloudevents-batch+json", &body)?)
    }

    /// Publishes an event with this type, id and JSON data.
    ///
    /// # Errors
    /// The event was not accepted.
    pub fn publish_new(&self, ty: &str, id: &str, data: &Value) -> Result<Receipt> {
        self.publish(&event(ty, id, data))
    }

    /// A plugin's entry in `/plugins`; `None` if there is none with this name.
    ///
    /// # Errors
    /// The router didn't respond as documented.
    pub fn plugin(&self, name: &str) -> Result<Option<Value>> {
        self.member("/plugins", "plugins", "name", name)
    }

    /// A subscription's entry in `/subscriptions`, by its full name.
    ///
    /// # Errors
    /// The router didn't respond as documented.
    pub fn subscription(&self, name: &str) -> Result<Option<Value>> {
        self.member("/subscriptions", "subscriptions", "name", name)
    }

    fn member(&self, path: &str, list: &str, key: &str, value: &str) -> Result<Option<Value>> {
        let body = self.get_json(path)?;
        let members = body.get(list).and_then(Value::as_array);
        let members = members.with_context(|| format!("GET {path} has no list {list}: {body}"))?;
        let wanted = |member: &&Value| member.get(key).and_then(Value::as_str) == Some(value);
        Ok(members.iter().find(wanted).cloned())
    }

    /// Waits until a plugin is in this state.
    ///
    /// # Errors
    /// The plugin didn't reach it in time.
    pub fn wait_for_plugin(&self, name: &str, state: &str) -> Result<Value> {
        wait_for(&format!("plugin {name} to be {state}"), || {
            let plugin = self.plugin(name)?;
            Ok(plugin.filter(|found| found.get("state").and_then(Value::as_str) == Some(state)))
        })
    }

    /// Waits until nothing in a flow is pending or delayed, and returns it.
    ///
    /// # Errors
    /// The flow didn't settle in time.
    pub fn settled_flow(&self, sequence: u64) -> Result<Value> {
        let path = format!("/flows/{sequence}");
        wait_for(&format!("the flow of event {sequence} to settle"), || {
            let flow = self.get_json(&path)?;
            Ok((flow.get("settled") == Some(&Value::Bool(true))).then_some(flow))
        })
    }

    /// All events in the log with this type, by sequence.
    ///
    /// # Errors
    /// The router didn't respond as documented.
    pub fn events_of_type(&self, ty: &str) -> Result<Vec<Value>> {
        let filter = json!({ "exact": { "type": ty } }).to_string();
        let filter = percent_encoded(&filter);
        let mut found = Vec::new();
        let mut from = 0;
        loop {
            let page = self.get_json(&format!("/events?from={from}&max=1000&filter={filter}"))?;
            let events = page.get("events").and_then(Value::as_array);
            found.extend(events.context("a page without events")?.iter().cloned());
            let number = |key: &str| page.get(key).and_then(Value::as_u64);
            from = number("next").context("a page without next")?;
            // A page may be empty before the end: the scan per request is limited.
            if from > number("last").context("a page without last")? {
                return Ok(found);
            }
        }
    }

    /// GET of an endless body, as a reader; fails after [`PATIENCE`] without data.
    pub(crate) fn open(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<impl std::io::Read + Send + use<>> {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .config()
            .timeout_global(None)
            .timeout_recv_response(Some(PATIENCE))
            .timeout_recv_body(Some(PATIENCE * 2))
            .timeout_connect(Some(Duration::from_secs(5)))
            .build();
        let response = request.call().with_context(|| format!("GET {path}"))?;
        ensure!(response.status() == 200, "GET {path}: {}", response.status());
        Ok(response.into_body().into_with_config().limit(BODY_MAX_BYTES).reader())
    }
}

/// A CloudEvent as JSON, with the source `/tests`.
pub(crate) fn event(ty: &str, id: &str, data: &Value) -> Value {
    json!({
        "specversion": "1.0",
        "id": id,
        "source": "/tests",
        "type": ty,
        "datacontenttype": "application/json",
        "data": data,
    })
}

fn receipts(answer: &Answer) -> Result<Vec<Receipt>> {
    #[derive(Deserialize)]
    struct Accepted {
        events: Vec<Receipt>,
    }
    ensure!(answer.status == 202, "not accepted: {} {}", answer.status, answer.text());
    let accepted: Accepted = serde_json::from_value(answer.json()?)?;
    Ok(accepted.events)
}

fn read(response: Response<ureq::Body>) -> Result<Answer> {
    let status = response.status().as_u16();
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    let body = response.into_body().into_with_config().limit(BODY_MAX_BYTES).read_to_vec()?;
    Ok(Answer { status, headers, body })
}

pub(crate) fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded() {
        assert_eq!(percent_encoded(r#"{"a":"b c"}"#), "%7B%22a%22%3A%22b%20c%22%7D");
    }
}
