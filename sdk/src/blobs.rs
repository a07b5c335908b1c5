//! Content-addressed files, shared by all plugins that are granted them. A put becomes visible
//! when the delivery is acknowledged and leaves nothing otherwise.

use crate::{Error, backend};

/// What is known of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// SHA-256 of the content as 64 lower-case hexadecimal digits: the blob's name.
    pub digest: String,
    /// Length of the content.
    pub size_bytes: u64,
    /// Media type, as it was put.
    pub content_type: String,
}

/// A blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// What is known of it.
    pub info: Info,
    /// Its bytes.
    pub content: Vec<u8>,
}

/// Keeps content; answers its digest. Putting the same content again changes nothing.
///
/// # Errors
/// [`Error::Denied`] without the grant, [`Error::Limit`] beyond 16 MiB a blob or 1 GiB a plugin,
/// [`Error::Unavailable`] if the store failed.
pub fn put(content: &[u8], content_type: &str) -> Result<String, Error> {
    backend::blob_put(content, content_type)
}

/// The blob with this digest, whichever plugin put it; `None` where there is no such blob.
///
/// # Errors
/// [`Error::Denied`] without the grant, [`Error::Unavailable`] if the store failed.
pub fn get(digest: &str) -> Result<Option<Blob>, Error> {
    backend::blob_get(digest)
}

/// What this plugin has put, ordered by digest, those after `after`, at most 100.
///
/// # Errors
/// [`Error::Denied`] without the grant, [`Error::Unavailable`] if the store failed.
pub fn list(after: Option<&str>) -> Result<Vec<Info>, Error> {
    backend::blob_list(after)
}

/// Gives up this plugin's hold on a blob; no error where it has none.
///
/// # Errors
/// [`Error::Denied`] without the grant, [`Error::Unavailable`] if the store failed.
pub fn delete(digest: &str) -> Result<(), Error> {
    backend::blob_delete(digest)
}
