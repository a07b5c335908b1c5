//! Texts that others begin with.

use std::collections::BTreeMap;
use std::ops::Bound;

use smallvec::SmallVec;

/// Those whose text it is: most often one.
pub(super) type Slots = SmallVec<[u32; 2]>;

/// Texts in order. All those that a text begins with are found by going down from it: between one that
/// isn't its beginning and it, there can be none longer than what both begin with.
#[derive(Clone, Debug, Default)]
pub(super) struct Beginnings(BTreeMap<Box<[u8]>, Slots>);

impl Beginnings {
    pub(super) fn insert(&mut self, text: Box<[u8]>, slot: u32) {
        self.0.entry(text).or_default().push(slot);
    }

    pub(super) fn remove(&mut self, text: &[u8], slot: u32) {
        if let Some(slots) = self.0.get_mut(text) {
            slots.retain(|other| *other != slot);
            if slots.is_empty() {
                self.0.remove(text);
            }
        }
    }

    pub(super) fn count(&self, text: &[u8]) -> usize {
        self.0.get(text).map_or(0, SmallVec::len)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Calls `found` with those whose text `text` begins with.
    pub(super) fn for_each(&self, text: &[u8], found: &mut impl FnMut(u32)) {
        let mut rest = text;
        loop {
            let upto = (Bound::Unbounded, Bound::Included(rest));
            let Some((beginning, slots)) = self.0.range::<[u8], _>(upto).next_back() else {
                return;
            };
            let common = rest.iter().zip(beginning.iter()).take_while(|(a, b)| a == b).count();
            let length = if common == beginning.len() {
                slots.iter().copied().for_each(&mut *found);
                let Some(shorter) = common.checked_sub(1) else { return };
                shorter
            } else {
                common
            };
            rest = rest.get(..length).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_beginnings_of_a_text_are_found() {
        let texts = ["", "a", "ab", "abb", "abc", "abd", "b", "bab", "aa", "abcde", "\u{e9}", "z"];
        let mut beginnings = Beginnings::default();
        for (slot, text) in (0..).zip(texts) {
            beginnings.insert(text.as_bytes().into(), slot);
        }
        for text in ["", "a", "abcd", "abcdef", "abz", "baba", "\u{e9}a", "c", "zz", "abc"] {
            let mut found = Vec::new();
            beginnings.for_each(text.as_bytes(), &mut |slot| found.push(texts[slot as usize]));
            found.sort_unstable();
            let mut expected: Vec<_> =
                texts.iter().copied().filter(|one| text.starts_with(one)).collect();
            expected.sort_unstable();
            assert_eq!(found, expected, "{text}");
        }
        beginnings.remove(b"ab", 2);
        assert_eq!(beginnings.count(b"ab"), 0);
    }
}
