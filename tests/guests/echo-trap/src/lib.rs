//! A third version of `echo`, under the same name: panics at every delivery.

#![allow(clippy::panic, reason = "panicking is what this guest is for")]

use usher_sdk::prelude::*;

struct Echo;

impl Listener for Echo {
    fn describe() -> Description {
        Description::new("echo", env!("CARGO_PKG_VERSION"), "Answers with what it was given")
            .subscribe("echo", Filter::event_type("test.echo"))
    }

    fn handle(delivery: Delivery) -> Result<Vec<Emission>, Failure> {
        panic!("trapped on attempt {}", delivery.attempt)
    }
}

usher_sdk::export!(Echo);
