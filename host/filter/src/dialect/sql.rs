//! `sql`: an expression of CloudEvents SQL, which `usher-cesql` reads and evaluates, is true.

use serde_json::Value as Json;
use usher_cesql::{Attributes, Expression, Requirement, Value};
use usher_event::{AttributeRef, Event};

use super::{Dialect, Size, object};
use crate::FilterError;
use crate::cover::{Atom, Cost, Cover, Test};
use crate::mismatch::Mismatch;
use crate::reader::{Reader, kind};
use crate::subject::Subject;

#[derive(Debug)]
pub(crate) struct Sql(Expression);

impl Sql {
    pub(crate) fn read(reader: &mut Reader, body: &Json) -> Result<Self, FilterError> {
        let Json::String(text) = body else {
            return Err(reader.error(format!("expected an expression, found {}", kind(body))));
        };
        let expression =
            Expression::parse(text).map_err(|error| reader.error(error.to_string()))?;
        expression.check_filter().map_err(|error| reader.error(error.to_string()))?;
        Ok(Self(expression))
    }
}

/// An event as expressions see it.
struct Of<'e>(&'e Event);

impl Attributes for Of<'_> {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        Some(match self.0.attribute_ref(name)? {
            AttributeRef::Boolean(value) => Value::Boolean(value),
            AttributeRef::Integer(value) => Value::Integer(value),
            AttributeRef::Text(text) => Value::String(text),
        })
    }
}

fn atom(requirement: Requirement<'_>) -> Atom {
    match requirement {
        Requirement::Equals { attribute, value } => {
            Atom::attribute(attribute, Test::Equals(value.into()))
        }
        Requirement::BeginsWith { attribute, prefix } => {
            Atom::attribute(attribute, Test::BeginsWith(prefix.into()))
        }
    }
}

impl Dialect for Sql {
    fn holds(&self, subject: &Subject<'_>) -> bool {
        self.0.passes(&Of(subject.event))
    }

    fn explain(&self, subject: &Subject<'_>) -> Mismatch {
        let why = self.0.explain(&Of(subject.event)).unwrap_or_default();
        Mismatch::because(Mismatch::shown_text(&why)).below("sql")
    }

    fn cover(&self, cost: Cost<'_>) -> Option<Cover> {
        if let Some(requirement) = self.0.as_requirement() {
            return Some(Cover::one(atom(requirement), true));
        }
        let covers = self.0.requirements().map(|it| Some(Cover::one(atom(it), false)));
        Cover::cheapest(covers, cost).map(|cover| Cover { decides: false, ..cover })
    }

    fn selects_type_prefix(&self, prefix: &str) -> bool {
        self.0.texts_of("type").any(|ty| ty.starts_with(prefix))
    }

    fn size(&self) -> Size {
        Size { depth: 1, expressions: 1 }
    }

    fn to_json(&self) -> Json {
        object("sql", Json::from(self.0.text()))
    }
}
