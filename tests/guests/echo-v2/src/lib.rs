//! The second version of `echo`, under the same name: adds `"v": 2` to an object.

use serde_json::{Map, Value};
use usher_sdk::prelude::*;

struct Echo;

impl Listener for Echo {
    fn describe() -> Description {
        Description::new("echo", env!("CARGO_PKG_VERSION"), "Answers with what it was given")
            .subscribe("echo", Filter::event_type("test.echo"))
    }

    fn handle(delivery: Delivery) -> Result<Vec<Emission>, Failure> {
        let mut data: Map<String, Value> = delivery.event.json()?;
        data.insert("v".to_owned(), 2.into());
        let mut echoed = Emission::new("test.echoed").json(&data)?;
        echoed.subject = delivery.event.subject;
        Ok(vec![echoed])
    }
}

usher_sdk::export!(Echo);
