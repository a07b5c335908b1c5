//! Panics when asked what it is.

#![allow(clippy::panic, reason = "panicking is what this guest is for")]

use usher_sdk::prelude::*;

struct DescribeTrap;

impl Listener for DescribeTrap {
    fn describe() -> Description {
        panic!("rather not say")
    }

    fn handle(_: Delivery) -> Result<Vec<Emission>, Failure> {
        Ok(Vec::new())
    }
}

usher_sdk::export!(DescribeTrap);
