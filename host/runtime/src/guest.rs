//! Store data: the host's state for one instance, and the limiter of its memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use usher_event::Delivery;
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, ResourceLimiter, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::capabilities::messages::Messages;
use crate::capabilities::{self, Capabilities, HasAll, Services};
use crate::capability::Grants;
use crate::limits::{Limits, MEMORIES_MAX, TABLES_MAX, size};
use crate::meter::{self, CpuMeter};
use crate::peaks::Used;
use crate::plugin::Plugin;
use crate::scheduler::LongCallScheduler;

/// A plugin with its capabilities, as its instances share them.
pub(crate) struct Configured {
    pub(crate) plugin: Arc<Plugin>,
    capabilities: capabilities::Shared,
    /// Bytes a guest may pass in one host call.
    host_call_bytes: u64,
}

impl Configured {
    pub(crate) fn new(plugin: Plugin, grants: &Grants, services: Services) -> Self {
        let plugin = Arc::new(plugin);
        let limits = &plugin.limits;
        // Only blobs are large.
        let blob_bytes = if grants.contains("blobs") { limits.blob_bytes } else { 0 };
        let host_call_bytes = limits.host_call_bytes.saturating_add(blob_bytes);
        let capabilities = capabilities::Shared::new(&plugin, grants, services);
        Self { plugin, capabilities, host_call_bytes }
    }
}

/// The host's state for one instance.
pub(crate) struct Guest {
    pub(crate) cpu: CpuMeter,
    pub(crate) memory: MemoryLimiter,
    wasi: WasiCtx,
    pub(crate) capabilities: Capabilities,
}

impl Guest {
    /// Creates the store for a new instance of this plugin.
    pub(crate) fn store(
        engine: &Engine,
        configured: &Configured,
        ticks: &Arc<AtomicU64>,
        turns: &Arc<LongCallScheduler>,
    ) -> wasmtime::Result<Store<Self>> {
        let plugin = &configured.plugin;
        let limits = &plugin.limits;
        let mut table = ResourceTable::new();
        table.set_max_capacity(size(limits.resources));
        let cpu = CpuMeter::new(ticks, turns, &plugin.is_long);
        let capabilities = Capabilities::new(&configured.capabilities, cpu.clock(), table);
        let wasi = capabilities::wasi_context(&capabilities);
        let guest = Self { cpu, memory: MemoryLimiter::new(plugin), wasi, capabilities };
        let mut store = Store::try_new(engine, guest)?;
        store.limiter(|guest| &mut guest.memory);
        let profile = plugin.profile.clone();
        store.epoch_deadline_callback(move |store| {
            if let Some(profile) = &profile {
                profile.sample(&store);
            }
            meter::on_tick(store, |guest| &mut guest.cpu)
        });
        store.set_hostcall_fuel(size(configured.host_call_bytes));
        store.set_max_component_handles(size(limits.handles));
        Ok(store)
    }

    /// Resets per-delivery state.
    pub(crate) fn begin(&mut self, delivery: &Delivery) {
        self.memory.refused = None;
        self.capabilities.begin(delivery);
    }

    /// What the current delivery has used of its limits.
    pub(crate) fn used(&self) -> Used {
        Used {
            cpu_ms: self.cpu.used_ms(),
            memory_bytes: self.memory.used_bytes() as u64,
            log_bytes: self.capabilities.log.used_bytes(),
            http_calls: self.capabilities.http.calls(),
            ..Used::default()
        }
    }

    /// Resources that accumulate over the instance's calls.
    pub(crate) fn held(&mut self) -> Held {
        let resources = self.capabilities.table.iter_mut().count();
        let message_bytes = self.capabilities.messages.held_bytes();
        Held { resources, memory_bytes: self.memory.used_bytes(), message_bytes }
    }
}

impl HasAll for Guest {
    fn capabilities(&mut self) -> &mut Capabilities {
        &mut self.capabilities
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.capabilities.table }
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
    /// Messages, whose handles a guest may not drop either.
    message_bytes: usize,
}

impl Held {
    /// Whether another call that grows as much as the one that began with `before` might hit a
    /// limit, so that the instance should be replaced.
    pub(crate) fn should_recycle(self, before: Self, limits: &Limits) -> bool {
        let resources_max = size(limits.resources.min(limits.handles));
        let grown_bytes = self.memory_bytes.saturating_sub(before.memory_bytes);
        self.resources > resources_max / 2
            || Messages::is_much(self.message_bytes, limits)
            || self.memory_bytes.saturating_add(grown_bytes) > size(limits.memory_bytes)
            || self.memory_bytes > size(limits.recycle_memory_bytes)
    }
}

/// Caps memory, tables and instances; remembers what it refused, to explain the trap that follows.
pub(crate) struct MemoryLimiter {
    memory_limit_bytes: usize,
    memory_left_bytes: usize,
    table_elements: usize,
    core_instances: usize,
    refused: Option<String>,
    /// Has the sum of all instances.
    plugin: Arc<Plugin>,
}

impl MemoryLimiter {
    fn new(plugin: &Arc<Plugin>) -> Self {
        let limits = &plugin.limits;
        let memory_limit_bytes = size(limits.memory_bytes);
        Self {
            memory_limit_bytes,
            memory_left_bytes: memory_limit_bytes,
            table_elements: size(limits.table_elements),
            core_instances: size(limits.core_instances),
            refused: None,
            plugin: plugin.clone(),
        }
    }

    /// Linear memory of the instance, all its memories together. They never shrink.
    fn used_bytes(&self) -> usize {
        self.memory_limit_bytes.saturating_sub(self.memory_left_bytes)
    }

    /// What was refused in the current call.
    pub(crate) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }
}

impl Drop for MemoryLimiter {
    fn drop(&mut self) {
        self.plugin.memory_bytes.fetch_sub(self.used_bytes() as u64, Ordering::Relaxed);
    }
}

impl ResourceLimiter for MemoryLimiter {
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
            self.plugin.memory_bytes.fetch_add(more_bytes as u64, Ordering::Relaxed);
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
