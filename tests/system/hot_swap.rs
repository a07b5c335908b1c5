//! Plugins replaced while they handle deliveries.

use anyhow::{Context as _, Result};
use usher_tests::{Holds, Load, Swaps, wait_for};

use crate::scene::Scene;

/// How many times the versions take turns, unless `USHER_SWAPS` says otherwise.
const SWAPS: usize = 50;
/// Upper bound, since the test reads its whole log.
const SWAPS_MAX: usize = 1_000;
/// Swaps after which everything that is allocated once has been allocated.
const WARM_UP: usize = 10;
/// Memory that the log's tables, until they are flushed, and the allocator may retain: less than
/// the code of all replaced versions.
const SLACK_BYTES: u64 = 10 * 1_024 * 1_024;

fn swaps() -> Result<usize> {
    match std::env::var("USHER_SWAPS") {
        Ok(swaps) => Ok(swaps.parse::<usize>()?.clamp(SWAPS, SWAPS_MAX)),
        Err(_) => Ok(SWAPS),
    }
}

/// Invariant 12: each delivery is handled by one version.
#[test]
fn swaps_under_load_lose_and_double_nothing() -> Result<()> {
    let swaps = swaps()?;
    let scene = Scene::with("", &["echo"])?;
    let went = Swaps::run(&scene.folder, &scene.router, Load::Steady, swaps, |_| Ok(()))?;
    println!(
        "{swaps} swaps, {} events; save to first event on the new version, compilation included: \
         median {} ms, 95th percentile {} ms, longest {} ms",
        went.published,
        went.took_ms(50),
        went.took_ms(95),
        went.took_ms(100)
    );
    Ok(())
}

/// Invariant 11: replaced versions leave nothing behind.
#[test]
fn a_version_that_went_leaves_nothing() -> Result<()> {
    let swaps = swaps()?;
    let scene = Scene::with("", &["echo"])?;
    let mut warm = None;
    Swaps::run(&scene.folder, &scene.router, Load::Light, swaps, |turn| {
        if turn == WARM_UP {
            warm = Some(Holds::now(&scene.router)?);
        }
        Ok(())
    })?;
    let warm = warm.context("too few swaps")?;
    let flat = wait_for("everything to return", || {
        let now = Holds::now(&scene.router)?;
        let is_back = now.descriptors <= warm.descriptors
            && now.threads <= warm.threads
            && now.memory_bytes <= warm.memory_bytes + SLACK_BYTES;
        Ok(is_back.then_some(now))
    });
    let flat = flat.with_context(|| format!("{warm:?} became {:?}", Holds::now(&scene.router)))?;
    println!("{warm:?} after {WARM_UP} swaps, {flat:?} after {swaps}");
    Ok(())
}
