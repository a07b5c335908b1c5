//! Built-in functions (§3.5).

use std::borrow::Cow;

use crate::error::ErrorKind;
use crate::evaluate::{Raised, Steps, integer, take};
use crate::value::{Type, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Abs,
    Bool,
    Concat,
    ConcatWs,
    Int,
    IsBool,
    IsInt,
    Left,
    Length,
    Lower,
    Right,
    String,
    Substring,
    Trim,
    Upper,
}

/// Names, arguments from and to (`None` for any number more), and results.
type Row = (Function, &'static str, usize, Option<usize>, Type);

const TABLE: &[Row] = &[
    (Function::Abs, "ABS", 1, Some(1), Type::Integer),
    (Function::Bool, "BOOL", 1, Some(1), Type::Boolean),
    (Function::Concat, "CONCAT", 0, None, Type::String),
    (Function::ConcatWs, "CONCAT_WS", 1, None, Type::String),
    (Function::Int, "INT", 1, Some(1), Type::Integer),
    (Function::IsBool, "IS_BOOL", 1, Some(1), Type::Boolean),
    (Function::IsInt, "IS_INT", 1, Some(1), Type::Boolean),
    (Function::Left, "LEFT", 2, Some(2), Type::String),
    (Function::Length, "LENGTH", 1, Some(1), Type::Integer),
    (Function::Lower, "LOWER", 1, Some(1), Type::String),
    (Function::Right, "RIGHT", 2, Some(2), Type::String),
    (Function::String, "STRING", 1, Some(1), Type::String),
    (Function::Substring, "SUBSTRING", 2, Some(3), Type::String),
    (Function::Trim, "TRIM", 1, Some(1), Type::String),
    (Function::Upper, "UPPER", 1, Some(1), Type::String),
];

impl Function {
    /// The function of this name, in any case, with that many arguments.
    pub(crate) fn of(name: &str, arguments: usize) -> Option<Self> {
        let is_it = |(_, known, from, to, _): &&Row| {
            name.eq_ignore_ascii_case(known)
                && *from <= arguments
                && to.is_none_or(|to| arguments <= to)
        };
        TABLE.iter().find(is_it).map(|(function, ..)| *function)
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        self.row().map_or("", |(_, name, ..)| *name)
    }

    /// The type of its result.
    pub(crate) fn result_type(self) -> Type {
        self.row().map_or(Type::Boolean, |(.., result)| *result)
    }

    fn row(self) -> Option<&'static Row> {
        TABLE.iter().find(|(function, ..)| *function == self)
    }

    /// Calls it.
    pub(crate) fn call<'a>(
        self,
        arguments: &mut [Value<'a>],
        steps: &mut Steps,
    ) -> Result<Value<'a>, Raised<'a>> {
        let count = arguments.len();
        let mut arguments = arguments.iter_mut().map(take);
        // As many as the table says are there.
        let mut next = || arguments.next().unwrap_or(Value::Boolean(false));
        Ok(match self {
            Self::Abs => {
                let number = integer(&next())?;
                match number.checked_abs() {
                    Some(number) => Value::Integer(number),
                    None => return Err(Raised::with(ErrorKind::Math, Value::Integer(i32::MAX))),
                }
            }
            Self::Bool => next().cast(Type::Boolean).ok_or(ErrorKind::Cast)?,
            Self::Int => next().cast(Type::Integer).ok_or(ErrorKind::Cast)?,
            Self::String => Value::String(next().into_text()),
            Self::IsBool => Value::Boolean(next().to_boolean().is_some()),
            Self::IsInt => Value::Boolean(next().to_integer().is_some()),
            Self::Length => {
                let text = next().into_text();
                steps.take(text.len())?;
                Value::Integer(i32::try_from(text.chars().count()).map_err(|_| ErrorKind::Math)?)
            }
            Self::Concat => join("", arguments, steps)?,
            Self::ConcatWs => {
                let delimiter = next().into_text();
                join(&delimiter, arguments, steps)?
            }
            Self::Lower => change(next(), steps, |text| Cow::Owned(text.to_lowercase()))?,
            Self::Upper => change(next(), steps, |text| Cow::Owned(text.to_uppercase()))?,
            Self::Trim => change(next(), steps, |text| part(text, |text| Some(text.trim())))?,
            Self::Left => {
                let (text, count) = (next(), integer(&next())?);
                let Ok(count) = usize::try_from(count) else { return negative_length(text) };
                change(text, steps, |text| part(text, |text| text.get(..after(text, count))))?
            }
            Self::Right => {
                let (text, count) = (next(), integer(&next())?);
                let Ok(count) = usize::try_from(count) else { return negative_length(text) };
                change(text, steps, |text| part(text, |text| text.get(last(text, count)..)))?
            }
            Self::Substring => {
                let (text, position) = (next(), integer(&next())?);
                let length = if count == 3 { Some(integer(&next())?) } else { None };
                substring(text, position, length, steps)?
            }
        })
    }
}

/// "Returns `x` if `y < 0` and a FunctionEvaluationError."
fn negative_length<'a>(text: Value<'a>) -> Result<Value<'a>, Raised<'a>> {
    Err(Raised::with(ErrorKind::FunctionEvaluation, Value::String(text.into_text())))
}

fn change<'a>(
    value: Value<'a>,
    steps: &mut Steps,
    change: impl FnOnce(Cow<'a, str>) -> Cow<'a, str>,
) -> Result<Value<'a>, ErrorKind> {
    let text = value.into_text();
    steps.take(text.len())?;
    Ok(Value::String(change(text)))
}

/// A part of a text, which isn't copied where it is borrowed.
fn part<'a>(text: Cow<'a, str>, of: impl Fn(&str) -> Option<&str>) -> Cow<'a, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(of(text).unwrap_or_default()),
        Cow::Owned(text) => Cow::Owned(of(&text).unwrap_or_default().to_owned()),
    }
}

/// The byte after that many characters, or at the end.
fn after(text: &str, chars: usize) -> usize {
    text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at)
}

/// The byte where the last so many characters begin.
fn last(text: &str, chars: usize) -> usize {
    match chars.checked_sub(1) {
        None => text.len(),
        Some(before) => text.char_indices().rev().nth(before).map_or(0, |(at, _)| at),
    }
}

fn substring<'a>(
    value: Value<'a>,
    position: i32,
    length: Option<i32>,
    steps: &mut Steps,
) -> Result<Value<'a>, ErrorKind> {
    let text = value.into_text();
    steps.take(text.len())?;
    let count = text.chars().count();
    let distance = usize::try_from(position.unsigned_abs()).unwrap_or(usize::MAX);
    let length = length.map(usize::try_from).transpose();
    let Ok(length) = length else { return Err(ErrorKind::FunctionEvaluation) };
    if distance > count {
        return Err(ErrorKind::FunctionEvaluation);
    }
    let skipped = match position {
        0 => return Ok(Type::String.zero()),
        1.. => distance - 1,
        _ => count - distance,
    };
    Ok(Value::String(part(text, |text| {
        let text = text.get(after(text, skipped)..)?;
        text.get(..length.map_or(text.len(), |length| after(text, length)))
    })))
}

fn join<'a>(
    delimiter: &str,
    arguments: impl Iterator<Item = Value<'a>>,
    steps: &mut Steps,
) -> Result<Value<'a>, ErrorKind> {
    let mut joined = String::new();
    for (n, argument) in arguments.enumerate() {
        let text = argument.into_text();
        steps.take(text.len() + delimiter.len())?;
        if n > 0 {
            joined.push_str(delimiter);
        }
        joined.push_str(&text);
    }
    Ok(Value::from(joined))
}
