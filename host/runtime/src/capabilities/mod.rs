//! Host capabilities. Each is one file or folder here and one line in the list below; what a plugin
//! may ask for, what is linked, what its deliveries stage and what an operator is told all follow
//! the list.

mod blobs;
pub(crate) mod clocks;
mod config;
pub(crate) mod http;
pub(crate) mod log;
pub(crate) mod messages;
pub(crate) mod random;
pub(crate) mod state;
mod wasi;

use std::sync::Arc;

use usher_event::{Delivery, Effects, Given};
use wasmtime::component::{Linker, ResourceTable};

use crate::capability::{About, Capability, Grants, Has, View};
use crate::meter::GuestClock;
use crate::plugin::Plugin;

pub use config::Secret;
pub(crate) use wasi::add_to_linker as add_wasi_to_linker;
pub(crate) use wasi::context as wasi_context;

/// Data of a store that holds all capabilities.
pub(crate) trait HasAll {
    /// They.
    fn capabilities(&mut self) -> &mut Capabilities;
}

macro_rules! capabilities {
    ($($name:ident: $capability:ty,)+) => {
        /// The capabilities of one instance, and the table of their handles.
        pub(crate) struct Capabilities {
            $(pub(crate) $name: $capability,)+
            pub(crate) table: ResourceTable,
        }

        /// What the capabilities of a plugin's instances share.
        pub(crate) struct Shared {
            $($name: Arc<<$capability as Capability>::Shared>,)+
        }

        /// What the runtime and the operator's settings provide.
        pub(crate) struct Services {
            $(pub(crate) $name: <$capability as Capability>::Service,)+
        }

        impl Shared {
            /// Applies the operator's grants.
            pub(crate) fn new(plugin: &Arc<Plugin>, grants: &Grants, services: Services) -> Self {
                Self { $($name: Arc::new(<$capability>::share(plugin, grants, services.$name)),)+ }
            }
        }

        impl Capabilities {
            /// Those of a new instance.
            pub(crate) fn new(
                shared: &Shared,
                clock: &Arc<GuestClock>,
                table: ResourceTable,
            ) -> Self {
                Self { $($name: <$capability as Capability>::new(&shared.$name, clock),)+ table }
            }

            /// Resets per-delivery state.
            pub(crate) fn begin(&mut self, delivery: &Delivery) {
                $(Capability::begin(&mut self.$name, delivery);)+
            }

            /// What the host told the guest in this delivery.
            pub(crate) fn record(&mut self, given: &mut Given) {
                $(Capability::record(&mut self.$name, given);)+
            }

            /// Discards staged effects that were not taken.
            pub(crate) fn end(&mut self) {
                $(Capability::end(&mut self.$name);)+
            }

            /// Takes the first limit that the delivery exceeded.
            pub(crate) fn limit_reached(&mut self) -> Option<String> {
                None$(.or_else(|| Capability::limit_reached(&mut self.$name)))+
            }

            /// Moves staged effects into `effects`.
            pub(crate) fn take(&mut self, effects: &mut Effects) {
                $(Capability::take(&mut self.$name, effects);)+
            }
        }

        $(impl<T: HasAll> Has<$capability> for T {
            fn view(&mut self) -> View<'_, $capability> {
                let Capabilities { $name, table, .. } = self.capabilities();
                View { capability: $name, table }
            }
        })+

        /// Links all of them.
        pub(crate) fn add_to_linker<T: HasAll + Send + 'static>(
            linker: &mut Linker<T>,
        ) -> wasmtime::Result<()> {
            $(<$capability>::link(linker)?;)+
            Ok(())
        }

        /// All names, with the interfaces behind them.
        pub fn capabilities() -> impl Iterator<Item = About> {
            let all: [&[About]; _] = [$(<$capability as Capability>::ABOUT,)+ wasi::ABOUT];
            all.into_iter().flatten().copied()
        }
    };
}

capabilities! {
    http: http::Http,
    state: state::State,
    blobs: blobs::Blobs,
    config: config::Config,
    log: log::Log,
    messages: messages::Messages,
    clocks: clocks::Clocks,
    random: random::Random,
}
