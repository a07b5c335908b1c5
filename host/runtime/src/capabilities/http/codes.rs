//! Errors of wasi:http as they are written in a recording: the case of `error-code`, and its detail.

use usher_event::GivenHttpError;
use wasmtime_wasi_http::Error;

macro_rules! plain {
    ($($case:ident $code:literal,)+) => {
        /// The code of an error without detail.
        fn plain_code(error: &Error) -> Option<&'static str> {
            match error {
                $(Error::$case => Some($code),)+
                _ => None,
            }
        }

        fn plain_error(code: &str) -> Option<Error> {
            match code {
                $($code => Some(Error::$case),)+
                _ => None,
            }
        }

        /// Codes that a fixture may name.
        const PLAIN: &[&str] = &[$($code),+];
    };
}

plain! {
    DnsTimeout "dns-timeout",
    DestinationNotFound "destination-not-found",
    DestinationUnavailable "destination-unavailable",
    DestinationIpProhibited "destination-ip-prohibited",
    DestinationIpUnroutable "destination-ip-unroutable",
    ConnectionRefused "connection-refused",
    ConnectionTerminated "connection-terminated",
    ConnectionTimeout "connection-timeout",
    ConnectionReadTimeout "connection-read-timeout",
    ConnectionWriteTimeout "connection-write-timeout",
    ConnectionLimitReached "connection-limit-reached",
    TlsProtocolError "tls-protocol-error",
    TlsCertificateError "tls-certificate-error",
    HttpRequestDenied "http-request-denied",
    HttpRequestMethodInvalid "http-request-method-invalid",
    HttpRequestUriInvalid "http-request-uri-invalid",
    HttpRequestUriTooLong "http-request-uri-too-long",
    HttpResponseIncomplete "http-response-incomplete",
    HttpResponseTimeout "http-response-timeout",
    HttpProtocolError "http-protocol-error",
    LoopDetected "loop-detected",
    ConfigurationError "configuration-error",
}

const DNS_ERROR: &str = "dns-error";
const REQUEST_BODY_SIZE: &str = "http-request-body-size";
const RESPONSE_BODY_SIZE: &str = "http-response-body-size";
const INTERNAL_ERROR: &str = "internal-error";

/// An error, for a recording. Those that the host translates for the guest are written as what
/// the guest sees.
pub(super) fn write(error: &Error) -> GivenHttpError {
    let (code, detail) = match error {
        Error::DnsError { rcode, .. } => (DNS_ERROR, rcode.clone()),
        Error::HttpRequestBodySize(bytes) => {
            (REQUEST_BODY_SIZE, bytes.map(|bytes| bytes.to_string()))
        }
        Error::HttpResponseBodySize(bytes) => {
            (RESPONSE_BODY_SIZE, bytes.map(|bytes| bytes.to_string()))
        }
        Error::InternalError(words) => (INTERNAL_ERROR, words.clone()),
        Error::Hyper(_) => ("http-protocol-error", None),
        Error::Connect(_) => ("connection-refused", None),
        Error::Tls(_) => ("tls-protocol-error", None),
        other => match plain_code(other) {
            Some(code) => (code, None),
            None => (INTERNAL_ERROR, Some(other.to_string())),
        },
    };
    GivenHttpError { code: code.to_owned(), detail }
}

/// The error that a fixture gives.
///
/// # Errors
/// There is no such code; in words.
pub(super) fn read(given: &GivenHttpError) -> Result<Error, String> {
    let GivenHttpError { code, detail } = given;
    let bytes = || detail.as_deref().and_then(|detail| detail.parse().ok());
    match code.as_str() {
        DNS_ERROR => Ok(Error::DnsError { rcode: detail.clone(), info_code: None }),
        REQUEST_BODY_SIZE => Ok(Error::HttpRequestBodySize(bytes())),
        RESPONSE_BODY_SIZE => Ok(Error::HttpResponseBodySize(bytes())),
        INTERNAL_ERROR => Ok(Error::InternalError(detail.clone())),
        code => plain_error(code).ok_or_else(|| {
            let detailed = [DNS_ERROR, REQUEST_BODY_SIZE, RESPONSE_BODY_SIZE, INTERNAL_ERROR];
            let known = [PLAIN, &detailed].concat().join(", ");
            format!("there is no error {code:?} of wasi:http: there are {known}")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_read_as_it_was_written() {
        let detailed = [
            Error::DnsError { rcode: Some("NXDOMAIN".to_owned()), info_code: None },
            Error::HttpRequestBodySize(Some(7)),
            Error::HttpResponseBodySize(None),
            Error::InternalError(Some("words".to_owned())),
        ];
        let plain = PLAIN.iter().map(|code| plain_error(code).unwrap());
        for error in plain.chain(detailed) {
            let written = write(&error);
            assert_eq!(write(&read(&written).unwrap()), written, "{error}");
        }
        let unknown = GivenHttpError { code: "enoent".to_owned(), detail: None };
        assert!(read(&unknown).unwrap_err().contains("connection-refused, "));
    }
}
