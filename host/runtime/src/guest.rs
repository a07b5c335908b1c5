//! Store data: the host's state for one instance, and the limiter of its memory.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use usher_event::Delivery;
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, ResourceLimiter, Store};
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi_http::WasiHttpCtx;

use crate::capabilities::blobs::Blobs;
use crate::capabilities::config::Config;
use crate::capabilities::http::Http;
use crate::capabilities::log::Log;
use crate::capabilities::state::{State, StateView};
use crate::capabilities::wasi;
use crate::limits::{Limits, size};
use crate::meter::{self, CpuMeter};
use crate::plugin::Plugin;
use crate::turns::Turns;

/// Maximum header bytes of one HTTP message, as counted by wasi:http.
pub(crate) const HTTP_FIELDS_MAX_BYTES: usize = 32 * 1024;
/// Maximum memories and tables of an instance.
pub(crate) const MEMORIES_MAX: usize = 8;
pub(crate) const TABLES_MAX: usize = 32;

/// The host's state for one instance.
pub(crate) struct Guest {
    pub(crate) cpu: CpuMeter,
    pub(crate) room: Room,
    pub(crate) table: ResourceTable,
    pub(crate) wasi: WasiCtx,
    pub(crate) log: Log,
    pub(crate) config: Config,
    pub(crate) state: State,
    pub(crate) blobs: Blobs,
    pub(crate) http: Http,
    pub(crate) http_ctx: WasiHttpCtx,
}

impl Guest {
    /// Creates the store for a new instance of this plugin.
    pub(crate) fn store(
        engine: &Engine,
        plugin: &Arc<Plugin>,
        ticks: &Arc<AtomicU64>,
        turns: &Arc<Turns>,
    ) -> wasmtime::Result<Store<Self>> {
        let limits = &plugin.limits;
        let mut table = ResourceTable::new();
        table.set_max_capacity(size(limits.resources));
        let log = Log::new(plugin);
        let mut http_ctx = WasiHttpCtx::new();
        http_ctx.set_field_size_limit(HTTP_FIELDS_MAX_BYTES);
        let cpu = CpuMeter::new(ticks, turns, &plugin.is_long);
        let state = State::new(plugin, cpu.clock());
        let guest = Self {
            cpu,
            room: Room::new(plugin),
            table,
            wasi: wasi::context(&log),
            log,
            config: Config::new(plugin),
            state,
            blobs: Blobs::new(plugin),
            http: Http::new(plugin),
            http_ctx,
        };
        let mut store = Store::try_new(engine, guest)?;
        store.limiter(|guest| &mut guest.room);
        store.epoch_deadline_callback(|store| meter::on_tick(store, |guest| &mut guest.cpu));
        store.set_hostcall_fuel(host_call_fuel(plugin));
        store.set_max_component_handles(size(limits.handles));
        Ok(store)
    }

    /// Resets per-delivery state.
    pub(crate) fn begin(&mut self, delivery: &Delivery) {
        self.room.refused = None;
        self.log.begin(delivery);
        self.state.begin();
        self.blobs.begin();
        self.http.begin(delivery);
    }

    /// Discards staged effects that were not taken: an instance may stay idle for long, and an open
    /// snapshot keeps the state store from reclaiming space.
    pub(crate) fn end(&mut self) {
        self.state.clear();
        self.blobs.clear();
    }

    /// Resources that accumulate over the instance's calls.
    pub(crate) fn held(&mut self) -> Held {
        Held { resources: self.table.iter_mut().count(), memory_bytes: self.room.memory_bytes() }
    }

    pub(crate) fn state(&mut self) -> StateView<'_> {
        StateView { state: &mut self.state, table: &mut self.table }
    }
}

/// What an instance holds between two deliveries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    /// Host resources. Each has a handle in the guest, which a garbage-collected runtime may never
    /// drop.
    resources: usize,
    /// Linear memory, which never shrinks.
    memory_bytes: usize,
}

impl Held {
    /// Whether another call that grows as much as the one that began with `before` might hit a
    /// limit, so that the instance should be replaced.
    pub(crate) fn is_too_much(self, before: Self, limits: &Limits) -> bool {
        let resources_max = size(limits.resources.min(limits.handles));
        let grown_bytes = self.memory_bytes.saturating_sub(before.memory_bytes);
        self.resources > resources_max / 2
            || self.memory_bytes.saturating_add(grown_bytes) > size(limits.memory_bytes)
            || self.memory_bytes > size(limits.recycle_memory_bytes)
    }
}

/// Bytes a guest may pass in one host call; only blobs are large.
fn host_call_fuel(plugin: &Plugin) -> usize {
    let limits = &plugin.limits;
    let blob_bytes = if plugin.blobs.is_some() { limits.blob_bytes } else { 0 };
    size(limits.host_call_bytes.saturating_add(blob_bytes))
}

/// Caps memory, tables and instances; remembers what it refused, to explain the trap that follows.
pub(crate) struct Room {
    memory_limit_bytes: usize,
    memory_left_bytes: usize,
    table_elements: usize,
    core_instances: usize,
    refused: Option<String>,
}

impl Room {
    fn new(plugin: &Plugin) -> Self {
        let memory_limit_bytes = size(plugin.limits.memory_bytes);
        Self {
            memory_limit_bytes,
            memory_left_bytes: memory_limit_bytes,
            table_elements: size(plugin.limits.table_elements),
            core_instances: size(plugin.limits.core_instances),
            refused: None,
        }
    }

    /// Linear memory of the instance, all its memories together. They never shrink.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_limit_bytes.saturating_sub(self.memory_left_bytes)
    }

    /// What was refused in the current call.
    pub(crate) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }
}

impl ResourceLimiter for Room {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // Don't charge growth that fails anyway, beyond the memory's own maximum.
        if maximum.is_some_and(|maximum| desired > maximum) {
            self.refused =
                Some(format!("asked for {desired} bytes of memory, its own limit is less"));
            return Ok(false);
        }
        let more_bytes = desired.saturating_sub(current);
        if let Some(left_bytes) = self.memory_left_bytes.checked_sub(more_bytes) {
            self.memory_left_bytes = left_bytes;
            return Ok(true);
        }
        self.refused = Some(format!(
            "asked for {more_bytes} bytes of memory more where {} were left",
            self.memory_left_bytes
        ));
        Ok(false)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired <= self.table_elements {
            return Ok(true);
        }
        let limit = self.table_elements;
        self.refused =
            Some(format!("asked for a table of {desired} elements, the limit is {limit}"));
        Ok(false)
    }

    fn instances(&self) -> usize {
        self.core_instances
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}
