//! Members and elements of a value that is kept as it is written.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
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
        while let Some(name) = members.next_key_seed(Name)? {
            let value = members.next_value::<&RawValue>()?;
            if let Some(name) = name {
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

/// The name of a member; `None` where it is no text.
struct Name;

impl<'d> DeserializeSeed<'d> for Name {
    type Value = Option<Cow<'d, str>>;

    fn deserialize<D: Deserializer<'d>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let plain = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
        if !plain.contains('\\') {
            return Ok(Some(Cow::Borrowed(plain)));
        }
        Ok(serde_json::from_str(raw).ok().map(Cow::Owned))
    }
}
