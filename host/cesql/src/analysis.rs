//! What an expression says before any event is there, and why it says no to one.

use std::ops::Range;

use crate::error::{ErrorKind, ParseError};
use crate::evaluate::Evaluation;
use crate::expression::Expression;
use crate::program::{Literal, Logic, Op, OpKind};
use crate::value::{Attributes, Type, Value};

/// What is true of an attribute of every event that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement<'a> {
    /// It is this text.
    Equals {
        /// The attribute.
        attribute: &'a str,
        /// The text.
        value: &'a str,
    },
    /// It begins with this text.
    BeginsWith {
        /// The attribute.
        attribute: &'a str,
        /// The text; not empty.
        prefix: &'a str,
    },
}

/// No attributes at all: an expression that needs none says the same of every event.
struct NoAttributes;

impl Attributes for NoAttributes {
    fn attribute(&self, _: &str) -> Option<Value<'_>> {
        None
    }
}

impl Expression {
    /// Refuses what can only be a mistake in a filter: a value that is never Boolean, an unknown
    /// function, a constant part that always fails, such as `'a' + 1`.
    ///
    /// # Errors
    /// What is wrong, and where.
    ///
    /// ```
    /// use usher_cesql::Expression;
    ///
    /// let typo = Expression::parse("LENGHT(subject) > 3")?;
    /// let error = typo.check_filter().unwrap_err();
    /// assert_eq!(error.reason(), "there is no function LENGHT with 1 argument (§3.5)");
    /// # Ok::<(), usher_cesql::ParseError>(())
    /// ```
    pub fn check_filter(&self) -> Result<(), ParseError> {
        let error = |at: usize, reason: String| Err(ParseError::new(self.text(), at, reason));
        for op in self.program() {
            if let OpKind::Unknown { name, arguments } = &op.kind {
                let plural = if *arguments == 1 { "" } else { "s" };
                let reason =
                    format!("there is no function {name} with {arguments} argument{plural} (§3.5)");
                return error(op.place.start, reason);
            }
        }
        for part in self.constant_parts() {
            if let Some(found) = self.run(part, &NoAttributes, |_, _| ()).error
                && found.kind != ErrorKind::Generic
            {
                return error(found.place.start, format!("always fails: {}", found.kind));
            }
        }
        match self.result_type() {
            None | Some(Type::Boolean) => Ok(()),
            Some(other) => error(0, format!("the value is always {other}, a filter needs Boolean")),
        }
    }

    /// The largest parts that name no attribute.
    fn constant_parts(&self) -> Vec<&[Op]> {
        let program = self.program();
        // How many operations before each name one.
        let mut named = vec![0_usize];
        for op in program {
            let names = matches!(op.kind, OpKind::Attribute(_) | OpKind::Exists(_));
            named.push(named.last().copied().unwrap_or(0) + usize::from(names));
        }
        let mut parts = Vec::new();
        let mut end = program.len();
        while let Some(op) = end.checked_sub(1).and_then(|last| program.get(last)) {
            let is_part = !matches!(op.kind, OpKind::Branch { .. });
            if is_part && named.get(op.first) == named.get(end) {
                parts.extend(program.get(op.first..end));
                end = op.first;
            } else {
                // Right before it stands its last operand.
                end -= 1;
            }
        }
        parts.reverse();
        parts
    }

    /// What holds for every event that passes: conditions on attributes that an index can look up.
    /// There may be more.
    ///
    /// ```
    /// use usher_cesql::{Expression, Requirement};
    ///
    /// let expression = Expression::parse("type = 'order.placed' AND subject LIKE 'eu/%'")?;
    /// let requirements: Vec<_> = expression.requirements().collect();
    /// assert_eq!(requirements, [
    ///     Requirement::BeginsWith { attribute: "subject", prefix: "eu/" },
    ///     Requirement::Equals { attribute: "type", value: "order.placed" },
    /// ]);
    /// # Ok::<(), usher_cesql::ParseError>(())
    /// ```
    pub fn requirements(&self) -> impl Iterator<Item = Requirement<'_>> {
        let mut open = vec![self.program()];
        std::iter::from_fn(move || {
            while let Some(part) = open.pop() {
                match split(part) {
                    Some((Logic::And, left, right)) => open.extend([left, right]),
                    Some((Logic::Or, ..)) => {}
                    None => {
                        if let Some(requirement) = requirement(part) {
                            return Some(requirement);
                        }
                    }
                }
            }
            None
        })
    }

    /// Texts that an attribute is compared with for equality or as a beginning, outside of `NOT`, whatever
    /// else has to hold.
    pub fn texts_of(&self, attribute: &str) -> impl Iterator<Item = &str> {
        let mut open = vec![self.program()];
        let mut texts = Vec::new();
        while let Some(part) = open.pop() {
            if let Some((_, left, right)) = split(part) {
                open.extend([left, right]);
                continue;
            }
            match (requirement(part), part) {
                (Some(Requirement::Equals { attribute: name, value: text }), _)
                | (Some(Requirement::BeginsWith { attribute: name, prefix: text }), _) => {
                    texts.extend((name == attribute).then_some(text));
                }
                (None, [first, elements @ .., last]) => {
                    let is_of_it =
                        matches!(&first.kind, OpKind::Attribute(name) if **name == *attribute);
                    if is_of_it && matches!(last.kind, OpKind::In { is_negated: false, .. }) {
                        texts.extend(elements.iter().filter_map(|op| match &op.kind {
                            OpKind::Literal(Literal::String(text)) => Some(&**text),
                            _ => None,
                        }));
                    }
                }
                _ => {}
            }
        }
        texts.into_iter()
    }

    /// The single condition that this is, if it is one and nothing else.
    pub fn as_requirement(&self) -> Option<Requirement<'_>> {
        let [.., Op { kind, .. }] = self.program() else { return None };
        let decides = match kind {
            OpKind::Equal { .. } => true,
            OpKind::Like { pattern, .. } => pattern.only().is_some() || pattern.prefix().1,
            _ => false,
        };
        requirement(self.program()).filter(|_| decides)
    }

    /// Why an event doesn't pass: the part that says no, and what the attributes in it are; `None` if
    /// it passes.
    ///
    /// ```
    /// use usher_cesql::{Expression, Value};
    ///
    /// let expression = Expression::parse("type = 'order.placed' AND INT(items) > 10")?;
    /// let event = [("type", Value::from("order.placed")), ("items", Value::from("9"))];
    /// let why = expression.explain(&event).unwrap();
    /// assert_eq!(why, "INT(items) > 10 is false: items is '9'");
    /// # Ok::<(), usher_cesql::ParseError>(())
    /// ```
    pub fn explain(&self, attributes: &(impl Attributes + ?Sized)) -> Option<String> {
        let mut said = None;
        let Evaluation { value, error } = self.run(self.program(), attributes, |op, value| {
            let is_logic = matches!(op.kind, OpKind::Logic(_) | OpKind::Branch { .. });
            if !is_logic && *value == Value::Boolean(false) {
                said = Some(op);
            }
        });
        let (place, what) = match (error, value) {
            (Some(error), _) => (error.place.clone(), format!("fails: {}", error.kind)),
            (None, Value::Boolean(true)) => return None,
            (None, Value::Boolean(false)) => {
                let all = 0..self.text().len();
                (said.map_or(all, |op| op.place.clone()), "is false".to_owned())
            }
            (None, other) => (0..self.text().len(), format!("is {other}, no Boolean")),
        };
        let part = self.text().get(place.clone()).unwrap_or_default();
        let found = self.attributes_in(&place, attributes);
        Some(if found.is_empty() {
            format!("{part} {what}")
        } else {
            format!("{part} {what}: {found}")
        })
    }

    /// The attributes that a part of the text names, with their values.
    fn attributes_in(
        &self,
        place: &Range<usize>,
        attributes: &(impl Attributes + ?Sized),
    ) -> String {
        const NAMES_MAX: usize = 8;
        const VALUE_MAX_CHARS: usize = 80;
        let mut names: Vec<&str> = Vec::new();
        for op in self.program() {
            let is_within = place.start <= op.place.start && op.place.end <= place.end;
            if let OpKind::Attribute(name) | OpKind::Exists(name) = &op.kind
                && is_within
                && !names.contains(&&**name)
                && names.len() < NAMES_MAX
            {
                names.push(name);
            }
        }
        let shown = names.into_iter().map(|name| match attributes.attribute(name) {
            Some(Value::String(text)) if text.chars().count() > VALUE_MAX_CHARS => {
                let begin: String = text.chars().take(VALUE_MAX_CHARS).collect();
                format!("{name} begins with '{begin}'")
            }
            Some(value) => format!("{name} is {value}"),
            None => format!("{name} is not there"),
        });
        shown.collect::<Vec<_>>().join(", ")
    }
}

/// The operands of an operator that is decided by its left one, if this is one.
fn split(part: &[Op]) -> Option<(Logic, &[Op], &[Op])> {
    let (Op { kind: OpKind::Logic(logic), .. }, operands) = part.split_last()? else { return None };
    let base = operands.first()?.first;
    let right = operands.last()?.first - base;
    // Between them stands the branch.
    Some((*logic, operands.get(..right.checked_sub(1)?)?, operands.get(right..)?))
}

fn requirement(part: &[Op]) -> Option<Requirement<'_>> {
    let kinds = |n: usize| part.get(n).map(|op| &op.kind);
    match (kinds(0)?, kinds(1)?, kinds(2)) {
        (
            OpKind::Attribute(attribute),
            OpKind::Literal(Literal::String(value)),
            Some(OpKind::Equal { is_negated: false }),
        ) if part.len() == 3 => Some(Requirement::Equals { attribute, value }),
        (OpKind::Attribute(attribute), OpKind::Like { pattern, is_negated: false }, None) => {
            if let Some(value) = pattern.only() {
                return Some(Requirement::Equals { attribute, value });
            }
            let (prefix, _) = pattern.prefix();
            (!prefix.is_empty()).then_some(Requirement::BeginsWith { attribute, prefix })
        }
        _ => None,
    }
}
