//! Reads a payload once for all paths: values that a path is about are kept as the bytes that they are,
//! everything else is only validated. No tree is built, nothing is copied.

use std::collections::HashMap;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use super::path::Pointer;

/// Pointers, as a tree of their steps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pointers {
    root: Node,
    slots: HashMap<Pointer, u32>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// The pointer that ends here.
    slot: Option<u32>,
    /// In the order of their names.
    children: Vec<(Box<str>, Node)>,
    /// The lowest and the highest slot here and below.
    range: Option<(u32, u32)>,
}

impl Pointers {
    /// The tree of these pointers. One that is there already stays as it is.
    pub(crate) fn of<'p>(pointers: impl IntoIterator<Item = &'p Pointer>) -> Self {
        let mut of = Self::default();
        for pointer in pointers {
            if of.slots.contains_key(pointer) {
                continue;
            }
            let slot = u32::try_from(of.slots.len()).unwrap_or(u32::MAX);
            of.slots.insert(pointer.clone(), slot);
            let mut node = &mut of.root;
            node.cover(slot);
            for step in pointer.steps() {
                node = node.child_mut(step);
                node.cover(slot);
            }
            node.slot = Some(slot);
        }
        of
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The slot of a pointer.
    pub(crate) fn slot(&self, pointer: &Pointer) -> Option<u32> {
        self.slots.get(pointer).copied()
    }

    /// Finds what the pointers are about; why the text is no JSON otherwise.
    ///
    /// Where a name is repeated in an object, its last member counts, as it does for most readers (RFC
    /// 8259, section 4, leaves it open), so that what a filter saw is what a plugin will see.
    pub(crate) fn scan<'d>(&self, text: &'d str) -> Result<Values<'d>, serde_json::Error> {
        let mut values = Values(Vec::new());
        let mut deserializer = serde_json::Deserializer::from_str(text);
        Select { node: &self.root, values: &mut values.0 }.deserialize(&mut deserializer)?;
        deserializer.end()?;
        values.0.sort_by_key(|(slot, _)| *slot);
        Ok(values)
    }
}

impl Node {
    fn cover(&mut self, slot: u32) {
        let (low, high) = self.range.unwrap_or((slot, slot));
        self.range = Some((low.min(slot), high.max(slot)));
    }

    fn for_each_slot(&self, each: &mut impl FnMut(u32)) {
        self.slot.into_iter().for_each(&mut *each);
        self.children.iter().for_each(|(_, child)| child.for_each_slot(each));
    }

    fn child_mut(&mut self, name: &str) -> &mut Self {
        let place = match self.children.binary_search_by(|(other, _)| (**other).cmp(name)) {
            Ok(place) => place,
            Err(place) => {
                self.children.insert(place, (name.into(), Self::default()));
                place
            }
        };
        #[allow(clippy::indexing_slicing, reason = "it was found or inserted there")]
        &mut self.children[place].1
    }

    /// Called for each member of the objects on the way: few names are compared one by one.
    fn child(&self, name: &str) -> Option<&Self> {
        const FEW: usize = 8;
        if self.children.len() <= FEW {
            return self
                .children
                .iter()
                .find(|(other, _)| **other == *name)
                .map(|(_, child)| child);
        }
        let place = self.children.binary_search_by(|(other, _)| (**other).cmp(name)).ok()?;
        self.children.get(place).map(|(_, child)| child)
    }
}

/// Values that were found, by slot.
#[derive(Debug)]
pub(crate) struct Values<'d>(Vec<(u32, &'d RawValue)>);

impl<'d> Values<'d> {
    pub(crate) fn get(&self, slot: u32) -> Option<&'d RawValue> {
        let place = self.0.binary_search_by_key(&slot, |(slot, _)| *slot).ok()?;
        self.0.get(place).map(|(_, value)| *value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &'d RawValue)> {
        self.0.iter().copied()
    }
}

/// Reads a value at a node of the tree.
struct Select<'t, 'v, 'd> {
    node: &'t Node,
    values: &'v mut Vec<(u32, &'d RawValue)>,
}

impl<'d> DeserializeSeed<'d> for Select<'_, '_, 'd> {
    type Value = ();

    fn deserialize<D: Deserializer<'d>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self { node, values } = self;
        let Some(slot) = node.slot else {
            return deserializer.deserialize_any(Self { node, values });
        };
        let raw = <&RawValue>::deserialize(deserializer)?;
        values.push((slot, raw));
        if node.children.is_empty() {
            return Ok(());
        }
        // It was validated just now.
        let mut within = serde_json::Deserializer::from_str(raw.get());
        let read = within.deserialize_any(Self { node, values });
        read.map_err(serde::de::Error::custom)
    }
}

impl<'d> Visitor<'d> for Select<'_, '_, 'd> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'d>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { node, values } = self;
        while let Some(child) = members.next_key_seed(Child(node))? {
            match child {
                None => drop(members.next_value::<IgnoredAny>()?),
                Some(child) => {
                    forget(child, values);
                    members.next_value_seed(Select { node: child, values })?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'d>>(self, mut elements: A) -> Result<(), A::Error> {
        let Self { node, values } = self;
        // An index has no sign and no leading zeros (RFC 6901, section 4).
        let index = |name: &str| {
            let index: usize = name.parse().ok()?;
            (index.to_string() == name).then_some(index)
        };
        let children = node.children.iter().filter_map(|(name, child)| Some((index(name)?, child)));
        let children: HashMap<usize, &Node> = children.collect();
        for n in 0_usize.. {
            let element = match children.get(&n) {
                Some(child) => elements.next_element_seed(Select { node: child, values })?,
                None => elements.next_element::<IgnoredAny>()?.map(drop),
            };
            if element.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// What an earlier member of the same name held.
fn forget(node: &Node, values: &mut Vec<(u32, &RawValue)>) {
    let Some((low, high)) = node.range else { return };
    if !values.iter().any(|(slot, _)| (low..=high).contains(slot)) {
        return;
    }
    let mut below = Vec::new();
    node.for_each_slot(&mut |slot| below.push(slot));
    values.retain(|(slot, _)| !below.contains(slot));
}

/// Reads the name of a member; answers with the node below, if there is one.
struct Child<'t>(&'t Node);

impl<'d, 't> DeserializeSeed<'d> for Child<'t> {
    type Value = Option<&'t Node>;

    fn deserialize<D: Deserializer<'d>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'t> Visitor<'_> for Child<'t> {
    type Value = Option<&'t Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.child(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(pointers: &[&str], text: &str) -> Vec<Option<String>> {
        let pointers: Vec<_> = pointers.iter().map(|text| Pointer::parse(text).unwrap()).collect();
        let tree = Pointers::of(&pointers);
        let values = tree.scan(text).unwrap();
        let found =
            |pointer| values.get(tree.slot(pointer).unwrap()).map(|raw| raw.get().to_owned());
        pointers.iter().map(found).collect()
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn values_are_found_as_they_are_written() {
        let text = r#"{"a":{"b":[1.50,{"c":"\u00e9"}],"n":null},"x":{"y":1},"":{"~/":true}}"#;
        let pointers =
            ["/a/b/0", "/a/b/1/c", "/a/n", "/a/m", "/x", "/x/y", "/~0", "//~0~1", "/a/b/2"];
        let expected = [
            some("1.50"),
            some(r#""\u00e9""#),
            some("null"),
            None,
            some(r#"{"y":1}"#),
            some("1"),
            None,
            some("true"),
            None,
        ];
        assert_eq!(scan(&pointers, text), expected);
        assert_eq!(scan(&["", "/a"], "[1]"), [some("[1]"), None]);
        assert_eq!(scan(&["/0", "/00", "/-", "/1"], "[7]"), [some("7"), None, None, None]);
        assert_eq!(scan(&["/a"], r#"{"\u0061":1}"#), [some("1")]);
    }

    #[test]
    fn the_last_of_repeated_members_counts() {
        let pointers = ["/a/b", "/a/c", "/d"];
        let text = r#"{"a":{"b":1},"d":1,"a":{"c":2},"d":3}"#;
        assert_eq!(scan(&pointers, text), [None, some("2"), some("3")]);
    }

    #[test]
    fn what_is_no_json_is_an_error_wherever_it_is() {
        let tree = Pointers::of(&[Pointer::parse("/a").unwrap()]);
        let deep = "[".repeat(1_000_000);
        for text in ["", "{", r#"{"a":1,}"#, r#"{"a":1} x"#, r#"{"b":[1,],"a":1}"#, "nul", &deep] {
            assert!(tree.scan(text).is_err());
        }
        assert!(tree.scan(r#"{"a":1e999999,"b":{"c":[]}}"#).is_ok());
    }
}
