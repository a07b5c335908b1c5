//! Spans of HTTP requests that the router sends (semantic conventions for HTTP clients).

use http::header::{HeaderName, HeaderValue};
use http::{Request, StatusCode, Uri};

use crate::trace_context::TRACEPARENT;
use crate::{Span, SpanAbout, SpanAttributes, SpanKind};

/// The span of a request under way. Dropping it ends it as one that was given up.
#[derive(Debug)]
pub struct RequestSpan {
    /// `None` once it has ended.
    span: Option<Span>,
    method: String,
    uri: Uri,
}

impl RequestSpan {
    /// Begins the span of a request below `parent`, and tells the server of it, unless the request
    /// has trace context of its own.
    pub fn begin<B>(parent: Option<&Span>, request: &mut Request<B>) -> Option<Self> {
        let span = parent?.child();
        let name = HeaderName::from_static(TRACEPARENT);
        if !request.headers().contains_key(&name)
            && let Ok(value) = HeaderValue::try_from(span.context().to_string())
        {
            request.headers_mut().insert(name, value);
        }
        let (method, uri) = (request.method().to_string(), request.uri().clone());
        Some(Self { span: Some(span), method, uri })
    }

    /// Ends the span with the response's status, or with the reason that there is none.
    pub fn end(mut self, outcome: Result<StatusCode, String>) {
        self.ended(outcome);
    }

    fn ended(&mut self, outcome: Result<StatusCode, String>) {
        let Some(span) = self.span.take() else { return };
        let (method, uri) = (&self.method, &self.uri);
        span.end(SpanKind::Client, || {
            let (status, error) = match outcome {
                Ok(status) => (Some(status), status.is_client_error() || status.is_server_error()),
                Err(_) => (None, true),
            };
            let error_type = match status {
                Some(status) if error => Some(status.as_str().to_owned()),
                Some(_) => None,
                None => Some("no response".to_owned()),
            };
            let mut attributes: SpanAttributes = vec![
                ("http.request.method", method.as_str().into()),
                ("server.address", uri.host().unwrap_or_default().into()),
                ("url.full", without_query(uri).as_str().into()),
            ];
            attributes.extend(uri.port_u16().map(|port| ("server.port", u64::from(port).into())));
            let code = status.map(|status| u64::from(status.as_u16()));
            attributes.extend(code.map(|code| ("http.response.status_code", code.into())));
            attributes.extend(error_type.iter().map(|kind| ("error.type", kind.as_str().into())));
            let error = outcome.err().or(error_type.filter(|_| error));
            SpanAbout { name: method.clone(), attributes, error }
        });
    }
}

impl Drop for RequestSpan {
    fn drop(&mut self) {
        self.ended(Err("given up before there was a response".to_owned()));
    }
}

/// Queries have secrets in them more often than not.
fn without_query(uri: &Uri) -> String {
    let (scheme, authority) = (uri.scheme_str().unwrap_or("http"), uri.authority());
    let host = authority.map(|authority| authority.as_str()).unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}{}", uri.path())
}
