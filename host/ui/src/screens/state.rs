//! What a plugin keeps, read only.

use maud::{Markup, html};
use usher_api::{Plugins, Problem, StateQuery, StateValue, StateValues, routes};
use usher_wording::bytes;

use crate::asked::Asked;
use crate::html::{address, cell, payload, plugin_link, table};
use crate::screen::Screen;
use crate::source::{Source, fetch};

/// Values on one page.
const PAGE_VALUES: usize = 50;

/// A page with fewer values but this much in them may not be the last.
const LARGE_BYTES: u64 = 1024 * 1024;

pub(crate) async fn show(source: &impl Source, asked: &Asked) -> Result<Markup, Problem> {
    let plugins: Plugins = fetch(source, routes::PLUGINS, &[], &()).await?;
    let names = plugins.plugins.iter().filter_map(|plugin| plugin.name.as_ref());
    let chosen = asked.text("plugin");
    let values = match chosen {
        None => None,
        Some(name) => {
            let query = StateQuery {
                at: None,
                after_bucket: asked.owned("bucket"),
                after_key: asked.owned("key"),
                max: Some(PAGE_VALUES),
            };
            let found: StateValues = fetch(source, routes::PLUGIN_STATE, &[name], &query).await?;
            Some((name, found.values))
        }
    };
    Ok(html! {
        h1 { "State" @if let Some(name) = chosen { " of " (plugin_link(name)) } }
        form.filters method="get" action=(Screen::State.path()) {
            label {
                "Plugin"
                input type="text" name="plugin" list="plugins" value=(chosen.unwrap_or_default()) required;
                datalist #plugins { @for name in names { option value=(name.as_str()) {} } }
            }
            button type="submit" { "Show" }
        }
        @if let Some((name, values)) = values {
            (table(
                &["Bucket", "Key", "Size", "Value"],
                &values.iter().map(row).collect::<Vec<_>>(),
                "It keeps nothing, or nothing further.",
            ))
            @if let Some(last) = values.last().filter(|_| is_there_more(&values)) {
                @let query = [("plugin", name), ("bucket", &last.bucket), ("key", &last.key)];
                p.pages { a href=(address(Screen::State, &query)) rel="next" { "Next" } }
            }
        }
    })
}

/// Whether there may be more: a page of the API also ends where its values are large.
fn is_there_more(values: &[StateValue]) -> bool {
    let total_bytes: u64 = values.iter().map(|value| value.size_bytes).sum();
    values.len() == PAGE_VALUES || total_bytes >= LARGE_BYTES
}

fn row(value: &StateValue) -> Markup {
    html! {
        tr {
            td { (cell(&value.bucket)) }
            td.strong { (cell(&value.key)) }
            td.number { (bytes(value.size_bytes)) }
            td {
                @match &value.value {
                    Some(text) if text.len() <= 80 && !text.contains('\n') => { code { (cell(text)) } }
                    Some(text) => {
                        details { summary { (cell(text)) } (payload(text.as_bytes())) }
                    }
                    None => { span.faint { "bytes that are no text" } }
                }
            }
        }
    }
}
