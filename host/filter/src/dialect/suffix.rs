//! `suffix`: attributes that end with these values.

use super::attributes::{Attributes, Comparison};
use crate::cover::Test;

pub(crate) type Suffix = Attributes<Ends>;

#[derive(Debug)]
pub(crate) struct Ends;

impl Comparison for Ends {
    const NAME: &'static str = "suffix";
    const NEEDS_TO: &'static str = "end with";

    fn holds(found: &str, wanted: &str) -> bool {
        found.ends_with(wanted)
    }

    fn test(wanted: &str) -> Test {
        Test::EndsWith(wanted.into())
    }
}
