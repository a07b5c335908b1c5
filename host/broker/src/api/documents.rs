//! Documents: what others keep in the journal besides events, such as access tokens.

use bytes::Bytes;

/// A small text under a name, as it is to be from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The name, 1 to [`crate::DOCUMENT_NAME_MAX_BYTES`] bytes.
    pub name: Box<str>,
    /// At most [`crate::DOCUMENT_MAX_BYTES`]; `None` if there is to be none with this name.
    pub content: Option<Bytes>,
}
