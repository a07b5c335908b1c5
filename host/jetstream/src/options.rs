//! Where the stream is, and who asks.

use std::path::PathBuf;
use std::time::Duration;

/// Maximum length of the name of a stream or a node.
pub const NAME_MAX_CHARS: usize = 64;

/// Options of a [`crate::JetStreamJournal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JetStreamOptions {
    /// URLs of NATS servers, such as `nats://127.0.0.1:4222`, or `tls://` to require TLS.
    pub servers: Vec<String>,
    /// The stream's name.
    pub stream: String,
    /// Whether a stream that isn't there is made.
    pub makes_stream: bool,
    /// On how many servers a new stream is kept.
    pub replicas: usize,
    /// The name of this node, by which others know it.
    pub node: String,
    /// Where clients reach this node's HTTP API, for other nodes to tell.
    pub url: Option<String>,
    /// The user to log in as, and a file with its password.
    pub user: Option<(String, PathBuf)>,
    /// Files with a client certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// A file with certificates of authorities to trust beside the system's.
    pub ca: Option<PathBuf>,
    /// For how long nothing is heard of the owner until another node takes over.
    pub takeover_after: Duration,
    /// The place of this node in the order in which nodes take over; 0 is the first.
    pub rank: u32,
}

impl JetStreamOptions {
    /// The defaults for these servers and this node.
    pub fn new(servers: impl Into<Vec<String>>, node: &str) -> Self {
        Self {
            servers: servers.into(),
            stream: "usher".to_owned(),
            makes_stream: true,
            replicas: 3,
            node: node.to_owned(),
            url: None,
            user: None,
            certificate: None,
            ca: None,
            takeover_after: Duration::from_secs(2),
            rank: 0,
        }
    }
}

/// Whether this can be the name of a stream or a node: ASCII letters, digits, `-` and `_`.
pub fn is_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    !name.is_empty() && name.len() <= NAME_MAX_CHARS && name.chars().all(is_allowed)
}
