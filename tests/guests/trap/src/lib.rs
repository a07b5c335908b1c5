//! Panics at every delivery.

#![allow(clippy::panic, reason = "panicking is what this guest is for")]

use usher_sdk::prelude::*;

struct Trap;

impl Listener for Trap {
    fn describe() -> Description {
        Description::new("trap", env!("CARGO_PKG_VERSION"), "Panics at every delivery")
            .subscribe("trap", Filter::event_type("test.trap"))
    }

    fn handle(delivery: Delivery) -> Result<Vec<Emission>, Failure> {
        Ok(fall_into_the_trap(&delivery))
    }
}

/// Named, so that a test can look for it in a backtrace.
#[inline(never)]
fn fall_into_the_trap(delivery: &Delivery) -> Vec<Emission> {
    panic!("trapped on attempt {}", delivery.attempt)
}

usher_sdk::export!(Trap);
