//! What the operator configured for this plugin: settings, and secrets granted to it.

use crate::{Error, backend};

/// The value of a key; `None` where the operator has not set it.
///
/// # Errors
/// [`Error::Denied`] if this plugin has no configuration at all.
pub fn get(key: &str) -> Result<Option<String>, Error> {
    backend::config_get(key)
}

/// The value of a key that must be there.
///
/// # Errors
/// [`Error::Denied`] if the operator has not set it. With `?` that asks for another attempt: once
/// the value is there, all goes on by itself.
pub fn require(key: &str) -> Result<String, Error> {
    get(key)?.ok_or_else(|| {
        Error::Denied(format!("`{key}` is not configured: set it in this plugin's config"))
    })
}

/// All settings, ordered by key, without secrets.
///
/// # Errors
/// [`Error::Denied`] if this plugin has no configuration at all.
pub fn all() -> Result<Vec<(String, String)>, Error> {
    backend::config_all()
}
