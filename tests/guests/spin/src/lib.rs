//! Never comes back.

use usher_sdk::prelude::*;

struct Spin;

impl Listener for Spin {
    fn describe() -> Description {
        Description::new("spin", env!("CARGO_PKG_VERSION"), "Never comes back")
            .subscribe("spin", Filter::event_type("test.spin"))
    }

    fn handle(delivery: Delivery) -> Result<Vec<Emission>, Failure> {
        let mut turns = delivery.sequence;
        loop {
            turns = spin_for_ever(turns);
        }
    }
}

/// Named, so that a test can look for it in a backtrace.
#[inline(never)]
fn spin_for_ever(turns: u64) -> u64 {
    std::hint::black_box(turns).wrapping_mul(3)
}

usher_sdk::export!(Spin);
