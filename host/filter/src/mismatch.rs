//! Explains why an event doesn't match a filter.
//!
//! Evaluates the filter again, with allocations; meant for diagnostics only.

use std::fmt;

use usher_event::Event;

use crate::Filter;
use crate::filter::{Comparison, Expression};

/// Maximum characters of a value in an explanation.
const VALUE_MAX_CHARS: usize = 80;

/// Maximum characters of a filter in an explanation.
const FILTER_MAX_CHARS: usize = 200;

/// Alternatives explained one by one; the rest is only counted.
const ALTERNATIVES_MAX: usize = 4;

/// The part of a filter that an event doesn't satisfy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    path: String,
    reason: String,
}

impl Mismatch {
    /// A mismatch that concerns no part of the filter.
    pub fn because(reason: impl Into<String>) -> Self {
        Self { path: String::new(), reason: reason.into() }
    }

    /// Where in the filter, such as `all[1].prefix.type`; empty for its root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Why it doesn't match there, such as `type is "a", needs to be "b"`.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    fn below(self, place: &str) -> Self {
        let path = match self.path.is_empty() {
            true => place.to_owned(),
            false => format!("{place}.{}", self.path),
        };
        Self { path, ..self }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.reason)
        } else {
            write!(f, "{} (at {})", self.reason, self.path)
        }
    }
}

impl Filter {
    /// Why the event doesn't match; `None` if and only if it matches.
    pub fn explain(&self, event: &Event) -> Option<Mismatch> {
        explain(&self.0, event)
    }
}

fn explain(expression: &Expression, event: &Event) -> Option<Mismatch> {
    if expression.holds(event) {
        return None;
    }
    Some(match expression {
        Expression::Compare(comparison, attributes) => compare(*comparison, attributes, event),
        Expression::All(of) => {
            let mut members = of.iter().enumerate();
            let no = members.find_map(|(n, member)| Some((n, explain(member, event)?)));
            // Some member doesn't hold, or `all` would; the fallback is unreachable.
            let (n, no) = no.unwrap_or_else(|| (0, refused(expression)));
            no.below(&format!("all[{n}]"))
        }
        Expression::Any(of) => any(of, event),
        Expression::Not(inner) => not(inner, event).below("not"),
    })
}

fn compare(comparison: Comparison, attributes: &[(Box<str>, Box<str>)], event: &Event) -> Mismatch {
    let differs = |(name, wanted): &&(Box<str>, Box<str>)| {
        !event.attribute(name).is_some_and(|found| comparison.holds(&found, wanted))
    };
    let Some((name, wanted)) = attributes.iter().find(differs) else {
        return Mismatch { path: comparison.dialect().to_owned(), reason: String::new() };
    };
    let wanted = quoted(wanted);
    let found = match event.attribute(name) {
        Some(found) => format!("is {}", quoted(&found)),
        None => "is not there".to_owned(),
    };
    let needs = match comparison {
        Comparison::Exact => "be",
        Comparison::Prefix => "begin with",
        Comparison::Suffix => "end with",
    };
    Mismatch {
        path: format!("{}.{name}", comparison.dialect()),
        reason: format!("{name} {found}, needs to {needs} {wanted}"),
    }
}

fn any(of: &[Expression], event: &Event) -> Mismatch {
    let mut told =
        of.iter().enumerate().filter_map(|(n, member)| Some((n, explain(member, event)?)));
    if of.len() == 1
        && let Some((_, no)) = told.next()
    {
        return no.below("any[0]");
    }
    let mut reasons: Vec<String> =
        told.take(ALTERNATIVES_MAX).map(|(n, no)| format!("[{n}] {}", no.reason)).collect();
    if of.len() > ALTERNATIVES_MAX {
        reasons.push(format!("and so on, {} in all", of.len()));
    }
    Mismatch {
        path: "any".to_owned(),
        reason: format!("none of {} filters matches: {}", of.len(), reasons.join("; ")),
    }
}

/// Explains a `not`: `inner` matches.
fn not(inner: &Expression, event: &Event) -> Mismatch {
    match inner {
        Expression::Not(twice) => {
            explain(twice, event).unwrap_or_else(|| refused(twice)).below("not")
        }
        Expression::Compare(comparison, attributes) if attributes.len() == 1 => {
            let must_not = match comparison {
                Comparison::Exact => "be that",
                Comparison::Prefix => "begin with",
                Comparison::Suffix => "end with",
            };
            let reasons = attributes.iter().map(|(name, unwanted)| {
                let found = event.attribute(name).unwrap_or_default();
                let found = format!("{name} is {}, must not {must_not}", quoted(&found));
                match comparison {
                    Comparison::Exact => found,
                    Comparison::Prefix | Comparison::Suffix => {
                        format!("{found} {}", quoted(unwanted))
                    }
                }
            });
            let names = attributes.iter().map(|(name, _)| &**name);
            Mismatch {
                path: format!("{}.{}", comparison.dialect(), names.collect::<String>()),
                reason: reasons.collect(),
            }
        }
        _ => refused(inner),
    }
}

/// The event matches `inner` under a `not`.
fn refused(inner: &Expression) -> Mismatch {
    let json = cut(&inner.to_json().to_string(), FILTER_MAX_CHARS);
    Mismatch { path: String::new(), reason: format!("must not match {json}, and does") }
}

/// Quotes a value, escaped and truncated.
fn quoted(value: &str) -> String {
    format!("{:?}", cut(value, VALUE_MAX_CHARS))
}

fn cut(text: &str, max_chars: usize) -> String {
    match text.char_indices().nth(max_chars) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
