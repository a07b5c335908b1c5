//! Dead letters: by reason, one by one, and all that match at once.

use maud::{Markup, html};
use usher_api::{
    DeadLetter, DeadLetterReason, DeadLetterReasons, DeadLetters, DeadLettersQuery, Explanation,
    Problem, Scope, routes,
};
use usher_wording::count;

use crate::asked::Asked;
use crate::html::{action, cell, dead_letter_link, event_link, field, table, time};
use crate::screen::Screen;
use crate::source::{Source, Viewer, fetch, problem};

/// Dead letters on one page.
const PAGE_LETTERS: usize = 50;

/// Fields of the form, which are those of the API's query.
const FIELDS: [&str; 7] = ["subscription", "plugin", "class", "reason", "type", "since", "until"];

pub(crate) async fn show(
    source: &impl Source,
    viewer: &Viewer,
    asked: &Asked,
) -> Result<Markup, Problem> {
    let matching = query(asked)?;
    let reasons: DeadLetterReasons =
        fetch(source, routes::DEAD_LETTER_REASONS, &[], &matching).await?;
    let page = DeadLettersQuery {
        after: asked.parsed("after")?,
        max: Some(PAGE_LETTERS),
        ..matching.clone()
    };
    let found: DeadLetters = fetch(source, routes::DEAD_LETTERS, &[], &page).await?;
    let may_operate = viewer.may(Scope::Operate);
    let mut rows = Vec::new();
    for dead in &found.dead_letters {
        let round = round(source, dead).await;
        rows.push(row(dead, round, may_operate));
    }
    let counted: u64 = reasons.reasons.iter().map(|one| one.count).sum::<u64>() + reasons.others;
    Ok(html! {
        h1 { "Dead letters" }
        (filters(asked))
        (by_reason(asked, &reasons))
        h2 { (total(counted, reasons.next.is_some())) }
        @if may_operate && counted > 0 { (bulk(&matching, counted, reasons.next.is_some())) }
        (table(
            &["Dead letter", "Given up (UTC)", "Subscription", "Event", "Type", "Reason", "Actions"],
            &rows,
            "None match.",
        ))
        p.pages {
            @if asked.text("after").is_some() {
                a href=(asked.address(Screen::DeadLetters, &[("after", "")])) { "Oldest" }
            }
            @if let Some(next) = found.next {
                @let after = next.to_string();
                a href=(asked.address(Screen::DeadLetters, &[("after", &after)])) rel="next" { "Next" }
            }
        }
    })
}

/// What the form asks for.
fn query(asked: &Asked) -> Result<DeadLettersQuery, Problem> {
    Ok(DeadLettersQuery {
        subscription: asked.parsed("subscription")?,
        plugin: asked.parsed("plugin")?,
        class: asked.owned("class"),
        reason: asked.owned("reason"),
        type_prefix: asked.owned("type"),
        since: asked.time("since")?,
        until: asked.time("until")?,
        ..DeadLettersQuery::default()
    })
}

/// How often its delivery was redriven or replayed before, plus one; `None` if that is unknown.
pub(crate) async fn round(source: &impl Source, dead: &DeadLetter) -> Option<u32> {
    let (sequence, name) = (dead.event.sequence.to_string(), &dead.subscription);
    let parameters = [sequence.as_str(), name.plugin(), name.local()];
    let told: Explanation = fetch(source, routes::DELIVERY, &parameters, &()).await.ok()?;
    told.round
}

fn filters(asked: &Asked) -> Markup {
    let label = |name: &str| match name {
        "subscription" => "Subscription",
        "plugin" => "Plugin",
        "class" => "Class",
        "reason" => "Reason, exactly",
        "type" => "Type begins with",
        "since" => "Since (UTC)",
        _ => "Until (UTC)",
    };
    html! {
        form.filters method="get" action=(Screen::DeadLetters.path()) {
            @for name in FIELDS { (field(label(name), name, "text", asked.text(name))) }
            button type="submit" { "Filter" }
            a href=(Screen::DeadLetters.path()) { "Clear" }
        }
    }
}

fn by_reason(asked: &Asked, reasons: &DeadLetterReasons) -> Markup {
    let rows: Vec<_> = reasons.reasons.iter().map(|one| reason(asked, one)).collect();
    html! {
        h2 { "By reason" }
        (table(&["Count", "Subscription", "Class", "Reason", "First", "Last"], &rows, "None."))
        @if reasons.others > 0 { p.faint { (reasons.others) " more have other reasons." } }
    }
}

fn reason(asked: &Asked, counted: &DeadLetterReason) -> Markup {
    let name = counted.subscription.as_str();
    let narrowed = [("subscription", name), ("reason", &counted.reason), ("after", "")];
    html! {
        tr {
            td.number { (counted.count) }
            td { (name) }
            td { (counted.class) }
            td {
                // An empty reason would filter by none.
                @if counted.reason.is_empty() {
                    span.faint { "no attempt was made" }
                } @else {
                    a href=(asked.address(Screen::DeadLetters, &narrowed)) { (cell(&counted.reason)) }
                }
            }
            td { (time(counted.first)) }
            td { (time(counted.last)) }
        }
    }
}

fn total(counted: u64, is_more: bool) -> String {
    let matching = count(usize::try_from(counted).unwrap_or(usize::MAX), "matching dead letter");
    if is_more { format!("More than {matching}") } else { matching }
}

/// Actions on everything that matches; the script goes through the pages of the API, so that each
/// is counted and the rest can be stopped.
fn bulk(matching: &DeadLettersQuery, counted: u64, is_more: bool) -> Markup {
    let query = serde_urlencoded::to_string(matching).unwrap_or_default();
    let count = if is_more { format!("more than {counted}") } else { counted.to_string() };
    html! {
        div.bulk data-list={ "api/dead-letters?" (query) } data-count=(count) {
            button type="button" data-verb="redrive" { "Redrive all that match" }
            button type="button" data-verb="discard"
                data-question={ "Drop " (count) " dead letters for good?" } {
                "Discard all that match"
            }
            button type="button" data-stop hidden { "Stop" }
            output aria-live="polite" {}
        }
    }
}

fn row(dead: &DeadLetter, round: Option<u32>, may_operate: bool) -> Markup {
    html! {
        tr {
            td { (dead_letter_link(dead.id)) }
            td { (time(dead.time)) }
            td { (dead.subscription.as_str()) }
            td { (event_link(dead.event.sequence)) }
            td { (cell(dead.event.event.ty())) }
            td { span.bad { (dead.class) } " " (cell(&dead.reason)) (again(round)) }
            td { @if may_operate { (actions(dead.id)) } }
        }
    }
}

/// How often it was redriven.
pub(crate) fn again(round: Option<u32>) -> Markup {
    html! {
        @match round.map(|round| round.saturating_sub(1)) {
            None | Some(0) => {}
            Some(1) => { div.open { "redriven once" } }
            Some(times) => { div.open { "redriven " (times) " times" } }
        }
    }
}

/// What can be done with one.
pub(crate) fn actions(id: u64) -> Markup {
    let question = format!("Drop dead letter {id} for good?");
    html! {
        div.actions {
            (action("Redrive", &format!("dead-letters/{id}/redrive"), None))
            (action("Discard", &format!("dead-letters/{id}/discard"), Some(&question)))
        }
    }
}

/// A dead letter named by a query.
pub(crate) fn id(asked: &Asked) -> Result<u64, Problem> {
    asked.parsed("id")?.ok_or_else(|| problem("id: name a dead letter"))
}
