//! Program to text, with as few parentheses as [`Expression::parse`] needs.

use std::fmt;

use crate::expression::Expression;
use crate::parse::Precedence;
use crate::program::{Arithmetic, Comparison, Literal, Logic, OpKind};

/// A printed operand.
struct Printed {
    text: String,
    precedence: Precedence,
}

impl Printed {
    fn new(text: impl Into<String>, precedence: Precedence) -> Self {
        Self { text: text.into(), precedence }
    }

    /// In parentheses if it binds less tight than it has to.
    fn at_least(self, least: Precedence) -> String {
        if self.precedence < least { format!("({})", self.text) } else { self.text }
    }
}

/// The expression as it is usually written: keywords in capitals, one space around operators.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut stack: Vec<Printed> = Vec::new();
        for op in self.program() {
            let printed = match &op.kind {
                // The operation behind the right operand prints both.
                OpKind::Branch { .. } => continue,
                kind => print(kind, &mut stack),
            };
            stack.push(printed);
        }
        f.write_str(&stack.pop().map_or_else(String::new, |printed| printed.text))
    }
}

fn print(kind: &OpKind, stack: &mut Vec<Printed>) -> Printed {
    let mut pop = || stack.pop().unwrap_or_else(|| Printed::new("", Precedence::Primary));
    match kind {
        OpKind::Literal(literal) => Printed::new(print_literal(literal), Precedence::Primary),
        OpKind::Attribute(name) => Printed::new(&**name, Precedence::Primary),
        OpKind::Exists(name) => Printed::new(format!("EXISTS {name}"), Precedence::Primary),
        OpKind::Not => {
            Printed::new(format!("NOT {}", pop().at_least(Precedence::Unary)), Precedence::Unary)
        }
        OpKind::Negate => {
            let operand = pop().at_least(Precedence::Unary);
            // A literal with this sign would be another operation.
            let is_digit = operand.starts_with(|one: char| one.is_ascii_digit());
            let text = if is_digit { format!("-({operand})") } else { format!("-{operand}") };
            Printed::new(text, Precedence::Unary)
        }
        OpKind::Equal { is_negated } => {
            binary(stack, if *is_negated { "!=" } else { "=" }, Precedence::Comparison)
        }
        OpKind::Compare(comparison) => {
            let symbol = match comparison {
                Comparison::Less => "<",
                Comparison::LessOrEqual => "<=",
                Comparison::Greater => ">",
                Comparison::GreaterOrEqual => ">=",
            };
            binary(stack, symbol, Precedence::Comparison)
        }
        OpKind::Arithmetic(operator) => match operator {
            Arithmetic::Multiply => binary(stack, "*", Precedence::Multiplicative),
            Arithmetic::Divide => binary(stack, "/", Precedence::Multiplicative),
            Arithmetic::Remainder => binary(stack, "%", Precedence::Multiplicative),
            Arithmetic::Add => binary(stack, "+", Precedence::Additive),
            Arithmetic::Subtract => binary(stack, "-", Precedence::Additive),
        },
        OpKind::Xor => binary(stack, "XOR", Precedence::Logic),
        OpKind::Logic(Logic::And) | OpKind::Branch { .. } => {
            binary(stack, "AND", Precedence::Logic)
        }
        OpKind::Logic(Logic::Or) => binary(stack, "OR", Precedence::Logic),
        OpKind::Like { pattern, is_negated } => {
            let mut text = pop().at_least(Precedence::Like);
            text.push_str(if *is_negated { " NOT LIKE " } else { " LIKE " });
            text.push_str(&print_string(pattern.text()));
            Printed::new(text, Precedence::Like)
        }
        OpKind::In { elements, is_negated } => {
            let set = arguments(stack, *elements);
            let left = stack.pop().map_or_else(String::new, |left| left.at_least(Precedence::In));
            let operator = if *is_negated { "NOT IN" } else { "IN" };
            Printed::new(format!("{left} {operator} ({set})"), Precedence::In)
        }
        OpKind::Call { function, arguments: count } => {
            let text = format!("{}({})", function.name(), arguments(stack, *count));
            Printed::new(text, Precedence::Primary)
        }
        OpKind::Unknown { name, arguments: count } => {
            Printed::new(format!("{name}({})", arguments(stack, *count)), Precedence::Primary)
        }
    }
}

/// The left operand's text grows, so that a long chain is printed in one pass.
fn binary(stack: &mut Vec<Printed>, operator: &str, precedence: Precedence) -> Printed {
    let right = stack.pop().map_or_else(String::new, |it| it.at_least(precedence.right()));
    let mut text = stack.pop().map_or_else(String::new, |left| left.at_least(precedence));
    for part in [" ", operator, " ", &right] {
        text.push_str(part);
    }
    Printed { text, precedence }
}

fn arguments(stack: &mut Vec<Printed>, count: usize) -> String {
    let arguments = stack.split_off(stack.len().saturating_sub(count));
    let arguments: Vec<String> = arguments.into_iter().map(|one| one.text).collect();
    arguments.join(", ")
}

fn print_literal(literal: &Literal) -> String {
    match literal {
        Literal::Boolean(true) => "TRUE".to_owned(),
        Literal::Boolean(false) => "FALSE".to_owned(),
        Literal::Integer(number) => number.to_string(),
        Literal::String(text) => print_string(text),
    }
}

/// A text as a literal, in single quotes unless a backslash before one of them needs double ones; `None`
/// if neither can hold it, as what ends with a backslash.
///
/// ```
/// assert_eq!(usher_cesql::literal("it's").as_deref(), Some(r"'it\'s'"));
/// ```
pub fn literal(text: &str) -> Option<String> {
    let printed = ['\'', '"'].map(|quote| quoted(text, quote));
    printed.into_iter().find(|printed| {
        Expression::parse(printed).is_ok_and(|one| match one.program() {
            [only] => {
                matches!(&only.kind, OpKind::Literal(Literal::String(read)) if **read == *text)
            }
            _ => false,
        })
    })
}

/// A literal that was read, so that one of the quotes can hold it.
fn print_string(text: &str) -> String {
    let is_plain = !text.contains(['\'', '\\']);
    let literal = if is_plain { None } else { literal(text) };
    literal.unwrap_or_else(|| quoted(text, '\''))
}

fn quoted(text: &str, quote: char) -> String {
    let mut printed = String::from(quote);
    for one in text.chars() {
        if one == quote {
            printed.push('\\');
        }
        printed.push(one);
    }
    printed.push(quote);
    printed
}
