//! What an event may have at most. One that goes past a limit is refused, never cut.

/// The longest event in the compact encoding, data included.
pub const EVENT_MAX_BYTES: usize = 256 * 1024;

/// The longest attribute value, in its encoded form (UTF-8 for text, raw bytes for binary).
pub const ATTRIBUTE_MAX_BYTES: usize = 4 * 1024;

/// The most extension attributes of one event.
pub const EXTENSIONS_MAX: usize = 64;

/// The longest extension name in events made here, by a builder or a plugin (CloudEvents asks
/// producers for at most 20 characters).
pub const EXTENSION_NAME_MAX_BYTES: usize = 20;

/// The longest extension name in events that come from elsewhere.
pub const FOREIGN_EXTENSION_NAME_MAX_BYTES: usize = 64;

/// The longest JSON text of one event. Base64 and escapes take more room than what they stand
/// for, up to six bytes for one.
pub const JSON_MAX_BYTES: usize = 6 * EVENT_MAX_BYTES;

/// The most events in one batch.
pub const BATCH_MAX_EVENTS: usize = 1_000;

/// The longest JSON text of one batch.
pub const BATCH_MAX_BYTES: usize = 16 * 1024 * 1024;

/// How many characters of an offending value an error repeats.
pub const FOUND_MAX_CHARS: usize = 64;
