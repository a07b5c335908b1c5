//! Answers with emissions no host should accept, and with some it should. The payload says which,
//! as `{"what":W}`:
//!
//! - `many` with `"count":N`: N emissions of type `test.emitted`, each with its number;
//! - `large` with `"bytes":N`: one emission with N bytes of data;
//! - `attribute` with `"name"` and `"value"`: one with this extension, be it a bad name, or one
//!   that only the host may set (`id`, `source`, `correlationid`…);
//! - `type` with `"value"`: one of this type, be it empty;
//! - `good-then-bad`: a good one followed by one with a bad attribute;
//! - `cycle`: one `test.emit` that says the same again;
//! - `delayed` with `"delay_ms":N`: one `test.emitted` that waits.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use usher_sdk::prelude::*;

#[derive(Deserialize, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
enum What {
    Many { count: u32 },
    Large { bytes: usize },
    Attribute { name: String, value: String },
    Type { value: String },
    GoodThenBad,
    Cycle,
    Delayed { delay_ms: u64 },
}

struct Emit;

impl Listener for Emit {
    fn describe() -> Description {
        Description::new("emit", env!("CARGO_PKG_VERSION"), "Emits what its payload says")
            .subscribe("emit", Filter::event_type("test.emit"))
    }

    fn handle(delivery: Delivery) -> Result<Vec<Emission>, Failure> {
        let emitted = || Emission::new("test.emitted");
        let what: What = delivery.event.json()?;
        Ok(match &what {
            What::Many { count } => {
                (0..*count).map(|number| emitted().json(&number)).collect::<Result<_, _>>()?
            }
            What::Large { bytes } => vec![emitted().data(vec![b'x'; *bytes], "text/plain")],
            What::Attribute { name, value } => vec![emitted().extension(name, value.as_str())],
            What::Type { value } => vec![Emission::new(value)],
            What::GoodThenBad => vec![emitted(), emitted().extension("Not-A-Name", "x")],
            What::Cycle => vec![Emission::new("test.emit").json(&what)?],
            What::Delayed { delay_ms } => {
                vec![emitted().delay(Duration::from_millis(*delay_ms))]
            }
        })
    }
}

usher_sdk::export!(Emit);
