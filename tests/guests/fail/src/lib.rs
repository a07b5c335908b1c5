//! Fails as its payload says:
//!
//! - `{"mode":"retry"}`, with `"after_ms":N` for a wait of its own;
//! - `{"mode":"reject"}`;
//! - `{"mode":"until","attempts":N}`: asks for retries until attempt N, then emits `test.recovered`;
//! - `{"mode":"ok"}`: emits `test.recovered` at once.

use std::time::Duration;

use serde::Deserialize;
use usher_sdk::prelude::*;

#[derive(Deserialize)]
#[serde(tag = "mode", rename_all = "lowercase")]
enum Mode {
    Retry { after_ms: Option<u64> },
    Reject,
    Until { attempts: u32 },
    Ok,
}

struct Fail;

impl Listener for Fail {
    fn describe() -> Description {
        Description::new("fail", env!("CARGO_PKG_VERSION"), "Fails as its payload says")
            .subscribe("fail", Filter::event_type("test.fail"))
    }

    fn handle(delivery: Delivery) -> Result<Vec<Emission>, Failure> {
        let reason = format!("asked to fail on attempt {}", delivery.attempt);
        match delivery.event.json()? {
            Mode::Retry { after_ms: Some(after_ms) } => {
                Err(Failure::retry_after(reason, Duration::from_millis(after_ms)))
            }
            Mode::Retry { after_ms: None } => Err(Failure::retry(reason)),
            Mode::Reject => Err(Failure::reject(reason)),
            Mode::Until { attempts } if delivery.attempt < attempts => Err(Failure::retry(reason)),
            Mode::Until { .. } | Mode::Ok => {
                Ok(vec![Emission::new("test.recovered").json(&delivery.attempt)?])
            }
        }
    }
}

usher_sdk::export!(Fail);
