//! The same component through usher-runtime: warm or fresh, with all limits, epochs and
//! capabilities, called the way the router calls it.

use std::sync::Arc;

use bytes::Bytes;
use usher_broker::traits::*;
use usher_broker::{EmbeddedBroker, Options};
use usher_event::{Delivery, Listener, Verdict};
use usher_runtime::{
    CompileBudget, Grants, Isolation, Limits, Loaded, Runtime, RuntimeOptions, Settings,
    WasmListener,
};

use crate::process::resident_bytes;
use crate::rounds::Calls;
use crate::sample::Sample;

/// Loads the component; `broker` stores its state and blobs.
pub(crate) async fn load(
    component: &[u8],
    broker: &EmbeddedBroker,
    has_state: bool,
    isolation: Isolation,
) -> anyhow::Result<Arc<WasmListener>> {
    let runtime = Runtime::new(RuntimeOptions::default())?;
    load_into(&runtime, component, broker, has_state, isolation).await
}

/// Loads the component into an existing runtime.
pub(crate) async fn load_into(
    runtime: &Runtime,
    component: &[u8],
    broker: &EmbeddedBroker,
    has_state: bool,
    isolation: Isolation,
) -> anyhow::Result<Arc<WasmListener>> {
    let loaded = loaded(runtime, component).await?;
    let grants = Grants::default();
    let grants = if has_state { grants.allowing("state") } else { grants };
    let settings = Settings { grants, isolation, ..settings(broker) };
    loaded.listener(settings).map_err(Into::into)
}

async fn loaded(runtime: &Runtime, component: &[u8]) -> anyhow::Result<Loaded> {
    let component = Bytes::copy_from_slice(component);
    Ok(runtime.load(component, "listener.wasm", CompileBudget::Patient).await?)
}

/// Default limits, warm instances, nothing granted.
fn settings(broker: &EmbeddedBroker) -> Settings {
    Settings {
        limits: Limits::default(),
        grants: Grants::default(),
        isolation: Isolation::Warm,
        state: broker.state(),
        blobs: broker.blobs(),
        script: None,
    }
}

/// A delivery of the sample's first event.
pub(crate) fn delivery(sample: &Sample) -> anyhow::Result<Delivery> {
    Ok(Delivery {
        sequence: 1,
        event: sample.template(0).clone(),
        subscription: "hop/go".parse()?,
        attempt: 1,
        flow: 1,
        depth: 0,
        replay: None,
        is_dry_run: false,
        span: None,
    })
}

/// Calls the listener directly, without broker and router.
pub(crate) fn calls(
    component: &[u8],
    sample: &Sample,
    isolation: Isolation,
    limits: Limits,
) -> anyhow::Result<Calls> {
    let executor = executor()?;
    let broker = EmbeddedBroker::in_memory(Options::new("memory"))?;
    let runtime = Runtime::new(RuntimeOptions::default())?;
    let loaded = executor.block_on(loaded(&runtime, component))?;
    let listener = loaded.listener(Settings { isolation, limits, ..settings(&broker) })?;
    let delivery = delivery(sample)?;
    Ok(Box::new(move |calls| {
        // Keeps the broker alive: it stores the listener's state and blobs.
        let _broker = &broker;
        executor.block_on(async {
            for _ in 0..calls {
                let outcome = listener.handle(&delivery).await;
                anyhow::ensure!(outcome.verdict == Verdict::Ack, "{:?}", outcome.verdict);
            }
            Ok(())
        })
    }))
}

/// Resident memory of one more warm instance that has handled a delivery; mean of `count`.
pub(crate) fn bytes_of_an_instance(
    component: &[u8],
    sample: &Sample,
    count: u32,
) -> anyhow::Result<u64> {
    let executor = executor()?;
    let broker = EmbeddedBroker::in_memory(Options::new("memory"))?;
    let runtime = Runtime::new(RuntimeOptions::default())?;
    let loaded = executor.block_on(loaded(&runtime, component))?;
    let delivery = delivery(sample)?;
    let mut listeners = Vec::new();
    // Each listener has instances of its own, of the same code.
    let mut add = || -> anyhow::Result<u64> {
        let listener = loaded.listener(settings(&broker))?;
        let outcome = executor.block_on(listener.handle(&delivery));
        anyhow::ensure!(outcome.verdict == Verdict::Ack, "{:?}", outcome.verdict);
        listeners.push(listener);
        resident_bytes()
    };
    let first_bytes = add()?;
    let mut last_bytes = first_bytes;
    for _ in 0..count {
        last_bytes = add()?;
    }
    Ok(last_bytes.saturating_sub(first_bytes) / u64::from(count.max(1)))
}

fn executor() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()
}
