//! Content-addressed files, shared by all plugins that are granted them. A put becomes visible
//! when the delivery is acknowledged and leaves nothing otherwise.

use crate::{Error, backend};

/// Metadata of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// SHA-256 of the content as 64 lower-case hexadecimal digits: the blob's name.
    pub digest: String,
    /// Length of the content.
    pub size_bytes: u64,
    /// Media type, as given to [`put`].
    pub content_type: String,
}

/// A blob with its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its metadata.
    pub info: Info,
    /// The content.
    pub content: Vec<u8>,
}

/// Stores content and returns its digest. Idempotent.
///
/// # Errors
/// [`Error::Denied`] without the grant, [`Error::Limit`] beyond 16 MiB a blob or 1 GiB a plugin,
/// [`Error::Unavailable`] if the store failed.
pub fn put(content: &[u8], content_type: &str) -> Result<String, Error> {
    backend::blob_put(content, content_type)
}

/// Returns the blob with this digest, whichever plugin put it; `None` if it doesn't exist.
///
/// # Errors
/// [`Error::Denied`] without the grant, [`Error::Unavailable`] if the store failed.
pub fn get(digest: &str) -> Result<Option<Blob>, Error> {
    backend::blob_get(digest)
}

/// Lists this plugin's blobs, ordered by digest, starting after `after`; at most 100.
///
/// # Errors
/// [`Error::Denied`] without the grant, [`Error::Unavailable`] if the store failed.
pub fn list(after: Option<&str>) -> Result<Vec<Info>, Error> {
    backend::blob_list(after)
}

/// Drops this plugin's reference to a blob; no-op if there is none.
///
/// # Errors
/// [`Error::Denied`] without the grant, [`Error::Unavailable`] if the store failed.
pub fn delete(digest: &str) -> Result<(), Error> {
    backend::blob_delete(digest)
}
