//! Limits of one plugin, as one table: each row has a name with its unit, a default and the range
//! configuration may use, so that documentation, validation and enforcement agree.

use std::collections::BTreeMap;

use serde::de::value::MapDeserializer;
use serde::{Deserialize, Serialize};
use usher_event::Quota;

/// One row of the table of limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitRow {
    /// Configuration key, with the unit last.
    pub name: &'static str,
    /// What it limits.
    pub summary: &'static str,
    /// The value if not configured.
    pub default: u64,
    /// The smallest value configuration may set.
    pub min: u64,
    /// The largest value configuration may set.
    pub max: u64,
}

/// A limit outside the range that configuration may use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} = {value} is out of range: use {min} to {max}")]
pub struct LimitError {
    /// The row's name.
    pub name: &'static str,
    /// The configured value.
    pub value: u64,
    /// The smallest value.
    pub min: u64,
    /// The largest value.
    pub max: u64,
}

/// All the limits that are out of range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitErrors(pub Vec<LimitError>);

impl std::fmt::Display for LimitErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (position, error) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { "; " };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for LimitErrors {}

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident = $default:expr, $min:expr => $max:expr;)+) => {
        /// The limits of one plugin. [`Limits::default`] is the table's default column.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Limits {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl Limits {
            /// Every row, in the order of the documentation.
            pub const ROWS: &[LimitRow] = &[$(LimitRow {
                name: stringify!($name),
                summary: concat!($($doc),+).trim_ascii_start(),
                default: $default,
                min: $min,
                max: $max,
            },)+];

            /// The largest values configuration may set.
            pub const CEILING: Self = Self { $($name: $max,)+ };

            /// The values in the order of [`Limits::ROWS`].
            fn values(&self) -> impl Iterator<Item = u64> {
                [$(self.$name,)+].into_iter()
            }
        }
    };
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

limits! {
    /// CPU time of one delivery.
    cpu_ms = 250, 10 => 60_000;
    /// Time of one delivery by the clock on the wall, host calls included.
    wall_ms = 30_000, 10 => 600_000;
    /// Linear memory of one instance, all its memories together.
    memory_bytes = 128 * MIB, MIB => GIB;
    /// Elements of one table.
    table_elements = 10_000, 100 => 100_000;
    /// Core instances in one component.
    core_instances = 32, 1 => 256;
    /// Data handed to the host in one call; a plugin that is granted blobs may hand over one blob
    /// more.
    host_call_bytes = 2 * MIB, 64 * KIB => 16 * MIB;
    /// Handles an instance holds at a time.
    handles = 1_000, 16 => 100_000;
    /// Host resources (streams, requests, buckets) an instance holds at a time.
    resources = 1_000, 16 => 100_000;
    /// Emissions of one delivery.
    emissions = 100, 0 => 1_000;
    /// Emissions of one delivery, all together.
    emission_bytes = MIB, 0 => 16 * MIB;
    /// Emissions of all deliveries that wait for their delay.
    delayed_emissions = 10_000, 0 => 50_000;
    /// Log output of one delivery; the rest is cut.
    log_bytes = 64 * KIB, 0 => MIB;
    /// Log output of all deliveries in a minute; the rest is cut.
    log_minute_bytes = MIB, 0 => 64 * MIB;
    /// One value of state.
    state_value_bytes = 64 * KIB, 0 => MIB;
    /// Keys and values of state, all together.
    state_bytes = 10 * MIB, 0 => GIB;
    /// Keys of state.
    state_keys = 10_000, 0 => 1_000_000;
    /// One blob.
    blob_bytes = 16 * MIB, 0 => 64 * MIB;
    /// Blobs put in one delivery, all together.
    delivery_blob_bytes = 32 * MIB, 0 => 256 * MIB;
    /// Blobs, all together.
    blobs_bytes = GIB, 0 => 1024 * GIB;
    /// HTTP calls of one delivery.
    http_calls = 10, 0 => 1_000;
    /// HTTP calls of one instance at a time.
    http_concurrent_calls = 4, 1 => 64;
    /// Connecting for an HTTP call: name, address, TLS.
    http_connect_ms = 2_000, 10 => 60_000;
    /// An HTTP call in all, until the last byte of its response.
    http_total_ms = 10_000, 10 => 300_000;
    /// Body of an HTTP request.
    http_request_bytes = MIB, 0 => 64 * MIB;
    /// Body of an HTTP response.
    http_response_bytes = MIB, 0 => 64 * MIB;
    /// Recording of what a delivery was told; 0 turns recording off.
    recording_bytes = 256 * KIB, 0 => 16 * MIB;
    /// Deliveries after which a warm instance is replaced.
    calls_per_instance = 10_000, 1 => 1_000_000_000;
    /// Memory of a warm instance beyond which it is replaced after its delivery.
    recycle_memory_bytes = 64 * MIB, MIB => GIB;
    /// Instances kept warm while nothing runs.
    idle_instances = 16, 0 => 1_000;
}

impl Limits {
    /// Checks every value.
    ///
    /// # Errors
    /// Some are out of range.
    pub fn check(&self) -> Result<(), LimitErrors> {
        let errors: Vec<_> = Self::ROWS
            .iter()
            .zip(self.values())
            .filter(|(row, value)| !(row.min..=row.max).contains(value))
            .map(|(row, value)| LimitError { name: row.name, value, min: row.min, max: row.max })
            .collect();
        if errors.is_empty() { Ok(()) } else { Err(LimitErrors(errors)) }
    }

    /// Those that aren't the default, by name; without `recording_bytes`, which no delivery notices.
    pub(crate) fn given(&self) -> BTreeMap<String, u64> {
        let rows = Self::ROWS.iter().zip(self.values());
        rows.filter(|(row, value)| row.default != *value && row.name != "recording_bytes")
            .map(|(row, value)| (row.name.to_owned(), value))
            .collect()
    }

    /// The default ones but for those that are given by name.
    ///
    /// # Errors
    /// There is no such limit, or a value is out of range; in words.
    pub fn of_given(given: &BTreeMap<String, u64>) -> Result<Self, String> {
        let deserializer =
            MapDeserializer::new(given.iter().map(|(name, value)| (&**name, *value)));
        let limits = Self::deserialize(deserializer)
            .map_err(|error: serde::de::value::Error| format!("limits: {error}"))?;
        limits.check().map_err(|errors| format!("limits: {errors}"))?;
        Ok(limits)
    }

    /// The limits that the broker enforces at commit.
    pub(crate) fn quota(&self) -> Quota {
        let Self { state_bytes, state_keys, blobs_bytes, .. } = *self;
        Quota { state_bytes, state_keys, blobs_bytes }
    }
}

/// Maximum size of a component.
pub const COMPONENT_MAX_BYTES: usize = 64 * 1024 * 1024;
/// Maximum size of the native code a component is compiled to.
pub(crate) const CODE_MAX_BYTES: usize = 512 * 1024 * 1024;
/// CPU budget of loading: start functions plus `describe`.
pub(crate) const DESCRIBE_CPU_MS: u64 = 1_000;
/// Wall-clock limit of the same; generous, because the machine may be busy.
pub(crate) const DESCRIBE_WALL_MS: u64 = 15_000;
/// Stack of a guest.
pub(crate) const WASM_STACK_BYTES: usize = 512 * 1024;
/// Maximum memories and tables of an instance.
pub(crate) const MEMORIES_MAX: usize = 8;
pub(crate) const TABLES_MAX: usize = 32;
/// Maximum random bytes per call.
pub(crate) const RANDOM_MAX_BYTES: u64 = 64 * 1024;
/// Maximum header bytes of one HTTP message, as counted by wasi:http.
pub(crate) const HTTP_FIELDS_MAX_BYTES: usize = 32 * 1024;

/// Limits that can't be configured, for the documentation: description and value.
pub const FIXED_LIMITS: [(&str, u64); 11] = [
    ("bytes of a component file", COMPONENT_MAX_BYTES as u64),
    ("bytes of native code it is compiled to", CODE_MAX_BYTES as u64),
    ("milliseconds of CPU for start functions and `describe`", DESCRIBE_CPU_MS),
    ("milliseconds by the clock for the same", DESCRIBE_WALL_MS),
    ("bytes of a guest's stack", WASM_STACK_BYTES as u64),
    ("memories of one instance", MEMORIES_MAX as u64),
    ("tables of one instance", TABLES_MAX as u64),
    ("random bytes in one call", RANDOM_MAX_BYTES),
    ("bytes of the header fields of an HTTP message", HTTP_FIELDS_MAX_BYTES as u64),
    ("bytes of the reason of a failure", usher_event::limits::REASON_MAX_BYTES as u64),
    ("bytes of an event", usher_event::limits::EVENT_MAX_BYTES as u64),
];

/// A limit as `usize`. Ceilings keep all of them far below the address space.
pub(crate) fn size(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_ceiling_are_in_range() {
        assert_eq!(Limits::default().check(), Ok(()));
        assert_eq!(Limits::CEILING.check(), Ok(()));
    }

    #[test]
    fn rows_are_made_from_the_table() {
        let row = Limits::ROWS[0];
        assert_eq!((row.name, row.default, row.min, row.max), ("cpu_ms", 250, 10, 60_000));
        assert_eq!(row.summary, "CPU time of one delivery.");
    }

    #[test]
    fn what_is_not_the_default_can_be_given() {
        let limits = Limits { cpu_ms: 10, recording_bytes: 0, ..Limits::default() };
        let given = limits.given();
        assert_eq!(given, BTreeMap::from([("cpu_ms".to_owned(), 10)]));
        assert_eq!(Limits::of_given(&given), Ok(Limits { cpu_ms: 10, ..Limits::default() }));
        let refused = |name: &str, value| {
            Limits::of_given(&BTreeMap::from([(name.to_owned(), value)])).unwrap_err()
        };
        assert_eq!(refused("cpu_ms", 9), "limits: cpu_ms = 9 is out of range: use 10 to 60000");
        assert!(refused("cpu", 10).starts_with("limits: unknown field `cpu`, expected one of"));
    }

    #[test]
    fn every_row_that_is_out_of_range_is_reported() {
        let limits = Limits { cpu_ms: 9, memory_bytes: GIB + 1, ..Limits::default() };
        assert_eq!(
            limits.check().unwrap_err().to_string(),
            "cpu_ms = 9 is out of range: use 10 to 60000; \
             memory_bytes = 1073741825 is out of range: use 1048576 to 1073741824"
        );
    }
}
