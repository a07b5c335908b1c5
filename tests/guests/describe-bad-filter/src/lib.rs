//! Asks for a subscription by a filter that breaks the rules.

use usher_sdk::prelude::*;

struct DescribeBadFilter;

impl Listener for DescribeBadFilter {
    fn describe() -> Description {
        Description::new("bad-filter", env!("CARGO_PKG_VERSION"), "Has a filter of no attribute")
            .subscribe("good", Filter::event_type("test.good"))
            .subscribe("bad", Filter::exact("", "x"))
    }

    fn handle(_: Delivery) -> Result<Vec<Emission>, Failure> {
        Ok(Vec::new())
    }
}

usher_sdk::export!(DescribeBadFilter);
