//! The same component through usher-runtime: warm or fresh, with all limits, epochs and
//! capabilities, called the way the router calls it.

use std::sync::Arc;

use bytes::Bytes;
use usher_broker::traits::*;
use usher_broker::{EmbeddedBroker, Options};
use usher_event::{Delivery, Listener, Verdict};
use usher_runtime::{
    CompileBudget, Grants, Isolation, Limits, Runtime, RuntimeOptions, Settings, WasmListener,
};

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
    let loaded = runtime
        .load(Bytes::copy_from_slice(component), "listener.wasm", CompileBudget::Patient)
        .await?;
    let grants = Grants::default();
    let grants = if has_state { grants.allowing("state") } else { grants };
    loaded
        .listener(Settings {
            limits: Limits::default(),
            grants,
            isolation,
            state: broker.state(),
            blobs: broker.blobs(),
            script: None,
        })
        .map_err(Into::into)
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
) -> anyhow::Result<Calls> {
    let executor =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let broker = EmbeddedBroker::in_memory(Options::new("memory"))?;
    let listener = executor.block_on(load(component, &broker, false, isolation))?;
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
