//! What one delivery said and heard by HTTP, for its recording: each exchange, in the order of the
//! requests. Bodies are kept by reference, up to a limit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use usher_event::{Content, Given, GivenAnswer, GivenHttpError};
use wasmtime_wasi_http::Error;

use crate::limits::size;

/// What an exchange takes besides its text and bodies.
const EXCHANGE_BYTES: usize = 256;
/// What a part of a body takes besides its bytes.
const PART_BYTES: usize = 64;

/// An HTTP request of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCall {
    /// Its method.
    pub method: String,
    /// Its URL.
    pub url: String,
    /// Its headers, as sent; values that are no text are replaced by what is readable of them.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Bytes,
}

/// The exchanges of the current delivery. Cheap to clone: bodies share it.
#[derive(Clone)]
pub(super) struct Transcript(Arc<Mutex<Exchanges>>);

#[derive(Default)]
struct Exchanges {
    exchanges: Vec<Exchange>,
    /// How much more may be kept; `None` once something was left out.
    left_bytes: Option<usize>,
}

#[derive(Default)]
struct Exchange {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    sent: Vec<Bytes>,
    status: Option<u16>,
    answer_headers: Vec<(String, String)>,
    heard: Vec<Bytes>,
    error: Option<GivenHttpError>,
}

/// One exchange under way.
#[derive(Clone)]
pub(super) struct Noted {
    transcript: Transcript,
    position: usize,
}

impl Transcript {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    fn lock(&self) -> MutexGuard<'_, Exchanges> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins that of another delivery. What is under way of the one before no longer counts.
    pub(super) fn begin(&mut self, limit_bytes: u64) {
        let left_bytes = Some(size(limit_bytes));
        match Arc::get_mut(&mut self.0) {
            Some(exchanges) => {
                let exchanges = exchanges.get_mut().unwrap_or_else(PoisonError::into_inner);
                exchanges.exchanges.clear();
                exchanges.left_bytes = left_bytes;
            }
            None => {
                let exchanges = Exchanges { exchanges: Vec::new(), left_bytes };
                self.0 = Arc::new(Mutex::new(exchanges));
            }
        }
    }

    /// Notes a request.
    pub(super) fn note<B>(&self, request: &Request<B>) -> Noted {
        let exchanges = &mut *self.lock();
        let (method, url) = (request.method().to_string(), request.uri().to_string());
        let headers = pairs(request.headers());
        if exchanges.take(EXCHANGE_BYTES + method.len() + url.len() + text_bytes(&headers)) {
            exchanges.exchanges.push(Exchange { method, url, headers, ..Exchange::default() });
            Noted { transcript: self.clone(), position: exchanges.exchanges.len() - 1 }
        } else {
            // Nothing is kept of it.
            Noted { transcript: self.clone(), position: usize::MAX }
        }
    }

    /// The answers, as given to the next run of the delivery.
    pub(super) fn record(&self, given: &mut Given) {
        let exchanges = self.lock();
        if exchanges.left_bytes.is_none() {
            given.is_cut = true;
            return;
        }
        given.http = exchanges.exchanges.iter().map(Exchange::answer).collect();
    }

    /// The host's words about the last request, if that is all there is.
    pub(super) fn refused(&self) -> Option<String> {
        let exchanges = self.lock();
        exchanges.exchanges.last()?.error.as_ref()?.detail.clone()
    }

    /// The requests.
    pub(super) fn calls(&self) -> Vec<HttpCall> {
        let call = |exchange: &Exchange| HttpCall {
            method: exchange.method.clone(),
            url: exchange.url.clone(),
            headers: exchange.headers.clone(),
            body: exchange.sent.concat().into(),
        };
        self.lock().exchanges.iter().map(call).collect()
    }
}

impl Exchanges {
    fn take(&mut self, bytes: usize) -> bool {
        self.left_bytes = self.left_bytes.and_then(|left| left.checked_sub(bytes));
        self.left_bytes.is_some()
    }
}

impl Exchange {
    fn answer(&self) -> GivenAnswer {
        let body = self.heard.concat();
        GivenAnswer {
            method: self.method.clone(),
            url: self.url.clone(),
            status: self.status,
            headers: self.answer_headers.clone(),
            body: (!body.is_empty()).then(|| Content::of(&body)),
            error: self.error.clone(),
        }
    }
}

impl Noted {
    fn update(&self, bytes: usize, change: impl FnOnce(&mut Exchange)) {
        let exchanges = &mut *self.transcript.lock();
        if exchanges.take(bytes)
            && let Some(exchange) = exchanges.exchanges.get_mut(self.position)
        {
            change(exchange);
        }
    }

    fn part(&self, bytes: &Bytes, of: impl FnOnce(&mut Exchange) -> &mut Vec<Bytes>) {
        if !bytes.is_empty() {
            self.update(bytes.len() + PART_BYTES, |exchange| of(exchange).push(bytes.clone()));
        }
    }

    /// Part of the request's body.
    pub(super) fn sent(&self, bytes: &Bytes) {
        self.part(bytes, |exchange| &mut exchange.sent);
    }

    /// The response's head.
    pub(super) fn answered<B>(&self, response: &Response<B>) {
        let headers = pairs(response.headers());
        self.update(text_bytes(&headers), |exchange| {
            exchange.status = Some(response.status().as_u16());
            exchange.answer_headers = headers;
        });
    }

    /// Part of the response's body.
    pub(super) fn heard(&self, bytes: &Bytes) {
        self.part(bytes, |exchange| &mut exchange.heard);
    }

    /// Why there is no response, or no more of it.
    pub(super) fn failed(&self, error: &Error) {
        self.update(0, |exchange| exchange.error = Some(super::codes::write(error)));
    }
}

fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

fn text_bytes(pairs: &[(String, String)]) -> usize {
    pairs.iter().map(|(name, value)| name.len() + value.len()).sum()
}
