//! HTTP client for a running router's API.

use std::io::{self, BufReader};
use std::time::Duration;

use http::Response;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::de::DeserializeOwned;
use ureq::{Agent, Body};

use super::error::CliError;
use usher_api::Problem;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Total time of a request. Publishing waits for the disk.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Read timeout of a stream; the router sends a comment after 15 s of silence.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

const ANSWER_MAX_BYTES: u64 = 512 * 1024 * 1024;

/// Characters to percent-encode within a path segment.
const PATH_PART: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b'?')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Blocking client for a router's HTTP API.
pub(super) struct Client {
    agent: Agent,
    base: String,
}

/// Outcome of a request that the router may refuse or defer.
pub(super) enum Answer<T> {
    /// Success.
    Done(T),
    /// Status 429: retry after this time.
    Wait(Duration),
    /// Another error status.
    Refused(Box<Refusal>),
}

/// An error response.
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    /// Problem details (RFC 9457), if the body has them.
    pub(super) problem: Option<Problem>,
}

impl Client {
    /// A client of the router at `base`, such as `http://127.0.0.1:7171`.
    pub(super) fn new(base: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(ANSWER_TIMEOUT))
            .user_agent(concat!("usher/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: Agent::new_with_config(config), base: base.to_owned() }
    }

    /// `GET path?query`, parsed from JSON.
    pub(super) fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, CliError> {
        let bytes = self.get_bytes(path, query)?;
        self.parse(path, &bytes)
    }

    /// `GET path`, parsed from JSON; `None` on 404.
    pub(super) fn find<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, CliError> {
        let mut response =
            self.agent.get(self.url(path)).call().map_err(|error| self.failed(error))?;
        let bytes = self.read(&mut response)?;
        if response.status().as_u16() == 404 {
            return Ok(None);
        }
        self.check(&response, &bytes)?;
        self.parse(path, &bytes).map(Some)
    }

    /// `GET path?query`, as bytes.
    pub(super) fn get_bytes(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Vec<u8>, CliError> {
        let request = self.agent.get(self.url(path));
        let request =
            query.iter().fold(request, |request, (name, value)| request.query(*name, value));
        let mut response = request.call().map_err(|error| self.failed(error))?;
        let bytes = self.read(&mut response)?;
        self.check(&response, &bytes)?;
        Ok(bytes)
    }

    /// `POST path?query` without a body and without an overall timeout, for slow operations.
    pub(super) fn post_and_wait<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, CliError> {
        let request = self.agent.post(self.url(path));
        let request =
            query.iter().fold(request, |request, (name, value)| request.query(*name, value));
        let request = request.config().timeout_global(None).build();
        let mut response = request.send_empty().map_err(|error| self.failed(error))?;
        let bytes = self.read(&mut response)?;
        self.check(&response, &bytes)?;
        self.parse(path, &bytes)
    }

    /// `DELETE path`.
    pub(super) fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        let mut response =
            self.agent.delete(self.url(path)).call().map_err(|error| self.failed(error))?;
        let bytes = self.read(&mut response)?;
        self.check(&response, &bytes)?;
        self.parse(path, &bytes)
    }

    /// `POST path` with a body; error statuses are returned as an [`Answer`].
    pub(super) fn submit<T: DeserializeOwned>(
        &self,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<Answer<T>, CliError> {
        let request = self.agent.post(self.url(path)).content_type(content_type);
        self.answer(path, request.send(body))
    }

    /// Like [`Client::post_and_wait`], but error statuses are returned as an [`Answer`].
    pub(super) fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Answer<T>, CliError> {
        let request = self.agent.post(self.url(path));
        let request =
            query.iter().fold(request, |request, (name, value)| request.query(*name, value));
        let request = request.config().timeout_global(None).build();
        self.answer(path, request.send_empty())
    }

    fn answer<T: DeserializeOwned>(
        &self,
        path: &str,
        sent: Result<Response<Body>, ureq::Error>,
    ) -> Result<Answer<T>, CliError> {
        let mut response = sent.map_err(|error| self.failed(error))?;
        let bytes = self.read(&mut response)?;
        match response.status().as_u16() {
            200..300 => Ok(Answer::Done(self.parse(path, &bytes)?)),
            429 => Ok(Answer::Wait(retry_after(&response))),
            status => Ok(Answer::Refused(Box::new(Refusal::new(status, &bytes)))),
        }
    }

    /// Opens a stream of server-sent events. Only 4xx is a refusal; any other failure is an error,
    /// since it may be transient.
    pub(super) fn stream(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Answer<BufReader<impl io::Read + use<>>>, CliError> {
        let request = self.agent.get(self.url(path)).header("accept", "text/event-stream");
        let request =
            query.iter().fold(request, |request, (name, value)| request.query(*name, value));
        let mut response = request
            .config()
            .timeout_global(None)
            .timeout_per_read(Some(SILENCE_TIMEOUT))
            .build()
            .call()
            .map_err(|error| self.failed(error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(Answer::Done(BufReader::new(response.into_body().into_reader())));
        }
        let bytes = self.read(&mut response)?;
        let refusal = Refusal::new(status.as_u16(), &bytes);
        match status.as_u16() {
            429 => Ok(Answer::Wait(retry_after(&response))),
            400..500 => Ok(Answer::Refused(Box::new(refusal))),
            _ => Err(refusal.into()),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn read(&self, response: &mut Response<Body>) -> Result<Vec<u8>, CliError> {
        response
            .body_mut()
            .with_config()
            .limit(ANSWER_MAX_BYTES)
            .read_to_vec()
            .map_err(|error| self.failed(error))
    }

    fn check(&self, response: &Response<Body>, bytes: &[u8]) -> Result<(), CliError> {
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(Refusal::new(status.as_u16(), bytes).into()),
        }
    }

    fn parse<T: DeserializeOwned>(&self, path: &str, bytes: &[u8]) -> Result<T, CliError> {
        serde_json::from_slice(bytes).map_err(|error| {
            CliError::with_hint(
                format!("{}{path} answered something unexpected: {error}", self.base),
                "is it an usher router, of this version?",
            )
        })
    }

    fn failed(&self, error: ureq::Error) -> CliError {
        let base = &self.base;
        match error {
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                CliError::new(format!("no router at {base}: start one with `usher run`"))
            }
            ureq::Error::HostNotFound => {
                CliError::with_hint(format!("no such host: {base}"), "check --url and USHER_URL")
            }
            ureq::Error::Timeout(_) => CliError::new(format!("{base} did not answer in time")),
            error => CliError::new(format!("{base}: {error}")),
        }
    }
}

impl Refusal {
    fn new(status: u16, body: &[u8]) -> Self {
        Self { status, problem: serde_json::from_slice(body).ok() }
    }

    /// Whether the status is 404.
    pub(super) fn is_not_found(&self) -> bool {
        self.status == 404
    }

    /// The problem's detail, or else the status code.
    pub(super) fn text(&self) -> String {
        match &self.problem {
            Some(problem) => problem.detail.clone(),
            None => format!("the router answered with status {}", self.status),
        }
    }
}

impl From<Refusal> for CliError {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.text())
    }
}

/// Percent-encodes text as one path segment.
pub(super) fn path_part(text: &str) -> String {
    utf8_percent_encode(text, PATH_PART).to_string()
}

/// The `Retry-After` header in seconds; 1 s without one.
fn retry_after(response: &Response<Body>) -> Duration {
    let seconds = response
        .headers()
        .get(http::header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .unwrap_or(1);
    Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_parts_stay_in_one_part() {
        assert_eq!(path_part("order-1"), "order-1");
        assert_eq!(path_part("a/b?c#d é"), "a%2Fb%3Fc%23d%20%C3%A9");
    }

    #[test]
    fn refusals_repeat_the_routers_words() {
        let body = br#"{"type":"about:blank","title":"t","status":404,"detail":"not there"}"#;
        assert_eq!(Refusal::new(404, body).text(), "not there");
        assert_eq!(Refusal::new(502, b"<html>").text(), "the router answered with status 502");
    }

    #[test]
    fn nobody_listening_says_how_to_start() {
        // Bound and closed again, so that nothing listens on it.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let base = format!("http://127.0.0.1:{port}");
        let error = Client::new(&base).get::<Problem>("/plugins", &[]).unwrap_err();
        let CliError::Failed { what, .. } = error else { panic!("{error:?}") };
        assert_eq!(what, format!("no router at {base}: start one with `usher run`"));
    }
}
