//! Answers with what it was given. See `echo-v2` for its successor.

use usher_sdk::prelude::*;

struct Echo;

impl Listener for Echo {
    fn describe() -> Description {
        Description::new("echo", env!("CARGO_PKG_VERSION"), "Answers with what it was given")
            .subscribe("echo", Filter::event_type("test.echo"))
    }

    fn handle(delivery: Delivery) -> Result<Vec<Emission>, Failure> {
        let event = delivery.event;
        let mut echoed = Emission::new("test.echoed");
        echoed.subject = event.subject;
        echoed.datacontenttype = event.datacontenttype;
        echoed.data = event.data;
        Ok(vec![echoed])
    }
}

usher_sdk::export!(Echo);
