//! State (wasi:keyvalue). Reads come from a snapshot taken on first use in a delivery; writes are
//! staged over it and returned with the verdict (see [`staging`]). [`host`] is the version that the
//! contract names, [`draft`] the one that other hosts' components import.

mod cursors;
mod draft;
pub(crate) mod handles;
mod host;
mod staging;

use std::sync::Arc;

use usher_event::{Delivery, Effects, Given, PluginName, StateReader};
use wasmtime::component::Linker;

use crate::bindings::{atomics, batch, drafts, keyvalue};
use crate::capability::{About, Capability, Grants, Has, Viewed};
use crate::limits::size;
use crate::meter::GuestClock;
use crate::plugin::Plugin;
use cursors::Cursors;
use staging::Staging;

const NAME: &str = "state";

/// One instance's state.
pub(crate) struct State {
    shared: Arc<Shared>,
    clock: Arc<GuestClock>,
    /// Counts deliveries, to detect handles that the guest kept from an earlier one.
    delivery: u64,
    /// Set once the current delivery has used state.
    staging: Option<Staging>,
    /// Where the pages begin that the current delivery was given numbers for.
    cursors: Cursors,
}

/// A plugin's state.
pub(crate) struct Shared {
    plugin: Arc<Plugin>,
    /// Set if state is granted.
    committed: Option<(PluginName, Arc<dyn StateReader>)>,
}

impl Capability for State {
    const ABOUT: &'static [About] = &[About {
        name: Some(NAME),
        interfaces: &["wasi:keyvalue/"],
        ability: "keeps state",
        is_flag: true,
    }];

    type Service = Option<(PluginName, Arc<dyn StateReader>)>;
    type Shared = Shared;

    fn share(plugin: &Arc<Plugin>, grants: &Grants, committed: Self::Service) -> Shared {
        let committed = committed.filter(|_| grants.contains(NAME));
        Shared { plugin: plugin.clone(), committed }
    }

    fn new(shared: &Arc<Shared>, clock: &Arc<GuestClock>) -> Self {
        Self {
            shared: shared.clone(),
            clock: clock.clone(),
            delivery: 0,
            staging: None,
            cursors: Cursors::default(),
        }
    }

    fn link<T: Has<Self> + Send + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
        keyvalue::add_to_linker::<_, Viewed<Self>>(linker, T::view)?;
        atomics::add_to_linker::<_, Viewed<Self>>(linker, T::view)?;
        batch::add_to_linker::<_, Viewed<Self>>(linker, T::view)?;
        drafts::keyvalue::add_to_linker::<_, Viewed<Self>>(linker, T::view)?;
        drafts::atomics::add_to_linker::<_, Viewed<Self>>(linker, T::view)?;
        drafts::batch::add_to_linker::<_, Viewed<Self>>(linker, T::view)
    }

    fn begin(&mut self, _: &Delivery) {
        self.delivery += 1;
        self.staging = None;
        self.cursors.clear();
    }

    fn record(&mut self, given: &mut Given) {
        if let Some(staging) = &self.staging {
            staging.record(given, size(self.shared.plugin.limits.recording_bytes));
        }
    }

    /// An open snapshot keeps the store from reclaiming space.
    fn end(&mut self) {
        self.staging = None;
    }

    fn limit_reached(&mut self) -> Option<String> {
        self.staging.as_mut().and_then(Staging::take_limit_reached)
    }

    fn take(&mut self, effects: &mut Effects) {
        if let Some(staging) = self.staging.take() {
            (effects.reads, effects.writes) = staging.into_effects();
        }
    }
}
