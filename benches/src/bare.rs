//! The baseline: the same component on wasmtime with nothing around it. No limits, no epochs, no
//! capabilities; one instance, called over and over.

use crate::rounds::Calls;

use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Config, Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::sample::Sample;

mod bindings {
    #![allow(missing_docs, unreachable_pub, reason = "generated")]
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "plugin",
    });
}

use bindings::usher::plugin::types;

struct Host {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Calls of `handle`, the event's lowering and the emission's lifting included.
pub(crate) fn calls(component: &[u8], sample: &Sample) -> anyhow::Result<Calls> {
    let engine = Engine::new(Config::new().concurrency_support(false))?;
    let component = Component::new(&engine, component)?;
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
    let host = Host { wasi: WasiCtx::builder().build(), table: ResourceTable::new() };
    let mut store = Store::new(&engine, host);
    let instance = linker.instantiate(&mut store, &component)?;
    let plugin = bindings::Plugin::new(&mut store, &instance)?;
    let delivery = delivery(sample);
    Ok(Box::new(move |calls| {
        for _ in 0..calls {
            let emissions = plugin
                .usher_plugin_listener()
                .call_handle(&mut store, &delivery)?
                .map_err(|failure| anyhow::anyhow!("the listener failed: {failure:?}"))?;
            anyhow::ensure!(emissions.len() == 1, "the listener emitted {}", emissions.len());
        }
        Ok(())
    }))
}

fn delivery(sample: &Sample) -> types::Delivery {
    let event = sample.template(0);
    types::Delivery {
        event: types::Event {
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
