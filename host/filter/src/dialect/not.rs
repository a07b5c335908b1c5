//! `not`: another filter doesn't match.

use serde_json::Value as Json;

use super::{Dialect, Expression, Size, object};
use crate::FilterError;
use crate::cover::{Cost, Cover};
use crate::data::path::Pointer;
use crate::mismatch::Mismatch;
use crate::reader::Reader;
use crate::subject::Subject;

#[derive(Debug)]
pub(crate) struct Not(Expression);

impl Not {
    pub(crate) fn read(reader: &mut Reader, body: &Json) -> Result<Self, FilterError> {
        reader.deeper(|reader| reader.expression(body)).map(Self)
    }
}

impl Dialect for Not {
    fn holds(&self, subject: &Subject<'_>) -> bool {
        !self.0.holds(subject)
    }

    fn explain(&self, subject: &Subject<'_>) -> Mismatch {
        self.0.explain_match(subject).below("not")
    }

    fn explain_match(&self, subject: &Subject<'_>) -> Mismatch {
        self.0.explain(subject).below("not")
    }

    fn cover(&self, _: Cost<'_>) -> Option<Cover> {
        None
    }

    fn pointers<'p>(&'p self, into: &mut Vec<&'p Pointer>) {
        self.0.pointers(into);
    }

    fn reads_data(&self) -> bool {
        self.0.reads_data()
    }

    fn selects_type_prefix(&self, _: &str) -> bool {
        false
    }

    fn size(&self) -> Size {
        Size::around([self.0.size()])
    }

    fn to_json(&self) -> Json {
        object("not", self.0.to_json())
    }
}
