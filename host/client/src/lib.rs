//! A blocking client of a router's HTTP API. Requests are built with [`Client::request`] and its
//! shorthands; every response has a size limit and, unless [`Request::unhurried`], a time limit.

mod error;
mod response;
mod stream;
mod unix;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::config::Config;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::{Agent, Body};
use usher_api::Route;

pub use error::Error;
pub use response::{Outcome, Refusal, Response};
pub use stream::{EventStream, Streamed};
pub use usher_tls::TlsError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time limit of a request; publishing waits for the disk.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a stream may be silent; the router sends a comment every 15 s.
const STREAM_SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// The largest body accepted.
const BODY_MAX_BYTES: u64 = 512 * 1024 * 1024;

fn config(tls: TlsConfig) -> Config {
    Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .proxy(None)
        .max_redirects(0)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_global(Some(REQUEST_TIMEOUT))
        .user_agent(concat!("usher/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls)
        .build()
}

/// Verifies servers' certificates with the system's roots and those in `ca_file`.
///
/// # Errors
/// `ca_file` can't be read, or there are no roots.
pub fn verifying(ca_file: Option<&Path>) -> Result<TlsConfig, TlsError> {
    let roots = usher_tls::root_certificates(ca_file)?;
    let roots: Vec<_> = roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
    let provider = rustls::crypto::ring::default_provider();
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(Arc::new(provider))
        .build())
}

/// A client of one router. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    base: String,
    /// What requests are sent to: the base, or any name where that is a Unix socket.
    target: String,
    /// `Authorization`.
    authorization: Option<HeaderValue>,
}

/// A request that has not been sent.
#[derive(Debug)]
#[must_use = "it is not sent yet"]
pub struct Request<'c> {
    client: &'c Client,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Vec<u8>,
    /// Why it can't be sent.
    unsendable: Option<String>,
    is_unhurried: bool,
}

impl Client {
    /// A client of the router at `base`, such as `http://127.0.0.1:7171` or
    /// `unix:/run/usher/usher.sock`. For `https`, see [`Client::verifying`].
    pub fn new(base: impl Into<String>) -> Self {
        let (base, config) = (base.into(), config(TlsConfig::default()));
        let (agent, target) = match base.strip_prefix("unix:") {
            None => (Agent::new_with_config(config), base.clone()),
            Some(path) => {
                let connector = unix::UnixConnector(path.into());
                let agent = Agent::with_parts(config, connector, DefaultResolver::default());
                // Nothing is resolved for an address.
                (agent, "http://127.0.0.1".to_owned())
            }
        };
        Self { agent, base, target, authorization: None }
    }

    /// Verifies the router's certificate with the system's roots and those in `ca_file`.
    ///
    /// # Errors
    /// `ca_file` can't be read, or there are no roots.
    pub fn verifying(self, ca_file: Option<&Path>) -> Result<Self, TlsError> {
        Ok(Self { agent: Agent::new_with_config(config(verifying(ca_file)?)), ..self })
    }

    /// Presents a token with each request; `None` if it can't be part of a header.
    pub fn with_token(self, token: &str) -> Option<Self> {
        let mut authorization = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
        authorization.set_sensitive(true);
        Some(Self { authorization: Some(authorization), ..self })
    }

    /// The router's address, as given.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A request; `path` is sent as it is, see [`Route::filled`].
    pub fn request(&self, method: Method, path: impl Into<String>) -> Request<'_> {
        let authorization = self.authorization.iter().cloned();
        let authorization = authorization.map(|value| (header::AUTHORIZATION, value));
        Request {
            client: self,
            method,
            path: path.into(),
            headers: authorization.collect(),
            body: Vec::new(),
            unsendable: None,
            is_unhurried: false,
        }
    }

    /// A request to a route; `parameters` fill the braces of its path in their order.
    pub fn call(&self, route: Route, parameters: &[&str]) -> Request<'_> {
        let method = match route.method {
            usher_api::Method::Get => Method::GET,
            usher_api::Method::Post => Method::POST,
            usher_api::Method::Delete => Method::DELETE,
            usher_api::Method::Options => Method::OPTIONS,
        };
        self.request(method, route.filled(parameters))
    }

    /// `GET path`
    pub fn get(&self, path: impl Into<String>) -> Request<'_> {
        self.request(Method::GET, path)
    }

    /// `POST path`
    pub fn post(&self, path: impl Into<String>) -> Request<'_> {
        self.request(Method::POST, path)
    }
}

impl Request<'_> {
    /// Sets the query, one of the API's query types.
    pub fn query(mut self, query: &impl Serialize) -> Self {
        match serde_urlencoded::to_string(query) {
            Ok(query) if query.is_empty() => {}
            Ok(query) => self.path = format!("{}?{query}", self.path),
            Err(error) => self.unsendable = Some(error.to_string()),
        }
        self
    }

    /// Adds a header field.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Sets the body and its media type.
    pub fn body(self, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        let content_type = HeaderValue::from_static(content_type);
        self.header(header::CONTENT_TYPE, content_type).raw_body(body)
    }

    /// Sets the body alone.
    pub fn raw_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Lifts the time limit, for what may take long.
    pub fn unhurried(mut self) -> Self {
        self.is_unhurried = true;
        self
    }

    /// Sends it; any status is an answer.
    ///
    /// # Errors
    /// No answer came.
    pub fn send(self) -> Result<Response, Error> {
        let client = self.client;
        let limit = if self.is_unhurried { None } else { Some(REQUEST_TIMEOUT) };
        let response = self.open(limit, None)?;
        client.read(response)
    }

    /// Sends it and returns the body of a success.
    ///
    /// # Errors
    /// No answer came, or a refusal.
    pub fn bytes(self) -> Result<Vec<u8>, Error> {
        let response = self.send()?;
        match Refusal::of(&response) {
            None => Ok(response.body),
            Some(refusal) => Err(refusal.into()),
        }
    }

    /// Sends it and returns the body of a success as a type of the API.
    ///
    /// # Errors
    /// No answer came, a refusal, or something other than a `T`.
    pub fn fetch<T: DeserializeOwned>(self) -> Result<T, Error> {
        let (client, path) = (self.client, self.path.clone());
        client.parse(&path, &self.bytes()?)
    }

    /// Like [`Request::fetch`]; `None` where the router has no such thing (404).
    ///
    /// # Errors
    /// As for [`Request::fetch`].
    pub fn find<T: DeserializeOwned>(self) -> Result<Option<T>, Error> {
        match self.fetch() {
            Ok(found) => Ok(Some(found)),
            Err(Error::Refused(refusal)) if refusal.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Like [`Request::fetch`], telling refusals and requests to wait apart.
    ///
    /// # Errors
    /// No answer came, or something other than a `T`.
    pub fn attempt<T: DeserializeOwned>(self) -> Result<Outcome<T>, Error> {
        let (client, path) = (self.client, self.path.clone());
        let response = self.send()?;
        match Refusal::of(&response) {
            None => Ok(Outcome::Done(client.parse(&path, &response.body)?)),
            Some(refusal) => Ok(refusal.into_outcome()),
        }
    }

    /// Opens a stream of server-sent events. What the router can't do now but may later (a status
    /// of 500 and above) is an error, not a refusal.
    ///
    /// # Errors
    /// No answer came, or a status of 500 and above.
    pub fn stream(self) -> Result<Outcome<EventStream>, Error> {
        let client = self.client;
        let accepting = self.header(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        let response = accepting.open(None, Some(STREAM_SILENCE_TIMEOUT))?;
        if response.status().is_success() {
            return Ok(Outcome::Done(EventStream::new(response.into_body().into_reader())));
        }
        let response = client.read(response)?;
        match Refusal::of(&response) {
            Some(refusal) if !response.status.is_server_error() => Ok(refusal.into_outcome()),
            _ => Err(Refusal::new(&response).into()),
        }
    }

    fn open(
        self,
        limit: Option<Duration>,
        silence: Option<Duration>,
    ) -> Result<http::Response<Body>, Error> {
        let client = self.client;
        let mut builder = http::Request::builder()
            .method(self.method)
            .uri(format!("{}{}", client.target, self.path));
        if let Some(headers) = builder.headers_mut() {
            headers.extend(self.headers);
        }
        let unsendable = |error: String| Error::Invalid { base: client.base.clone(), error };
        if let Some(error) = self.unsendable {
            return Err(unsendable(error));
        }
        let request = builder.body(self.body).map_err(|error| unsendable(error.to_string()))?;
        let request = client
            .agent
            .configure_request(request)
            .timeout_global(limit)
            .timeout_per_read(silence)
            .build();
        client.agent.run(request).map_err(|error| Error::transport(&client.base, error))
    }
}

impl Client {
    fn read(&self, response: http::Response<Body>) -> Result<Response, Error> {
        let (head, body) = response.into_parts();
        let read = body.into_with_config().limit(BODY_MAX_BYTES).read_to_vec();
        let body = read.map_err(|error| Error::transport(&self.base, error))?;
        Ok(Response { status: head.status, headers: head.headers, body })
    }

    fn parse<T: DeserializeOwned>(&self, path: &str, body: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(body).map_err(|error| {
            let url = format!("{}{path}", self.base);
            Error::Unexpected { url, error }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded() {
        let client = Client::new("http://127.0.0.1:1");
        let filter = Some(r#"{"a":"b c"}"#.to_owned());
        let query = usher_api::EventsQuery { max: Some(1), filter, ..Default::default() };
        let request = client.get("/events").query(&query);
        assert_eq!(request.path, "/events?max=1&filter=%7B%22a%22%3A%22b+c%22%7D");
        assert_eq!(client.get("/x").query(&usher_api::EventsQuery::default()).path, "/x");
    }

    #[test]
    fn a_port_without_a_router_says_how_to_start_one() {
        // A port that was just given back: nothing listens there.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let base = format!("http://127.0.0.1:{port}");
        let error = Client::new(&base).get("/plugins").fetch::<usher_api::Plugins>().unwrap_err();
        let expected = format!("no router at {base}: start one with `usher run`");
        assert_eq!(error.to_string(), expected);
    }
}
