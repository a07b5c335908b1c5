//! An expression as a program for a stack machine, so that neither evaluation nor dropping recurses:
//! each operation stands behind its operands.

use std::ops::Range;

use crate::function::Function;
use crate::pattern::Pattern;
use crate::value::{Type, Value};

/// An operation.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) kind: OpKind,
    /// Where its operands begin in the program; itself, if it has none.
    pub(crate) first: usize,
    /// Bytes of the text that it and its operands are.
    pub(crate) place: Range<usize>,
}

/// What an operation does with the stack.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OpKind {
    Literal(Literal),
    Attribute(Box<str>),
    Exists(Box<str>),
    Not,
    Negate,
    Equal {
        is_negated: bool,
    },
    Compare(Comparison),
    Arithmetic(Arithmetic),
    Xor,
    /// Stands between the operands: where the left one decides, the other is skipped, with `end`.
    Branch {
        logic: Logic,
        end: usize,
    },
    /// Behind the right operand.
    Logic(Logic),
    Like {
        pattern: Pattern,
        is_negated: bool,
    },
    In {
        elements: usize,
        is_negated: bool,
    },
    Call {
        function: Function,
        arguments: usize,
    },
    /// A function that there isn't (§3.5).
    Unknown {
        name: Box<str>,
        arguments: usize,
    },
}

/// A literal (§2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Literal {
    Boolean(bool),
    Integer(i32),
    String(Box<str>),
}

impl Literal {
    pub(crate) fn value(&self) -> Value<'_> {
        match self {
            Self::Boolean(value) => Value::Boolean(*value),
            Self::Integer(value) => Value::Integer(*value),
            Self::String(text) => Value::from(&**text),
        }
    }
}

/// Operators that are evaluated by their left operand where that suffices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logic {
    And,
    Or,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Multiply,
    Divide,
    Remainder,
    Add,
    Subtract,
}

impl OpKind {
    /// The type of its result; `None` if only an event tells.
    pub(crate) fn result_type(&self) -> Option<Type> {
        match self {
            Self::Literal(literal) => Some(literal.value().type_of()),
            Self::Attribute(_) => None,
            Self::Negate | Self::Arithmetic(_) => Some(Type::Integer),
            Self::Call { function, .. } => Some(function.result_type()),
            // §3.5: "When a function invocation cannot be dispatched, the return value is `false`".
            Self::Unknown { .. }
            | Self::Exists(_)
            | Self::Not
            | Self::Equal { .. }
            | Self::Compare(_)
            | Self::Xor
            | Self::Branch { .. }
            | Self::Logic(_)
            | Self::Like { .. }
            | Self::In { .. } => Some(Type::Boolean),
        }
    }
}
