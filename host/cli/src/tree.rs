//! A flow as a tree: events, the deliveries of each, their failed attempts and what they emitted.
//!
//! ```text
//! flow 17  settled  3 events  2.104 s  from 2026-01-31 12:00:00.007 UTC
//!
//! ticket.purchased #17                   0 ms  o-1001
//! ├─ payment/purchases                         done at attempt 2, 12.1 ms
//! │  ├─ attempt 1                       21 ms  retry: the gateway answered 503 (8.2 ms)
//! │  └─ ticket.payment.confirmed #18  2.104 s  o-1001
//! └─ sales/tickets                             done
//! ```
//!
//! Three columns: the tree, the time since the flow began, and a note. Text from events and plugins
//! is escaped before it becomes part of a line.

use std::collections::BTreeMap;

use anstyle::Style;

use super::ui::output::style;
use super::ui::table::paint;
use super::ui::text::{
    clock, count, date_time, duration, elapsed, printable, printable_cut, width,
};
use usher_api::{
    Attempt, Cause, Delayed, DeliveryReport, DeliveryState, Flow, FlowEvent, Timestamp, failed_in,
};

/// Wider labels overflow instead of widening the column.
const LABEL_MAX_CHARS: usize = 64;

/// Cuts reasons and subjects.
const NOTE_MAX_CHARS: usize = 240;

/// Bounds recursion; the router's own limit (`HOPS_MAX`) is lower.
const DEPTH_MAX: usize = 64;

/// Text in a style.
struct Span(String, Style);

/// One line of the tree.
struct Line {
    /// Box-drawing characters in front.
    branch: String,
    label: Vec<Span>,
    time: String,
    note: Vec<Span>,
}

impl Line {
    fn width(&self) -> usize {
        width(&self.branch) + self.label.iter().map(|Span(text, _)| width(text)).sum::<usize>()
    }
}

/// The flow as text, with styles.
pub(crate) fn render(flow: &Flow) -> String {
    let mut tree = Tree::new(flow);
    tree.roots();
    let mut text = heading(flow);
    text.push('\n');
    text.push_str(&layout(&tree.lines));
    if flow.truncated {
        text.push_str(&paint("… the flow has more events than are shown\n", style::OPEN));
    }
    text
}

fn heading(flow: &Flow) -> String {
    let (state, color) =
        if flow.settled { ("settled", style::GOOD) } else { ("under way", style::OPEN) };
    let dead = flow
        .events
        .iter()
        .flat_map(|event| &event.deliveries)
        .filter(|delivery| delivery.state == DeliveryState::Dead)
        .count();
    let mut parts = vec![
        paint(&format!("flow {}", flow.flow), style::STRONG),
        paint(state, color),
        count(flow.events.len(), "event"),
    ];
    if dead > 0 {
        parts.push(paint(&format!("{} given up", deliveries(dead)), style::BAD));
    }
    if let Some(first) = flow.events.first() {
        let start = first.stored.recorded;
        parts.push(elapsed(start, newest(flow).unwrap_or(start)));
        parts.push(paint(&format!("from {} UTC", date_time(start)), style::FAINT));
    }
    format!("{}\n", parts.join("  "))
}

fn deliveries(n: usize) -> String {
    if n == 1 { "1 delivery".to_owned() } else { format!("{n} deliveries") }
}

/// Time of the newest event or failed attempt.
fn newest(flow: &Flow) -> Option<Timestamp> {
    let recorded = flow.events.iter().map(|event| event.stored.recorded);
    let failed = flow
        .events
        .iter()
        .flat_map(|event| &event.deliveries)
        .flat_map(|delivery| &delivery.failures)
        .map(|failure| failure.time);
    recorded.chain(failed).max()
}

fn layout(lines: &[Line]) -> String {
    let labels =
        lines.iter().map(Line::width).filter(|width| *width <= LABEL_MAX_CHARS).max().unwrap_or(0);
    let times = lines.iter().map(|line| width(&line.time)).max().unwrap_or(0);
    let mut text = String::new();
    for line in lines {
        let mut row = paint(&line.branch, style::FAINT);
        row.extend(line.label.iter().map(|Span(text, style)| paint(text, *style)));
        let used = line.width();
        let time_indent = times.saturating_sub(width(&line.time));
        row.push_str(&" ".repeat(labels.saturating_sub(used) + 2 + time_indent));
        row.push_str(&paint(&line.time, style::FAINT));
        row.push_str("  ");
        row.extend(line.note.iter().map(|Span(text, style)| paint(text, *style)));
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

/// An emission of a delivery: an event, or one that is still delayed.
enum Child<'a> {
    Event(&'a FlowEvent),
    Delayed(&'a Delayed),
}

/// Builds the lines.
struct Tree<'a> {
    flow: &'a Flow,
    start: Timestamp,
    /// Emissions by delivery: parent sequence and subscription.
    children: BTreeMap<(u64, &'a str), Vec<Child<'a>>>,
    lines: Vec<Line>,
}

impl<'a> Tree<'a> {
    fn new(flow: &'a Flow) -> Self {
        let mut children: BTreeMap<(u64, &str), Vec<Child>> = BTreeMap::new();
        for event in &flow.events {
            if let Some(cause) = parent(flow, event) {
                children.entry(key(cause)).or_default().push(Child::Event(event));
            }
        }
        for delayed in &flow.delayed {
            children.entry(key(&delayed.cause)).or_default().push(Child::Delayed(delayed));
        }
        let start =
            flow.events.first().map_or(Timestamp::from_ms(0), |event| event.stored.recorded);
        Self { flow, start, children, lines: Vec::new() }
    }

    /// Adds the first event, and any whose parent is not in the flow.
    fn roots(&mut self) {
        for event in &self.flow.events {
            if parent(self.flow, event).is_none() {
                self.event(event, "", "", 0);
            }
        }
    }

    /// Adds an event and its subtree. `branch` prefixes the event's own line, `below` those under
    /// it.
    fn event(&mut self, event: &'a FlowEvent, branch: &str, below: &str, depth: usize) {
        let stored = &event.stored;
        let mut note = Vec::new();
        if let Some(subject) = stored.event.subject() {
            note.push(Span(printable_cut(subject, NOTE_MAX_CHARS), Style::new()));
        }
        let how = match stored.cause.as_ref().map(|cause| cause.kind.as_str()) {
            Some("redrive") => Some("redriven in its place"),
            Some("report") => Some("reported by the router"),
            _ => None,
        };
        if let Some(how) = how {
            let gap = if note.is_empty() { "" } else { "  " };
            note.push(Span(format!("{gap}{how}"), style::OPEN));
        }
        self.lines.push(Line {
            branch: branch.to_owned(),
            label: vec![
                Span(printable(stored.event.ty()), style::STRONG),
                Span(format!(" #{}", stored.sequence), style::FAINT),
            ],
            time: elapsed(self.start, stored.recorded),
            note,
        });
        if depth == DEPTH_MAX {
            return;
        }

        let mut deliveries: Vec<(&str, Option<&DeliveryReport>)> = event
            .deliveries
            .iter()
            .map(|delivery| (delivery.subscription.as_str(), Some(delivery)))
            .collect();
        // A removed subscription has no delivery, but its emissions remain.
        let here = (stored.sequence, "")..(stored.sequence.saturating_add(1), "");
        for (_, subscription) in self.children.range(here).map(|(key, _)| *key) {
            if !deliveries.iter().any(|(name, _)| *name == subscription) {
                deliveries.push((subscription, None));
            }
        }
        let last = deliveries.len().saturating_sub(1);
        for (n, (name, delivery)) in deliveries.into_iter().enumerate() {
            let (branch, under) = branches(below, n == last);
            self.delivery(stored.sequence, name, delivery, (&branch, &under), depth);
        }
    }

    fn delivery(
        &mut self,
        parent: u64,
        name: &'a str,
        delivery: Option<&'a DeliveryReport>,
        (branch, below): (&str, &str),
        depth: usize,
    ) {
        let emitted = self.children.remove(&(parent, name)).unwrap_or_default();
        let cause = emitted.first().and_then(|child| match child {
            Child::Event(event) => event.stored.cause.as_ref(),
            Child::Delayed(delayed) => Some(&delayed.cause),
        });
        self.lines.push(Line {
            branch: branch.to_owned(),
            label: vec![Span(printable(name), style::NAME)],
            time: String::new(),
            note: delivery.map_or_else(Vec::new, |delivery| state(delivery, cause)),
        });
        let failures = delivery.map_or(&[][..], |delivery| &delivery.failures);
        let count = failures.len() + emitted.len();
        for (n, failure) in failures.iter().enumerate() {
            let (branch, _) = branches(below, n + 1 == count);
            self.failure(failure, branch);
        }
        for (n, child) in emitted.into_iter().enumerate() {
            let (branch, under) = branches(below, failures.len() + n + 1 == count);
            match child {
                Child::Event(event) => self.event(event, &branch, &under, depth + 1),
                Child::Delayed(delayed) => self.delayed(delayed, branch),
            }
        }
    }

    fn failure(&mut self, failure: &Attempt, branch: String) {
        self.lines.push(Line {
            branch,
            label: vec![Span(attempt(failure), style::BAD)],
            time: elapsed(self.start, failure.time),
            note: vec![
                Span(format!("{}: ", printable(&failure.class)), style::BAD),
                Span(printable_cut(&failure.reason, NOTE_MAX_CHARS), Style::new()),
                Span(format!(" ({})", duration(failure.took_us)), style::FAINT),
            ],
        });
    }

    fn delayed(&mut self, delayed: &Delayed, branch: String) {
        self.lines.push(Line {
            branch,
            label: vec![Span(printable(delayed.event.ty()), style::STRONG)],
            time: elapsed(self.start, delayed.due),
            note: vec![Span(format!("delayed until {}", clock(delayed.due)), style::OPEN)],
        });
    }
}

fn attempt(failure: &Attempt) -> String {
    match failure.round {
        None => format!("attempt {}", failure.attempt),
        Some(round) => format!("round {round}, attempt {}", failure.attempt),
    }
}

/// An event's cause, if its parent is an earlier event of the flow.
fn parent<'a>(flow: &Flow, event: &'a FlowEvent) -> Option<&'a Cause> {
    let cause = event.stored.cause.as_ref()?;
    let known = cause.parent < event.stored.sequence
        && flow.events.iter().any(|other| other.stored.sequence == cause.parent);
    known.then_some(cause)
}

fn key(cause: &Cause) -> (u64, &str) {
    (cause.parent, cause.subscription.as_str())
}

/// Prefixes of a child's own line, and of those under it.
fn branches(below: &str, last: bool) -> (String, String) {
    let (branch, under) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
    (format!("{below}{branch}"), format!("{below}{under}"))
}

/// A delivery's state as text. `cause` is that of one of its emissions, if any: it records the
/// successful attempt and its duration.
fn state(delivery: &DeliveryReport, cause: Option<&Cause>) -> Vec<Span> {
    let failed = failed_in(delivery.round, &delivery.failures);
    let again = delivery.round.map(|round| format!(", round {round}")).unwrap_or_default();
    match delivery.state {
        DeliveryState::Pending if failed == 0 => {
            vec![Span(format!("pending{again}"), style::OPEN)]
        }
        DeliveryState::Pending => {
            vec![Span(format!("pending{again}, attempt {}", failed + 1), style::OPEN)]
        }
        DeliveryState::InFlight => {
            let attempt = delivery.attempt.map(|attempt| format!(", attempt {attempt}"));
            vec![Span(format!("under way{again}{}", attempt.unwrap_or_default()), style::OPEN)]
        }
        DeliveryState::Parked => {
            let behind = delivery.behind.map(|head| format!(" behind #{head}"));
            vec![Span(format!("parked{again}{}", behind.unwrap_or_default()), style::OPEN)]
        }
        DeliveryState::Waiting => {
            let due = delivery.due.map(|due| format!(", due {}", clock(due))).unwrap_or_default();
            vec![Span(format!("waiting for attempt {}{again}{due}", failed + 1), style::OPEN)]
        }
        DeliveryState::Done => {
            let attempt = cause.map_or(failed + 1, |cause| cause.attempt);
            let mut spans = vec![Span("done".to_owned(), style::GOOD)];
            if attempt > 1 {
                spans.push(Span(format!(" at attempt {attempt}"), style::GOOD));
            }
            if !again.is_empty() {
                spans.push(Span(again, style::GOOD));
            }
            if let Some(cause) = cause {
                spans.push(Span(format!(", {}", duration(cause.took_us)), style::FAINT));
            }
            spans
        }
        DeliveryState::Dead => {
            let what = match delivery.dead_letter {
                Some(id) => format!("dead letter {id}"),
                None => "dead; its dead letter was redriven or discarded".to_owned(),
            };
            vec![Span(what, style::BAD)]
        }
    }
}

#[cfg(test)]
mod tests;
