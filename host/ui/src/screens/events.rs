//! The log, newest first.

use maud::{Markup, html};
use serde_json::{Value, json};
use usher_api::{Events, EventsQuery, Problem, ReadOrder, Stored, routes};

use crate::asked::Asked;
use crate::html::{cell, event_link, field, flow_link, table, time};
use crate::screen::{Screen, Shown};
use crate::source::{Source, fetch};

/// Events on one page.
const PAGE_EVENTS: usize = 50;

pub(crate) async fn show(source: &impl Source, asked: &Asked) -> Result<Shown, Problem> {
    let query = EventsQuery {
        to: asked.parsed("to")?,
        order: Some(ReadOrder::Newest),
        max: Some(PAGE_EVENTS),
        type_prefix: asked.owned("type"),
        filter: filter(asked)?,
        since: asked.time("since")?,
        until: asked.time("until")?,
        ..EventsQuery::default()
    };
    let found: Events = fetch(source, routes::EVENTS, &[], &query).await?;
    let rows: Vec<_> = found.events.iter().map(row).collect();
    let body = html! {
        h1 { "Events" }
        form.filters method="get" action=(Screen::Events.path()) {
            (field("Type begins with", "type", "text", asked.text("type")))
            (field("Source begins with", "source", "text", asked.text("source")))
            (field("Subject", "subject", "text", asked.text("subject")))
            (field("Since (UTC)", "since", "text", asked.text("since")))
            (field("Until (UTC)", "until", "text", asked.text("until")))
            label.wide {
                "Filter (JSON, as in subscriptions)"
                input type="text" name="filter" value=(asked.text("filter").unwrap_or_default())
                    placeholder="{\"prefix\":{\"type\":\"ticket.\"}}";
            }
            button type="submit" { "Search" }
            a href=(Screen::Events.path()) { "Clear" }
        }
        (table(
            &["Sequence", "Recorded (UTC)", "Type", "Source", "Subject", "Flow"],
            &rows,
            "Nothing was found in this part of the log.",
        ))
        p.pages {
            @if asked.text("to").is_some() {
                a href=(asked.address(Screen::Events, &[("to", "")])) { "Newest" }
            }
            @if found.next > 0 {
                @let to = found.next.to_string();
                a href=(asked.address(Screen::Events, &[("to", &to)])) rel="next" {
                    "Older than #" (found.next)
                }
            }
        }
    };
    let is_live = asked.text("to").is_none();
    Ok(Shown { title: Screen::Events.title().to_owned(), is_live, body })
}

/// The fields of the form as one filter.
fn filter(asked: &Asked) -> Result<Option<String>, Problem> {
    let mut all = Vec::new();
    if let Some(source) = asked.text("source") {
        all.push(json!({ "prefix": { "source": source } }));
    }
    if let Some(subject) = asked.text("subject") {
        all.push(json!({ "exact": { "subject": subject } }));
    }
    match asked.text("filter") {
        // The API knows best what is wrong with it.
        Some(filter) if all.is_empty() => return Ok(Some(filter.to_owned())),
        Some(filter) => {
            let filter: Value = serde_json::from_str(filter)
                .map_err(|error| crate::source::problem(format!("filter: {error}")))?;
            all.push(filter);
        }
        None => {}
    }
    Ok((!all.is_empty()).then(|| json!({ "all": all }).to_string()))
}

fn row(stored: &Stored) -> Markup {
    html! {
        tr {
            td { (event_link(stored.sequence)) }
            td { (time(stored.recorded)) }
            td.strong { (cell(stored.event.ty())) }
            td { (cell(stored.event.source())) }
            td { (cell(stored.event.subject().unwrap_or_default())) }
            td { (flow_link(stored.flow)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_become_one_filter() {
        let filter_of = |query| filter(&Asked::parse(query).unwrap()).map(|found| found.unwrap());
        assert_eq!(
            filter_of("source=/shop&subject=o%221").unwrap(),
            r#"{"all":[{"prefix":{"source":"/shop"}},{"exact":{"subject":"o\"1"}}]}"#
        );
        assert_eq!(filter_of("filter=nonsense").unwrap(), "nonsense");
        assert!(filter_of("subject=x&filter=nonsense").unwrap_err().detail.starts_with("filter: "));
        assert_eq!(filter(&Asked::parse("type=a").unwrap()).unwrap(), None);
    }
}
