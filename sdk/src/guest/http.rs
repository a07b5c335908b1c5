//! Requests over wasi:http, with one deadline for sending, waiting and reading.

use wasip2::clocks::monotonic_clock;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, HeaderError, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme,
};
use wasip2::io::poll::{self, Pollable};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

use crate::Error;
use crate::http::{RESPONSE_MAX_BYTES, Request, Response};
use crate::url;

const READ_MAX_BYTES: u64 = 64 * 1024;

pub(crate) fn http_send(request: Request) -> Result<Response, Error> {
    let deadline = Deadline::new(&request);
    let outgoing = outgoing(&request)?;
    let body = outgoing.body().map_err(|()| refused("body"))?;
    let options = RequestOptions::new();
    let timeout_ns = Some(u64::try_from(request.timeout.as_nanos()).unwrap_or(u64::MAX));
    // Best effort: the host may not support these; the deadline applies regardless.
    let _ = options.set_connect_timeout(timeout_ns);
    let _ = options.set_first_byte_timeout(timeout_ns);
    let _ = options.set_between_bytes_timeout(timeout_ns);

    let future = outgoing_handler::handle(outgoing, Some(options)).map_err(failed(&request))?;
    let sent = send_body(body, &request.body, &deadline);
    if let Err(error @ Error::TimedOut(_)) = sent {
        return Err(error);
    }
    // A server may respond before it has read the whole body; its response takes precedence over
    // `sent`.
    deadline.wait(&future.subscribe())?;
    match future.get() {
        Some(Ok(Ok(response))) => read(response, &deadline),
        Some(Ok(Err(code))) => Err(failed(&request)(code)),
        _ => sent.and(Err(Error::Unavailable(format!("{} got no response", deadline.request)))),
    }
}

fn outgoing(request: &Request) -> Result<OutgoingRequest, Error> {
    let parts = url::parse(&request.url)?;
    let headers = headers(request)?;
    let outgoing = OutgoingRequest::new(headers);
    let scheme = if parts.https { Scheme::Https } else { Scheme::Http };
    let path = match parts.path_with_query {
        query if query.starts_with('?') => format!("/{query}"),
        "" => "/".to_owned(),
        path => path.to_owned(),
    };
    outgoing.set_method(&method(&request.method)).map_err(|()| refused("method"))?;
    outgoing.set_scheme(Some(&scheme)).map_err(|()| refused("scheme"))?;
    outgoing.set_authority(Some(parts.authority)).map_err(|()| refused("host"))?;
    outgoing.set_path_with_query(Some(&path)).map_err(|()| refused("path"))?;
    Ok(outgoing)
}

/// The request's headers, including its length.
fn headers(request: &Request) -> Result<Fields, Error> {
    let length = request.body.len().to_string();
    let fields = Fields::new();
    let own = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in own {
        if name.eq_ignore_ascii_case("content-length") {
            if value.trim() == length {
                continue;
            }
            return Err(Error::Invalid(format!(
                "header content-length of {} is {value}, but the body has {length} bytes: leave it out, \
                 it is set by the body",
                request.url
            )));
        }
        fields
            .append(&name.to_ascii_lowercase(), value.as_bytes())
            .map_err(|error| refused_header(name, &request.url, error))?;
    }
    let length = fields.append("content-length", length.as_bytes());
    length.map_err(|error| refused_header("content-length", &request.url, error))?;
    Ok(fields)
}

fn refused_header(name: &str, url: &str, error: HeaderError) -> Error {
    let why = match error {
        HeaderError::InvalidSyntax => {
            "has a name or value that HTTP can't carry: use letters, digits and hyphens in names, and no \
             line breaks in values"
        }
        HeaderError::Forbidden => "is the host's to set: leave it out",
        HeaderError::Immutable => "can't be set any more",
    };
    Error::Invalid(format!("header {name} of {url} {why}"))
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

fn refused(part: &str) -> Error {
    Error::Invalid(format!("the host refused the request's {part}: check its syntax"))
}

/// Maps a host error; keeps its text, which may name a missing grant.
fn failed(request: &Request) -> impl Fn(ErrorCode) -> Error {
    move |code| {
        let request = format!("{} {}", request.method, request.url);
        match code {
            ErrorCode::HttpRequestDenied => Error::Denied(format!(
                "{request} is not granted: the operator can allow its origin in `http`"
            )),
            // `HttpRequestDenied` carries no text, so Usher names the missing grant in an internal
            // error.
            ErrorCode::InternalError(Some(text)) if text.contains("is not granted") => {
                Error::Denied(text)
            }
            ErrorCode::InternalError(Some(text)) => {
                Error::Unavailable(format!("{request}: {text}"))
            }
            ErrorCode::ConnectionTimeout
            | ErrorCode::ConnectionReadTimeout
            | ErrorCode::ConnectionWriteTimeout
            | ErrorCode::HttpResponseTimeout
            | ErrorCode::DnsTimeout => Error::TimedOut(format!("{request} timed out")),
            ErrorCode::HttpResponseBodySize(_) => {
                Error::Limit(format!("{request}: the response is too large"))
            }
            ErrorCode::HttpRequestBodySize(_) => {
                Error::Limit(format!("{request}: the request is too large"))
            }
            ErrorCode::HttpRequestUriInvalid | ErrorCode::HttpRequestMethodInvalid => {
                Error::Invalid(format!("{request}: {}", words(&code)))
            }
            code => Error::Unavailable(format!("{request}: {}", words(&code))),
        }
    }
}

/// Describes a host error.
fn words(code: &ErrorCode) -> String {
    match code {
        ErrorCode::DnsError(error) => {
            let detail = error.rcode.as_deref().map(|detail| format!(": {detail}"));
            format!("the name can't be resolved{}", detail.unwrap_or_default())
        }
        ErrorCode::DestinationNotFound => "there is no such host".to_owned(),
        ErrorCode::DestinationUnavailable => "the host can't be reached".to_owned(),
        ErrorCode::ConnectionRefused => "the host refused the connection".to_owned(),
        ErrorCode::ConnectionTerminated => "the connection broke off".to_owned(),
        ErrorCode::TlsCertificateError => "the server's certificate is not valid".to_owned(),
        ErrorCode::TlsProtocolError => "TLS failed".to_owned(),
        ErrorCode::HttpRequestUriInvalid => "the address is not valid".to_owned(),
        ErrorCode::HttpRequestMethodInvalid => "the method is not valid".to_owned(),
        ErrorCode::HttpResponseIncomplete => "the response broke off".to_owned(),
        ErrorCode::HttpProtocolError => {
            "the server does not speak HTTP/1.1 as it should".to_owned()
        }
        // The names of the remaining variants are descriptive.
        other => spaced(&format!("{other:?}")),
    }
}

/// Splits a name into words: `ConnectionLimitReached` becomes `connection limit reached`.
fn spaced(name: &str) -> String {
    let name = name.rsplit("::").next().unwrap_or(name);
    let name = name.split(['(', '{', ' ']).next().unwrap_or(name);
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

fn send_body(body: OutgoingBody, bytes: &[u8], deadline: &Deadline) -> Result<(), Error> {
    let broke_off = |_| Error::Unavailable(format!("{} broke off", deadline.request));
    let stream = body.write().map_err(|()| refused("body"))?;
    write_all(&stream, bytes, deadline)?;
    drop(stream);
    OutgoingBody::finish(body, None).map_err(broke_off)
}

fn write_all(stream: &OutputStream, mut bytes: &[u8], deadline: &Deadline) -> Result<(), Error> {
    let broke_off = |_| Error::Unavailable(format!("{} broke off", deadline.request));
    let ready = stream.subscribe();
    while !bytes.is_empty() {
        let room = usize::try_from(stream.check_write().map_err(broke_off)?).unwrap_or(usize::MAX);
        if room == 0 {
            deadline.wait(&ready)?;
            continue;
        }
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        stream.write(now).map_err(broke_off)?;
        bytes = later;
    }
    stream.flush().map_err(broke_off)?;
    deadline.wait(&ready)?;
    stream.check_write().map_err(broke_off).map(drop)
}

fn read(response: IncomingResponse, deadline: &Deadline) -> Result<Response, Error> {
    let mut read = Response::new(response.status());
    for (name, value) in response.headers().entries() {
        read.headers.push((name, String::from_utf8_lossy(&value).into_owned()));
    }
    let body = response
        .consume()
        .map_err(|()| Error::Unavailable(format!("{} got no body", deadline.request)))?;
    let stream = body
        .stream()
        .map_err(|()| Error::Unavailable(format!("{} got no body", deadline.request)))?;
    read.body = read_all(&stream, deadline)?;
    Ok(read)
}

fn read_all(stream: &InputStream, deadline: &Deadline) -> Result<Vec<u8>, Error> {
    let ready = stream.subscribe();
    let mut body = Vec::new();
    loop {
        deadline.wait(&ready)?;
        match stream.read(READ_MAX_BYTES) {
            Ok(chunk) if body.len() + chunk.len() > RESPONSE_MAX_BYTES => {
                return Err(Error::Limit(format!(
                    "the response to {} is longer than {RESPONSE_MAX_BYTES} bytes",
                    deadline.request
                )));
            }
            Ok(chunk) => body.extend_from_slice(&chunk),
            Err(StreamError::Closed) => return Ok(body),
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(Error::Unavailable(format!(
                    "the response to {} broke off: {}",
                    deadline.request,
                    error.to_debug_string()
                )));
            }
        }
    }
}

/// The deadline of a whole request.
struct Deadline {
    timer: Pollable,
    timeout_ms: u128,
    /// Method and URL, for errors.
    request: String,
}

impl Deadline {
    fn new(request: &Request) -> Self {
        let timeout_ns = u64::try_from(request.timeout.as_nanos()).unwrap_or(u64::MAX);
        Self {
            timer: monotonic_clock::subscribe_duration(timeout_ns),
            timeout_ms: request.timeout.as_millis(),
            request: format!("{} {}", request.method, request.url),
        }
    }

    /// Waits until `event` is ready, or fails at the deadline.
    fn wait(&self, event: &Pollable) -> Result<(), Error> {
        if event.ready() || poll::poll(&[event, &self.timer]).contains(&0) {
            return Ok(());
        }
        Err(Error::TimedOut(format!("{} took longer than {} ms", self.request, self.timeout_ms)))
    }
}
