//! Reads a payload once for all pointers: values that one is about are kept as the bytes that they are, and
//! everything else is only checked for its syntax. No tree is built, nothing is copied.
//!
//! What is found at a pointer depends on the payload alone, never on what else is asked for: a value that no
//! pointer ends at or leads through may be a number beyond all limits, or no text.

use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::members::{Part, behind, for_each, name};
use super::path::{Pointer, Step, index};

/// How deep a descendant segment looks. Each level reads what is below it again.
const BELOW_MAX_LEVELS: usize = 16;

/// Pointers, as a tree of their steps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pointers {
    nodes: Vec<Node>,
    /// In order: each one's place is its slot.
    slots: Vec<Pointer>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// The pointer that ends here.
    slot: Option<u32>,
    /// Names and nodes, in the order of names.
    children: Vec<(Box<str>, usize)>,
}

impl Pointers {
    /// The tree of these pointers.
    pub(crate) fn of<'p>(pointers: impl IntoIterator<Item = &'p Pointer>) -> Self {
        let mut pointers: Vec<&Pointer> = pointers.into_iter().collect();
        // In this order each node's children are made in the order of their names.
        pointers.sort_unstable();
        pointers.dedup();
        let mut of =
            Self { nodes: vec![Node::default()], slots: Vec::with_capacity(pointers.len()) };
        for (slot, pointer) in (0..).zip(pointers) {
            of.slots.push(pointer.clone());
            let mut at = 0;
            for step in pointer.steps() {
                at = of.child_made(at, step);
            }
            if let Some(node) = of.nodes.get_mut(at) {
                node.slot = Some(slot);
            }
        }
        of
    }

    fn child_made(&mut self, at: usize, name: &str) -> usize {
        let new = self.nodes.len();
        let Some(node) = self.nodes.get_mut(at) else { return at };
        match node.children.last() {
            Some((last, child)) if **last == *name => *child,
            _ => {
                node.children.push((name.into(), new));
                self.nodes.push(Node::default());
                new
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The slot of a pointer.
    pub(crate) fn slot(&self, pointer: &Pointer) -> Option<u32> {
        let place = self.slots.binary_search(pointer).ok()?;
        u32::try_from(place).ok()
    }

    /// Finds what the pointers are about.
    ///
    /// Where a name is repeated in an object, its last member counts, as it does for most readers (RFC
    /// 8259, section 4, leaves it open), so that what a filter saw is what a plugin will see.
    ///
    /// # Errors
    /// The text is no JSON.
    pub(crate) fn scan<'d>(&self, text: &'d str) -> Result<Values<'d>, serde_json::Error> {
        let mut scan = Scan {
            pointers: self,
            text,
            visits: Vec::new(),
            latest: HashMap::new(),
            found: Vec::new(),
        };
        if scan.is_entered(0, text.trim_start()) {
            let mut deserializer = serde_json::Deserializer::from_str(text);
            scan.enter(0, None).deserialize(&mut deserializer)?;
            deserializer.end()?;
        } else {
            scan.visit(0, None, serde_json::from_str(text)?);
        }
        Ok(scan.end())
    }

    fn child(&self, at: usize, name: &str) -> Option<usize> {
        const FEW: usize = 8;
        let children = &self.nodes.get(at)?.children;
        if children.len() <= FEW {
            return children.iter().find(|(other, _)| **other == *name).map(|(_, child)| *child);
        }
        let place = children.binary_search_by(|(other, _)| (**other).cmp(name)).ok()?;
        children.get(place).map(|(_, child)| *child)
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

/// One reading. A member that is repeated is visited again; what earlier visits found is sorted out at the
/// end, so that repetition costs no more than reading.
struct Scan<'p, 'd> {
    pointers: &'p Pointers,
    text: &'d str,
    /// Node and parent of each visit.
    visits: Vec<(usize, Option<usize>)>,
    /// The newest visit of each node.
    latest: HashMap<usize, usize>,
    /// Slot, value, and the visit that found it.
    found: Vec<(u32, &'d RawValue, usize)>,
}

impl<'p, 'd> Scan<'p, 'd> {
    /// Whether a value that begins like this is read member by member, as it comes, since no pointer ends
    /// at it.
    fn is_entered(&self, at: usize, begin: &str) -> bool {
        let node = self.pointers.nodes.get(at);
        begin.starts_with('{')
            && node.is_some_and(|node| node.slot.is_none() && !node.children.is_empty())
    }

    fn enter(&mut self, at: usize, parent: Option<usize>) -> Entered<'_, 'p, 'd> {
        let visit = self.begin(at, parent);
        Entered { scan: self, at, visit }
    }

    fn begin(&mut self, at: usize, parent: Option<usize>) -> usize {
        let visit = self.visits.len();
        self.visits.push((at, parent));
        self.latest.insert(at, visit);
        visit
    }

    /// The depth is that of the tree, at most the steps of a path.
    fn visit(&mut self, at: usize, parent: Option<usize>, value: &'d RawValue) {
        let Some(node) = self.pointers.nodes.get(at) else { return };
        let visit = self.begin(at, parent);
        if let Some(slot) = node.slot {
            self.found.push((slot, value, visit));
        }
        if node.children.is_empty() {
            return;
        }
        let pointers = self.pointers;
        let mut indices = HashMap::new();
        if value.get().starts_with('[') {
            let children = node.children.iter();
            indices.extend(children.filter_map(|(name, child)| Some((index(name)?, *child))));
        }
        for_each(value, |part, value| {
            let child = match part {
                Part::Member(name) => pointers.child(at, &name),
                Part::Element(n) => indices.get(&n).copied(),
            };
            if let Some(child) = child {
                self.visit(child, Some(visit), value);
            }
        });
    }

    fn end(self) -> Values<'d> {
        let Self { visits, latest, found, .. } = self;
        let is_latest = |visit: usize| {
            let mut next = Some(visit);
            while let Some(visit) = next {
                let Some((node, parent)) = visits.get(visit) else { return false };
                if latest.get(node) != Some(&visit) {
                    return false;
                }
                next = *parent;
            }
            true
        };
        let kept = found.into_iter().filter(|(.., visit)| is_latest(*visit));
        let mut values: Vec<_> = kept.map(|(slot, value, _)| (slot, value)).collect();
        values.sort_unstable_by_key(|(slot, _)| *slot);
        Values(values)
    }
}

/// An object that is read as it comes.
struct Entered<'s, 'p, 'd> {
    scan: &'s mut Scan<'p, 'd>,
    at: usize,
    visit: usize,
}

impl<'d> DeserializeSeed<'d> for Entered<'_, '_, 'd> {
    type Value = ();

    fn deserialize<D: Deserializer<'d>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'d> Visitor<'d> for Entered<'_, '_, 'd> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'d>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { scan, at, visit } = self;
        while let Some(written) = members.next_key::<&RawValue>()? {
            match name(written).and_then(|name| scan.pointers.child(at, &name)) {
                None => drop(members.next_value::<IgnoredAny>()?),
                Some(child) if scan.is_entered(child, behind(written, scan.text)) => {
                    members.next_value_seed(scan.enter(child, Some(visit)))?;
                }
                Some(child) => scan.visit(child, Some(visit), members.next_value()?),
            }
        }
        Ok(())
    }
}

/// The values that a query selects, those of higher levels first; why it can't be told otherwise. Takes time
/// as often as the query has steps, or looks deep.
pub(crate) fn select<'d>(
    payload: &'d RawValue,
    steps: &[Step],
) -> Result<Vec<&'d RawValue>, String> {
    let mut here = vec![payload];
    for step in steps {
        if *step == Step::Below {
            here = below(here)?;
            continue;
        }
        let mut next = Vec::new();
        for value in here {
            parts(value, |part, value| {
                if step.takes(&part) {
                    next.push(value);
                }
            });
        }
        here = next;
    }
    Ok(here)
}

/// These values, and all below them that have parts.
fn below(mut level: Vec<&RawValue>) -> Result<Vec<&RawValue>, String> {
    let mut all = Vec::new();
    for _ in 0..BELOW_MAX_LEVELS {
        let mut next = Vec::new();
        for value in &level {
            parts(value, |_, value| {
                if value.get().starts_with(['{', '[']) {
                    next.push(value);
                }
            });
        }
        all.append(&mut level);
        if next.is_empty() {
            return Ok(all);
        }
        level = next;
    }
    Err(format!("data is nested deeper than the {BELOW_MAX_LEVELS} levels that .. looks at"))
}

/// Calls `each` with the parts of a value, of repeated members with the last only.
fn parts<'d>(value: &'d RawValue, mut each: impl FnMut(Part<'d>, &'d RawValue)) {
    let mut all: Vec<Option<(Part<'d>, &'d RawValue)>> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for_each(value, |part, value| {
        if let Part::Member(name) = &part
            && let Some(earlier) = places.insert(name.to_string(), all.len())
            && let Some(earlier) = all.get_mut(earlier)
        {
            *earlier = None;
        }
        all.push(Some((part, value)));
    });
    all.into_iter().flatten().for_each(|(part, value)| each(part, value));
}

#[cfg(test)]
mod tests {
    use super::super::path::Path;
    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

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
        let many: Vec<String> = (0..30).map(|n| format!("/a/k{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let found = scan(&many, r#"{"a":{"k7":7,"k29":29,"x":1}}"#);
        assert_eq!((found[7].as_deref(), found[29].as_deref()), (Some("7"), Some("29")));
        assert_eq!(found.iter().flatten().count(), 2);
    }

    #[test]
    fn the_last_of_repeated_members_counts() {
        let pointers = ["/a/b", "/a/c", "/d"];
        let text = r#"{"a":{"b":1},"d":1,"a":{"c":2},"d":3}"#;
        assert_eq!(scan(&pointers, text), [None, some("2"), some("3")]);
        assert_eq!(scan(&["/a/b"], r#"{"a":{"b":1},"a":7}"#), [None]);
    }

    #[test]
    fn what_nobody_asked_for_disturbs_nobody() {
        for other in ["1e999", r#""\ud800""#, r#"{"\ud800":1}"#, r#"{"c":1e999}"#] {
            let text = format!(r#"{{"a":1,"b":{other}}}"#);
            assert_eq!(scan(&["/a", "/b/c/d"], &text), [some("1"), None], "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_told_wherever_it_stands() {
        let texts = [
            "",
            "{",
            r#"{"a":{"b":1}"#,
            r#"{"a":{"b":1}}x"#,
            r#"{"x":tru,"a":{"b":1}}"#,
            "[1,]",
            r#"{"a":{,}}"#,
        ];
        for (text, pointer) in
            texts.into_iter().flat_map(|text| ["", "/a", "/a/b"].map(|p| (text, p)))
        {
            let tree = Pointers::of([&Pointer::parse(pointer).unwrap()]);
            let whole = serde_json::from_str::<&RawValue>(text).unwrap_err();
            assert_eq!(
                tree.scan(text).unwrap_err().to_string(),
                whole.to_string(),
                "{text} {pointer}"
            );
        }
    }

    #[test]
    fn a_query_selects_places() {
        let text = r#"{"a":[{"b":1},{"b":1e999},{"c/d":3,"c/d":4}],"0":{"b":[5]}}"#;
        let select = |query: &str| {
            let found = select(raw(text), Path::parse(query).unwrap().steps()).unwrap();
            found.iter().map(|value| value.get()).collect::<Vec<_>>()
        };
        assert_eq!(select("$.a[*].b"), ["1", "1e999"]);
        assert_eq!(select("$..['c/d']"), ["4"]);
        assert_eq!(select("$..b"), ["[5]", "1", "1e999"]);
        assert_eq!(select("$.a[1]"), [r#"{"b":1e999}"#]);
        assert_eq!(select("$['0']['b'][0]"), ["5"]);
        assert_eq!(select("$.a['0']"), [""; 0]);
        assert_eq!(select("$.x[*]"), [""; 0]);
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        assert!(super::select(raw(&deep), &[Step::Below, Step::Every]).is_err());
    }
}
