//! `all`: each of several filters matches.

use serde_json::Value as Json;

use super::{Dialect, Expression, Size, list, object};
use crate::FilterError;
use crate::cover::{Cost, Cover};
use crate::data::path::Pointer;
use crate::mismatch::Mismatch;
use crate::reader::Reader;
use crate::subject::Subject;

/// Never empty.
#[derive(Debug)]
pub(crate) struct All(pub(crate) Vec<Expression>);

impl All {
    pub(crate) fn read(reader: &mut Reader, body: &Json) -> Result<Self, FilterError> {
        reader.list_of(body).map(Self)
    }
}

impl Dialect for All {
    fn holds(&self, subject: &Subject<'_>) -> bool {
        self.0.iter().all(|member| member.holds(subject))
    }

    fn explain(&self, subject: &Subject<'_>) -> Mismatch {
        let mut members = self.0.iter().enumerate();
        match members.find(|(_, member)| !member.holds(subject)) {
            Some((n, member)) => member.explain(subject).below(&format!("all[{n}]")),
            None => Mismatch::because("").below("all"),
        }
    }

    fn cover(&self, cost: Cost<'_>) -> Option<Cover> {
        Cover::cheapest(self.0.iter().map(|member| member.cover(cost)), cost)
    }

    fn pointers<'p>(&'p self, into: &mut Vec<&'p Pointer>) {
        self.0.iter().for_each(|member| member.pointers(into));
    }

    fn reads_data(&self) -> bool {
        self.0.iter().any(|member| member.reads_data())
    }

    fn selects_type_prefix(&self, prefix: &str) -> bool {
        self.0.iter().any(|member| member.selects_type_prefix(prefix))
    }

    fn size(&self) -> Size {
        Size::around(self.0.iter().map(|member| member.size()))
    }

    fn to_json(&self) -> Json {
        object("all", list(&self.0))
    }
}
