//! For authors of Usher listeners in Rust: a [`Listener`] takes a [`Delivery`] and answers with
//! [`Emission`]s, or with a [`Failure`] that says whether it is worth another attempt.
//!
//! ```
//! use usher_sdk::prelude::*;
//!
//! struct Greeter;
//!
//! impl Listener for Greeter {
//!     fn describe() -> Description {
//!         Description::new("greeter", env!("CARGO_PKG_VERSION"), "Greets whoever arrives")
//!             .subscribe("arrivals", Filter::event_type("guest.arrived"))
//!     }
//!
//!     fn handle(delivery: Delivery) -> Result<Vec<Emission>, Failure> {
//!         let name: String = delivery.event.json()?;
//!         Ok(vec![Emission::new("guest.greeted").json(&format!("Hello, {name}!"))?])
//!     }
//! }
//!
//! usher_sdk::export!(Greeter);
//! # fn main() {}
//! ```
//!
//! Built for `wasm32-wasip2` as a `cdylib`, that is a component Usher can load. Built natively, the
//! same code runs against an in-memory host: see [`testing`].
//!
//! What a listener may use beside pure computation: [`config`], [`state`], [`blobs`], [`log`] and
//! [`http`]. All but the log need a grant of the operator; without one they answer
//! [`Error::Denied`].

// So that the code `export!` generates can name this crate from within, too.
#[cfg(target_arch = "wasm32")]
extern crate self as usher_sdk;

pub mod blobs;
pub mod config;
pub mod http;
pub mod log;
pub mod state;

mod description;
mod emission;
mod error;
mod event;
mod filter;
mod url;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

// The seam between the two hosts: the same functions, once over WIT and once in memory.
#[cfg(target_arch = "wasm32")]
use guest::backend;
#[cfg(not(target_arch = "wasm32"))]
use testing::backend;

pub use description::{Capability, Description, Subscription};
pub use emission::Emission;
pub use error::{Error, Failure, OrFail};
pub use event::{Delivery, Event, Extension, Value};
pub use filter::Filter;

/// What nearly every listener needs, in one `use`.
pub mod prelude {
    pub use crate::{
        Capability, Delivery, Description, Emission, Error, Event, Failure, Filter, Listener,
        OrFail, Subscription,
    };
}

/// What a plugin is: a description of itself, and an answer to each delivery.
pub trait Listener {
    /// What the plugin is and asks for. Called once, when the host loads it, without any
    /// capability.
    fn describe() -> Description;

    /// Handles one delivery. Emissions, state writes and blobs are committed together with the
    /// acknowledgement when this returns `Ok`, and all dropped when it returns `Err`.
    ///
    /// # Errors
    /// Whatever keeps the listener from its work: [`Failure::Retry`] if another attempt may
    /// succeed, [`Failure::Reject`] if none will.
    fn handle(delivery: Delivery) -> Result<Vec<Emission>, Failure>;
}

/// Makes a [`Listener`] the one that this component exports. Once per crate; does nothing in a
/// native build.
#[macro_export]
macro_rules! export {
    ($listener:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Exported = $crate::guest::Exported<$listener>;
    $crate::guest::export_component!(Exported with_types_in $crate::guest::bindings);
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            const fn is_a_listener<L: $crate::Listener>() {}
            is_a_listener::<$listener>();
        };
    };
}
