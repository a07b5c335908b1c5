//! One dead letter, with its attempts and its event.

use maud::{Markup, html};
use usher_api::{DeadLetter, Problem, Scope, routes};

use usher_wording::count;

use super::dead_letters::{actions, again, id, round};
use super::flow::reason;
use crate::asked::Asked;
use crate::html::{cell, event_link, flow_link, payload, plugin_link, table, time};
use crate::json::pretty;
use crate::screen::{Screen, Shown};
use crate::source::{Source, Viewer, fetch};

pub(crate) async fn show(
    source: &impl Source,
    viewer: &Viewer,
    asked: &Asked,
) -> Result<Shown, Problem> {
    let id = id(asked)?;
    let dead: DeadLetter = fetch(source, routes::DEAD_LETTER, &[&id.to_string()], &()).await?;
    let round = round(source, &dead).await;
    let attempts = dead.attempts.as_deref().unwrap_or_default().iter();
    let rows: Vec<_> = attempts
        .map(|attempt| {
            html! {
                tr {
                    td.number { (attempt.attempt) }
                    td { (time(attempt.time)) }
                    td { (reason(attempt)) }
                }
            }
        })
        .collect();
    let body = html! {
        h1 { "Dead letter " (id) }
        p {
            (event_link(dead.event.sequence)) " for " (plugin_link(&dead.plugin)) "/"
            (dead.subscription.local()) ", given up " (time(dead.time)) " after "
            (count(dead.attempt_count as usize, "attempt")) "; " (flow_link(dead.event.flow))
        }
        p { span.bad { (dead.class) } " " (cell(&dead.reason)) }
        (again(round))
        @if viewer.may(Scope::Operate) { div data-gone="dead-letters" { (actions(id)) } }
        h2 { "Attempts" }
        (table(&["Attempt", "Ended (UTC)", "Why"], &rows, "No attempt was made."))
        h2 { "Event" }
        (event(viewer, &dead))
    };
    Ok(Shown { title: format!("{} {id}", Screen::DeadLetter.title()), is_live: false, body })
}

/// The event as JSON: to be corrected and redriven, for those who may and see all of it.
fn event(viewer: &Viewer, dead: &DeadLetter) -> Markup {
    let json = serde_json::to_string(&dead.event.event).unwrap_or_default();
    if !(viewer.may(Scope::Operate) && viewer.may(Scope::ReadData)) {
        return payload(json.as_bytes());
    }
    let path = format!("api/dead-letters/{}/redrive-edited", dead.id);
    html! {
        form.action.edit method="post" action=(path) data-type="application/cloudevents+json"
            data-to="flow?id=" {
            label {
                "Correct it and redrive it; id and source stay as they are"
                textarea name="body" rows="20" spellcheck="false" {
                    (pretty(&json).unwrap_or(json))
                }
            }
            button type="submit" { "Redrive this event instead" }
        }
    }
}
