//! Answers that are given beforehand, in place of the network: for deliveries that are run again,
//! and for tests.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use usher_event::GivenAnswer;
use wasmtime_wasi_http::{Error, WasiBody};

use super::body::{RequestBody, ResponseBody};
use super::transcript::Noted;
use super::{Exchange, codes};
use crate::plugin::Plugin;
use crate::text;

/// How much of a request an error quotes.
const SHOWN_MAX_BYTES: usize = 256;

/// Answers to requests.
pub(crate) struct Answers {
    answers: Mutex<Vec<Answer>>,
    /// Whether they begin again once all of a method and URL are used; else each is used once.
    is_repeating: bool,
}

struct Answer {
    method: String,
    url: String,
    response: Option<Response<()>>,
    body: Bytes,
    error: Option<usher_event::GivenHttpError>,
    is_used: bool,
}

impl Answers {
    /// Checks what is given.
    ///
    /// # Errors
    /// What is wrong with which answer, in words.
    pub(crate) fn new(given: &[GivenAnswer], is_repeating: bool) -> Result<Self, String> {
        let answers = given.iter().enumerate().map(|(position, given)| {
            answer(given).map_err(|words| format!("http[{position}]: {words}"))
        });
        let answers = Mutex::new(answers.collect::<Result<_, _>>()?);
        Ok(Self { answers, is_repeating })
    }

    /// Whether there is one for a method and URL, used or not.
    pub(super) fn has(&self, method: &str, uri: &Uri) -> bool {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let url = uri.to_string();
        answers.iter().any(|answer| answer.method == method && answer.url == url)
    }

    /// Answers a request once its body is complete.
    pub(super) async fn send(
        &self,
        request: Request<WasiBody>,
        plugin: &Plugin,
        slot: OwnedSemaphorePermit,
        noted: Option<Noted>,
    ) -> Result<Exchange, Error> {
        let limits = &plugin.limits;
        let total = Duration::from_millis(limits.http_total_ms);
        let deadline = Instant::now() + total;
        let (head, body) = request.into_parts();
        let body = RequestBody::new(body, limits.http_request_bytes, noted.clone());
        match timeout_at(deadline, body.collect()).await {
            Ok(sent) => drop(sent?),
            Err(_) => return Err(Error::HttpResponseTimeout),
        }
        let (response, body, error) = self.find(head.method.as_str(), &head.uri)?;
        let pieces = [(!body.is_empty()).then(|| Ok(Frame::data(body))), error.map(Err)];
        let body = StreamBody::new(stream::iter(pieces.into_iter().flatten()));
        let body =
            ResponseBody::new(body, limits.http_response_bytes, deadline, total, slot, noted);
        Ok((response.map(|()| body.boxed_unsync()), Box::new(std::future::ready(Ok(())))))
    }

    /// The next answer for a method and URL.
    fn find(&self, method: &str, uri: &Uri) -> Result<(Response<()>, Bytes, Option<Error>), Error> {
        let answers = &mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let url = uri.to_string();
        let of_it = |answer: &&mut Answer| answer.method == method && answer.url == url;
        if self.is_repeating && answers.iter_mut().filter(of_it).all(|answer| answer.is_used) {
            answers.iter_mut().filter(of_it).for_each(|answer| answer.is_used = false);
        }
        let Some(answer) =
            answers.iter_mut().filter(|answer| !answer.is_used).find(|answer| of_it(answer))
        else {
            let same = answers.iter_mut().filter(of_it).count();
            let shown =
                text::escape(text::head(&format!("{method} {url}"), SHOWN_MAX_BYTES)).into_owned();
            let words = match same {
                0 => format!("no answer was recorded or given for {shown}"),
                _ => format!("no answer is left for {shown}: {same} were recorded or given"),
            };
            return Err(Error::InternalError(Some(words)));
        };
        answer.is_used = true;
        let error = match &answer.error {
            // Checked when it was given.
            Some(given) => {
                Some(codes::read(given).map_err(|words| Error::InternalError(Some(words)))?)
            }
            None => None,
        };
        match (answer.response.clone(), error) {
            (Some(response), error) => Ok((response, answer.body.clone(), error)),
            (None, Some(error)) => Err(error),
            (None, None) => Err(Error::ConnectionTerminated),
        }
    }
}

fn answer(given: &GivenAnswer) -> Result<Answer, String> {
    let GivenAnswer { method, url, status, headers, body, error } = given;
    let uri: Uri = url.parse().map_err(|error| format!("{url:?} is no URL: {error}"))?;
    if uri.authority().is_none() || uri.scheme().is_none() {
        return Err(format!("{url:?} is no URL with scheme and host"));
    }
    if let Some(error) = error {
        codes::read(error)?;
    }
    let response = match (status, error) {
        (None, None) => return Err(format!("{url} has neither a status nor an error")),
        (None, Some(_)) => None,
        (Some(status), _) => {
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::from_u16(*status)
                .map_err(|_| format!("{status} is no status: use 100 to 999"))?;
            for (name, value) in headers {
                let broken = || format!("the header {name:?} is not one");
                let name = HeaderName::try_from(name).map_err(|_| broken())?;
                let value = HeaderValue::try_from(value).map_err(|_| broken())?;
                response.headers_mut().append(name, value);
            }
            Some(response)
        }
    };
    let no_files = |file: &str| Err(format!("the file {file} was not read"));
    let body = body.as_ref().map_or(Ok(Bytes::new()), |body| body.bytes(no_files))?;
    Ok(Answer {
        method: method.clone(),
        url: uri.to_string(),
        response,
        body,
        error: error.clone(),
        is_used: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(method: &str, url: &str, status: u16) -> GivenAnswer {
        GivenAnswer {
            method: method.to_owned(),
            url: url.to_owned(),
            status: Some(status),
            ..GivenAnswer::default()
        }
    }

    #[test]
    fn each_answer_is_used_once_in_the_order_of_its_method_and_url() {
        let given = [
            given("GET", "http://a.test", 200),
            given("POST", "http://a.test/", 201),
            given("GET", "http://a.test/", 202),
        ];
        let answers = Answers::new(&given, false).unwrap();
        let repeating = Answers::new(&given, true).unwrap();
        let status_of = |answers: &Answers, method: &str, url: &str| {
            let found = answers.find(method, &url.parse().unwrap());
            found
                .map(|(response, ..)| response.status().as_u16())
                .map_err(|error| error.to_string())
        };
        let status = |method: &str, url: &str| status_of(&answers, method, url);
        assert_eq!(status("GET", "http://a.test/"), Ok(200));
        assert_eq!(status("GET", "http://a.test/"), Ok(202));
        assert_eq!(status("POST", "http://a.test/"), Ok(201));
        let words = status("GET", "http://a.test/").unwrap_err();
        assert!(words.contains("no answer is left for GET http://a.test/: 2 were"), "{words}");
        let words = status("GET", "http://b.test/").unwrap_err();
        assert!(
            words.contains("no answer was recorded or given for GET http://b.test/"),
            "{words}"
        );
        for expected in [200, 202, 200] {
            assert_eq!(status_of(&repeating, "GET", "http://a.test/"), Ok(expected));
        }
        assert!(status_of(&repeating, "GET", "http://b.test/").is_err());
    }

    #[test]
    fn what_is_given_is_checked() {
        let refused = |answer: GivenAnswer| Answers::new(&[answer], false).err().unwrap();
        assert!(refused(given("GET", "a.test", 200)).starts_with("http[0]: \"a.test\""));
        assert!(refused(given("GET", "http://a.test", 99)).contains("99 is no status"));
        let neither = GivenAnswer { status: None, ..given("GET", "http://a.test", 200) };
        assert!(refused(neither).contains("neither a status nor an error"));
        let headers = vec![("a b".to_owned(), "c".to_owned())];
        assert!(
            refused(GivenAnswer { headers, ..given("GET", "http://a.test", 200) })
                .contains("\"a b\"")
        );
    }
}
