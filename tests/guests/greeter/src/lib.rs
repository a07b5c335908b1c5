//! Greets whoever arrives.

use usher_sdk::prelude::*;

struct Greeter;

impl Listener for Greeter {
    fn describe() -> Description {
        Description::new("greeter", env!("CARGO_PKG_VERSION"), "Greets whoever arrives")
            .subscribe("arrivals", Filter::event_type("guest.arrived"))
    }

    fn handle(delivery: Delivery) -> Result<Vec<Emission>, Failure> {
        let name: String = delivery.event.json()?;
        Ok(vec![Emission::new("guest.greeted").json(&format!("Hello, {name}!"))?])
    }
}

usher_sdk::export!(Greeter);
