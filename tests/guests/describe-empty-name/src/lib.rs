//! Has no name.

use usher_sdk::prelude::*;

struct DescribeEmptyName;

impl Listener for DescribeEmptyName {
    fn describe() -> Description {
        Description::new("", env!("CARGO_PKG_VERSION"), "Has no name")
            .subscribe("all", Filter::type_prefix("test."))
    }

    fn handle(_: Delivery) -> Result<Vec<Emission>, Failure> {
        Ok(Vec::new())
    }
}

usher_sdk::export!(DescribeEmptyName);
