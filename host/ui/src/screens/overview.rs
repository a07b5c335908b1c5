//! The router as a whole, now and in the last hour.

use maud::{Markup, html};
use usher_api::{
    Overview, PluginState, Plugins, Problem, Sample, Sinks, States, Subscription, Subscriptions,
    routes,
};
use usher_wording::{bytes, duration};

use super::plugins::state_badge;
use crate::chart::{chart, per_second, short};
use crate::html::{cell, plugin_link, table, time};
use crate::source::{Source, fetch};

pub(crate) async fn show(source: &impl Source) -> Result<Markup, Problem> {
    let overview: Overview = fetch(source, routes::OVERVIEW, &[], &()).await?;
    let states: States = fetch(source, routes::STATES, &[], &()).await?;
    let plugins: Plugins = fetch(source, routes::PLUGINS, &[], &()).await?;
    let sinks: Sinks = fetch(source, routes::SINKS, &[], &()).await?;
    // How they stand isn't known while the journal's servers are away, which is the time to look here.
    let subscriptions: Option<Subscriptions> =
        fetch(source, routes::SUBSCRIPTIONS, &[], &()).await.ok();
    Ok(html! {
        h1 { "Overview" }
        @for state in &states.states {
            section.trouble {
                h2 { (state.name.replace('_', " ")) }
                p { (state.meaning) }
                p.faint { (cell(&state.concerned.join(", "))) }
            }
        }
        (figures(&overview, subscriptions.as_ref()))
        div.charts {
            (chart("Events/s", &overview.samples, |one| per_second(one.events, one)))
            (chart("Acknowledged/s", &overview.samples, |one| per_second(one.acked, one)))
            (chart("Failed/s", &overview.samples, |one| per_second(one.failed, one)))
            (chart("Lag", &overview.samples, |one| one.lag as f64))
            (chart("Dead letters", &overview.samples, |one| one.dead_letters as f64))
        }
        h2 { "Plugins and sinks" }
        (serving(&plugins, &sinks))
    })
}

fn figures(overview: &Overview, subscriptions: Option<&Subscriptions>) -> Markup {
    let newest = overview.samples.last();
    let rate = |value: fn(&Sample) -> u64| {
        newest.map_or("–".to_owned(), |sample| short(per_second(value(sample), sample)))
    };
    let sum = |value: fn(&Subscription) -> u64| {
        let sum =
            |all: &Subscriptions| all.subscriptions.iter().map(value).sum::<u64>().to_string();
        subscriptions.map_or("–".to_owned(), sum)
    };
    let events = (overview.last_sequence + 1).saturating_sub(overview.first_sequence);
    html! {
        dl.figures {
            div { dt { "Events/s" } dd { (rate(|sample| sample.events)) } }
            div { dt { "Acknowledged/s" } dd { (rate(|sample| sample.acked)) } }
            div { dt { "Failed/s" } dd { (rate(|sample| sample.failed)) } }
            div { dt { "Lag" } dd { (sum(|one| one.lag)) } }
            div { dt { "Retrying" } dd { (sum(|one| one.retrying)) } }
            div { dt { "Delayed" } dd { (overview.delayed) } }
            div {
                dt { a href="dead-letters" { "Dead letters" } }
                dd.bad[overview.dead_letters > 0] { (overview.dead_letters) }
            }
            div { dt { "Log" } dd { (events) " events, " (bytes(overview.log_bytes)) } }
            div { dt { "Retention" } dd { (retention(overview)) } }
            div {
                dt { "Disk free" }
                dd { (overview.disk_free_bytes.map_or("unknown".to_owned(), bytes)) }
            }
            @if let Some(ends) = overview.certificate_ends {
                div { dt { "Certificate ends" } dd { (time(ends)) } }
            }
            div { dt { "Version" } dd { (overview.version) } }
        }
    }
}

fn retention(overview: &Overview) -> String {
    let age = overview.retention_max_age_s.map(|age| duration(age.saturating_mul(1_000_000)));
    let size = overview.retention_max_bytes.map(bytes);
    match (age, size) {
        (None, None) => "everything is kept".to_owned(),
        (Some(age), None) => age,
        (None, Some(size)) => size,
        (Some(age), Some(size)) => format!("{age}, {size}"),
    }
}

fn serving(plugins: &Plugins, sinks: &Sinks) -> Markup {
    let plugins = plugins.plugins.iter().map(|plugin| {
        let name = plugin.name.as_ref().map(|name| name.as_str());
        let failed: u64 = plugin.stats.failed.values().sum();
        row(
            "plugin",
            name,
            &plugin.file,
            plugin.state,
            plugin.stats.handled,
            failed,
            &plugin.reason,
        )
    });
    let sinks = sinks.sinks.iter().map(|sink| {
        let failed: u64 = sink.failed.values().sum();
        let name = Some(sink.name.as_str());
        row("sink", name, &sink.url, sink.state, sink.handled, failed, &sink.reason)
    });
    let rows: Vec<_> = plugins.chain(sinks).collect();
    table(&["Name", "Kind", "State", "Handled", "Failed", "Reason"], &rows, "There are none yet.")
}

fn row(
    kind: &str,
    name: Option<&str>,
    place: &str,
    state: PluginState,
    handled: u64,
    failed: u64,
    reason: &Option<String>,
) -> Markup {
    html! {
        tr {
            td { @match name { Some(name) => (plugin_link(name)), None => (cell(place)) } }
            td.faint { (kind) }
            td { (state_badge(state)) }
            td.number { (handled) }
            td.number.bad[failed > 0] { (failed) }
            td { (cell(reason.as_deref().unwrap_or_default())) }
        }
    }
}
