//! Dialects that compare attributes with strings, one by one.

use std::fmt::Debug;
use std::marker::PhantomData;

use serde_json::Value as Json;
use usher_event::check_attribute_name;

use super::{Dialect, Size, object};
use crate::FilterError;
use crate::cover::{Atom, Cost, Cover, Test};
use crate::mismatch::{Mismatch, quoted};
use crate::reader::{Reader, kind};
use crate::subject::Subject;

/// How an attribute's value is compared.
pub(crate) trait Comparison: Debug + Send + Sync + 'static {
    /// The dialect's name.
    const NAME: &'static str;

    /// Completes "needs to" with the wanted value behind it.
    const NEEDS_TO: &'static str;

    /// Whether a value compares true.
    fn holds(found: &str, wanted: &str) -> bool;

    /// The comparison, for an index.
    fn test(wanted: &str) -> Test;

    /// Completes "must not".
    fn must_not(unwanted: &str) -> String {
        format!("{} {}", Self::NEEDS_TO, quoted(unwanted))
    }
}

/// All of these attributes compare true; never empty.
#[derive(Debug)]
pub(crate) struct Attributes<C> {
    pairs: Vec<(Box<str>, Box<str>)>,
    comparison: PhantomData<C>,
}

impl<C: Comparison> Attributes<C> {
    pub(crate) fn read(reader: &mut Reader, body: &Json) -> Result<Self, FilterError> {
        let Json::Object(object) = body else {
            return Err(reader.error(format!(
                "expected an object of attributes and strings, found {}",
                kind(body)
            )));
        };
        if object.is_empty() {
            return Err(reader.error("is empty: name an attribute"));
        }
        let mut pairs = Vec::with_capacity(object.len());
        for (name, value) in object {
            reader.count()?;
            check_attribute_name(name).map_err(|reason| reader.error(reason))?;
            let value = reader.within(&format!(".{name}"), |reader| reader.value(value))?;
            pairs.push((name.as_str().into(), value));
        }
        // Order in JSON is irrelevant; sort, so that equal filters compare equal.
        pairs.sort_unstable();
        Ok(Self { pairs, comparison: PhantomData })
    }

    fn type_pair(&self) -> Option<&str> {
        self.pairs.iter().find(|(name, _)| &**name == "type").map(|(_, wanted)| &**wanted)
    }
}

impl<C: Comparison> Dialect for Attributes<C> {
    fn holds(&self, subject: &Subject<'_>) -> bool {
        self.pairs.iter().all(|(name, wanted)| match &**name {
            // Fast path: most filters compare the type.
            "type" => C::holds(subject.event.ty(), wanted),
            name => subject.event.attribute(name).is_some_and(|found| C::holds(&found, wanted)),
        })
    }

    fn explain(&self, subject: &Subject<'_>) -> Mismatch {
        let differs = |(name, wanted): &&(Box<str>, Box<str>)| {
            !subject.event.attribute(name).is_some_and(|found| C::holds(&found, wanted))
        };
        let Some((name, wanted)) = self.pairs.iter().find(differs) else {
            return Mismatch::because("").below(C::NAME);
        };
        let found = match subject.event.attribute(name) {
            Some(found) => format!("is {}", quoted(&found)),
            None => "is not there".to_owned(),
        };
        Mismatch::because(format!("{name} {found}, needs to {} {}", C::NEEDS_TO, quoted(wanted)))
            .below(&format!("{}.{name}", C::NAME))
    }

    fn explain_match(&self, subject: &Subject<'_>) -> Mismatch {
        let [(name, unwanted)] = self.pairs.as_slice() else {
            return Mismatch::unwanted(&self.to_json());
        };
        let found = subject.event.attribute(name).unwrap_or_default();
        let must_not = C::must_not(unwanted);
        Mismatch::because(format!("{name} is {}, must not {must_not}", quoted(&found)))
            .below(&format!("{}.{name}", C::NAME))
    }

    fn cover(&self, cost: Cost<'_>) -> Option<Cover> {
        let pairs = self.pairs.iter();
        let covers =
            pairs.map(|(name, wanted)| Cover::one(Atom::attribute(name, C::test(wanted)), true));
        Cover::cheapest(covers.map(Some), cost)
    }

    fn selects_type_prefix(&self, prefix: &str) -> bool {
        let narrows = |ty: &str| !matches!(C::test(ty), Test::EndsWith(_));
        self.type_pair().is_some_and(|ty| narrows(ty) && ty.starts_with(prefix))
    }

    fn size(&self) -> Size {
        Size { depth: 1, expressions: 1 + self.pairs.len() }
    }

    fn to_json(&self) -> Json {
        let pairs = self.pairs.iter();
        let pairs = pairs.map(|(name, value)| (name.to_string(), Json::from(&**value)));
        object(C::NAME, Json::Object(pairs.collect()))
    }
}
