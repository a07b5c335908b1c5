//! The baseline: the same component on bare wasmtime, without limits, epochs or capabilities.
//! Either one instance for all calls, or one per call.

use crate::rounds::Calls;

use wasmtime::component::{Component, HasSelf, Linker, ResourceTable};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::sample::Sample;

mod bindings {
    #![allow(missing_docs, unreachable_pub, reason = "generated")]
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "plugin",
    });
}

/// The same interfaces and types, with async functions.
mod interruptible {
    #![allow(missing_docs, unreachable_pub, reason = "generated")]
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "plugin",
        exports: { default: async },
        with: { "usher:plugin/contract": super::bindings::usher::plugin::contract },
    });
}

use bindings::usher::plugin::contract;
use bindings::wasi::logging::logging::{self, Level};

struct Host {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl Host {
    fn new() -> Self {
        Self { wasi: WasiCtx::builder().build(), table: ResourceTable::new() }
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl bindings::wasi::logging::logging::Host for Host {
    fn log(&mut self, _: Level, _: String, _: String) {}
}

/// Calls `handle`, including lowering the event and lifting the emission.
pub(crate) fn calls(component: &[u8], sample: &Sample) -> anyhow::Result<Calls> {
    let engine = Engine::new(Config::new().concurrency_support(false))?;
    let component = Component::new(&engine, component)?;
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
    let mut store = Store::new(&engine, Host::new());
    let plugin = bindings::Plugin::instantiate(&mut store, &component, &linker)?;
    let delivery = delivery(sample);
    Ok(Box::new(move |calls| {
        for _ in 0..calls {
            check(plugin.usher_plugin_listener().call_handle(&mut store, &delivery)?)?;
        }
        Ok(())
    }))
}

/// Like [`calls`], but interruptible: on a separate stack, with an epoch check in every loop. The
/// minimum for a host that must not hang.
pub(crate) fn interruptible_calls(component: &[u8], sample: &Sample) -> anyhow::Result<Calls> {
    let engine = Engine::new(Config::new().concurrency_support(false).epoch_interruption(true))?;
    let component = Component::new(&engine, component)?;
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    logging::add_to_linker::<_, HasSelf<_>>(&mut linker, |host| host)?;
    let mut store = Store::new(&engine, Host::new());
    store.set_epoch_deadline(1);
    let executor = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
    let plugin = executor
        .block_on(interruptible::Plugin::instantiate_async(&mut store, &component, &linker))?;
    let delivery = delivery(sample);
    Ok(Box::new(move |calls| {
        executor.block_on(async {
            for _ in 0..calls {
                store.set_epoch_deadline(1);
                let listener = plugin.usher_plugin_listener();
                check(listener.call_handle(&mut store, &delivery).await?)?;
            }
            Ok(())
        })
    }))
}

/// Like [`interruptible_calls`], with an instance per call from a pool that keeps as much memory
/// resident as Usher's.
pub(crate) fn fresh_calls(component: &[u8], sample: &Sample) -> anyhow::Result<Calls> {
    const KEEP_RESIDENT_BYTES: usize = 64 * 1024;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(10)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .epoch_interruption(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    let engine = Engine::new(&config)?;
    let component = Component::new(&engine, component)?;
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    let pre = interruptible::PluginPre::new(linker.instantiate_pre(&component)?)?;
    let executor = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
    let delivery = delivery(sample);
    Ok(Box::new(move |calls| {
        executor.block_on(async {
            for _ in 0..calls {
                let mut store = Store::new(&engine, Host::new());
                store.set_epoch_deadline(1);
                let plugin = pre.instantiate_async(&mut store).await?;
                let listener = plugin.usher_plugin_listener();
                check(listener.call_handle(&mut store, &delivery).await?)?;
            }
            Ok(())
        })
    }))
}

fn check(answer: Result<Vec<contract::Emission>, contract::Failure>) -> anyhow::Result<()> {
    let emissions =
        answer.map_err(|failure| anyhow::anyhow!("the listener failed: {failure:?}"))?;
    anyhow::ensure!(emissions.len() == 1, "the listener emitted {}", emissions.len());
    Ok(())
}

fn delivery(sample: &Sample) -> contract::Delivery {
    let event = sample.template(0);
    contract::Delivery {
        event: contract::Event {
            id: event.id().into(),
            source: event.source().into(),
            type_: event.ty().into(),
            subject: event.subject().map(Into::into),
            time: event.time().map(Into::into),
            datacontenttype: event.datacontenttype().map(Into::into),
            dataschema: None,
            extensions: Vec::new(),
            data: event.data().map(|data| data.to_vec()),
        },
        subscription: "hop".into(),
        attempt: 1,
        sequence: 1,
        deadline_ms: 0,
        replay: false,
    }
}
