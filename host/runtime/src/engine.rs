//! The wasmtime engine that all plugins share: code generation, instance pool, epoch interruption.

use std::num::NonZeroUsize;
use std::sync::Arc;

use wasmtime::error::Context as _;
use wasmtime::{
    CacheStore, Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel,
    PoolingAllocationConfig, RegallocAlgorithm, Strategy, WasmBacktraceDetails, WasmFeatures,
};

use crate::limits::{Limits, MEMORIES_MAX, TABLES_MAX, WASM_STACK_BYTES, size};
use crate::tier::Tier;

/// Stack of an async call: wasm frames plus those of the host functions they call.
const ASYNC_STACK_BYTES: usize = 2 * 1024 * 1024;
/// Memory and table bytes that stay resident when an instance is dropped: zeroing them is cheaper
/// than faulting them in again.
const KEEP_RESIDENT_BYTES: usize = 64 * 1024;
/// Unused pool slots that keep their plugin's image mapped.
const UNUSED_WARM_SLOTS: u32 = 100;
/// Pool capacity for core instances, tables and memories: the most that instances may use on
/// average.
const CORE_INSTANCES_PER_INSTANCE: u32 = 8;
const TABLES_PER_INSTANCE: u32 = 3;
const MEMORIES_PER_INSTANCE: u32 = 2;
/// Address space kept free for the rest of the process, in instances: half a tebibyte.
const HEADROOM_INSTANCES: u32 = 64;
/// Maximum frames of a backtrace.
const BACKTRACE_FRAMES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(31);

/// An engine for up to `max_instances` concurrent instances, halved until the address space has
/// room for them and for the headroom: as many again, at most [`HEADROOM_INSTANCES`]. Also returns
/// the resulting maximum.
pub(crate) fn for_at_most(max_instances: u32) -> wasmtime::Result<(Engine, u32)> {
    let mut instances = max_instances.max(1);
    loop {
        let engine = for_running(instances);
        // A second pool, dropped right away, proves that the headroom exists.
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

/// An engine for one instance at a time, for inspection. Falls back to on-demand allocation if the
/// address space has no room for a pool.
pub(crate) fn for_inspection() -> wasmtime::Result<Engine> {
    for_running(1).or_else(|_| for_compiling(Tier::Optimised))
}

/// An engine with a pool for `max_instances` concurrent instances.
pub(crate) fn for_running(max_instances: u32) -> wasmtime::Result<Engine> {
    let ceiling = Limits::CEILING;
    // At least enough for one plugin at its ceiling.
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

/// Proposals that no plugin may use. Most need a part of wasmtime that isn't compiled in. The
/// engine checks that per proposal, not per instruction (RUSTSEC-2026-0570: up to 48.0.8, code may
/// call a missing part and so abort the process), so every proposal that leads there is disabled
/// explicitly.
const SWITCHED_OFF: WasmFeatures = WasmFeatures::EXCEPTIONS
    .union(WasmFeatures::FUNCTION_REFERENCES)
    .union(WasmFeatures::GC)
    .union(WasmFeatures::GC_TYPES)
    .union(WasmFeatures::MEMORY64)
    .union(WasmFeatures::SHARED_EVERYTHING_THREADS)
    .union(WasmFeatures::STACK_SWITCHING)
    .union(WasmFeatures::THREADS);

/// An engine whose code runs on that of [`for_running`]. It has no pool: a pool reserves more
/// address space than the compiler process is allowed.
pub(crate) fn for_compiling(tier: Tier) -> wasmtime::Result<Engine> {
    let mut config = config();
    if tier == Tier::Baseline {
        config
            .cranelift_opt_level(OptLevel::None)
            .cranelift_regalloc_algorithm(RegallocAlgorithm::SinglePass);
    }
    Engine::new(&config)
}

/// An engine for optimised code that asks `functions` before it compiles one.
pub(crate) fn for_recompiling(functions: Arc<dyn CacheStore>) -> wasmtime::Result<Engine> {
    let mut config = config();
    config.enable_incremental_compilation(functions)?;
    Engine::new(&config)
}

/// All settings that affect generated code.
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
        // Function names come from the name section. Debug information is untrusted and slow to
        // parse.
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
        let running = hash(for_running(10));
        assert_eq!(hash(for_compiling(Tier::Optimised)), running);
        let functions = Arc::<crate::recompiler::Functions>::default();
        assert_eq!(hash(for_recompiling(functions)), running);
    }
}
