//! State (wasi:keyvalue). Reads come from a snapshot taken on first use in a delivery; writes are
//! staged over it and returned with the verdict (see [`staging`]).

mod host;
pub(crate) mod staging;

use std::sync::Arc;

use bytes::Bytes;
use usher_event::{StateRead, StateWrite};
use wasmtime::component::{HasData, Linker, ResourceTable};

use crate::bindings::{atomics, batch, keyvalue};
use crate::guest::Guest;
use crate::meter::GuestClock;
use crate::plugin::Plugin;
use staging::Staging;

/// An open bucket.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Bucket {
    name: Arc<str>,
}

/// A value remembered for compare-and-swap.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Cas {
    bucket: Arc<str>,
    key: String,
    seen: Option<Bytes>,
    /// The delivery that read it, by [`State`]'s counter.
    delivery: u64,
}

/// One instance's state.
pub(crate) struct State {
    plugin: Arc<Plugin>,
    clock: Arc<GuestClock>,
    /// Counts deliveries, to detect handles that the guest kept from an earlier one.
    delivery: u64,
    /// Set once the current delivery has used state.
    staging: Option<Staging>,
}

impl State {
    pub(crate) fn new(plugin: &Arc<Plugin>, clock: &Arc<GuestClock>) -> Self {
        Self { plugin: plugin.clone(), clock: clock.clone(), delivery: 0, staging: None }
    }

    /// Resets for a new delivery.
    pub(crate) fn begin(&mut self) {
        self.delivery += 1;
        self.clear();
    }

    /// Discards staged writes and releases the snapshot.
    pub(crate) fn clear(&mut self) {
        self.staging = None;
    }

    /// Takes the first limit this delivery exceeded; if there is one, its writes are incomplete.
    pub(crate) fn limit_reached(&mut self) -> Option<String> {
        self.staging.as_mut().and_then(Staging::take_limit_reached)
    }

    /// Takes the delivery's reads and staged writes.
    pub(crate) fn take(&mut self) -> (Vec<StateRead>, Vec<StateWrite>) {
        self.staging.take().map(Staging::into_effects).unwrap_or_default()
    }
}

/// State together with the table its handles live in.
pub(crate) struct StateView<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) table: &'a mut ResourceTable,
}

impl HasData for State {
    type Data<'a> = StateView<'a>;
}

/// Links wasi:keyvalue.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    keyvalue::add_to_linker::<_, State>(linker, Guest::state)?;
    atomics::add_to_linker::<_, State>(linker, Guest::state)?;
    batch::add_to_linker::<_, State>(linker, Guest::state)
}
