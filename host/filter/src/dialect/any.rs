//! `any`: at least one of several filters matches.

use serde_json::Value as Json;

use super::{Dialect, Expression, Size, list, object};
use crate::FilterError;
use crate::cover::{Cost, Cover};
use crate::data::path::Pointer;
use crate::mismatch::Mismatch;
use crate::reader::Reader;
use crate::subject::Subject;

/// Alternatives explained one by one; the rest is only counted.
const ALTERNATIVES_MAX: usize = 4;

/// Never empty.
#[derive(Debug)]
pub(crate) struct Any(Vec<Expression>);

impl Any {
    pub(crate) fn read(reader: &mut Reader, body: &Json) -> Result<Self, FilterError> {
        reader.list_of(body).map(Self)
    }
}

impl Dialect for Any {
    fn holds(&self, subject: &Subject<'_>) -> bool {
        self.0.iter().any(|member| member.holds(subject))
    }

    fn explain(&self, subject: &Subject<'_>) -> Mismatch {
        if let [only] = self.0.as_slice() {
            return only.explain(subject).below("any[0]");
        }
        let told = self.0.iter().take(ALTERNATIVES_MAX).enumerate();
        let mut reasons: Vec<String> =
            told.map(|(n, member)| format!("[{n}] {}", member.explain(subject).reason())).collect();
        if self.0.len() > ALTERNATIVES_MAX {
            reasons.push(format!("and so on, {} in all", self.0.len()));
        }
        let (count, reasons) = (self.0.len(), reasons.join("; "));
        Mismatch::because(format!("none of {count} filters matches: {reasons}")).below("any")
    }

    fn cover(&self, cost: Cost<'_>) -> Option<Cover> {
        Cover::union(self.0.iter().map(|member| member.cover(cost)))
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
        object("any", list(&self.0))
    }
}
