//! The same component through usher-runtime: warm, with every limit, epochs and capabilities in
//! place, called as the router calls it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use usher_broker::{Broker as _, EmbeddedBroker, Options};
use usher_event::{Delivery, Listener, Verdict};
use usher_runtime::{Grants, Limits, Runtime, RuntimeOptions, Settings, WasmListener};

use crate::bare::median;
use crate::sample::Sample;

const WARM_UP_CALLS: u32 = 20_000;
const ROUND_CALLS: u32 = 100_000;

/// Loads the component; `broker` has its state and blobs.
pub(crate) async fn load(
    component: &[u8],
    broker: &EmbeddedBroker,
) -> anyhow::Result<Arc<WasmListener>> {
    let runtime = Runtime::new(RuntimeOptions::default())?;
    let loaded = runtime.load(Bytes::copy_from_slice(component), "hop.wasm").await?;
    loaded
        .listener(Settings {
            limits: Limits::default(),
            grants: Grants::default(),
            state: broker.state(),
            blobs: broker.blobs(),
        })
        .map_err(|errors| anyhow::anyhow!("the default limits are out of range: {errors:?}"))
}

/// Median over rounds of the time one delivery takes, without broker and router.
pub(crate) fn time_per_call(component: &[u8], sample: &Sample) -> anyhow::Result<Duration> {
    let executor =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let broker = EmbeddedBroker::in_memory(Options::new("memory"))?;
    let listener = executor.block_on(load(component, &broker))?;
    let delivery = Delivery {
        sequence: 1,
        event: sample.template(0).clone(),
        subscription: "hop/go".parse()?,
        attempt: 1,
        flow: 1,
        depth: 0,
        replay: false,
    };
    let call = |calls: u32| -> anyhow::Result<Duration> {
        executor.block_on(async {
            let start = Instant::now();
            for _ in 0..calls {
                let outcome = listener.handle(&delivery).await;
                anyhow::ensure!(outcome.verdict == Verdict::Ack, "{:?}", outcome.verdict);
            }
            Ok(start.elapsed() / calls)
        })
    };
    call(WARM_UP_CALLS)?;
    median(|| call(ROUND_CALLS))
}
