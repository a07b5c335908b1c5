//! The plugin's configuration: settings, and granted secrets.

use crate::{Error, backend};

/// Returns a key's value; `None` if the operator hasn't set it.
///
/// # Errors
/// [`Error::Denied`] if this plugin has no configuration at all.
pub fn get(key: &str) -> Result<Option<String>, Error> {
    backend::config_get(key)
}

/// Returns the value of a required key.
///
/// # Errors
/// [`Error::Denied`] if the operator hasn't set it. With `?` that retries the delivery, so it
/// succeeds once the value is set.
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
