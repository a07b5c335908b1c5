//! One plugin or sink: what it is, how it does, and what can be done about it.

use maud::{Markup, html};
use usher_api::{
    LimitUse, Logs, LogsQuery, Plugin, PluginChange, PluginHistory, PluginState, Plugins, Problem,
    Scope, Sink, Sinks, Subscription, Subscriptions, routes,
};
use usher_wording::{Tone, bytes, count, duration};

use super::plugins::{breaker, state_badge};
use super::subscriptions;
use crate::asked::Asked;
use crate::html::{action, address, badge, cell, digest, table, time};
use crate::screen::{Screen, Shown};
use crate::source::{Source, Viewer, fetch, problem};

/// Log lines shown.
const LINES_MAX: usize = 200;

pub(crate) async fn show(
    source: &impl Source,
    viewer: &Viewer,
    asked: &Asked,
) -> Result<Shown, Problem> {
    let name = asked.text("name").ok_or_else(|| problem("name: name a plugin or a sink"))?;
    let plugins: Plugins = fetch(source, routes::PLUGINS, &[], &()).await?;
    let sinks: Sinks = fetch(source, routes::SINKS, &[], &()).await?;
    let all: Subscriptions = fetch(source, routes::SUBSCRIPTIONS, &[], &()).await?;
    let own: Vec<_> = all.subscriptions.iter().filter(|one| one.plugin == name).collect();
    let plugin =
        plugins.plugins.iter().find(|one| one.name.as_ref().is_some_and(|n| n.as_str() == name));
    let sink = sinks.sinks.iter().find(|one| one.name.as_str() == name);
    let body = match (plugin, sink) {
        (Some(plugin), _) => {
            let history: PluginHistory = fetch(source, routes::HISTORY, &[name], &()).await?;
            let logs = logs(source, viewer, plugin).await?;
            of_plugin(viewer, name, plugin, &history.history, logs.as_ref(), &own)
        }
        (None, Some(sink)) => of_sink(viewer, name, sink, &own),
        (None, None) => {
            let detail = format!("there is neither a plugin nor a sink {name}");
            return Err(Problem { status: 404, title: "not found".to_owned(), ..problem(detail) });
        }
    };
    Ok(Shown { title: format!("{} {name}", Screen::Plugin.title()), is_live: true, body })
}

async fn logs(
    source: &impl Source,
    viewer: &Viewer,
    plugin: &Plugin,
) -> Result<Option<Logs>, Problem> {
    if !viewer.may(Scope::ReadData) {
        return Ok(None);
    }
    let query =
        LogsQuery { plugin: plugin.name.clone(), max: Some(LINES_MAX), ..LogsQuery::default() };
    fetch(source, routes::LOGS, &[], &query).await.map(Some)
}

fn of_plugin(
    viewer: &Viewer,
    name: &str,
    plugin: &Plugin,
    history: &[PluginChange],
    logs: Option<&Logs>,
    own: &[&Subscription],
) -> Markup {
    let stats = &plugin.stats;
    let mean = stats.handle_time_us.checked_div(stats.handled).map(duration);
    html! {
        h1 { (name) " " (state_badge(plugin.state)) " " (breaker(plugin.breaker)) }
        @if let Some(summary) = &plugin.summary { p { (cell(summary)) } }
        @if let Some(reason) = &plugin.reason { p.open { (cell(reason)) } }
        @if let Some(refused) = &plugin.refused {
            section.trouble {
                h2 { "A newer file was refused" }
                p { (cell(&refused.file)) ", " (time(refused.time)) ": " (cell(&refused.reason)) }
            }
        }
        @if viewer.may(Scope::Operate) { (actions(name, plugin.state, true)) }
        dl.figures {
            div { dt { "Version" } dd { (cell(plugin.version.as_deref().unwrap_or("–"))) } }
            div { dt { "Digest" } dd { (digest(plugin.digest)) } }
            div { dt { "File" } dd { (cell(&plugin.file)) } }
            div { dt { "Isolation" } dd { (plugin.isolation.as_deref().unwrap_or("–")) } }
            div { dt { "Instances" } dd { (stats.instances) } }
            div { dt { "Memory" } dd { (bytes(stats.memory_bytes)) } }
            div { dt { "Handled" } dd { (stats.handled) } }
            div { dt { "Mean time" } dd { (mean.unwrap_or_else(|| "–".to_owned())) } }
            div { dt { "Denied calls" } dd.bad[stats.denied > 0] { (stats.denied) } }
            @for (class, failed) in &stats.failed {
                div { dt { "Failed: " (class) } dd.bad { (failed) } }
            }
        }
        (subscriptions::list(own))
        p.pages {
            a href=(address(Screen::DeadLetters, &[("plugin", name)])) { "Dead letters" }
            @if viewer.may(Scope::ReadData) {
                a href=(address(Screen::State, &[("plugin", name)])) { "State" }
            }
        }
        @if !stats.limits.is_empty() {
            h2 { "Limits" }
            (limits(&stats.limits))
        }
        h2 { "Capabilities" }
        (capabilities(plugin))
        h2 { "History" }
        (changes(history))
        @if let Some(logs) = logs {
            h2 { "Log" }
            @if logs.lines.is_empty() {
                p.faint { "It has written nothing since the router started." }
            } @else {
                pre.log tabindex="0" {
                    @for line in logs.lines.iter().rev() {
                        span.faint { (time(line.time)) } " " (line.level) " "
                        @if let Some(sequence) = line.sequence { "#" (sequence) " " }
                        (line.text) "\n"
                    }
                }
            }
        }
    }
}

fn of_sink(viewer: &Viewer, name: &str, sink: &Sink, own: &[&Subscription]) -> Markup {
    html! {
        h1 { (name) " " (state_badge(sink.state)) " " (breaker(sink.breaker)) }
        p { "Sink: " (sink.mode) " to " (cell(&sink.url)) }
        @if let Some(reason) = &sink.reason { p.open { (cell(reason)) } }
        @if viewer.may(Scope::Operate) { (actions(name, sink.state, false)) }
        dl.figures {
            div { dt { "Handled" } dd { (sink.handled) } }
            @for (class, failed) in &sink.failed {
                div { dt { "Failed: " (class) } dd.bad { (failed) } }
            }
        }
        (subscriptions::list(own))
        p.pages { a href=(address(Screen::DeadLetters, &[("plugin", name)])) { "Dead letters" } }
    }
}

/// How close deliveries have come to their limits.
fn limits(limits: &[LimitUse]) -> Markup {
    let row = |LimitUse { name, limit, peak }: &LimitUse| {
        let percent = peak.saturating_mul(100).checked_div(*limit).unwrap_or_default().min(100);
        html! {
            tr {
                td { (name) }
                td.number { (peak) }
                td.number { (limit) }
                td { meter min="0" max="100" high="80" value=(percent) { (percent) " %" } " " (percent) " %" }
            }
        }
    };
    let rows: Vec<Markup> = limits.iter().map(row).collect();
    table(&["Limit", "Most so far", "Allowed", "Use"], &rows, "")
}

/// What an operator can do in this state.
fn actions(name: &str, state: PluginState, has_versions: bool) -> Markup {
    let path = |verb: &str| format!("plugins/{name}/{verb}");
    let question = format!("Return to the previous version of {name}?");
    html! {
        div.actions {
            @match state {
                PluginState::Serving => (action("Pause", &path("pause"), None)),
                PluginState::Paused => (action("Resume", &path("resume"), None)),
                PluginState::Quarantined => (action("Release from quarantine", &path("release"), None)),
                PluginState::Removed | PluginState::Refused => {}
            }
            @if has_versions && state.is_installed() {
                (action("Roll back", &path("rollback"), Some(&question)))
            }
        }
    }
}

fn capabilities(plugin: &Plugin) -> Markup {
    let rows: Vec<_> = plugin
        .capabilities
        .iter()
        .map(|capability| {
            let (words, tone) =
                if capability.granted { ("granted", Tone::Good) } else { ("denied", Tone::Bad) };
            html! {
                tr {
                    th scope="row" { (capability.name) }
                    td { (badge(words, tone)) @if capability.added { " " (badge("new", Tone::Open)) } }
                    td { (cell(&capability.reason)) }
                }
            }
        })
        .collect();
    table(&["Capability", "Grant", "The author's reason"], &rows, "It asks for none.")
}

fn changes(history: &[PluginChange]) -> Markup {
    let rows: Vec<_> = history
        .iter()
        .rev()
        .map(|change| {
            html! {
                tr {
                    td { (time(change.time)) }
                    td { (change.outcome.replace('_', " ")) }
                    td { (cell(change.version.as_deref().unwrap_or("–"))) }
                    td { (digest(change.digest)) }
                    td { (cell(change.reason.as_deref().unwrap_or_default())) }
                }
            }
        })
        .collect();
    html! {
        details open[rows.len() <= 10] {
            summary { (count(rows.len(), "change")) }
            (table(&["Time (UTC)", "Outcome", "Version", "Digest", "Reason"], &rows, "None yet."))
        }
    }
}
