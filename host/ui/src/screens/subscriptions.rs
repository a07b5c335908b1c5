//! Subscriptions, and what holds them up.

use maud::{Markup, html};
use usher_api::{
    Explanation, Order, Problem, Scope, Subscription, SubscriptionState, Subscriptions, routes,
};
use usher_wording::{Tone, details, headline, now, until};

use crate::html::{badge, cell, event_link, field, phrase, plugin_link, table};
use crate::screen::Screen;
use crate::source::{Source, Viewer, fetch};

/// Limit on subscriptions whose oldest event is explained.
const EXPLAINED_MAX: usize = 50;

pub(crate) async fn show(source: &impl Source, viewer: &Viewer) -> Result<Markup, Problem> {
    let all: Subscriptions = fetch(source, routes::SUBSCRIPTIONS, &[], &()).await?;
    let all: Vec<_> = all.subscriptions.iter().collect();
    let mut held = Vec::new();
    for subscription in all.iter().take(EXPLAINED_MAX) {
        let Some(oldest) = subscription.oldest_unsettled else { continue };
        let (sequence, name) = (oldest.sequence.to_string(), &subscription.name);
        let parameters = [sequence.as_str(), name.plugin(), name.local()];
        // Retention may have removed the event meanwhile.
        let told: Option<Explanation> =
            fetch(source, routes::DELIVERY, &parameters, &()).await.ok();
        held.extend(told.map(|told| oldest_row(subscription, &told)));
    }
    Ok(html! {
        h1 { "Subscriptions" }
        (list(&all))
        h2 { "The oldest event that is not settled" }
        (table(
            &["Subscription", "Event", "What holds it", "Lanes held", "Parked"],
            &held,
            "Every subscription has settled all there is.",
        ))
        @if viewer.may(Scope::Read) {
            h2 { "Why did an event go there, or not?" }
            form.filters method="get" action=(Screen::Event.path()) {
                (field("Sequence of the event", "sequence", "number", None))
                button type="submit" { "Explain" }
            }
        }
    })
}

fn oldest_row(subscription: &Subscription, told: &Explanation) -> Markup {
    html! {
        tr {
            td { (subscription.name.as_str()) }
            td { (event_link(told.sequence)) }
            td {
                (phrase(&headline(told, now())))
                @for line in details(told) { div.faint { (line) } }
                @if let Some(failure) = told.failures.last() {
                    div { (failure.class) ": " (cell(&failure.reason)) }
                }
            }
            td.number { (subscription.stalled_lanes) }
            td.number { (subscription.parked) }
        }
    }
}

/// Subscriptions as a table.
pub(crate) fn list(subscriptions: &[&Subscription]) -> Markup {
    let rows: Vec<_> = subscriptions.iter().map(|one| row(one)).collect();
    let heads = [
        "Subscription",
        "State",
        "Lag",
        "In flight",
        "Retrying",
        "Next retry",
        "Parked",
        "Dead",
        "Order",
        "Filter",
    ];
    table(&heads, &rows, "There are none.")
}

fn row(one: &Subscription) -> Markup {
    let order = match &one.order {
        Order::None => "none".to_owned(),
        Order::Key(attribute) => format!("by {attribute}"),
        Order::Total => "total".to_owned(),
    };
    html! {
        tr {
            td { (plugin_link(&one.plugin)) "/" (one.name.local()) }
            td {
                @match one.state {
                    SubscriptionState::Active => (badge("active", Tone::Good)),
                    SubscriptionState::Paused => (badge("paused", Tone::Open)),
                }
                @if let Some(because) = &one.paused_because { div { (cell(because)) } }
                @if let Some(other) = &one.held_back_by {
                    div.open { "held back: " (other.as_str()) " is too far behind" }
                }
                @if one.holds_back.is_some() { div.open { "too far behind: producers are refused" } }
            }
            td.number { (one.lag) }
            td.number { (one.in_flight) " of " (one.max_in_flight) }
            td.number { (one.retrying) }
            td { (one.next_retry.map(|due| until(now(), due)).unwrap_or_default()) }
            td.number { (one.parked) }
            td.number.bad[one.dead > 0] { (one.dead) }
            td { (order) }
            td.whole { code { (cell(&one.filter.to_string())) } }
        }
    }
}
