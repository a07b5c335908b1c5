//! Endless flows: the path of a flow that got too deep, and the cycle in it.

use std::borrow::Cow;
use std::ops::Range;

use usher_event::text::cut_chars;

use super::Ledger;
use crate::HOPS_MAX;
use crate::api::{CauseKind, StoredEvent};

/// Maximum characters shown of a type.
const TYPE_MAX_CHARS: usize = 64;

/// The path of a flow from its first event on.
#[derive(Debug, Default)]
struct FlowPath {
    /// The type of the first known event, and whether earlier ones are unknown.
    first: String,
    is_cut: bool,
    /// For each hop, the subscription (marked if redriven or a report) and the resulting type.
    hops: Vec<(String, String)>,
}

impl Ledger {
    /// Describes the path of a flow to this event and on to `emitted`, to continue a sentence; a
    /// cycle is written once. Reaches as far back as the tail in memory.
    pub(super) fn path_to(
        &self,
        stored: &StoredEvent,
        subscription: &str,
        emitted: &str,
    ) -> String {
        let mut way = FlowPath { first: stored.event.ty().to_owned(), ..FlowPath::default() };
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
        way.render()
    }
}

impl FlowPath {
    fn render(&self) -> String {
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

    /// A range of hops, preceded by the type it starts from.
    fn part(&self, range: Range<usize>) -> String {
        let begin = range.start.checked_sub(1).and_then(|before| self.hops.get(before));
        let mut text = match begin {
            None if self.is_cut => format!("… → {}", cut(&self.first)),
            None => cut(&self.first).into_owned(),
            Some((_, ty)) => cut(ty).into_owned(),
        };
        for (via, ty) in self.hops.get(range).unwrap_or_default() {
            text += &format!(" →({via})→ {}", cut(ty));
        }
        text
    }

    /// A cycle that occurs at least twice and lasts to the end: where it begins, and its length in
    /// hops. The shortest one, and of those the earliest beginning.
    fn repeated(&self) -> Option<(usize, usize)> {
        let hops = &self.hops;
        (1..=hops.len() / 2).find_map(|period| {
            let pairs = hops.iter().zip(hops.iter().skip(period)).rev();
            let same = pairs.take_while(|(one, next)| one == next).count();
            (same >= period).then(|| (hops.len() - period - same, period))
        })
    }
}

/// Truncates a type.
fn cut(ty: &str) -> Cow<'_, str> {
    cut_chars(ty, TYPE_MAX_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path through these types; each hop is named after the type before it.
    fn render(types: &str) -> String {
        let mut types = types.split(' ').map(str::to_owned);
        let mut way = FlowPath { first: types.next().unwrap(), ..FlowPath::default() };
        let mut from = way.first.clone();
        for ty in types {
            way.hops.push((format!("p/{from}"), ty.clone()));
            from = ty;
        }
        way.render()
    }

    #[test]
    fn what_repeats_is_told_once() {
        let cycle = " in a cycle: a →(p/a)→ b →(p/b)→ a, 2 times";
        assert_eq!(render("a b a b a"), cycle);
        // The last round may be incomplete.
        assert_eq!(render("a b a b a b"), cycle);
        assert_eq!(render("a a a a"), " in a cycle: a →(p/a)→ a, 3 times");
        assert_eq!(render("x y a b a b a"), format!("{cycle}; before it x →(p/x)→ y →(p/y)→ a"));
        assert_eq!(render("a b c a"), ": a →(p/a)→ b →(p/b)→ c →(p/c)→ a");
        assert_eq!(render("a b"), ": a →(p/a)→ b");
    }

    #[test]
    fn the_words_are_bounded() {
        let long = "x".repeat(10_000);
        let all: Vec<String> = (0..=HOPS_MAX + 1).map(|n| format!("{n}{long}")).collect();
        let way = FlowPath {
            first: all[0].clone(),
            is_cut: true,
            hops: all
                .iter()
                .skip(1)
                .map(|ty| (format!("p/{}", "s".repeat(126)), ty.clone()))
                .collect(),
        };
        let told = way.render();
        assert!(told.len() < crate::REASON_MAX_BYTES, "{}", told.len());
        assert!(told.starts_with(": … → 0xxx") && told.contains("x… →(p/sss"), "{told}");
    }
}
