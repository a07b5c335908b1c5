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

use anstyle::Style;
use usher_api::{Attempt, Delayed, Flow, FlowEvent, Timestamp};
use usher_wording::{
    Branch, Child, FlowTree, attempt, clock, count, date_time, duration, elapsed, printable,
    printable_cut, state,
};

use super::ui::output::style;
use super::ui::table::paint;
use super::ui::text::width;

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
    let tree = FlowTree::new(flow);
    let mut text = heading(flow, &tree);
    let mut lines = Lines { start: tree.start(), tree, lines: Vec::new() };
    lines.roots();
    text.push('\n');
    text.push_str(&layout(&lines.lines));
    if flow.truncated {
        text.push_str(&paint("… the flow has more events than are shown\n", style::OPEN));
    }
    text
}

fn heading(flow: &Flow, tree: &FlowTree<'_>) -> String {
    let (state, color) =
        if flow.settled { ("settled", style::GOOD) } else { ("under way", style::OPEN) };
    let mut parts = vec![
        paint(&format!("flow {}", flow.flow), style::STRONG),
        paint(state, color),
        count(flow.events.len(), "event"),
    ];
    let dead = tree.dead();
    if dead > 0 {
        parts.push(paint(&format!("{} given up", deliveries(dead)), style::BAD));
    }
    if !flow.events.is_empty() {
        parts.push(elapsed(tree.start(), tree.newest()));
        parts.push(paint(&format!("from {} UTC", date_time(tree.start())), style::FAINT));
    }
    format!("{}\n", parts.join("  "))
}

fn deliveries(n: usize) -> String {
    if n == 1 { "1 delivery".to_owned() } else { format!("{n} deliveries") }
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

/// Builds the lines.
struct Lines<'a> {
    tree: FlowTree<'a>,
    start: Timestamp,
    lines: Vec<Line>,
}

impl<'a> Lines<'a> {
    fn roots(&mut self) {
        let roots: Vec<_> = self.tree.roots().collect();
        for event in roots {
            self.event(event, "", "", 0);
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

        let branches = self.tree.branches(event);
        let last = branches.len().saturating_sub(1);
        for (n, branch) in branches.into_iter().enumerate() {
            let (own, under) = prefixes(below, n == last);
            self.branch(branch, (&own, &under), depth);
        }
    }

    fn branch(&mut self, branch: Branch<'a>, (own, below): (&str, &str), depth: usize) {
        let told = branch.delivery.map(|delivery| state(delivery, branch.cause()));
        let told = told.into_iter().flatten();
        self.lines.push(Line {
            branch: own.to_owned(),
            label: vec![Span(printable(branch.subscription), style::NAME)],
            time: String::new(),
            note: told.map(|phrase| Span(phrase.words, style::of(phrase.tone))).collect(),
        });
        let failures = branch.delivery.map_or(&[][..], |delivery| &delivery.failures);
        let count = failures.len() + branch.emitted.len();
        for (n, failure) in failures.iter().enumerate() {
            let (own, _) = prefixes(below, n + 1 == count);
            self.failure(failure, own);
        }
        for (n, child) in branch.emitted.into_iter().enumerate() {
            let (own, under) = prefixes(below, failures.len() + n + 1 == count);
            match child {
                Child::Event(event) => self.event(event, &own, &under, depth + 1),
                Child::Delayed(delayed) => self.delayed(delayed, own),
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

/// Prefixes of a child's own line, and of those under it.
fn prefixes(below: &str, last: bool) -> (String, String) {
    let (branch, under) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
    (format!("{below}{branch}"), format!("{below}{under}"))
}

#[cfg(test)]
mod tests;
