//! What a router holds on to, seen from the outside.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use usher_tests::{Holds, guest, wait_for};

use crate::scene::{QUICK_RETRIES, Scene, event};

/// Loads after which everything that is made once has been made.
const WARM_UP: usize = 2;
/// Loads after it.
const LOADS: usize = 4;
/// Events of a load that succeed.
const GOOD: usize = 200;
/// What the log's own tables, in memory until they are written out, and the allocator may keep.
const SLACK_BYTES: u64 = 24 * 1_024 * 1_024;

/// Plugins that fail at everything, and are to go on failing.
const MANY_FAILURES: &str = "[plugin.spin.breaker]\nfailures = 1000\n\
    [plugin.trap.breaker]\nfailures = 1000\n";

/// Invariant 11: after loads with traps, blown budgets and swaps, file descriptors, threads and
/// memory are where they were before.
#[test]
fn everything_returns_to_where_it_was() -> Result<()> {
    let tables = format!("{QUICK_RETRIES}{MANY_FAILURES}[plugin.spin.limits]\ncpu_ms = 50\n");
    let scene = Scene::with(&tables, &["spin", "trap", "echo"])?;
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
