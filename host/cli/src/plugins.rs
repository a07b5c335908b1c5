//! `usher plugins`: lists plugins with their grants and refusals, and posts operator actions.

use super::args::{ClientArgs, PluginArgs};
use super::ui::error::CliError;
use super::ui::output::{Output, style};
use super::ui::table::{Align, Cell, Table, paint};
use usher_api::{
    Capability, Plugin, PluginStanding, PluginState, Plugins, Route, Timestamp, routes,
};
use usher_wording::{bytes, date_time, duration, elapsed, now, printable, without_name};

/// Shows the plugins.
pub(crate) fn list(args: &ClientArgs, out: &mut Output) -> Result<(), CliError> {
    let found: Plugins = args.client()?.call(routes::PLUGINS, &[]).fetch()?;
    if args.json { out.json(&found) } else { out.text(&render(&found, now())) }
}

/// Requests an action on a plugin; `done` is the message on success.
pub(crate) fn change(
    args: &PluginArgs,
    route: Route,
    done: &str,
    out: &mut Output,
) -> Result<(), CliError> {
    let client = args.client.client()?;
    let standing: PluginStanding = client.call(route, &[args.name.as_str()]).unhurried().fetch()?;
    if args.client.json {
        return out.json(&standing);
    }
    let but = match (standing.quarantined, standing.paused) {
        (true, _) => "; it is quarantined",
        (false, true) if route.path != routes::PAUSE.path => "; it is paused",
        _ => "",
    };
    out.text(&format!("plugin {} {done}{but}\n", standing.name))
}

fn render(found: &Plugins, now: Timestamp) -> String {
    let Plugins { plugins, loading } = found;
    if plugins.is_empty() && loading.is_empty() {
        return "no plugins: put a .wasm file into the plugins folder\n".to_owned();
    }
    let mut table = Table::new(&[
        ("PLUGIN", Align::Left),
        ("VERSION", Align::Left),
        ("STATE", Align::Left),
        ("HANDLED", Align::Right),
        ("FAILED", Align::Right),
        ("DENIED", Align::Right),
        ("TIME", Align::Right),
        ("MEMORY", Align::Right),
        ("DIGEST", Align::Left),
        ("FILE", Align::Left),
    ]);
    for plugin in plugins {
        let stats = &plugin.stats;
        let name = plugin.name.as_ref().map_or("-", |name| name.as_str());
        let failed: u64 = stats.failed.values().sum();
        table.row([
            Cell::styled(name, style::NAME),
            printable(plugin.version.as_deref().unwrap_or("-")).into(),
            state(plugin.state),
            stats.handled.to_string().into(),
            alarming(failed),
            alarming(stats.denied),
            duration(stats.handle_time_us).into(),
            bytes(stats.memory_bytes).into(),
            plugin.digest.map_or_else(|| "-".to_owned(), |digest| digest.short()).into(),
            printable(&plugin.file).into(),
        ]);
    }
    let loading = loading.iter().map(|loading| {
        let what = format!(" is being loaded, {} so far", elapsed(loading.since, now));
        remark(
            &loading.file,
            &what,
            "once it is compiled and checked it serves, in place of what served before",
        )
    });
    let remarks: String = loading.chain(plugins.iter().flat_map(remarks)).collect();
    let gap = if remarks.is_empty() { "" } else { "\n" };
    format!("{}{gap}{remarks}", table.render())
}

pub(crate) fn state(state: PluginState) -> Cell {
    match state {
        PluginState::Serving => Cell::styled("serving", style::GOOD),
        PluginState::Paused => Cell::styled("paused", style::OPEN),
        PluginState::Quarantined => Cell::styled("quarantined", style::BAD),
        PluginState::Removed => Cell::styled("removed", style::OPEN),
        PluginState::Refused => Cell::styled("refused", style::BAD),
    }
}

/// A count that is highlighted unless zero.
fn alarming(count: u64) -> Cell {
    let style = if count > 0 { style::BAD } else { anstyle::Style::new() };
    Cell::styled(count.to_string(), style)
}

/// Notes on a plugin below the table.
fn remarks(plugin: &Plugin) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(reason) = &plugin.reason {
        let subject = plugin.name.as_ref().map_or(&*plugin.file, |name| name.as_str());
        remarks.push(remark(subject, "", reason));
    }
    // A file that never loaded has only the reason above.
    if let Some(refused) = plugin.refused.as_ref().filter(|_| plugin.name.is_some()) {
        let digest = refused.digest.map(|digest| format!(" ({})", digest.short()));
        let what = format!(
            "{} refused at {}; the version before serves on",
            digest.unwrap_or_default(),
            date_time(refused.time)
        );
        remarks.push(remark(&refused.file, &what, &refused.reason));
    }
    if plugin.isolation.as_deref() == Some("fresh") {
        let subject = plugin.name.as_ref().map_or(&*plugin.file, |name| name.as_str());
        remarks.push(remark(subject, " is fresh", "each delivery has an instance of its own"));
    }
    let news = |capability: &&Capability| capability.added || !capability.granted;
    for capability in plugin.capabilities.iter().filter(news) {
        let subject = plugin.name.as_ref().map_or(&*plugin.file, |name| name.as_str());
        let granted = if capability.granted { "is granted" } else { "is not granted" };
        let before = if capability.added { "the version before did not ask for and " } else { "" };
        let what = format!(" asks for {}, which {before}{granted}", printable(&capability.name));
        remarks.push(remark(subject, &what, &capability.reason));
    }
    remarks
}

/// `SUBJECT WHAT: REASON`; the reason may have several lines.
fn remark(subject: &str, what: &str, reason: &str) -> String {
    let reason =
        without_name(reason, subject).lines().map(printable).collect::<Vec<_>>().join("\n  ");
    format!("{}{what}: {reason}\n", paint(&printable(subject), style::NAME))
}

#[cfg(test)]
mod tests {
    use usher_api::Loading;
    use usher_event::Digest;

    use super::*;

    fn plain(json: serde_json::Value) -> String {
        let found = Plugins { plugins: serde_json::from_value(json).unwrap(), loading: Vec::new() };
        shown(&found)
    }

    fn shown(found: &Plugins) -> String {
        anstream::adapter::strip_str(&render(found, Timestamp::from_ms(20_000))).to_string()
    }

    #[test]
    fn files_that_are_being_loaded_are_told() {
        let digest = Digest::of(b"");
        let since = Timestamp::from_ms(12_750);
        let loading = vec![Loading { file: "greeter.wasm".to_owned(), digest, since }];
        let shown = shown(&Plugins { plugins: Vec::new(), loading });
        assert!(
            shown.ends_with(
                "greeter.wasm is being loaded, 7.250 s so far: once it is compiled and checked it \
                 serves, in place of what served before\n"
            ),
            "{shown}"
        );
    }

    #[test]
    fn plugins_are_a_table_with_remarks() {
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let stats = serde_json::json!({
            "handled": 12, "failed": {"retry": 2, "trap": 1}, "denied": 0,
            "handle_time_us": 85_000, "instances": 1, "memory_bytes": 1_572_864
        });
        let none = serde_json::json!({
            "handled": 0, "failed": {}, "denied": 0, "handle_time_us": 0, "instances": 0
        });
        let text = plain(serde_json::json!([
            {
                "name": "payment", "version": "0.1.0", "summary": "asks the gateway",
                "digest": digest, "file": "payment.wasm", "state": "serving", "breaker": "closed",
                "refused": {
                    "file": "payment.wasm", "digest": digest, "reason": "payment.wasm: not a component",
                    "time": "2026-01-31T12:00:00.007Z"
                },
                "isolation": "fresh",
                "subscriptions": ["payment/purchases"],
                "capabilities": [
                    {"name": "http", "reason": "to ask the gateway", "granted": false},
                    {"name": "config", "reason": "where it is", "granted": true},
                    {"name": "state", "reason": "to count", "granted": true, "added": true},
                    {"name": "blobs", "reason": "to keep", "granted": false, "added": true}
                ],
                "stats": stats
            },
            {
                "name": null, "version": null, "summary": null, "digest": null,
                "file": "broken\u{1b}.wasm", "state": "refused", "breaker": "closed",
                "reason": "found a core module",
                "subscriptions": [], "capabilities": [], "stats": none
            }
        ]));
        assert_eq!(
            text,
            "\
PLUGIN   VERSION  STATE    HANDLED  FAILED  DENIED     TIME   MEMORY  DIGEST        FILE
payment  0.1.0    serving       12       3       0  85.0 ms  1.5 MiB  ba7816bf8f01  payment.wasm
-        -        refused        0       0       0     0 us      0 B  -             broken\\x1b.wasm

payment.wasm (ba7816bf8f01) refused at 2026-01-31 12:00:00.007; the version before serves on: \
not a component
payment is fresh: each delivery has an instance of its own
payment asks for http, which is not granted: to ask the gateway
payment asks for state, which the version before did not ask for and is granted: to count
payment asks for blobs, which the version before did not ask for and is not granted: to keep
broken\\x1b.wasm: found a core module
"
        );
    }

    #[test]
    fn no_plugins_say_what_to_do() {
        assert!(plain(serde_json::json!([])).contains("put a .wasm file"));
    }
}
