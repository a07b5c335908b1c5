//! How long a router on three nodes and three servers has no owner, once that is gone.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::nodes::Nodes;

/// Events published before an owner goes, so that it leaves deliveries open.
const EVENTS: usize = 200;

/// How an owner goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Killed,
    Stopped,
}

/// The time from when an owner is killed, or told to stop, until another is ready; so many times.
pub(crate) fn times(
    program: &Path,
    folder: &Path,
    end: End,
    count: usize,
) -> anyhow::Result<Vec<Duration>> {
    let mut nodes = Nodes::start(program, folder, (3, 3), "", "hop")?;
    let mut times = Vec::new();
    for round in 0..count {
        let event = |number: usize| {
            let id = format!("{round}-{number}");
            json!({ "specversion": "1.0", "id": id, "source": "/bench", "type": "test.hop" })
        };
        let events: Vec<_> = (0..EVENTS).map(event).collect();
        nodes.owner()?.client().publish_batch(&events)?;
        let mut owner = nodes.take_owner()?;
        let begun = Instant::now();
        if end == End::Killed {
            owner.kill()?;
            nodes.await_owner()?;
            times.push(begun.elapsed());
        } else {
            owner.terminate()?;
            nodes.await_owner()?;
            times.push(begun.elapsed());
            owner.exited()?;
        }
        nodes.await_all()?;
    }
    Ok(times)
}
