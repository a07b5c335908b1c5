//! CloudEvents SQL expressions: predicates and values computed from the context attributes of an
//! event, as defined by the [CloudEvents SQL Expression Language][spec], version 1.0.0.
//!
//! ```
//! use usher_cesql::{Expression, Value};
//!
//! let large = Expression::parse("type LIKE 'order.%' AND INT(items) >= 10")?;
//! let event = [("type", Value::from("order.placed")), ("items", Value::from("12"))];
//! assert!(large.passes(&event));
//! # Ok::<(), usher_cesql::ParseError>(())
//! ```
//!
//! An expression is total (§3.3): [`Expression::evaluate`] always returns a value, and the error that
//! occurred, if one did. As a filter (§1.2), it passes an event only if the value is the Boolean
//! `true` and there is no error; [`Expression::passes`] answers that.
//!
//! # Where the text leaves room
//!
//! - **Errors** end the evaluation, the *fail fast mode* of §4.1, which §1.2 asks for in filters: the
//!   value is then the zero value of the whole expression's type (§3.1), or what the operation that
//!   raised the error returns, if that is the whole expression: `LEFT('abc', -2)` is `'abc'` with an
//!   error, `LENGTH(LEFT('abc', -2))` is `0` with the same error.
//! - **Overflow** of `+`, `-`, `*`, `/` and negation is a math error with the value `0`: a 32-bit
//!   Integer (§3.1) has no obvious value for it (§3.3).
//! - **Precedence** is that of §3.6, literally: `NOT` and `-` bind tighter than anything but function
//!   calls, so that `NOT a = b` is `(NOT a) = b`. `AND`, `OR` and `XOR` share one level and are
//!   evaluated from left to right: `a OR b AND c` is `(a OR b) AND c`.
//! - **Characters** are Unicode code points (§3.1: "sequence of Unicode characters"): `LENGTH`, `LEFT`,
//!   `RIGHT`, `SUBSTRING` and `_` count them.
//! - **`IS_INT` and `IS_BOOL`** are in no table of §3.5, but in both official implementations. Here
//!   they tell whether a cast of §3.7 succeeds; so `IS_INT(TRUE)` is `true`.
//! - **Parentheses** only group: `(missing) * 5` is what `missing * 5` is.
//!
//! # Limits
//!
//! [`EXPRESSION_MAX_BYTES`], [`EXPRESSION_MAX_DEPTH`], and [`EVALUATION_MAX_STEPS`] for an evaluation,
//! where a step is an operation, a character that a function or a pattern looks at, or 16 bytes that are
//! compared. So no expression and no event can make an evaluation long. Neither parsing nor evaluating panics.
//!
//! [spec]: https://github.com/cloudevents/spec/blob/cesql/v1.0.0/cesql/spec.md

mod analysis;
mod error;
mod evaluate;
mod expression;
mod function;
mod parse;
mod pattern;
mod print;
mod program;
mod value;

pub use analysis::Requirement;
pub use error::{ErrorKind, EvaluationError, ParseError};
pub use evaluate::{EVALUATION_MAX_STEPS, Evaluation};
pub use expression::Expression;
pub use parse::{EXPRESSION_MAX_BYTES, EXPRESSION_MAX_DEPTH};
pub use print::literal;
pub use value::{Attributes, Type, Value};
