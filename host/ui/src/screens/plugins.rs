//! Plugins, refused files, and sinks.

use maud::{Markup, html};
use usher_api::{Breaker, Plugin, PluginState, Plugins, Problem, Sink, Sinks, routes};
use usher_wording::{Tone, without_name};

use crate::html::{badge, cell, digest, plugin_link, table, time};
use crate::source::{Source, fetch};

pub(crate) async fn show(source: &impl Source) -> Result<Markup, Problem> {
    let plugins: Plugins = fetch(source, routes::PLUGINS, &[], &()).await?;
    let sinks: Sinks = fetch(source, routes::SINKS, &[], &()).await?;
    let rows: Vec<_> = plugins.plugins.iter().map(plugin).collect();
    let sink_rows: Vec<_> = sinks.sinks.iter().map(sink).collect();
    Ok(html! {
        h1 { "Plugins" }
        (table(
            &["Name", "State", "Version", "Digest", "Handled", "Failed", "Denied", "Reason"],
            &rows,
            "The plugins folder is empty.",
        ))
        @for loading in &plugins.loading {
            p { (cell(&loading.file)) " is being loaded, since " (time(loading.since)) "." }
        }
        h2 { "Sinks" }
        (table(
            &["Name", "State", "URL", "Mode", "Handled", "Failed", "Reason"],
            &sink_rows,
            "The configuration has no sinks.",
        ))
    })
}

fn plugin(plugin: &Plugin) -> Markup {
    let failed: u64 = plugin.stats.failed.values().sum();
    let newer = plugin.refused.as_ref().map(|refused| refused.reason.as_str());
    html! {
        tr {
            td {
                @match &plugin.name {
                    Some(name) => (plugin_link(name.as_str())),
                    None => (cell(&plugin.file)),
                }
            }
            td { (state_badge(plugin.state)) " " (breaker(plugin.breaker)) }
            td { (cell(plugin.version.as_deref().unwrap_or("–"))) }
            td { (digest(plugin.digest)) }
            td.number { (plugin.stats.handled) }
            td.number.bad[failed > 0] { (failed) }
            td.number.bad[plugin.stats.denied > 0] { (plugin.stats.denied) }
            td {
                @if let Some(reason) = &plugin.reason { div { (cell(without_name(reason, &plugin.file))) } }
                @if let Some(newer) = newer { div.bad { "newer file refused: " (cell(newer)) } }
            }
        }
    }
}

fn sink(sink: &Sink) -> Markup {
    let failed: u64 = sink.failed.values().sum();
    html! {
        tr {
            td { (plugin_link(sink.name.as_str())) }
            td { (state_badge(sink.state)) " " (breaker(sink.breaker)) }
            td { (cell(&sink.url)) }
            td { (sink.mode) }
            td.number { (sink.handled) }
            td.number.bad[failed > 0] { (failed) }
            td { (cell(sink.reason.as_deref().unwrap_or_default())) }
        }
    }
}

pub(crate) fn state_badge(state: PluginState) -> Markup {
    let tone = match state {
        PluginState::Serving => Tone::Good,
        PluginState::Paused | PluginState::Removed => Tone::Open,
        PluginState::Quarantined | PluginState::Refused => Tone::Bad,
    };
    badge(state.as_str(), tone)
}

pub(crate) fn breaker(breaker: Breaker) -> Markup {
    match breaker {
        Breaker::Closed => html! {},
        Breaker::Open => badge("breaker open", Tone::Bad),
    }
}
