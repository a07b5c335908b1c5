//! What is wrong with an expression, or what went wrong as it was evaluated (§3.3).

use std::fmt;
use std::ops::Range;

/// A kind of errors (§3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A mathematical operation has no result.
    Math,
    /// A value can't be cast.
    Cast,
    /// The event doesn't have the attribute.
    MissingAttribute,
    /// There is no such function, or none with so many arguments.
    MissingFunction,
    /// A function can't take these arguments.
    FunctionEvaluation,
    /// Anything else: the evaluation takes too many steps.
    Generic,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Math => "the result is no 32-bit integer",
            Self::Cast => "the value can't be cast",
            Self::MissingAttribute => "the event doesn't have the attribute",
            Self::MissingFunction => "there is no such function with so many arguments",
            Self::FunctionEvaluation => "the function can't take these arguments",
            Self::Generic => "the evaluation takes too many steps",
        })
    }
}

/// What went wrong in an evaluation. Small, and made without allocation: an attribute that isn't
/// there is nothing special.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}, at byte {}", place.start)]
pub struct EvaluationError {
    /// Its kind.
    pub kind: ErrorKind,
    /// The operation that raised it: bytes of the expression's text.
    pub place: Range<usize>,
}

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    text: String,
    at: usize,
    reason: String,
}

impl ParseError {
    /// An error at a byte of the text.
    pub(crate) fn new(text: &str, at: usize, reason: impl Into<String>) -> Self {
        Self { text: text.to_owned(), at, reason: reason.into() }
    }

    /// Where in the text, in bytes.
    pub fn at(&self) -> usize {
        self.at
    }

    /// What is wrong there.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// The reason with its position in characters, and below it a part of the line with a caret.
impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.text.get(..self.at).unwrap_or(&self.text);
        write!(f, "at character {}: {}", before.chars().count() + 1, self.reason)?;
        let (line, caret) = excerpt(&self.text, self.at);
        if line.is_empty() { Ok(()) } else { write!(f, "\n  {line}\n  {:caret$}^", "") }
    }
}

impl std::error::Error for ParseError {}

/// The text around a byte on one line, and the characters before it there.
fn excerpt(text: &str, at: usize) -> (String, usize) {
    const BEFORE_CHARS: usize = 40;
    const AFTER_CHARS: usize = 32;
    let (before, after) = text.split_at_checked(at).unwrap_or((text, ""));
    let skipped = before.chars().count().saturating_sub(BEFORE_CHARS);
    let shown = |one: char| if one.is_control() { ' ' } else { one };
    let mut line = String::from(if skipped > 0 { "…" } else { "" });
    line.extend(before.chars().skip(skipped).map(shown));
    let caret = line.chars().count();
    line.extend(after.chars().take(AFTER_CHARS).map(shown));
    if after.chars().nth(AFTER_CHARS).is_some() {
        line.push('…');
    }
    (line, caret)
}
