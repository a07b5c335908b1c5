//! Finds the filters that match an event without evaluating all of them.
//!
//! Each filter is filed under conditions of which every event that it matches meets one (its cover):
//! an attribute or a value of the payload that equals, begins or ends with a text, or lies in a range.
//! Of the conditions that a filter offers, those are chosen that fewest others are filed under. An event
//! looks its own values up, and evaluates what it finds there. A filter without such a condition is
//! evaluated for every event.

mod ranges;
mod texts;

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};

use usher_event::Event;

use crate::Filter;
use crate::cover::{Atom, Field, Test};
use crate::data::path::Pointer;
use crate::data::scan::Pointers;
use crate::data::value::Found;
use crate::subject::Subject;
use ranges::Ranges;
use texts::{Beginnings, Slots};

/// The filters of many subscriptions.
#[derive(Clone, Debug)]
pub struct FilterIndex<K> {
    slots: BTreeMap<K, u32>,
    filed: Vec<Option<Filed<K>>>,
    free: Vec<u32>,
    attributes: BTreeMap<Box<str>, FieldIndex>,
    data: HashMap<Pointer, FieldIndex>,
    /// Filed under nothing.
    rest: Slots,
    /// How many filters look at each value of payloads.
    pointers: HashMap<Pointer, usize>,
    /// All of `pointers`; built by the first event after a change.
    tree: OnceCell<Tree>,
}

/// A filter, and where it is filed.
#[derive(Clone, Debug)]
struct Filed<K> {
    key: K,
    /// The filter to evaluate; `None` if its conditions decide.
    filter: Option<Filter>,
    pointers: Box<[Pointer]>,
    /// Empty: in `rest`.
    atoms: Box<[Atom]>,
    /// Whether an event may find it more than once: it is filed under several conditions, or under a value
    /// that may be an array.
    comes_again: bool,
}

/// Attributes with filters filed under them; if there are more, those that an event has are looked up.
const ATTRIBUTES_TRIED_MAX: usize = 16;

/// What is filed under conditions on one attribute or value.
#[derive(Clone, Debug, Default)]
struct FieldIndex {
    equals: HashMap<Box<str>, Slots>,
    begins: Beginnings,
    /// By the text from its end.
    ends: Beginnings,
    within: Ranges,
}

/// The values of payloads to look at, and those with filters filed under them by slot.
#[derive(Clone, Debug)]
struct Tree {
    pointers: Pointers,
    indexed: HashMap<u32, Pointer>,
}

/// What a condition costs beside how many are filed under it: a type is at hand, a payload has to be read.
fn base_cost(atom: &Atom) -> usize {
    match (&atom.field, &atom.test) {
        (Field::Attribute(_), Test::Equals(_)) => 1,
        (Field::Attribute(_), Test::BeginsWith(_)) => 2,
        (Field::Attribute(_), _) => 3,
        (Field::Data(_), Test::Equals(_)) => 4,
        (Field::Data(_), Test::BeginsWith(_)) => 5,
        (Field::Data(_), _) => 6,
    }
}

impl<K: Clone + Ord> FilterIndex<K> {
    /// An empty index.
    pub fn new() -> Self {
        Self {
            slots: BTreeMap::new(),
            filed: Vec::new(),
            free: Vec::new(),
            attributes: BTreeMap::new(),
            data: HashMap::new(),
            rest: Slots::new(),
            pointers: HashMap::new(),
            tree: OnceCell::new(),
        }
    }

    /// Number of filters.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are no filters.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Inserts a key's filter, replacing any existing one.
    pub fn insert(&mut self, key: K, filter: &Filter) {
        self.remove(&key);
        let cover = filter.cover(&|atom| Some(base_cost(atom) + self.count(atom)));
        let decides = filter.is_everything() || cover.as_ref().is_some_and(|cover| cover.decides);
        let atoms = cover.map(|cover| cover.atoms).unwrap_or_default();
        self.file(key, atoms, (!decides).then_some(filter));
    }

    /// Keeps this filter, equal to the one inserted under the key, in its place, so that both are the same
    /// memory.
    pub fn share(&mut self, key: &K, filter: &Filter) {
        let slot = self.slots.get(key).copied();
        let filed = slot.and_then(|slot| self.filed.get_mut(slot as usize)?.as_mut());
        if let Some(own) = filed.and_then(|filed| filed.filter.as_mut()) {
            *own = filter.clone();
        }
    }

    /// Inserts the types that a key's filter can match, replacing any existing filter of the key:
    /// every event of such a type matches, whatever else the filter says.
    pub fn insert_types(&mut self, key: K, filter: &Filter) {
        self.remove(&key);
        let atoms = filter.type_cover().map(|cover| cover.atoms).unwrap_or_default();
        self.file(key, atoms, None);
    }

    /// Removes a key's filter; returns whether there was one.
    pub fn remove(&mut self, key: &K) -> bool {
        let Some(slot) = self.slots.remove(key) else { return false };
        let Some(filed) = self.filed.get_mut(slot as usize).and_then(Option::take) else {
            return false;
        };
        self.free.push(slot);
        if filed.atoms.is_empty() {
            self.rest.retain(|other| *other != slot);
        }
        for atom in &filed.atoms {
            self.unfile(atom, slot);
        }
        for pointer in &filed.pointers {
            if let Some(count) = self.pointers.get_mut(pointer) {
                *count -= 1;
                if *count == 0 {
                    self.pointers.remove(pointer);
                    self.tree = OnceCell::new();
                }
            }
        }
        true
    }

    /// Where a key's filter is filed, a line for each condition; empty if it is evaluated for every
    /// event. `None` if there is no such key.
    pub fn places(&self, key: &K) -> Option<Vec<String>> {
        let slot = self.slots.get(key)?;
        let filed = self.filed.get(*slot as usize)?.as_ref()?;
        Some(filed.atoms.iter().map(Atom::to_string).collect())
    }

    /// Calls `found` once with each key whose filter the event matches, in no particular order.
    pub fn for_each_match(&self, event: &Event, mut found: impl FnMut(&K)) {
        let tree = self.tree();
        let subject = Subject::new(event, &tree.pointers);
        // Those that were looked at and may come again.
        let mut seen = HashSet::new();
        let mut each = |slot: u32| {
            let Some(filed) = self.filed.get(slot as usize).and_then(Option::as_ref) else {
                return;
            };
            if filed.comes_again && !seen.insert(slot) {
                return;
            }
            if filed.filter.as_ref().is_none_or(|filter| filter.matches_subject(&subject)) {
                found(&filed.key);
            }
        };
        let mut look_up = |name: &str, field: &FieldIndex| {
            let value = match name {
                "type" => Some(event.ty().into()),
                name => event.attribute(name),
            };
            if let Some(value) = value {
                field.for_each_equal(&value, &mut each);
                field.for_each_affix(&value, &mut each);
            }
        };
        if self.attributes.len() <= ATTRIBUTES_TRIED_MAX {
            self.attributes.iter().for_each(|(name, field)| look_up(name, field));
        } else {
            let known = |name: &str| self.attributes.get_key_value(name);
            event
                .attribute_names()
                .filter_map(known)
                .for_each(|(name, field)| look_up(name, field));
        }
        if !tree.indexed.is_empty()
            && let Ok(payload) = subject.payload()
        {
            for (slot, value) in payload.values.iter() {
                let Some(field) = tree.indexed.get(&slot).and_then(|it| self.data.get(it)) else {
                    continue;
                };
                let value = Found::of(value);
                field.for_each_value(value, &mut each);
                for element in value.elements().into_iter().flatten() {
                    field.for_each_value(Found::of(element), &mut each);
                }
            }
        }
        self.rest.iter().copied().for_each(each);
    }

    fn file(&mut self, key: K, atoms: Vec<Atom>, filter: Option<&Filter>) {
        let filed = Filed {
            key: key.clone(),
            filter: filter.cloned(),
            pointers: filter
                .map(Filter::pointers)
                .unwrap_or_default()
                .into_iter()
                .cloned()
                .collect(),
            comes_again: match atoms.as_slice() {
                [] => false,
                [only] => matches!(only.field, Field::Data(_)),
                _ => true,
            },
            atoms: atoms.into(),
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.filed.push(None);
            // There are fewer subscriptions than that.
            u32::try_from(self.filed.len() - 1).unwrap_or(u32::MAX)
        });
        if filed.atoms.is_empty() {
            self.rest.push(slot);
        }
        for atom in &filed.atoms {
            let field = match &atom.field {
                Field::Attribute(name) => self.attributes.entry(name.clone()).or_default(),
                Field::Data(pointer) => {
                    if !self.data.contains_key(pointer) {
                        self.tree = OnceCell::new();
                    }
                    self.data.entry(pointer.clone()).or_default()
                }
            };
            field.insert(&atom.test, slot);
        }
        for pointer in &filed.pointers {
            let count = self.pointers.entry(pointer.clone()).or_default();
            if *count == 0 {
                self.tree = OnceCell::new();
            }
            *count += 1;
        }
        if let Some(place) = self.filed.get_mut(slot as usize) {
            *place = Some(filed);
        }
        self.slots.insert(key, slot);
    }

    fn unfile(&mut self, atom: &Atom, slot: u32) {
        match &atom.field {
            Field::Attribute(name) => {
                if let Some(field) = self.attributes.get_mut(name)
                    && field.remove(&atom.test, slot)
                {
                    self.attributes.remove(name);
                }
            }
            Field::Data(pointer) => {
                if let Some(field) = self.data.get_mut(pointer)
                    && field.remove(&atom.test, slot)
                {
                    self.data.remove(pointer);
                    self.tree = OnceCell::new();
                }
            }
        }
    }

    /// How many are filed under a condition.
    fn count(&self, atom: &Atom) -> usize {
        let field = match &atom.field {
            Field::Attribute(name) => self.attributes.get(name),
            Field::Data(pointer) => self.data.get(pointer),
        };
        field.map_or(0, |field| field.count(&atom.test))
    }

    fn tree(&self) -> &Tree {
        self.tree.get_or_init(|| {
            let pointers = Pointers::of(self.pointers.keys());
            let slot = |pointer: &Pointer| Some((pointers.slot(pointer)?, pointer.clone()));
            let indexed = self.data.keys().filter_map(slot).collect();
            Tree { pointers, indexed }
        })
    }
}

impl<K: Clone + Ord> Default for FilterIndex<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl FieldIndex {
    fn insert(&mut self, test: &Test, slot: u32) {
        match test {
            Test::Equals(text) => self.equals.entry(text.clone()).or_default().push(slot),
            Test::BeginsWith(text) => self.begins.insert(text.as_bytes().into(), slot),
            Test::EndsWith(text) => self.ends.insert(backwards(text).into(), slot),
            Test::Within(low, high) => self.within.insert(low.clone(), high.clone(), slot),
        }
    }

    /// Returns whether nothing is left.
    fn remove(&mut self, test: &Test, slot: u32) -> bool {
        match test {
            Test::Equals(text) => {
                if let Some(slots) = self.equals.get_mut(text) {
                    slots.retain(|other| *other != slot);
                    if slots.is_empty() {
                        self.equals.remove(text);
                    }
                }
            }
            Test::BeginsWith(text) => self.begins.remove(text.as_bytes(), slot),
            Test::EndsWith(text) => self.ends.remove(&backwards(text), slot),
            Test::Within(..) => self.within.remove(slot),
        }
        self.equals.is_empty()
            && self.begins.is_empty()
            && self.ends.is_empty()
            && self.within.is_empty()
    }

    fn count(&self, test: &Test) -> usize {
        match test {
            Test::Equals(text) => self.equals.get(text).map_or(0, |slots| slots.len()),
            Test::BeginsWith(text) => self.begins.count(text.as_bytes()),
            Test::EndsWith(text) => self.ends.count(&backwards(text)),
            // How many of them a number lies in can't be told: few, if they have two ends, most often.
            Test::Within(Some(_), Some(_)) => {
                self.within.len().checked_ilog2().unwrap_or(0) as usize
            }
            Test::Within(..) => self.within.len() / 4,
        }
    }

    fn for_each_value(&self, value: Found<'_>, each: &mut impl FnMut(u32)) {
        let Some(key) = value.key() else { return };
        self.for_each_equal(&key, each);
        if let Found::Number(number) = value {
            self.within.for_each(number, each);
        } else if let Some(text) = value.text() {
            self.for_each_affix(&text, each);
        }
    }

    /// Those filed under equality with the value that has this key.
    fn for_each_equal(&self, key: &str, each: &mut impl FnMut(u32)) {
        if let Some(slots) = self.equals.get(key) {
            slots.iter().copied().for_each(each);
        }
    }

    /// Those filed under what a text begins or ends with.
    fn for_each_affix(&self, text: &str, each: &mut impl FnMut(u32)) {
        if !self.begins.is_empty() {
            self.begins.for_each(text.as_bytes(), each);
        }
        if !self.ends.is_empty() {
            self.ends.for_each(&backwards(text), each);
        }
    }
}

/// The bytes of a text, the last one first.
fn backwards(text: &str) -> Vec<u8> {
    text.bytes().rev().collect()
}
