//! A flow as a tree and as a timeline.

use std::collections::BTreeMap;

use maud::{Markup, html};
use usher_api::{
    Attempt, Delayed, Flow, FlowEvent, LogLine, Logs, LogsQuery, Problem, Scope, routes,
};
use usher_wording::{
    Branch, Child, FlowTree, Phrase, Tone, attempt, count, date_time, duration, elapsed, now, state,
};

use crate::asked::Asked;
use crate::html::{badge, cell, dead_letter_link, digest, event_link, lines, phrase, time};
use crate::screen::{Screen, Shown};
use crate::source::{Source, Viewer, fetch, problem};
use crate::timeline::Timeline;

/// Limit on events whose log lines are read.
const LOGGED_MAX: usize = 100;

/// Limit on log lines of one event.
const LINES_MAX: usize = 200;

/// Deeper emissions are not indented further; the router's own limit is higher.
const INDENT_MAX: usize = 16;

pub(crate) async fn show(
    source: &impl Source,
    viewer: &Viewer,
    asked: &Asked,
) -> Result<Shown, Problem> {
    let id = asked
        .text("id")
        .ok_or_else(|| problem("id: name a flow by an event of it, or by its correlationid"))?;
    let flow: Flow = fetch(source, routes::FLOW, &[id], &()).await?;
    let mut logs = BTreeMap::new();
    if viewer.may(Scope::ReadData) {
        for event in flow.events.iter().take(LOGGED_MAX) {
            let sequence = Some(event.stored.sequence);
            let query = LogsQuery { sequence, max: Some(LINES_MAX), ..LogsQuery::default() };
            let found: Logs = fetch(source, routes::LOGS, &[], &query).await?;
            logs.insert(event.stored.sequence, found.lines);
        }
    }
    let tree = FlowTree::new(&flow);
    let timeline = Timeline::new(&flow, &tree, now());
    let mut rows = Rows { tree: &tree, timeline, logs: &logs, rows: Vec::new() };
    for root in tree.roots() {
        rows.event(root, 0);
    }
    let (words, tone) =
        if flow.settled { ("settled", Tone::Good) } else { ("under way", Tone::Open) };
    let dead = tree.dead();
    let body = html! {
        h1 { "Flow " (flow.flow) " " (badge(words, tone)) }
        p {
            (count(flow.events.len(), "event"))
            @if dead > 0 { ", " span.bad { (dead) " given up" } }
            ", from " (date_time(tree.start())) " UTC, " (timeline.length())
        }
        @if flow.truncated { p.open { "The flow has more events than are shown." } }
        div.scroll tabindex="0" {
            table.flow {
                thead {
                    tr {
                        th scope="col" { "Event, delivery, attempt" }
                        th scope="col" { "0 to " (timeline.length()) }
                        th scope="col" { "After" }
                        th scope="col" { "What" }
                    }
                }
                tbody { @for row in &rows.rows { (row) } }
            }
        }
        p.legend aria-hidden="true" {
            span.event { "event" } span.done { "done" } span.failed { "failed" }
            span.running { "running" } span.wait { "waits" } span.due { "until due" }
        }
    };
    // A settled flow comes to life again when something of it is redriven.
    Ok(Shown { title: format!("{} {}", Screen::Flow.title(), flow.flow), is_live: true, body })
}

/// The rows of the table, from the first event down.
struct Rows<'a> {
    tree: &'a FlowTree<'a>,
    timeline: Timeline,
    logs: &'a BTreeMap<u64, Vec<LogLine>>,
    rows: Vec<Markup>,
}

impl<'a> Rows<'a> {
    fn row(&mut self, depth: usize, label: &Markup, line: &Markup, after: &str, note: &Markup) {
        self.rows.push(html! {
            tr {
                td { @for _ in 0..depth.min(INDENT_MAX) { span.indent {} } (label) }
                td.line { (line) }
                td.number.faint { (after) }
                td { (note) }
            }
        });
    }

    fn event(&mut self, event: &'a FlowEvent, depth: usize) {
        let stored = &event.stored;
        let label = html! {
            span.strong { (cell(stored.event.ty())) } " " (event_link(stored.sequence))
        };
        let how = match stored.cause.as_ref().map(|cause| cause.kind.as_str()) {
            Some("redrive") => "redriven in its place",
            Some("report") => "reported by the router",
            _ => "",
        };
        let note = html! {
            (cell(stored.event.subject().unwrap_or_default())) " " span.open { (how) }
        };
        let after = elapsed(self.tree.start(), stored.recorded);
        self.row(depth, &label, &self.timeline.event(event), &after, &note);
        for branch in self.tree.branches(event) {
            self.branch(event, &branch, depth + 1);
        }
    }

    fn branch(&mut self, event: &'a FlowEvent, branch: &Branch<'a>, depth: usize) {
        let told = branch.delivery.map(|delivery| state(delivery, branch.cause()));
        let told: Vec<Phrase> = told.unwrap_or_default();
        let dead_letter = branch.delivery.and_then(|delivery| delivery.dead_letter);
        let sequence = event.stored.sequence;
        let failures = branch.delivery.map_or(&[][..], |delivery| &delivery.failures);
        let of_failures =
            |line: &&LogLine| failures.iter().any(|one| Some(one.attempt) == line.attempt);
        let own = self.lines(sequence, branch.subscription);
        let (failed, rest): (Vec<_>, Vec<_>) = own.into_iter().partition(of_failures);
        let note = html! {
            @match dead_letter {
                Some(id) => { span.bad { (dead_letter_link(id)) } }
                None => { @for words in &told { (phrase(words)) } }
            }
            (log(&rest))
        };
        let label = html! { span.name { (branch.subscription) } };
        self.row(depth, &label, &self.timeline.branch(event, branch), "", &note);
        for failure in failures {
            let of_this = failed.iter().filter(|line| line.attempt == Some(failure.attempt));
            self.failure(failure, &of_this.copied().collect::<Vec<_>>(), depth + 1);
        }
        for child in &branch.emitted {
            match child {
                Child::Event(event) => self.event(event, depth + 1),
                Child::Delayed(delayed) => self.delayed(delayed, depth + 1),
            }
        }
    }

    fn failure(&mut self, failure: &Attempt, log_lines: &[&LogLine], depth: usize) {
        let label = html! { span.bad { (attempt(failure)) } };
        let note = html! { (reason(failure)) (log(log_lines)) };
        let after = elapsed(self.tree.start(), failure.time);
        self.row(depth, &label, &html! {}, &after, &note);
    }

    fn delayed(&mut self, delayed: &Delayed, depth: usize) {
        let label = html! { span.strong { (cell(delayed.event.ty())) } };
        let note = html! { span.open { "delayed until " (time(delayed.due)) } };
        let after = elapsed(self.tree.start(), delayed.due);
        self.row(depth, &label, &self.timeline.delayed(delayed), &after, &note);
    }

    fn lines(&self, sequence: u64, subscription: &str) -> Vec<&'a LogLine> {
        let of_event = self.logs.get(&sequence).map_or(&[][..], Vec::as_slice);
        let is_of = |line: &&LogLine| {
            line.subscription.as_ref().is_some_and(|name| name.as_str() == subscription)
        };
        of_event.iter().filter(is_of).collect()
    }
}

/// Why an attempt failed, with all that is known.
pub(crate) fn reason(failure: &Attempt) -> Markup {
    html! {
        span.bad { (failure.class) ": " } (cell(&failure.reason))
        span.faint { " (" (duration(failure.took_us)) ")" }
        @if failure.backtrace.is_some() || failure.version.is_some() {
            details {
                summary { "More" }
                @if let Some(version) = &failure.version {
                    p { "version " (cell(version)) ", " (digest(failure.digest)) }
                }
                pre { (lines(&failure.reason)) }
                @if let Some(backtrace) = &failure.backtrace { pre { (lines(backtrace)) } }
            }
        }
    }
}

/// Lines that a plugin wrote.
pub(crate) fn log(log_lines: &[&LogLine]) -> Markup {
    html! {
        @if !log_lines.is_empty() {
            details {
                summary { (count(log_lines.len(), "log line")) }
                pre.log {
                    @for line in log_lines { (line.level) " " (line.text) "\n" }
                }
            }
        }
    }
}
