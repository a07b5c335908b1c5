//! `exact`: attributes with these values.

use super::attributes::{Attributes, Comparison};
use crate::types::TypePattern;

pub(crate) type Exact = Attributes<IsEqual>;

#[derive(Debug)]
pub(crate) struct IsEqual;

impl Comparison for IsEqual {
    const NAME: &'static str = "exact";
    const NEEDS_TO: &'static str = "be";

    fn holds(found: &str, wanted: &str) -> bool {
        found == wanted
    }

    fn pattern(ty: &str) -> Option<TypePattern> {
        Some(TypePattern::Exact(ty.into()))
    }

    fn must_not(_: &str) -> String {
        "be that".to_owned()
    }
}
