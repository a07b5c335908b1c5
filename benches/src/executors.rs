//! What more nodes bring to a plugin whose deliveries take 5 ms each, as real processes on one server. It
//! sleeps meanwhile, so that the cores which all share here don't bound it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use usher_tests::wait_for;

use crate::latency::{self, Measured};
use crate::load::Paced;
use crate::nodes::Nodes;

/// Deliveries of one node at the same time.
const INSTANCES: usize = 4;

/// How long a delivery takes.
pub(crate) const SLEEP: Duration = Duration::from_millis(5);

/// Keys that are counted: more than deliveries under way, fewer than a plugin may keep.
const KEYS: usize = 5_000;

/// Events of a batch that is published.
const BATCH: usize = 500;

/// Publishes events that take a while each, and waits until all are handled.
fn handle(nodes: &Nodes, first: usize, count: usize) -> anyhow::Result<Duration> {
    let client = nodes.owner()?.client();
    anyhow::ensure!(client.post("/plugins/state/pause")?.status == 200, "not paused");
    let event = |number: usize| {
        let sleep_ms = u64::try_from(SLEEP.as_millis()).unwrap_or_default();
        let key = (number % KEYS).to_string();
        let data = json!({ "key": key, "by": "reading", "sleep_ms": sleep_ms });
        json!({
            "specversion": "1.0", "id": number.to_string(), "source": "/bench", "type": "test.count",
            "datacontenttype": "application/json", "data": data,
        })
    };
    let numbers: Vec<_> = (first..first + count).collect();
    for batch in numbers.chunks(BATCH) {
        let batch: Vec<Value> = batch.iter().copied().map(event).collect();
        client.publish_batch(&batch)?;
    }
    anyhow::ensure!(client.post("/plugins/state/resume")?.status == 200, "not resumed");
    let begun = Instant::now();
    wait_for("all to be handled", || {
        let state = client.subscription("state/count")?.context("no subscription")?;
        let acked = state.get("acked").and_then(Value::as_u64);
        Ok((acked == u64::try_from(first + count).ok()).then_some(()))
    })?;
    Ok(begun.elapsed())
}

/// Deliveries that other nodes have handled.
fn handled_elsewhere(nodes: &Nodes) -> anyhow::Result<u64> {
    let nodes = nodes.owner()?.client().get_json("/nodes")?;
    let nodes = nodes.pointer("/nodes").and_then(Value::as_array).context("no list")?;
    Ok(nodes.iter().filter_map(|node| node.get("handled")?.as_u64()).sum())
}

/// Time of a delivery with so many nodes, on average.
pub(crate) fn per_delivery(
    program: &Path,
    folder: &Path,
    nodes: usize,
    events: usize,
) -> anyhow::Result<Duration> {
    let config =
        format!("[plugin.state]\ninstances = {INSTANCES}\n[plugin.state.grants]\nstate = true\n");
    let cluster = Nodes::start(program, folder, (1, nodes), &config, "state")?;
    // Until the others have the plugin, and the owner knows that it is worthwhile.
    let mut first = 0;
    let mut is_warm = || {
        handle(&cluster, first, BATCH)?;
        first += BATCH;
        let other = handled_elsewhere(&cluster)?;
        Ok((other > BATCH as u64 / 2 || nodes == 1).then_some(()))
    };
    wait_for("all nodes to take part", &mut is_warm)?;
    let took = handle(&cluster, first, events)?;
    Ok(took / u32::try_from(events)?)
}

/// Publish to emission over HTTP at a steady rate, with one standby.
pub(crate) fn latency(program: &Path, folder: &Path, paced: Paced) -> anyhow::Result<[f64; 4]> {
    let cluster = Nodes::start(program, folder, (1, 2), "", "hop")?;
    latency::measure(cluster.owner()?, paced)?;
    let Measured { percentiles, .. } = latency::measure(cluster.owner()?, paced)?;
    Ok(percentiles)
}
