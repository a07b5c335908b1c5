//! Counts in its state and emits what it counted, as `test.counted` `{"key","value"}`.
//!
//! `{"key":K}` (default `count`) adds one by the host's increment. With `"by":"reading"` it reads,
//! adds and writes instead, which two deliveries at once can only do right if the host notices.
//! With `"sleep_ms"` it waits between the two. With `"fail":true` it asks for a retry afterwards, so that nothing of it may remain.

use serde::Deserialize;
use serde_json::json;
use usher_sdk::prelude::*;
use usher_sdk::state;

#[derive(Deserialize)]
#[serde(default)]
struct Count {
    key: String,
    by: By,
    sleep_ms: u64,
    fail: bool,
}

impl Default for Count {
    fn default() -> Self {
        Self { key: "count".to_owned(), by: By::Increment, sleep_ms: 0, fail: false }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum By {
    Increment,
    Reading,
}

struct State;

impl Listener for State {
    fn describe() -> Description {
        Description::new("state", env!("CARGO_PKG_VERSION"), "Counts in its state")
            .subscribe("count", Filter::event_type("test.count"))
            .wants(Capability::State, "to count")
    }

    fn handle(delivery: Delivery) -> Result<Vec<Emission>, Failure> {
        let count = delivery.event.json::<Option<Count>>()?.unwrap_or_default();
        let bucket = state::bucket("counts")?;
        let value = match count.by {
            By::Increment => bucket.increment(&count.key, 1)?,
            By::Reading => {
                let value = bucket.get_json::<i64>(&count.key)?.unwrap_or(0) + 1;
                std::thread::sleep(std::time::Duration::from_millis(count.sleep_ms));
                bucket.set_json(&count.key, &value)?;
                value
            }
        };
        if count.fail {
            return Err(Failure::retry("counted, and asked to fail"));
        }
        let counted = json!({ "key": count.key, "value": value });
        Ok(vec![Emission::new("test.counted").json(&counted)?])
    }
}

usher_sdk::export!(State);
