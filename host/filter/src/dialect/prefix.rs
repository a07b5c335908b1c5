//! `prefix`: attributes that begin with these values.

use super::attributes::{Attributes, Comparison};
use crate::types::TypePattern;

pub(crate) type Prefix = Attributes<Begins>;

#[derive(Debug)]
pub(crate) struct Begins;

impl Comparison for Begins {
    const NAME: &'static str = "prefix";
    const NEEDS_TO: &'static str = "begin with";

    fn holds(found: &str, wanted: &str) -> bool {
        found.starts_with(wanted)
    }

    fn pattern(ty: &str) -> Option<TypePattern> {
        Some(TypePattern::Prefix(ty.into()))
    }
}
