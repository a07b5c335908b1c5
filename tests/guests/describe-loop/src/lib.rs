//! Thinks for ever when asked what it is.

use usher_sdk::prelude::*;

struct DescribeLoop;

impl Listener for DescribeLoop {
    fn describe() -> Description {
        loop {
            std::hint::black_box(());
        }
    }

    fn handle(_: Delivery) -> Result<Vec<Emission>, Failure> {
        Ok(Vec::new())
    }
}

usher_sdk::export!(DescribeLoop);
