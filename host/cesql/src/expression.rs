//! An expression, parsed.

use std::fmt;
use std::sync::Arc;

use crate::program::Op;
use crate::value::Type;

/// A CESQL expression. Cheap to clone.
#[derive(Clone)]
pub struct Expression(Arc<Parsed>);

struct Parsed {
    text: Box<str>,
    program: Box<[Op]>,
}

impl Expression {
    pub(crate) fn new(text: &str, program: Vec<Op>) -> Self {
        Self(Arc::new(Parsed { text: text.into(), program: program.into() }))
    }

    /// The text it was parsed from.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The type of its value; `None` if that depends on the event, as for an attribute.
    pub fn result_type(&self) -> Option<Type> {
        self.program().last().and_then(|op| op.kind.result_type())
    }

    pub(crate) fn program(&self) -> &[Op] {
        &self.0.program
    }
}

/// Whether both are the same operations on the same operands, however they are written.
impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        let kinds = self.program().iter().map(|op| &op.kind);
        kinds.eq(other.program().iter().map(|op| &op.kind))
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.text()).finish()
    }
}
