//! `exact`: attributes with these values.

use super::attributes::{Attributes, Comparison};
use crate::cover::Test;

pub(crate) type Exact = Attributes<IsEqual>;

#[derive(Debug)]
pub(crate) struct IsEqual;

impl Comparison for IsEqual {
    const NAME: &'static str = "exact";
    const NEEDS_TO: &'static str = "be";

    fn holds(found: &str, wanted: &str) -> bool {
        found == wanted
    }

    fn test(wanted: &str) -> Test {
        Test::Equals(wanted.into())
    }

    fn must_not(_: &str) -> String {
        "be that".to_owned()
    }
}
