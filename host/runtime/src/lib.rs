//! Runs listeners as sandboxed WebAssembly components. The only host crate that knows wasmtime.
//!
//! Lifecycle: [`Runtime::load`] compiles, links and describes a plugin ([`Loaded`]);
//! [`Loaded::listener`] applies [`Limits`] and [`Grants`]; the [`WasmListener`] then handles
//! deliveries, each with exclusive use of a [warm or fresh](Isolation) instance, and returns a
//! verdict and staged effects. Whatever the guest does, the result is a verdict: a guest can
//! exhaust its own time and memory and fail its own deliveries, nothing else.

mod bindings;
mod cache;
mod capabilities;
mod capability;
mod code;
mod compiler;
mod convert;
mod description;
mod engine;
mod exported;
mod format;
mod frames;
mod guest;
mod incoming_http;
mod isolation;
mod last_words;
mod limits;
mod listener;
mod load;
mod load_error;
mod meter;
mod nice;
mod observed;
mod outline;
mod peaks;
mod plugin;
mod pool;
mod pools;
mod profile;
mod recompiler;
mod redaction;
mod runtime;
mod scheduler;
mod slots;
#[cfg(test)]
mod testing;
mod text;
mod tier;
mod verdict;

pub use capabilities::http::{
    AddressRange, AddressRangeError, HttpCall, HttpGrant, HttpGrantError, Origin, OriginError,
};
pub use capabilities::log::LogLine;
pub use capabilities::{Secret, capabilities};
pub use capability::{About, Grants};
pub use compiler::{CompileBudget, CompileError, Compiler, CompilerProcess, compile_as_child};
pub use description::{CapabilityRequest, Description, DescriptionError, SubscriptionRequest};
pub use format::FormatError;
pub use isolation::Isolation;
pub use limits::{COMPONENT_MAX_BYTES, FIXED_LIMITS, LimitError, LimitErrors, LimitRow, Limits};
pub use listener::{ListenerStats, Settings, SettingsError, WasmListener};
pub use load::Loaded;
pub use load_error::{LoadError, LoadErrorKind};
pub use observed::{Observed, Script};
pub use peaks::LimitUse;
pub use profile::{FunctionSamples, Profile};
pub use recompiler::Recompiler;
pub use runtime::{Runtime, RuntimeError, RuntimeOptions};
pub use tier::Tier;
