//! Ranges of numbers, found by a number that lies in them.

use std::cell::OnceCell;

use crate::data::decimal::{Decimal, compare};

/// A range and whose it is; both ends belong to it, and an absent one is open.
#[derive(Clone, Debug)]
struct Range {
    low: Option<Decimal>,
    high: Option<Decimal>,
    slot: u32,
}

/// Ranges in the order of their lower ends, with what a search skips by. Built again by the first search
/// after a change, so that many changes cost one sort.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranges {
    ranges: Vec<Range>,
    sorted: OnceCell<Sorted>,
}

/// An implicit tree: the root of a slice is in its middle.
#[derive(Clone, Debug)]
struct Sorted {
    /// Positions in `ranges`, by lower end.
    order: Vec<usize>,
    /// For the slice whose root this is: the position of a range with the highest upper end.
    highest: Vec<usize>,
}

impl Ranges {
    pub(super) fn insert(&mut self, low: Option<Decimal>, high: Option<Decimal>, slot: u32) {
        self.sorted = OnceCell::new();
        self.ranges.push(Range { low, high, slot });
    }

    pub(super) fn remove(&mut self, slot: u32) {
        self.sorted = OnceCell::new();
        self.ranges.retain(|range| range.slot != slot);
    }

    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Calls `found` with whose ranges the number lies in.
    pub(super) fn for_each(&self, number: &str, found: &mut impl FnMut(u32)) {
        let sorted = self.sorted.get_or_init(|| self.sort());
        self.search(sorted, 0, sorted.order.len(), number, found);
    }

    fn sort(&self) -> Sorted {
        let mut order: Vec<usize> = (0..self.ranges.len()).collect();
        // `None` sorts first, as an open lower end has to.
        order.sort_by(|one, other| self.low(*one).cmp(&self.low(*other)));
        let mut sorted = Sorted { highest: order.clone(), order };
        let count = sorted.order.len();
        self.climb(&mut sorted, 0, count);
        sorted
    }

    fn low(&self, position: usize) -> Option<&Decimal> {
        self.ranges.get(position)?.low.as_ref()
    }

    /// Finds the highest upper end of a slice; the depth is the logarithm of its length.
    fn climb(&self, sorted: &mut Sorted, from: usize, to: usize) -> Option<usize> {
        if from >= to {
            return None;
        }
        let middle = from.midpoint(to);
        let below = self.climb(sorted, from, middle);
        let above = self.climb(sorted, middle + 1, to);
        let here = sorted.order.get(middle).copied();
        let highest = [here, below, above].into_iter().flatten().reduce(|one, other| {
            let is_higher = match (self.high(other), self.high(one)) {
                (_, None) => false,
                (None, _) => true,
                (Some(other), Some(one)) => other > one,
            };
            if is_higher { other } else { one }
        })?;
        if let Some(place) = sorted.highest.get_mut(middle) {
            *place = highest;
        }
        Some(highest)
    }

    fn high(&self, position: usize) -> Option<&Decimal> {
        self.ranges.get(position)?.high.as_ref()
    }

    fn search(
        &self,
        sorted: &Sorted,
        from: usize,
        to: usize,
        number: &str,
        found: &mut impl FnMut(u32),
    ) {
        if from >= to {
            return;
        }
        let middle = from.midpoint(to);
        let is_below = |high: Option<&Decimal>| {
            high.is_some_and(|high| compare(high.as_str(), number).is_lt())
        };
        let Some(highest) = sorted.highest.get(middle) else { return };
        if is_below(self.high(*highest)) {
            return;
        }
        self.search(sorted, from, middle, number, found);
        let Some(range) = sorted.order.get(middle).and_then(|at| self.ranges.get(*at)) else {
            return;
        };
        if range.low.as_ref().is_some_and(|low| compare(low.as_str(), number).is_gt()) {
            return;
        }
        if !is_below(range.high.as_ref()) {
            found(range.slot);
        }
        self.search(sorted, middle + 1, to, number, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_find_the_ranges_they_lie_in() {
        let decimal = |number: i32| Some(Decimal::new(number.to_string()));
        let mut ranges = Ranges::default();
        let mut plain = Vec::new();
        for slot in 0..300_u32 {
            let begin = i32::try_from(slot * 7_919 % 211).unwrap() - 100;
            let length = i32::try_from(slot * 31 % 40).unwrap();
            let low = (slot % 11 != 0).then_some(begin);
            let high = (slot % 13 != 0).then_some(begin + length);
            plain.push((low, high, slot));
            ranges.insert(low.and_then(decimal), high.and_then(decimal), slot);
        }
        for round in 0..2 {
            for number in -120..170 {
                let mut found = Vec::new();
                ranges.for_each(&number.to_string(), &mut |slot| found.push(slot));
                found.sort_unstable();
                let lies = |(low, high, _): &&(Option<i32>, Option<i32>, u32)| {
                    low.is_none_or(|low| low <= number) && high.is_none_or(|high| number <= high)
                };
                let expected: Vec<u32> = plain.iter().filter(lies).map(|range| range.2).collect();
                assert_eq!(found, expected, "{number} in round {round}");
            }
            for slot in (0..300).step_by(3) {
                ranges.remove(slot);
                plain.retain(|range| range.2 != slot);
            }
            assert_eq!(ranges.len(), plain.len());
        }
    }
}
