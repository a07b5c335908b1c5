//! `prefix`: attributes that begin with these values.

use super::attributes::{Attributes, Comparison};
use crate::cover::Test;

pub(crate) type Prefix = Attributes<Begins>;

#[derive(Debug)]
pub(crate) struct Begins;

impl Comparison for Begins {
    const NAME: &'static str = "prefix";
    const NEEDS_TO: &'static str = "begin with";

    fn holds(found: &str, wanted: &str) -> bool {
        found.starts_with(wanted)
    }

    fn test(wanted: &str) -> Test {
        Test::BeginsWith(wanted.into())
    }
}
