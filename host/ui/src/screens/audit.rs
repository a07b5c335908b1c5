//! What operators did, newest first.

use maud::{Markup, html};
use usher_api::{Audit, AuditQuery, AuditRecord, PAGE_MAX, Problem, routes};

use crate::html::{cell, event_link, table, time};
use crate::source::{Source, fetch};

/// Records shown.
const SHOWN_MAX: usize = 200;

/// Limit on pages that are read to find the newest: as many as the router keeps, and one.
const PAGES_MAX: usize = 11;

pub(crate) async fn show(source: &impl Source) -> Result<Markup, Problem> {
    let mut newest: Vec<AuditRecord> = Vec::new();
    for _ in 0..PAGES_MAX {
        let after = newest.last().map(|record| record.number);
        let query = AuditQuery { after, max: Some(PAGE_MAX) };
        let page: Audit = fetch(source, routes::AUDIT, &[], &query).await?;
        let is_last = page.records.len() < PAGE_MAX;
        newest.extend(page.records);
        let excess = newest.len().saturating_sub(SHOWN_MAX);
        newest.drain(..excess);
        if is_last {
            break;
        }
    }
    let rows: Vec<_> = newest.iter().rev().map(row).collect();
    Ok(html! {
        h1 { "Audit" }
        (table(&["Time (UTC)", "Who", "Did", "To"], &rows, "Operators have done nothing yet."))
    })
}

fn row(record: &AuditRecord) -> Markup {
    let subscription = record.subscription.as_ref().map(|name| name.as_str().to_owned());
    let to = [&subscription, &record.plugin, &record.token, &record.folder, &record.node];
    let to = to.into_iter().flatten().next();
    html! {
        tr {
            td { (time(record.time)) }
            td { (record.actor) }
            td { (record.action.replace('_', " ")) }
            td {
                @if let Some(to) = to { (cell(to)) }
                @if let Some(dead) = &record.dead_letter {
                    " dead letter " (dead.id) " of " (event_link(dead.sequence)) " " (cell(&dead.ty))
                }
                @if let Some(replay) = &record.replay {
                    " " (replay.events) " events from #" (replay.first) " to #" (replay.last)
                }
                @if let Some(sequence) = record.sequence { " as " (event_link(sequence)) }
            }
        }
    }
}
