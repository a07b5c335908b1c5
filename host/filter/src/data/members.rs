//! Members and elements of a value that is kept as it is written.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Calls `each` with the name and the value of each member of an object, or with the index and the value of
/// each element of an array; with nothing for other values. A name that is no text, as half of a surrogate
/// pair, is passed over.
pub(crate) fn for_each<'d>(value: &'d RawValue, mut each: impl FnMut(Part<'d>, &'d RawValue)) {
    let text = value.get();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let visitor = Parts(&mut each);
    // Its syntax was checked when it was found.
    let _ = match text.as_bytes().first() {
        Some(b'{') => deserializer.deserialize_map(visitor),
        Some(b'[') => deserializer.deserialize_seq(visitor),
        _ => Ok(()),
    };
}

/// What a part of a value is called in it.
pub(crate) enum Part<'d> {
    Member(Cow<'d, str>),
    Element(usize),
}

struct Parts<'f, F>(&'f mut F);

impl<'d, F: FnMut(Part<'d>, &'d RawValue)> Visitor<'d> for Parts<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'d>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(written) = members.next_key::<&RawValue>()? {
            let value = members.next_value::<&RawValue>()?;
            if let Some(name) = name(written) {
                (self.0)(Part::Member(name), value);
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'d>>(self, mut elements: A) -> Result<(), A::Error> {
        for n in 0_usize.. {
            let Some(value) = elements.next_element::<&RawValue>()? else { break };
            (self.0)(Part::Element(n), value);
        }
        Ok(())
    }
}

/// What follows the name of a member, which is a part of the text: its value comes first.
pub(crate) fn behind<'d>(name: &RawValue, text: &'d str) -> &'d str {
    let name = name.get();
    let end = (name.as_ptr().addr() + name.len()).saturating_sub(text.as_ptr().addr());
    let rest = text.get(end..).unwrap_or_default().trim_start();
    rest.strip_prefix(':').unwrap_or_default().trim_start()
}

/// The name of a member, as it is written; `None` where it is no text.
pub(crate) fn name(written: &RawValue) -> Option<Cow<'_, str>> {
    let written = written.get();
    let plain = written.get(1..written.len().saturating_sub(1)).unwrap_or_default();
    if !plain.contains('\\') {
        return Some(Cow::Borrowed(plain));
    }
    serde_json::from_str(written).ok().map(Cow::Owned)
}
