//! The guest side of the contract: bindings generated from wit/, support for `export!`, and the
//! backend over the host's interfaces. Not for direct use by listeners.

pub mod backend;
mod convert;
mod http;

use std::marker::PhantomData;
use std::sync::OnceLock;

pub use bindings::export_component;

use crate::{Delivery, Listener};
use bindings::exports::usher::plugin::listener::Guest;
use bindings::usher::plugin::contract;

#[allow(
    missing_docs,
    unreachable_pub,
    unsafe_code,
    clippy::all,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "made by wit-bindgen, which alone may pass pointers to the host"
)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "usher:plugin/plugin",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_component",
        default_bindings_module: "usher_sdk::guest::bindings",
    });
}

/// The plugin's name; cached because a component has exactly one listener.
static PLUGIN: OnceLock<String> = OnceLock::new();

/// Adapts a [`Listener`] to the generated trait.
pub struct Exported<L>(PhantomData<L>);

impl<L: Listener> Guest for Exported<L> {
    fn describe() -> contract::Description {
        L::describe().into()
    }

    fn handle(delivery: contract::Delivery) -> Result<Vec<contract::Emission>, contract::Failure> {
        let plugin = PLUGIN.get_or_init(|| L::describe().name);
        match L::handle(Delivery::of(plugin, delivery)) {
            Ok(emissions) => Ok(emissions.into_iter().map(Into::into).collect()),
            Err(failure) => Err(failure.into()),
        }
    }
}
