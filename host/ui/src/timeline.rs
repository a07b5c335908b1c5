//! The lines of a flow's timeline: attempts, and what lies between them, to scale.

use maud::{Markup, html};
use usher_api::{Delayed, DeliveryReport, DeliveryState, Flow, FlowEvent, Timestamp};
use usher_wording::{Branch, FlowTree, elapsed};

/// Width of a line in its own units.
const WIDTH: u64 = 1000;

/// Nothing is narrower, so that short attempts are seen.
const NARROWEST: u64 = 4;

/// From the flow's first moment to its last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeline {
    start_ms: u64,
    end_ms: u64,
    now_ms: u64,
}

/// A part of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    from_ms: u64,
    to_ms: u64,
    /// Its class in the style sheet.
    kind: &'static str,
}

impl Timeline {
    /// As long as the flow: up to now, or to what is due, while it is under way.
    pub(crate) fn new(flow: &Flow, tree: &FlowTree<'_>, now: Timestamp) -> Self {
        let deliveries = flow.events.iter().flat_map(|event| &event.deliveries);
        let due = deliveries.filter_map(|delivery| delivery.due);
        let due = due.chain(flow.delayed.iter().map(|delayed| delayed.due)).map(Timestamp::as_ms);
        let now_ms = now.as_ms();
        let open_ms = if flow.settled { 0 } else { now_ms };
        let start_ms = tree.start().as_ms();
        let end_ms = due.chain([tree.newest().as_ms(), open_ms, start_ms + 1]).max();
        Self { start_ms, end_ms: end_ms.unwrap_or(start_ms + 1), now_ms }
    }

    /// How long it is, in words.
    pub(crate) fn length(&self) -> String {
        elapsed(Timestamp::from_ms(self.start_ms), Timestamp::from_ms(self.end_ms))
    }

    /// An event: a mark when it was appended.
    pub(crate) fn event(&self, event: &FlowEvent) -> Markup {
        let at_ms = event.stored.recorded.as_ms();
        self.line(&[Span { from_ms: at_ms, to_ms: at_ms, kind: "event" }])
    }

    /// A delayed emission: it waits until it is due.
    pub(crate) fn delayed(&self, delayed: &Delayed) -> Markup {
        let to_ms = delayed.due.as_ms();
        self.line(&[Span { from_ms: self.now_ms.min(to_ms), to_ms, kind: "due" }])
    }

    /// A delivery: its attempts, and its waits between them.
    pub(crate) fn branch(&self, event: &FlowEvent, branch: &Branch<'_>) -> Markup {
        self.line(&self.spans(event, branch))
    }

    fn spans(&self, event: &FlowEvent, branch: &Branch<'_>) -> Vec<Span> {
        let mut spans = Vec::new();
        let mut reached_ms = event.stored.recorded.as_ms();
        let failures = branch.delivery.map_or(&[][..], |delivery| &delivery.failures);
        let mut ran = |reached_ms: &mut u64, to_ms: u64, took_us: u64, kind| {
            let from_ms = to_ms.saturating_sub(took_us / 1_000).max(*reached_ms);
            spans.push(Span { from_ms: *reached_ms, to_ms: from_ms, kind: "wait" });
            spans.push(Span { from_ms, to_ms, kind });
            *reached_ms = to_ms;
        };
        for failure in failures {
            ran(&mut reached_ms, failure.time.as_ms(), failure.took_us, "failed");
        }
        // The report of a dead letter is no success of its delivery.
        let is_dead = branch.delivery.is_some_and(|one| one.state == DeliveryState::Dead);
        let emitted = branch.emitted.iter().filter(|_| !is_dead).find_map(|child| match child {
            usher_wording::Child::Event(event) => Some(&event.stored),
            usher_wording::Child::Delayed(_) => None,
        });
        if let Some((stored, cause)) = emitted.and_then(|one| Some((one, one.cause.as_ref()?))) {
            ran(&mut reached_ms, stored.recorded.as_ms(), cause.took_us, "done");
        }
        spans.extend(branch.delivery.and_then(|delivery| self.open(delivery, reached_ms)));
        spans
    }

    /// What is still to come for a delivery, or under way.
    fn open(&self, delivery: &DeliveryReport, reached_ms: u64) -> Option<Span> {
        let now_ms = self.now_ms.max(reached_ms);
        let span = |to_ms, kind| Some(Span { from_ms: reached_ms, to_ms, kind });
        match delivery.state {
            DeliveryState::InFlight => span(now_ms, "running"),
            DeliveryState::Waiting => span(delivery.due.map_or(now_ms, Timestamp::as_ms), "due"),
            DeliveryState::Pending | DeliveryState::Parked => span(now_ms, "wait"),
            DeliveryState::Done | DeliveryState::Dead => None,
        }
    }

    fn line(&self, spans: &[Span]) -> Markup {
        html! {
            svg.timeline viewBox={ "0 0 " (WIDTH) " 14" } preserveAspectRatio="none" aria-hidden="true" {
                @for span in spans {
                    @let (x, width) = self.place(span);
                    rect class=(span.kind) x=(x) y="2" width=(width) height="10" {
                        title { (span.kind) " " (words(span)) }
                    }
                }
            }
        }
    }

    fn place(&self, span: &Span) -> (u64, u64) {
        let length = self.end_ms.saturating_sub(self.start_ms).max(1);
        let x = |ms: u64| {
            let since = u128::from(ms.clamp(self.start_ms, self.end_ms) - self.start_ms);
            u64::try_from(since * u128::from(WIDTH) / u128::from(length)).unwrap_or(WIDTH)
        };
        let (from, to) = (x(span.from_ms), x(span.to_ms));
        let is_wait = matches!(span.kind, "wait" | "due");
        let width = to.saturating_sub(from).max(if is_wait { 0 } else { NARROWEST });
        (from.min(WIDTH - NARROWEST), width)
    }
}

fn words(span: &Span) -> String {
    elapsed(Timestamp::from_ms(span.from_ms), Timestamp::from_ms(span.to_ms))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn flow() -> Flow {
        let at = |ms: u64| Timestamp::from_ms(1_769_860_800_000 + ms);
        let event = |sequence: u64, ms: u64, cause: serde_json::Value, deliveries| {
            json!({
                "sequence": sequence, "recorded": at(ms), "flow": 1, "depth": 0, "cause": cause,
                "event": { "specversion": "1.0", "id": "1", "source": "/s", "type": "t" },
                "deliveries": deliveries,
            })
        };
        let failure = json!({
            "attempt": 1, "time": at(300), "took_us": 200_000, "class": "trap", "reason": "x",
            "backtrace": null, "digest": null, "version": null, "counted": true
        });
        let done = json!([{
            "subscription": "a/b", "plugin": "a", "state": "done", "failures": [failure]
        }]);
        let waiting = json!([{
            "subscription": "c/d", "plugin": "c", "state": "waiting", "due": at(2_000),
            "failures": []
        }]);
        let cause = json!({
            "kind": "emission", "parent": 1, "subscription": "a/b", "attempt": 2,
            "took_us": 100_000
        });
        serde_json::from_value(json!({
            "flow": 1, "settled": false, "truncated": false, "delayed": [],
            "events": [event(1, 0, json!(null), done), event(2, 1_000, cause, waiting)],
        }))
        .unwrap()
    }

    #[test]
    fn attempts_and_waits_are_to_scale() {
        let flow = flow();
        let tree = FlowTree::new(&flow);
        let now = Timestamp::from_ms(1_769_860_801_500);
        let timeline = Timeline::new(&flow, &tree, now);
        assert_eq!(timeline.length(), "2.000 s");
        let first = &flow.events[0];
        let spans = timeline.spans(first, &tree.branches(first)[0]);
        let placed: Vec<_> = spans.iter().map(|span| (span.kind, timeline.place(span))).collect();
        assert_eq!(
            placed,
            [("wait", (0, 50)), ("failed", (50, 100)), ("wait", (150, 300)), ("done", (450, 50)),]
        );
        let second = &flow.events[1];
        let spans = timeline.spans(second, &tree.branches(second)[0]);
        assert_eq!((spans[0].kind, timeline.place(&spans[0])), ("due", (500, 500)));
    }
}
