//! From a producer's request to the listener's emission on disk, at a steady rate over HTTP. Requests
//! begin when they are due, whether or not earlier ones are answered, and latency counts from then: a
//! stall is seen by all who come during it (Tene, "How NOT to Measure Latency", 2015).

use std::collections::HashMap;
use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde_json::Value;
use usher_tests::{Folder, Router, usher_binary, wait_for};

use crate::http::address;
use crate::load::{self, Paced, Target};

#[derive(clap::Args)]
pub(crate) struct LatencyArgs {
    /// Events per second, one row for each rate.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 50_000])]
    rates: Vec<u64>,
    /// Connections.
    #[arg(long, default_value_t = 16)]
    clients: u64,
    /// Requests per second, of as many events as the rate takes.
    #[arg(long, default_value_t = 1_000)]
    requests: u64,
    /// Seconds for each rate.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

pub(crate) fn run(args: &LatencyArgs) -> anyhow::Result<()> {
    let folder = Folder::new()?;
    folder.install_guests(&["hop"])?;
    let router = Router::start_with(&usher_binary()?, &folder, &[])?;
    router.client().wait_for_plugin("hop", "serving")?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{:>9}  {:>9}  {:>7}  {:>7}  {:>7}  {:>7}  ms",
        "asked/s", "done/s", "p50", "p99", "p99.9", "max"
    )?;
    // The first is the router's warm-up.
    let rates = args.rates.first().into_iter().chain(&args.rates);
    for (number, rate) in rates.enumerate() {
        let paced = Paced {
            clients: args.clients,
            requests_per_second: args.requests,
            events_per_request: rate / args.requests,
            time: Duration::from_secs(args.seconds),
        };
        let Measured { done, percentiles: [p50, p99, p999, max] } = measure(&router, paced)?;
        if number > 0 {
            writeln!(
                out,
                "{rate:>9}  {done:>9.0}  {p50:>7.1}  {p99:>7.1}  {p999:>7.1}  {max:>7.1}"
            )?;
        }
    }
    router.stop()
}

/// How a steady rate went.
pub(crate) struct Measured {
    /// Deliveries per second.
    done: f64,
    /// The 50th, 99th and 99.9th, and the maximum, milliseconds.
    pub(crate) percentiles: [f64; 4],
}

/// Publishes at a steady rate to a router on which `hop` serves.
pub(crate) fn measure(router: &Router, paced: Paced) -> anyhow::Result<Measured> {
    let target = Target { address: address(router.url())?, tls: None, token: None };
    let first = 1 + last_sequence(router)?;
    let taken = load::paced(&target, paced)?;
    let mut latencies = latencies(router, first)?;
    latencies.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| {
        let rank = (latencies.len() as f64 * share) as usize;
        latencies.get(rank.min(latencies.len().max(1) - 1)).copied().unwrap_or_default()
    };
    let done = latencies.len() as f64 / taken.as_secs_f64();
    Ok(Measured { done, percentiles: [0.5, 0.99, 0.999, 1.0].map(at) })
}

fn last_sequence(router: &Router) -> anyhow::Result<u64> {
    let page = router.client().get_json("/events?order=newest&max=1")?;
    let last = page.pointer("/events/0/sequence").and_then(Value::as_u64);
    Ok(last.unwrap_or_default())
}

/// Milliseconds from when each event was due until its emission was recorded, which is known to one.
fn latencies(router: &Router, first: u64) -> anyhow::Result<Vec<f64>> {
    let client = router.client();
    wait_for("the emissions", || {
        let all = client.get_json("/subscriptions")?;
        let hop = all.pointer("/subscriptions/0").context("no subscription")?;
        let is_zero = |name| hop.get(name).and_then(Value::as_u64) == Some(0);
        Ok((is_zero("lag") && is_zero("in_flight")).then_some(()))
    })?;
    let (mut due, mut latencies, mut from) = (HashMap::new(), Vec::new(), first);
    loop {
        let page = client.get_json(&format!("/events?from={from}&max=1000"))?;
        let events = page.get("events").and_then(Value::as_array).context("no events")?;
        let number = |of: &Value, at: &str| of.pointer(at).and_then(Value::as_u64);
        let text = |of: &Value, at: &str| Some(of.pointer(at)?.as_str()?.to_owned());
        for stored in events {
            from = 1 + number(stored, "/sequence").context("no sequence")?;
            match number(stored, "/cause/parent") {
                None => {
                    let id = text(stored, "/event/id").context("no id")?;
                    let time = id.split('-').next().and_then(|time| time.parse::<f64>().ok());
                    due.insert(from - 1, time.context("an id without a time")?);
                }
                Some(parent) => {
                    let due_ms = due.get(&parent).context("an emission without an event")?;
                    let recorded = text(stored, "/recorded").context("no time")?;
                    let recorded_ms = usher_event::read_time(&recorded).context("no time")?;
                    latencies.push((recorded_ms as f64 - due_ms).max(0.0));
                }
            }
        }
        if events.is_empty() {
            return Ok(latencies);
        }
    }
}

/// Milliseconds since 1970 at a moment that has passed.
pub(crate) fn due_ms(moment: Instant) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(moment.elapsed()).as_secs_f64() * 1e3
}
