//! Spans of HTTP requests that the router sends (semantic conventions for HTTP clients).

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};

use crate::trace_context::TRACEPARENT;
use crate::{Span, SpanAbout, SpanAttributes, SpanKind, TraceContext};

/// The span of a request under way. Dropping it ends it as one that was given up.
#[derive(Debug)]
pub struct RequestSpan {
    /// `None` once it has ended.
    span: Option<Span>,
    context: TraceContext,
    method: &'static str,
    /// As it may be shown.
    url: String,
    host: String,
    port: Option<u16>,
}

impl RequestSpan {
    /// Begins the span of a request below `parent`. `redact` takes out of its URL what is secret;
    /// the query is left out in any case.
    pub fn begin<B>(
        parent: &Span,
        request: &Request<B>,
        redact: impl FnOnce(String) -> String,
    ) -> Self {
        let (span, uri) = (parent.child(), request.uri());
        let url = if span.is_recorded() { redact(without_query(uri)) } else { String::new() };
        Self {
            context: span.context(),
            span: Some(span),
            method: known(request.method()),
            url,
            host: uri.host().unwrap_or_default().to_owned(),
            port: uri.port_u16(),
        }
    }

    /// Tells the server of it, unless the request has trace context of its own.
    pub fn tell(&self, headers: &mut HeaderMap) {
        if let Ok(context) = HeaderValue::try_from(self.context.to_string()) {
            headers.entry(TRACEPARENT).or_insert(context);
        }
    }

    /// Ends the span with the response's status, or with the reason that there is none.
    pub fn end(mut self, outcome: Result<StatusCode, String>) {
        self.ended(outcome);
    }

    fn ended(&mut self, outcome: Result<StatusCode, String>) {
        let Some(span) = self.span.take() else { return };
        span.end(SpanKind::Client, || {
            let mut attributes: SpanAttributes = vec![
                ("http.request.method", self.method.into()),
                ("server.address", self.host.as_str().into()),
                ("url.full", self.url.as_str().into()),
            ];
            attributes.extend(self.port.map(|port| ("server.port", u64::from(port).into())));
            let error = match outcome {
                Ok(status) => {
                    let code = u64::from(status.as_u16());
                    attributes.push(("http.response.status_code", code.into()));
                    let is_error = status.is_client_error() || status.is_server_error();
                    is_error.then(|| (status.as_str().to_owned(), status.to_string()))
                }
                Err(reason) => Some(("no response".to_owned(), reason)),
            };
            let error = error.map(|(kind, reason)| {
                attributes.push(("error.type", kind.as_str().into()));
                reason
            });
            SpanAbout { name: self.method.to_owned(), attributes, error }
        });
    }
}

impl Drop for RequestSpan {
    fn drop(&mut self) {
        self.ended(Err("given up before there was a response".to_owned()));
    }
}

/// The method's name; a plugin may make up any other.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] =
        ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

fn without_query(uri: &Uri) -> String {
    let (scheme, authority) = (uri.scheme_str().unwrap_or("http"), uri.authority());
    let authority = authority.map(|authority| authority.as_str()).unwrap_or_default();
    format!("{scheme}://{authority}{}", uri.path())
}
