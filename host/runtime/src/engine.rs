//! The engine all plugins share: compiler, memory pool, interruption.

use std::num::NonZeroUsize;

use wasmtime::error::Context as _;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    Strategy, WasmBacktraceDetails, WasmFeatures,
};

use crate::guest::{MEMORIES_MAX, TABLES_MAX};
use crate::limits::{Limits, size};

/// Stack of a guest.
pub(crate) const WASM_STACK_BYTES: usize = 512 * 1024;
/// Stack of a call: the guest's, and that of the host functions it calls.
const ASYNC_STACK_BYTES: usize = 2 * 1024 * 1024;
/// Memory and table contents kept in place when an instance goes, to be zeroed instead of faulted
/// in again.
const KEEP_RESIDENT_BYTES: usize = 64 * 1024;
/// Slots that keep a plugin's image mapped although no instance uses them.
const UNUSED_WARM_SLOTS: u32 = 100;
/// Core instances, tables and memories that instances have on average, at most.
const CORE_INSTANCES_PER_INSTANCE: u32 = 8;
const TABLES_PER_INSTANCE: u32 = 3;
const MEMORIES_PER_INSTANCE: u32 = 2;
/// Instances whose address space is left for everything else: half a tebibyte.
const HEADROOM_INSTANCES: u32 = 64;
/// Frames of a backtrace.
const BACKTRACE_FRAMES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(31);

/// An engine for at most `max_instances` instances at a time, or for as many as the address space has
/// room for; says how many. Room for as many again, or for 64, stays free for everything else.
pub(crate) fn for_at_most(max_instances: u32) -> wasmtime::Result<(Engine, u32)> {
    let mut instances = max_instances.max(1);
    loop {
        let engine = for_running(instances);
        // One beside it, for the moment, shows that as much stays free.
        let has_headroom =
            || instances == 1 || for_running(instances.min(HEADROOM_INSTANCES)).is_ok();
        match engine {
            Ok(engine) if has_headroom() => return Ok((engine, instances)),
            Err(error) if instances == 1 => {
                return Err(error).context(
                    "the system has too little address space for a plugin (ulimit -v): one may need \
                     40 GiB, which are reserved, not used",
                );
            }
            _ => instances /= 2,
        }
    }
}

/// An engine for one instance at a time, for those who serve none: where the address space has no room
/// for a pool, each memory is reserved when it is needed.
pub(crate) fn for_looking() -> wasmtime::Result<Engine> {
    for_running(1).or_else(|_| for_compiling())
}

/// An engine for this many instances.
pub(crate) fn for_running(max_instances: u32) -> wasmtime::Result<Engine> {
    let ceiling = Limits::CEILING;
    // A single plugin may have as many as any.
    let total = |average: u32, most: u32| max_instances.saturating_mul(average).max(most);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(max_instances)
        .total_core_instances(total(
            CORE_INSTANCES_PER_INSTANCE,
            u32::try_from(ceiling.core_instances)?,
        ))
        .total_memories(total(MEMORIES_PER_INSTANCE, MEMORIES_MAX as u32))
        .total_tables(total(TABLES_PER_INSTANCE, TABLES_MAX as u32))
        .total_stacks(max_instances)
        .max_core_instances_per_component(u32::try_from(ceiling.core_instances)?)
        .max_memories_per_component(MEMORIES_MAX as u32)
        .max_tables_per_component(TABLES_MAX as u32)
        .max_tables_per_module(4)
        .max_memory_size(size(ceiling.memory_bytes))
        .table_elements(size(ceiling.table_elements))
        .max_unused_warm_slots(UNUSED_WARM_SLOTS)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto);

    Engine::new(config().allocation_strategy(InstanceAllocationStrategy::Pooling(pool)))
}

/// Proposals whose instructions no plugin may use. Most of them need a part of wasmtime that isn't
/// built in. The engine checks that by proposal and not by instruction (RUSTSEC-2026-0570: up to
/// 48.0.8 code may call what isn't there, which ends the process), so what leads there is switched
/// off by name.
const SWITCHED_OFF: WasmFeatures = WasmFeatures::EXCEPTIONS
    .union(WasmFeatures::FUNCTION_REFERENCES)
    .union(WasmFeatures::GC)
    .union(WasmFeatures::GC_TYPES)
    .union(WasmFeatures::MEMORY64)
    .union(WasmFeatures::SHARED_EVERYTHING_THREADS)
    .union(WasmFeatures::STACK_SWITCHING)
    .union(WasmFeatures::THREADS);

/// An engine that makes code for [`for_running`]'s. It has no pool, which reserves more address
/// space than a process that only compiles may have.
pub(crate) fn for_compiling() -> wasmtime::Result<Engine> {
    Engine::new(&config())
}

/// Everything that code depends on.
fn config() -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(ASYNC_STACK_BYTES)
        .memory_init_cow(true)
        .wasm_backtrace_max_frames(Some(BACKTRACE_FRAMES))
        // Names come from the name section. Debug information is a guest's own words, in a format
        // that takes long to read.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_features(SWITCHED_OFF, false);
    config
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hash, Hasher};

    use super::*;

    #[test]
    fn what_is_compiled_apart_fits_the_engine_that_runs_it() {
        let hash = |engine: wasmtime::Result<Engine>| {
            let mut hasher = DefaultHasher::new();
            engine.unwrap().precompile_compatibility_hash().hash(&mut hasher);
            hasher.finish()
        };
        assert_eq!(hash(for_compiling()), hash(for_running(10)));
    }
}
