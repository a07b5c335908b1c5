//! What tests ask of a router, on top of its client: any status is an answer, JSON stays JSON, and
//! what takes time is waited for.

use anyhow::{Context as _, Result, ensure};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use usher_api::{Accepted, EventsQuery, routes};

use crate::wait::wait_for;

pub use usher_api::AcceptedEvent as Receipt;

/// A client for one router.
#[derive(Clone, Debug)]
pub struct Client(usher_client::Client);

/// A response.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
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
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Text for the query of an address, every byte of it encoded.
pub fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

impl Client {
    /// A client for the router at this URL (without a trailing slash).
    pub fn new(base: impl Into<String>) -> Self {
        Self(usher_client::Client::new(base))
    }

    /// The same, with a token.
    ///
    /// # Errors
    /// It can't be one.
    pub fn with_token(&self, token: &str) -> Result<Self> {
        let client = usher_client::Client::new(self.base()).with_token(token);
        Ok(Self(client.context("no token can be that")?))
    }

    /// The router's URL.
    pub fn base(&self) -> &str {
        self.0.base()
    }

    /// The router's own client.
    pub(crate) fn inner(&self) -> &usher_client::Client {
        &self.0
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
        let mut request = self.0.request(method.parse()?, path).raw_body(body);
        for (name, value) in headers {
            request = request.header(name.parse::<HeaderName>()?, HeaderValue::from_bytes(value)?);
        }
        let response = request.send().with_context(|| format!("{method} {path}"))?;
        let usher_client::Response { status, headers, body } = response;
        Ok(Answer { status: status.as_u16(), headers, body })
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

    /// Whether the router answers that it is ready.
    pub fn is_ready(&self) -> bool {
        self.get("/readyz").is_ok_and(|answer| answer.status == 200)
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
        let filter = Some(json!({ "exact": { "type": ty } }).to_string());
        let mut query =
            EventsQuery { from: Some(0), max: Some(1000), filter, ..EventsQuery::default() };
        let mut found = Vec::new();
        loop {
            let page: Value = self.0.call(routes::EVENTS, &[]).query(&query).fetch()?;
            let events = page.get("events").and_then(Value::as_array);
            found.extend(events.context("a page without events")?.iter().cloned());
            let number = |key: &str| page.get(key).and_then(Value::as_u64);
            let next = number("next").context("a page without next")?;
            // A page may be empty before the end: the scan per request is limited.
            if next > number("last").context("a page without last")? {
                return Ok(found);
            }
            query.from = Some(next);
        }
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
    ensure!(answer.status == 202, "not accepted: {} {}", answer.status, answer.text());
    let accepted: Accepted = serde_json::from_slice(&answer.body)?;
    Ok(accepted.events)
}
