//! `data`: values of the payload meet these conditions. Each file here knows its own part: this one the
//! paths, `condition` what is asked of a value.

mod condition;

use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::{Dialect, Size, object};
use crate::FilterError;
use crate::cover::{Cost, Cover};
use crate::data::path::{Path, Pointer};
use crate::mismatch::Mismatch;
use crate::reader::{Reader, kind};
use crate::subject::Subject;
use condition::Condition;

/// All of these paths lead to values that meet their conditions; never empty.
#[derive(Debug)]
pub(crate) struct Data(Vec<(Path, Condition)>);

impl Data {
    pub(crate) fn read(reader: &mut Reader, body: &Json) -> Result<Self, FilterError> {
        let Json::Object(object) = body else {
            return Err(reader.error(format!(
                "expected an object of paths and conditions, found {}",
                kind(body)
            )));
        };
        if object.is_empty() {
            return Err(reader.error("is empty: name a path, such as /order/total"));
        }
        let member = |(text, json): (&String, &Json)| {
            reader.within(&format!(".{text}"), |reader| {
                reader.count()?;
                let path = Path::parse(text).map_err(|reason| reader.error(reason))?;
                if path.pointer().is_none() {
                    reader.count_query()?;
                }
                let condition = reader.deeper(|reader| Condition::read(reader, json))?;
                Ok((path, condition))
            })
        };
        let mut members = object.iter().map(member).collect::<Result<Vec<_>, _>>()?;
        // Order in JSON is irrelevant.
        members.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        Ok(Self(members))
    }

    fn meets(path: &Path, condition: &Condition, subject: &Subject<'_>) -> bool {
        match path.pointer() {
            Some(pointer) => condition.holds(subject.value(pointer)),
            None => subject.selected(path).is_ok_and(|found| condition.holds_for(&found)),
        }
    }

    fn explain_member(path: &Path, condition: &Condition, subject: &Subject<'_>) -> Mismatch {
        let needs = condition.needs();
        let reason = match path.pointer() {
            Some(pointer) => {
                let found = Mismatch::found(subject.value(pointer).map(RawValue::get));
                format!("{} {found}, needs to {needs}", path.as_str())
            }
            None => match subject.selected(path).as_deref() {
                Err(reason) => reason.clone(),
                Ok([]) => format!("{} selects nothing, needs to {needs}", path.as_str()),
                Ok([value, others @ ..]) => {
                    let more = match others.len() {
                        0 => String::new(),
                        more => format!(" (and {more} more)"),
                    };
                    let found = Mismatch::found(Some(value.get()));
                    format!("{} {found}{more}, needs to {needs}", path.as_str())
                }
            },
        };
        Mismatch::because(reason).below(&format!("data.{}", path.as_str()))
    }
}

impl Dialect for Data {
    fn holds(&self, subject: &Subject<'_>) -> bool {
        subject.payload().is_ok()
            && self.0.iter().all(|(path, condition)| Self::meets(path, condition, subject))
    }

    fn explain(&self, subject: &Subject<'_>) -> Mismatch {
        if let Err(reason) = subject.payload() {
            return Mismatch::because(reason).below("data");
        }
        let mut members = self.0.iter();
        match members.find(|(path, condition)| !Self::meets(path, condition, subject)) {
            Some((path, condition)) => Self::explain_member(path, condition, subject),
            None => Mismatch::because("").below("data"),
        }
    }

    fn cover(&self, cost: Cost<'_>) -> Option<Cover> {
        let cover = |(path, condition): &(Path, Condition)| condition.cover(path.pointer()?, cost);
        Cover::cheapest(self.0.iter().map(cover), cost)
    }

    fn pointers<'p>(&'p self, into: &mut Vec<&'p Pointer>) {
        into.extend(self.0.iter().filter_map(|(path, _)| path.pointer()));
    }

    fn reads_data(&self) -> bool {
        true
    }

    fn selects_type_prefix(&self, _: &str) -> bool {
        false
    }

    fn size(&self) -> Size {
        let member = |(_, condition): &(Path, Condition)| {
            let Size { depth, expressions } = condition.size();
            // The path counts, too.
            Size { depth, expressions: 1 + expressions }
        };
        Size::around(self.0.iter().map(member))
    }

    fn to_json(&self) -> Json {
        let members = self.0.iter();
        let members =
            members.map(|(path, condition)| (path.as_str().to_owned(), condition.to_json()));
        object("data", Json::Object(members.collect()))
    }
}
