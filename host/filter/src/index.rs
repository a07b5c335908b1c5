//! Finds the filters that match an event without evaluating all of them.
//!
//! Most filters compare the type, exactly or by prefix, possibly among other conditions. Such a
//! filter is indexed under that type or prefix and evaluated only for events that have it. A filter
//! that can match any type is evaluated for every event.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use usher_event::Event;

use crate::Filter;
use crate::types::{TypePattern, Types};

/// The filters of many subscriptions, indexed by type.
#[derive(Clone, Debug)]
pub struct FilterIndex<K> {
    /// The patterns of each key's filter.
    patterns: BTreeMap<K, Vec<TypePattern>>,
    exact: HashMap<Box<str>, Vec<Candidate<K>>>,
    prefix: HashMap<Box<str>, Vec<Candidate<K>>>,
    /// Prefix lengths with the number of prefixes of each: only these lengths are looked up.
    prefix_lengths: BTreeMap<usize, usize>,
    rest: Vec<Candidate<K>>,
}

#[derive(Clone, Debug)]
struct Candidate<K> {
    key: K,
    /// The filter to evaluate; `None` if the pattern alone decides.
    filter: Option<Arc<Filter>>,
}

impl<K: Clone + Ord> FilterIndex<K> {
    /// An empty index.
    pub fn new() -> Self {
        Self {
            patterns: BTreeMap::new(),
            exact: HashMap::new(),
            prefix: HashMap::new(),
            prefix_lengths: BTreeMap::new(),
            rest: Vec::new(),
        }
    }

    /// Number of filters.
    pub fn len(&self) -> usize {
        self.patterns.len()
    }

    /// Whether there are no filters.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Inserts a key's filter, replacing any existing one.
    pub fn insert(&mut self, key: K, filter: &Filter) {
        let Types { patterns, decided } = filter.types();
        self.insert_patterns(key, patterns, (!decided).then(|| Arc::new(filter.clone())));
    }

    /// Inserts the types that a key's filter can match, replacing any existing filter of the key:
    /// every event of such a type matches, whatever else the filter says.
    pub fn insert_types(&mut self, key: K, filter: &Filter) {
        self.insert_patterns(key, filter.types().patterns, None);
    }

    fn insert_patterns(&mut self, key: K, patterns: Vec<TypePattern>, filter: Option<Arc<Filter>>) {
        self.remove(&key);
        for pattern in &patterns {
            let candidate = Candidate { key: key.clone(), filter: filter.clone() };
            match pattern {
                TypePattern::Exact(ty) => self.exact.entry(ty.clone()).or_default().push(candidate),
                TypePattern::Prefix(prefix) => {
                    let filed = self.prefix.entry(prefix.clone()).or_default();
                    if filed.is_empty() {
                        *self.prefix_lengths.entry(prefix.len()).or_default() += 1;
                    }
                    filed.push(candidate);
                }
                TypePattern::Rest => self.rest.push(candidate),
            }
        }
        self.patterns.insert(key, patterns);
    }

    /// Removes a key's filter; returns whether there was one.
    pub fn remove(&mut self, key: &K) -> bool {
        let Some(patterns) = self.patterns.remove(key) else { return false };
        for pattern in patterns {
            match pattern {
                TypePattern::Exact(ty) => {
                    take_out(&mut self.exact, &ty, key);
                }
                TypePattern::Prefix(prefix) => {
                    if take_out(&mut self.prefix, &prefix, key) {
                        self.forget_length(prefix.len());
                    }
                }
                TypePattern::Rest => self.rest.retain(|candidate| candidate.key != *key),
            }
        }
        true
    }

    /// Calls `found` once with each key whose filter the event matches, in no particular order.
    pub fn for_each_match(&self, event: &Event, mut found: impl FnMut(&K)) {
        let ty = event.ty();
        let mut each = |candidates: &[Candidate<K>]| {
            for candidate in candidates {
                if candidate.filter.as_ref().is_none_or(|filter| filter.matches(event)) {
                    found(&candidate.key);
                }
            }
        };
        if let Some(candidates) = self.exact.get(ty) {
            each(candidates);
        }
        for length in self.prefix_lengths.keys().take_while(|length| **length <= ty.len()) {
            if let Some(candidates) = ty.get(..*length).and_then(|head| self.prefix.get(head)) {
                each(candidates);
            }
        }
        each(&self.rest);
    }

    fn forget_length(&mut self, length: usize) {
        if let Some(count) = self.prefix_lengths.get_mut(&length) {
            *count -= 1;
            if *count == 0 {
                self.prefix_lengths.remove(&length);
            }
        }
    }
}

impl<K: Clone + Ord> Default for FilterIndex<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// Removes a key's candidate; returns whether its list became empty and was removed.
fn take_out<P, K>(map: &mut HashMap<P, Vec<Candidate<K>>>, pattern: &P, key: &K) -> bool
where
    P: Hash + Eq,
    K: PartialEq,
{
    let Some(filed) = map.get_mut(pattern) else { return false };
    filed.retain(|candidate| candidate.key != *key);
    filed.is_empty() && map.remove(pattern).is_some()
}
