//! Resources that a router holds, measured from outside.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use usher_tests::{Holds, guest, wait_for};

use crate::scene::{QUICK_RETRIES, Scene, event};

/// Loads after which everything that is allocated once has been allocated.
const WARM_UP: usize = 2;
/// Loads after the warm-up.
const LOADS: usize = 4;
/// Events per load that succeed.
const GOOD: usize = 200;
/// Memory that the log's tables, until they are flushed, and the allocator may retain.
const SLACK_BYTES: u64 = 24 * 1_024 * 1_024;

/// Keeps the breakers of plugins that fail at everything closed.
const MANY_FAILURES: &str = "[plugin.spin.breaker]\nfailures = 1000\n\
    [plugin.trap.breaker]\nfailures = 1000\n";

/// Invariant 11: after loads with traps, exceeded budgets and swaps, file descriptors, threads and
/// memory are back at their initial level.
#[test]
fn everything_returns_to_where_it_was() -> Result<()> {
    let tables = format!("{QUICK_RETRIES}{MANY_FAILURES}[plugin.spin.limits]\ncpu_ms = 50\n");
    let scene = Scene::with(&tables, &["spin", "trap", "echo"])?;
    // Their code is compiled a second time behind them.
    for plugin in ["spin", "trap", "echo"] {
        scene.router.wait_for_log(plugin, |line| {
            let fields = &line["fields"];
            let is_it = fields["message"] == "plugin serving with optimised code";
            (is_it && fields["plugin"] == plugin).then_some(())
        })?;
    }
    for number in 0..WARM_UP {
        load(&scene, number)?;
    }
    let before = Holds::now(&scene.router)?;
    for number in WARM_UP..WARM_UP + LOADS {
        load(&scene, number)?;
    }
    let returned = wait_for("everything to return", || {
        let now = Holds::now(&scene.router)?;
        let is_back = now.descriptors <= before.descriptors
            && now.threads <= before.threads
            && now.memory_bytes <= before.memory_bytes + SLACK_BYTES;
        Ok(is_back.then_some(()))
    });
    returned.with_context(|| format!("{before:?} became {:?}", Holds::now(&scene.router)))
}

/// Events that succeed, trap and spin, all settled; and two swaps.
fn load(scene: &Scene, number: usize) -> Result<()> {
    let id = |ty: &str, n: usize| format!("{ty}-{number}-{n}");
    let good = (0..GOOD).map(|n| event("test.echo", &id("echo", n), &json!({ "n": n })));
    let bad = ["test.trap", "test.trap", "test.spin"].iter().enumerate();
    let bad = bad.map(|(n, ty)| event(ty, &id(ty, n), &json!({})));
    let events: Vec<Value> = good.chain(bad).collect();
    for receipt in scene.client().publish_batch(&events)? {
        scene.client().settled_flow(receipt.sequence)?;
    }
    for version in ["echo-v2", "echo"] {
        let digest = || -> Result<Value> {
            Ok(scene.client().plugin("echo")?.map_or(Value::Null, |echo| echo["digest"].clone()))
        };
        let before = digest()?;
        scene.folder.install(&guest(version)?, "echo.wasm")?;
        wait_for("the other version to serve", || Ok((digest()? != before).then_some(())))?;
    }
    Ok(())
}
