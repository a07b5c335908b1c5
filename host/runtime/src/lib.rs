//! Runs listeners as sandboxed WebAssembly components. The only crate that knows wasmtime.
//!
//! Lifecycle: [`Runtime::load`] compiles, links and describes a plugin ([`Loaded`]);
//! [`Loaded::listener`] applies [`Limits`] and [`Grants`]; the [`WasmListener`] then handles
//! deliveries, each with exclusive use of a [warm or fresh](Isolation) instance, and returns a
//! verdict and staged effects. Whatever the guest does, the result is a verdict: a guest can
//! exhaust its own time and memory and fail its own deliveries, nothing else.

mod bindings;
mod cache;
mod capabilities;
mod compiler;
mod convert;
mod description;
mod engine;
mod format;
mod grants;
mod guest;
mod http_grant;
mod isolation;
mod limits;
mod listener;
mod load;
mod meter;
mod nice;
mod outline;
mod places;
mod plugin;
mod pool;
mod pools;
mod redaction;
mod runtime;
#[cfg(test)]
mod testing;
mod text;
mod turns;
mod verdict;

pub use compiler::{Attempt, CompileError, Compiler, CompilerProcess, compile_as_child};
pub use description::{
    CAPABILITIES, CapabilityRequest, Description, DescriptionError, SubscriptionRequest,
};
pub use format::FormatError;
pub use grants::{Grant, Grants, Origin, OriginError, Secret};
pub use http_grant::{AddressRange, AddressRangeError, HttpGrant, HttpGrantError};
pub use isolation::Isolation;
pub use limits::{FIXED_LIMITS, LimitError, LimitErrors, LimitRow, Limits};
pub use listener::{ListenerStats, Settings, WasmListener};
pub use load::{COMPONENT_MAX_BYTES, LoadError, LoadErrorKind, Loaded};
pub use runtime::{Runtime, RuntimeError, RuntimeOptions};
