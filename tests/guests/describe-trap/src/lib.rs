//! Panics when asked what it is.

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
