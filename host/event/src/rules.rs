//! CloudEvents 1.0.2 rules for names and values. Every [`crate::Event`] is checked against them
//! when it is made and again when it is decoded.

use crate::time::is_time;
use fluent_uri::{Uri, UriRef};

use crate::limits::FOREIGN_EXTENSION_NAME_MAX_BYTES;
use crate::{EventError, media};

/// Names that extensions can't have.
pub(crate) fn is_reserved(name: &str) -> bool {
    matches!(
        name,
        "specversion"
            | "id"
            | "source"
            | "type"
            | "subject"
            | "time"
            | "datacontenttype"
            | "dataschema"
            | "data"
    )
}

/// An extension name: `[a-z0-9]`, 1 to `max_bytes` bytes, not reserved.
pub(crate) fn check_name(name: &str, max_bytes: usize) -> Result<(), EventError> {
    if name.is_empty() {
        return Err(EventError::rule(name, "must have a name of a-z and 0-9"));
    }
    if name.len() > max_bytes {
        return Err(EventError::rule(
            name,
            format!("must have a name of at most {max_bytes} characters"),
        ));
    }
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        return Err(EventError::rule(name, "must have a name of a-z and 0-9 only"));
    }
    if is_reserved(name) {
        return Err(EventError::rule(name, "is CloudEvents' own and can't be an extension"));
    }
    Ok(())
}

/// Checks that an attribute, core or extension, can have this name; for lookups by name. `data` is
/// not an attribute.
///
/// # Errors
/// No attribute can have this name; the text says why.
pub fn check_attribute_name(name: &str) -> Result<(), String> {
    let fits = name.len() <= FOREIGN_EXTENSION_NAME_MAX_BYTES
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if name.is_empty() {
        Err("an attribute's name must not be empty".to_owned())
    } else if name == "data" {
        Err("data is not an attribute and can't be compared".to_owned())
    } else if !fits {
        let shown: String = name.chars().take(64).collect();
        Err(format!("no attribute can be named {shown:?}: names are a-z and 0-9"))
    } else {
        Ok(())
    }
}

/// Refuses control characters and noncharacters (a `str` has no surrogates).
pub(crate) fn check_string(attribute: &str, text: &str) -> Result<(), EventError> {
    // No early exit, so that the loop vectorises.
    if text.bytes().fold(true, |fine, b| fine & (0x20..0x7f).contains(&b)) {
        return Ok(());
    }
    match text.chars().find(|c| is_forbidden(*c)) {
        Some(c) => Err(EventError::rule(
            attribute,
            "must have no control characters, surrogates or noncharacters",
        )
        .found_a(format!("U+{:04X}", u32::from(c)))),
        None => Ok(()),
    }
}

fn is_forbidden(c: char) -> bool {
    let code = u32::from(c);
    c.is_control() || (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe
}

pub(crate) fn check_not_empty(attribute: &str, text: &str) -> Result<(), EventError> {
    if text.is_empty() {
        return Err(EventError::rule(attribute, "must not be empty"));
    }
    Ok(())
}

/// An absolute URI: with a scheme, without a fragment.
pub(crate) fn check_uri(attribute: &str, text: &str) -> Result<(), EventError> {
    match Uri::parse(text) {
        Ok(uri) if !uri.has_fragment() => Ok(()),
        _ => Err(EventError::rule(
            attribute,
            "must be an absolute URI without a fragment (RFC 3986, section 4.3)",
        )
        .found(text)),
    }
}

pub(crate) fn check_uri_reference(attribute: &str, text: &str) -> Result<(), EventError> {
    match UriRef::parse(text) {
        Ok(_) => Ok(()),
        Err(_) => {
            Err(EventError::rule(attribute, "must be a URI reference (RFC 3986)").found(text))
        }
    }
}

pub(crate) fn check_timestamp(attribute: &str, text: &str) -> Result<(), EventError> {
    if is_time(text) {
        return Ok(());
    }
    Err(EventError::rule(
        attribute,
        "must be a date and time of RFC 3339, such as 2018-04-05T17:31:00Z",
    )
    .found(text))
}

pub(crate) fn check_media_type(attribute: &str, text: &str) -> Result<(), EventError> {
    if media::is_valid(text) {
        return Ok(());
    }
    Err(EventError::rule(attribute, "must be a media type (RFC 2046), such as application/json")
        .found(text))
}
