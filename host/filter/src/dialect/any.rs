//! `any`: at least one of several filters matches.

use serde_json::Value as Json;
use usher_event::Event;

use super::{Dialect, Expression, Size, list, object};
use crate::FilterError;
use crate::mismatch::Mismatch;
use crate::reader::Reader;
use crate::types::{Types, disjoint};

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
    fn holds(&self, event: &Event) -> bool {
        self.0.iter().any(|member| member.holds(event))
    }

    fn explain(&self, event: &Event) -> Mismatch {
        if let [only] = self.0.as_slice() {
            return only.explain(event).below("any[0]");
        }
        let told = self.0.iter().take(ALTERNATIVES_MAX).enumerate();
        let mut reasons: Vec<String> =
            told.map(|(n, member)| format!("[{n}] {}", member.explain(event).reason())).collect();
        if self.0.len() > ALTERNATIVES_MAX {
            reasons.push(format!("and so on, {} in all", self.0.len()));
        }
        let (count, reasons) = (self.0.len(), reasons.join("; "));
        Mismatch::because(format!("none of {count} filters matches: {reasons}")).below("any")
    }

    fn types(&self) -> Types {
        let of: Vec<_> = self.0.iter().map(|member| member.types()).collect();
        let decided = of.iter().all(|types| types.decided);
        let patterns = of.into_iter().flat_map(|types| types.patterns);
        Types { patterns: disjoint(patterns.collect()), decided }
    }

    fn selects_type_prefix(&self, prefix: &str) -> bool {
        self.0.iter().any(|member| member.selects_type_prefix(prefix))
    }

    fn size(&self) -> Size {
        Size::around(&self.0)
    }

    fn to_json(&self) -> Json {
        object("any", list(&self.0))
    }
}
