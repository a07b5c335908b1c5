//! The engine all plugins share: compiler, memory pool, interruption.

use std::num::NonZeroUsize;

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    Strategy, WasmBacktraceDetails,
};

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
/// Frames of a backtrace.
const BACKTRACE_FRAMES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(31);

/// An engine for at most `max_instances` instances at a time.
pub(crate) fn for_running(max_instances: u32) -> wasmtime::Result<Engine> {
    let ceiling = Limits::CEILING;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(max_instances)
        .total_core_instances(max_instances.saturating_mul(CORE_INSTANCES_PER_INSTANCE))
        .total_memories(max_instances.saturating_mul(MEMORIES_PER_INSTANCE))
        .total_tables(max_instances.saturating_mul(TABLES_PER_INSTANCE))
        .total_stacks(max_instances)
        .max_core_instances_per_component(u32::try_from(ceiling.core_instances)?)
        .max_memories_per_component(8)
        .max_tables_per_component(32)
        .max_tables_per_module(4)
        .max_memory_size(size(ceiling.memory_bytes))
        .table_elements(size(ceiling.table_elements))
        .max_unused_warm_slots(UNUSED_WARM_SLOTS)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto);

    Engine::new(config().allocation_strategy(InstanceAllocationStrategy::Pooling(pool)))
}

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
        .wasm_memory64(false);
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
