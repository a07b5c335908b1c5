//! Limits on events. An event that exceeds one is refused, never truncated.

/// Maximum size of an event in the compact encoding, including data.
pub const EVENT_MAX_BYTES: usize = 256 * 1024;

/// Maximum size of an encoded attribute value (UTF-8 for text, raw bytes for binary).
pub const ATTRIBUTE_MAX_BYTES: usize = 4 * 1024;

/// Maximum number of extension attributes.
pub const EXTENSIONS_MAX: usize = 64;

/// Maximum length of extension names in events built here, by a builder or a plugin (CloudEvents
/// asks producers for at most 20 characters).
pub const EXTENSION_NAME_MAX_BYTES: usize = 20;

/// Maximum length of extension names in events received from elsewhere.
pub const FOREIGN_EXTENSION_NAME_MAX_BYTES: usize = 64;

/// Maximum JSON size of one event. Escapes expand a byte to up to six.
pub const JSON_MAX_BYTES: usize = 6 * EVENT_MAX_BYTES;

/// Maximum number of events in a batch.
pub const BATCH_MAX_EVENTS: usize = 1_000;

/// Maximum JSON size of a batch.
pub const BATCH_MAX_BYTES: usize = 16 * 1024 * 1024;

/// Maximum characters of an offending value that an error repeats.
pub const FOUND_MAX_CHARS: usize = 64;

/// Maximum bytes of a failure's reason; the rest is cut.
pub const REASON_MAX_BYTES: usize = 4 * 1024;
