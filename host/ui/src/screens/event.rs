//! One event, and what became of it for every subscription.

use maud::{Markup, html};
use usher_api::{Explanation, Problem, Stored, Subscriptions, routes};
use usher_wording::{details, headline, now};

use crate::asked::Asked;
use crate::html::{cell, dead_letter_link, event_link, flow_link, payload, phrase, table, time};
use crate::screen::Shown;
use crate::source::{Source, fetch, problem};

/// Limit on subscriptions that are asked about one event.
const SUBSCRIPTIONS_MAX: usize = 100;

pub(crate) async fn show(source: &impl Source, asked: &Asked) -> Result<Shown, Problem> {
    let sequence: u64 = asked
        .parsed("sequence")?
        .ok_or_else(|| problem("sequence: name an event by its place in the log"))?;
    let parameter = sequence.to_string();
    let stored: Stored = fetch(source, routes::EVENT, &[&parameter], &()).await?;
    let subscriptions: Subscriptions = fetch(source, routes::SUBSCRIPTIONS, &[], &()).await?;
    let mut rows = Vec::new();
    for subscription in subscriptions.subscriptions.iter().take(SUBSCRIPTIONS_MAX) {
        let name = &subscription.name;
        let parameters = [parameter.as_str(), name.plugin(), name.local()];
        rows.push(delivery(&fetch(source, routes::DELIVERY, &parameters, &()).await?));
    }
    let body = html! {
        h1 { "Event #" (sequence) }
        p { (flow_link(stored.flow)) ", recorded " (time(stored.recorded))
            @if let Some(cause) = &stored.cause {
                ", " (cause.kind) " of " (event_link(cause.parent)) " by " (cause.subscription.as_str())
            }
        }
        (attributes(&stored))
        h2 { "Data" }
        @match stored.event.data() {
            Some(data) => (payload(&data)),
            None => { p.faint { "There is none, or your token does not show it." } }
        }
        h2 { "Deliveries" }
        (table(&["Subscription", "What became of it", "Why"], &rows, "There are no subscriptions."))
    };
    Ok(Shown { title: format!("Event #{sequence}"), is_live: true, body })
}

fn attributes(stored: &Stored) -> Markup {
    let event = serde_json::to_value(&stored.event).unwrap_or_default();
    let members = event.as_object().into_iter().flatten();
    let attributes = members.filter(|(name, _)| !matches!(name.as_str(), "data" | "data_base64"));
    let rows: Vec<_> = attributes
        .map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            html! { tr { th scope="row" { (name) } td.whole { (crate::html::lines(&text)) } } }
        })
        .collect();
    table(
        &["Attribute", "Value"],
        &rows,
        "It breaks a rule of this version; below it is as stored.",
    )
}

fn delivery(told: &Explanation) -> Markup {
    html! {
        tr {
            td { (told.subscription.as_str()) }
            td { (phrase(&headline(told, now()))) }
            td {
                @for line in details(told) { div { (line) } }
                @if let Some(id) = told.dead_letter { div { (dead_letter_link(id)) } }
                @for failure in &told.failures {
                    div.faint { (failure.class) ": " (cell(&failure.reason)) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn attributes_are_escaped() {
        let stored: Stored = serde_json::from_value(serde_json::json!({
            "sequence": 1, "recorded": "2026-01-31T12:00:00.000Z", "flow": 1, "depth": 0,
            "cause": Value::Null,
            "event": {
                "specversion": "1.0", "id": "<script>", "source": "/s", "type": "t",
                "subject": "\u{202e}x"
            }
        }))
        .unwrap();
        let shown = attributes(&stored).into_string();
        assert!(shown.contains("&lt;script&gt;") && !shown.contains("<script>"), "{shown}");
        assert!(shown.contains("\\u{202e}x"), "{shown}");
    }
}
