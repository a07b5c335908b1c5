//! Why a request came to nothing.

use std::io;

use crate::response::Refusal;

/// A request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection was refused.
    #[error("no router at {base}: start one with `usher run`")]
    NoRouter {
        /// The router's address.
        base: String,
    },
    /// The host's name doesn't resolve.
    #[error("no such host: {base}")]
    NoHost {
        /// The router's address.
        base: String,
    },
    /// There is no such socket.
    #[error("no router at {base}: there is no such socket")]
    NoSocket {
        /// The router's address.
        base: String,
    },
    /// No answer within the time limit.
    #[error("{base} did not answer in time")]
    Timeout {
        /// The router's address.
        base: String,
    },
    /// The router's certificate is not accepted, or it speaks no TLS.
    #[error("{words}")]
    Tls {
        /// Why.
        words: String,
    },
    /// Anything else between here and the router.
    #[error("{base}: {error}")]
    Transport {
        /// The router's address.
        base: String,
        /// What happened.
        error: ureq::Error,
    },
    /// The request can't be written as HTTP.
    #[error("{base}: {error}")]
    Invalid {
        /// The router's address.
        base: String,
        /// Why.
        error: String,
    },
    /// The answer is not what the API returns.
    #[error("{url} returned something unexpected: {error}")]
    Unexpected {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// The router refused.
    #[error("{0}")]
    Refused(Box<Refusal>),
}

impl Error {
    pub(crate) fn transport(base: &str, error: ureq::Error) -> Self {
        let base = base.to_owned();
        match error {
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                Self::NoRouter { base }
            }
            ureq::Error::Io(error)
                if error.kind() == io::ErrorKind::NotFound && base.starts_with("unix:") =>
            {
                Self::NoSocket { base }
            }
            ureq::Error::Io(error) if let Some(words) = tls(&base, &error) => Self::Tls { words },
            ureq::Error::HostNotFound => Self::NoHost { base },
            ureq::Error::Timeout(_) => Self::Timeout { base },
            error => Self::Transport { base, error },
        }
    }
}

/// Why TLS with the router at `base` failed, if that is what failed.
fn tls(base: &str, error: &io::Error) -> Option<String> {
    let host = base.strip_prefix("https://").unwrap_or(base);
    usher_tls::explain(host, error, "name a file of roots with --ca-file")
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}
