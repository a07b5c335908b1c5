//! Sources and types that producers can't use.

/// Types with this prefix are reserved for system events; producers and plugins can't use them.
pub const SYSTEM_TYPE_PREFIX: &str = "dev.usher.";

/// Source of system events; reserved, including everything below it.
pub const SYSTEM_SOURCE: &str = "/usher";

/// Sources under this path are reserved for plugins' emissions; producers can't use them.
pub const PLUGIN_SOURCE_PREFIX: &str = "/plugins/";
