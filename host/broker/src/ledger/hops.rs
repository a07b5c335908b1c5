//! Flows that don't end: which way one has taken until it was too deep, and what repeats in it.

use std::ops::Range;

use super::Ledger;
use crate::HOPS_MAX;
use crate::api::{CauseKind, StoredEvent};

/// How much of a type is told.
const TYPE_MAX_CHARS: usize = 64;

/// The way of a flow from its first event on.
#[derive(Debug, Default)]
struct Way {
    /// The type it begins with, and whether something came before it that isn't known any more.
    first: String,
    is_cut: bool,
    /// What each event led to: the subscription and how, and the type that came of it.
    hops: Vec<(String, String)>,
}

impl Ledger {
    /// Continues a sentence with how a flow came to this event, of which a subscription makes
    /// another one; what repeats is told once. As far back as memory reaches.
    pub(super) fn way_to(&self, stored: &StoredEvent, subscription: &str, emitted: &str) -> String {
        let mut way = Way { first: stored.event.ty().to_owned(), ..Way::default() };
        way.hops.push((subscription.to_owned(), emitted.to_owned()));
        let mut above = stored.cause.as_ref();
        while let Some(cause) = above
            && way.hops.len() <= usize::from(HOPS_MAX)
        {
            let Some(parent) = self.tail.get(cause.parent) else { break };
            let via = match cause.kind {
                CauseKind::Emission => cause.subscription.to_string(),
                CauseKind::Redrive => format!("{}, redriven", cause.subscription),
                CauseKind::Report => format!("report on {}", cause.subscription),
            };
            let ty = std::mem::replace(&mut way.first, parent.event.ty().to_owned());
            way.hops.push((via, ty));
            above = parent.cause.as_ref();
        }
        way.is_cut = above.is_some();
        way.hops.reverse();
        way.told()
    }
}

impl Way {
    fn told(&self) -> String {
        let (begin, period) = self.repeated().unwrap_or((self.hops.len(), 0));
        let before = self.part(0..begin);
        if period == 0 {
            return format!(": {before}");
        }
        let times = (self.hops.len() - begin) / period;
        let cycle = self.part(begin..begin + period);
        let mut text = format!(" in a cycle: {cycle}, {times} times");
        if begin > 0 {
            text += &format!("; before it {before}");
        }
        text
    }

    /// Some of the hops, and the type they begin with.
    fn part(&self, range: Range<usize>) -> String {
        let begin = range.start.checked_sub(1).and_then(|before| self.hops.get(before));
        let mut text = match begin {
            None if self.is_cut => format!("… → {}", cut(&self.first)),
            None => cut(&self.first),
            Some((_, ty)) => cut(ty),
        };
        for (via, ty) in self.hops.get(range).unwrap_or_default() {
            text += &format!(" →({via})→ {}", cut(ty));
        }
        text
    }

    /// Where it begins to repeat up to the end, twice at least, and after how many hops: the fewest
    /// hops, and of those the earliest beginning.
    fn repeated(&self) -> Option<(usize, usize)> {
        let hops = &self.hops;
        (1..=hops.len() / 2).find_map(|period| {
            let pairs = hops.iter().zip(hops.iter().skip(period)).rev();
            let same = pairs.take_while(|(one, next)| one == next).count();
            (same >= period).then(|| (hops.len() - period - same, period))
        })
    }
}

/// The beginning of a type.
fn cut(ty: &str) -> String {
    match ty.char_indices().nth(TYPE_MAX_CHARS) {
        Some((end, _)) => format!("{}…", ty.get(..end).unwrap_or_default()),
        None => ty.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A way through these types, each by the subscription to it.
    fn told(types: &str) -> String {
        let mut types = types.split(' ').map(str::to_owned);
        let mut way = Way { first: types.next().unwrap(), ..Way::default() };
        let mut from = way.first.clone();
        for ty in types {
            way.hops.push((format!("p/{from}"), ty.clone()));
            from = ty;
        }
        way.told()
    }

    #[test]
    fn what_repeats_is_told_once() {
        let cycle = " in a cycle: a →(p/a)→ b →(p/b)→ a, 2 times";
        assert_eq!(told("a b a b a"), cycle);
        // The last round need not be whole.
        assert_eq!(told("a b a b a b"), cycle);
        assert_eq!(told("a a a a"), " in a cycle: a →(p/a)→ a, 3 times");
        assert_eq!(told("x y a b a b a"), format!("{cycle}; before it x →(p/x)→ y →(p/y)→ a"));
        assert_eq!(told("a b c a"), ": a →(p/a)→ b →(p/b)→ c →(p/c)→ a");
        assert_eq!(told("a b"), ": a →(p/a)→ b");
    }

    #[test]
    fn the_words_are_bounded() {
        let long = "x".repeat(10_000);
        let all: Vec<String> = (0..=HOPS_MAX + 1).map(|n| format!("{n}{long}")).collect();
        let way = Way {
            first: all[0].clone(),
            is_cut: true,
            hops: all
                .iter()
                .skip(1)
                .map(|ty| (format!("p/{}", "s".repeat(126)), ty.clone()))
                .collect(),
        };
        let told = way.told();
        assert!(told.len() < crate::REASON_MAX_BYTES, "{}", told.len());
        assert!(told.starts_with(": … → 0xxx") && told.contains("x… →(p/sss"), "{told}");
    }
}
