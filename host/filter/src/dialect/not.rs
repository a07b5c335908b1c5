//! `not`: another filter doesn't match.

use std::slice;

use serde_json::Value as Json;
use usher_event::Event;

use super::{Dialect, Expression, Size, object};
use crate::FilterError;
use crate::mismatch::Mismatch;
use crate::reader::Reader;
use crate::types::Types;

#[derive(Debug)]
pub(crate) struct Not(Expression);

impl Not {
    pub(crate) fn read(reader: &mut Reader, body: &Json) -> Result<Self, FilterError> {
        reader.deeper(|reader| reader.expression(body)).map(Self)
    }
}

impl Dialect for Not {
    fn holds(&self, event: &Event) -> bool {
        !self.0.holds(event)
    }

    fn explain(&self, event: &Event) -> Mismatch {
        self.0.explain_match(event).below("not")
    }

    fn explain_match(&self, event: &Event) -> Mismatch {
        self.0.explain(event).below("not")
    }

    fn types(&self) -> Types {
        Types::any_type(false)
    }

    fn selects_type_prefix(&self, _: &str) -> bool {
        false
    }

    fn size(&self) -> Size {
        Size::around(slice::from_ref(&self.0))
    }

    fn to_json(&self) -> Json {
        object("not", self.0.to_json())
    }
}
