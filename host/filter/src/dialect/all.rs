//! `all`: each of several filters matches.

use serde_json::Value as Json;
use usher_event::Event;

use super::{Dialect, Expression, Size, list, object};
use crate::FilterError;
use crate::mismatch::Mismatch;
use crate::reader::Reader;
use crate::types::Types;

/// Never empty.
#[derive(Debug)]
pub(crate) struct All(pub(crate) Vec<Expression>);

impl All {
    pub(crate) fn read(reader: &mut Reader, body: &Json) -> Result<Self, FilterError> {
        reader.list_of(body).map(Self)
    }
}

impl Dialect for All {
    fn holds(&self, event: &Event) -> bool {
        self.0.iter().all(|member| member.holds(event))
    }

    fn explain(&self, event: &Event) -> Mismatch {
        let mut members = self.0.iter().enumerate();
        match members.find(|(_, member)| !member.holds(event)) {
            Some((n, member)) => member.explain(event).below(&format!("all[{n}]")),
            None => Mismatch::because("").below("all"),
        }
    }

    /// An event that matches all members matches each, so indexing by the narrowest suffices.
    fn types(&self) -> Types {
        let narrowest = self.0.iter().map(|member| member.types()).min_by_key(Types::breadth);
        match narrowest {
            None => Types::any_type(true),
            Some(only) if self.0.len() == 1 => only,
            Some(narrowest) => Types { decided: false, ..narrowest },
        }
    }

    fn selects_type_prefix(&self, prefix: &str) -> bool {
        self.0.iter().any(|member| member.selects_type_prefix(prefix))
    }

    fn size(&self) -> Size {
        Size::around(&self.0)
    }

    fn to_json(&self) -> Json {
        object("all", list(&self.0))
    }
}
