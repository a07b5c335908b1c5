//! Parses its payload and emits one event: the listener of the benchmarks.

use serde::{Deserialize, Serialize};
use usher_sdk::prelude::*;

/// The payload; all other fields are read over.
#[derive(Deserialize)]
struct Hop<'a> {
    #[serde(default)]
    n: u64,
    #[serde(default)]
    name: &'a str,
}

#[derive(Serialize)]
struct Done {
    n: u64,
}

struct HopListener;

impl Listener for HopListener {
    fn describe() -> Description {
        Description::new("hop", env!("CARGO_PKG_VERSION"), "Answers hop.go with hop.done")
            .subscribe("go", Filter::event_type("hop.go"))
    }

    fn handle(delivery: Delivery) -> Result<Vec<Emission>, Failure> {
        let hop: Hop<'_> = delivery.event.json()?;
        let done = Done { n: hop.n.wrapping_add(hop.name.len() as u64) };
        Ok(vec![Emission::new("hop.done").json(&done)?])
    }
}

usher_sdk::export!(HopListener);
