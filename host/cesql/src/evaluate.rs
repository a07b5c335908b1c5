//! Evaluation (§3.4, §3.6), in the fail fast mode of §4.1.

use smallvec::SmallVec;

use crate::error::{ErrorKind, EvaluationError};
use crate::expression::Expression;
use crate::program::{Arithmetic, Comparison, Logic, Op, OpKind};
use crate::value::{Attributes, Type, Value};

/// Maximum steps of an evaluation: operations, characters that patterns and functions look at, and every 16
/// bytes of strings that are read or compared.
pub const EVALUATION_MAX_STEPS: usize = 1 << 20;

/// Values of a typical expression that wait for their operation.
const STACK_VALUES: usize = 8;

type Stack<'a> = SmallVec<[Value<'a>; STACK_VALUES]>;

/// What an expression comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation<'a> {
    /// The value; with an error, most often the zero value of the expression's type.
    pub value: Value<'a>,
    /// What went wrong, if anything.
    pub error: Option<EvaluationError>,
}

/// Steps that are left.
pub(crate) struct Steps(usize);

/// None is left.
pub(crate) struct TooManySteps;

impl Steps {
    /// Takes some.
    pub(crate) fn take(&mut self, count: usize) -> Result<(), TooManySteps> {
        self.0 = self.0.checked_sub(count).ok_or(TooManySteps)?;
        Ok(())
    }

    /// Takes those of reading a value once: to compare or cast it.
    fn take_read(&mut self, value: &Value<'_>) -> Result<(), TooManySteps> {
        const BYTES_PER_STEP: usize = 16;
        match value {
            Value::String(text) => self.take(text.len() / BYTES_PER_STEP),
            _ => Ok(()),
        }
    }
}

impl From<TooManySteps> for ErrorKind {
    fn from(_: TooManySteps) -> Self {
        Self::Generic
    }
}

/// An error, and what the operation that raised it returns besides, if that isn't its zero value.
pub(crate) struct Raised<'a> {
    kind: ErrorKind,
    value: Option<Value<'a>>,
}

impl<'a> Raised<'a> {
    pub(crate) fn with(kind: ErrorKind, value: Value<'a>) -> Self {
        Self { kind, value: Some(value) }
    }
}

impl From<ErrorKind> for Raised<'_> {
    fn from(kind: ErrorKind) -> Self {
        Self { kind, value: None }
    }
}

impl From<TooManySteps> for Raised<'_> {
    fn from(none_left: TooManySteps) -> Self {
        ErrorKind::from(none_left).into()
    }
}

impl Expression {
    /// Evaluates the expression on an event's attributes. Doesn't allocate, unless functions make
    /// strings, integers are cast to them, or more than a few values wait for their operator.
    pub fn evaluate<'a>(&'a self, attributes: &'a (impl Attributes + ?Sized)) -> Evaluation<'a> {
        self.run(self.program(), attributes, |_, _| ())
    }

    /// Whether an event with these attributes passes the expression as a filter: "If the output value
    /// is not a Boolean, or any errors are returned, the event MUST NOT pass" (§1.2).
    pub fn passes(&self, attributes: &(impl Attributes + ?Sized)) -> bool {
        let Evaluation { value, error } = self.evaluate(attributes);
        error.is_none() && value == Value::Boolean(true)
    }

    /// Runs a part of the program that is an expression of its own; `seen` gets the results.
    pub(crate) fn run<'a>(
        &'a self,
        ops: &'a [Op],
        attributes: &'a (impl Attributes + ?Sized),
        mut seen: impl FnMut(&'a Op, &Value<'a>),
    ) -> Evaluation<'a> {
        let base = ops.first().map_or(0, |op| op.first);
        let mut stack = Stack::new();
        let mut steps = Steps(EVALUATION_MAX_STEPS);
        let mut next = 0;
        while let Some(op) = ops.get(next) {
            next += 1;
            match step(op, &mut stack, attributes, &mut steps) {
                Ok(None) => {}
                Ok(Some(end)) => next = end - base,
                Err(Raised { kind, value }) => {
                    let own = value.filter(|_| next == ops.len());
                    let error = EvaluationError { kind, place: op.place.clone() };
                    let value = own.unwrap_or_else(|| zero(ops));
                    return Evaluation { value, error: Some(error) };
                }
            }
            if let Some(value) = stack.last() {
                seen(op, value);
            }
        }
        Evaluation { value: stack.pop().unwrap_or_else(|| zero(ops)), error: None }
    }
}

/// "In cases where the return type of the subexpression cannot be determined by the CESQL engine, the
/// CESQL engine MUST assume a return type of Boolean" (§3.2).
fn zero(ops: &[Op]) -> Value<'static> {
    let root = ops.last().and_then(|op| op.kind.result_type());
    root.unwrap_or(Type::Boolean).zero()
}

/// Executes one operation; returns where to go on if not behind it.
fn step<'a>(
    op: &'a Op,
    stack: &mut Stack<'a>,
    attributes: &'a (impl Attributes + ?Sized),
    steps: &mut Steps,
) -> Result<Option<usize>, Raised<'a>> {
    steps.take(1)?;
    // Each operation stands behind its operands, so they are there.
    let mut pop = || stack.pop().unwrap_or(Value::Boolean(false));
    let result = match &op.kind {
        OpKind::Literal(literal) => literal.value(),
        // "the subexpression referencing the missing attribute MUST evaluate to the zero value for
        // the return type of the subexpression, along with a MissingAttributeError" (§3.2); so
        // `missing OR TRUE` is `false`.
        OpKind::Attribute(name) => {
            let value = attributes.attribute(name).ok_or(ErrorKind::MissingAttribute)?;
            steps.take_read(&value)?;
            value
        }
        OpKind::Exists(name) => Value::Boolean(attributes.attribute(name).is_some()),
        OpKind::Not => Value::Boolean(!boolean(&pop())?),
        OpKind::Negate => {
            let negated = integer(&pop())?.checked_neg();
            Value::Integer(negated.ok_or(ErrorKind::Math)?)
        }
        OpKind::Equal { is_negated } => {
            let (right, left) = (pop(), pop());
            steps.take_read(&right)?;
            Value::Boolean(equal(left, &right)? != *is_negated)
        }
        OpKind::Compare(comparison) => {
            let (right, left) = (pop(), pop());
            let (left, right) = (integer(&left)?, integer(&right)?);
            Value::Boolean(match comparison {
                Comparison::Less => left < right,
                Comparison::LessOrEqual => left <= right,
                Comparison::Greater => left > right,
                Comparison::GreaterOrEqual => left >= right,
            })
        }
        OpKind::Arithmetic(operator) => {
            let (right, left) = (pop(), pop());
            let (left, right) = (integer(&left)?, integer(&right)?);
            let result = match operator {
                Arithmetic::Multiply => left.checked_mul(right),
                Arithmetic::Divide => left.checked_div(right),
                // The remainder of the least Integer and -1 is 0, although its quotient overflows.
                Arithmetic::Remainder => (right != 0).then(|| left.wrapping_rem(right)),
                Arithmetic::Add => left.checked_add(right),
                Arithmetic::Subtract => left.checked_sub(right),
            };
            Value::Integer(result.ok_or(ErrorKind::Math)?)
        }
        OpKind::Xor => {
            let (right, left) = (pop(), pop());
            Value::Boolean(boolean(&left)? != boolean(&right)?)
        }
        OpKind::Branch { logic, end } => {
            let left = boolean(&pop())?;
            // "whenever the left operand of the AND operation evaluates to `false`, the right operand
            // MUST NOT be evaluated" (§3.4.2)
            if left == (*logic == Logic::Or) {
                stack.push(Value::Boolean(left));
                return Ok(Some(*end));
            }
            return Ok(None);
        }
        // The left operand left it to the right one.
        OpKind::Logic(_) => Value::Boolean(boolean(&pop())?),
        OpKind::Like { pattern, is_negated } => {
            let text = pop().into_text();
            Value::Boolean(pattern.matches(&text, steps)? != *is_negated)
        }
        OpKind::In { elements, is_negated } => {
            let begin = stack.len().saturating_sub(*elements + 1);
            let mut is_in = false;
            if let Some((left, set)) = stack.get_mut(begin..).and_then(<[_]>::split_first_mut) {
                for element in set {
                    // "the left argument MUST be used as the target type" (§3.7)
                    steps.take_read(element)?;
                    let element = take(element).cast(left.type_of()).ok_or(ErrorKind::Cast)?;
                    is_in |= element == *left;
                }
            }
            stack.truncate(begin);
            Value::Boolean(is_in != *is_negated)
        }
        OpKind::Call { function, arguments } => {
            let begin = stack.len().saturating_sub(*arguments);
            let result = function.call(stack.get_mut(begin..).unwrap_or_default(), steps)?;
            stack.truncate(begin);
            result
        }
        OpKind::Unknown { .. } => return Err(ErrorKind::MissingFunction.into()),
    };
    stack.push(result);
    Ok(None)
}

/// Moves a value out of its place.
pub(crate) fn take<'a>(place: &mut Value<'a>) -> Value<'a> {
    std::mem::replace(place, Value::Boolean(false))
}

fn boolean(value: &Value<'_>) -> Result<bool, ErrorKind> {
    value.to_boolean().ok_or(ErrorKind::Cast)
}

pub(crate) fn integer(value: &Value<'_>) -> Result<i32, ErrorKind> {
    value.to_integer().ok_or(ErrorKind::Cast)
}

/// "use the `y` type to search, in the set of ambiguous operators, every definition of the operator
/// using the `y` type as the right parameter type", and "cast `x` to the type of the left parameter"
/// (§3.7).
fn equal(left: Value<'_>, right: &Value<'_>) -> Result<bool, ErrorKind> {
    Ok(left.cast(right.type_of()).ok_or(ErrorKind::Cast)? == *right)
}
