//! `usher sinks`: servers that events are delivered to.

use usher_api::{Breaker, PluginState, Sink, Sinks, routes};

use super::args::ClientArgs;
use super::plugins::state;
use super::ui::error::CliError;
use super::ui::output::{Output, style};
use super::ui::table::{Align, Cell, Table};
use usher_wording::printable;

/// Shows the sinks.
pub(crate) fn run(args: &ClientArgs, out: &mut Output) -> Result<(), CliError> {
    let found: Sinks = args.client()?.call(routes::SINKS, &[]).fetch()?;
    if args.json { out.json(&found) } else { out.text(&render(&found.sinks)) }
}

fn render(sinks: &[Sink]) -> String {
    if sinks.is_empty() {
        return "no sinks: the configuration brings them, see [sink.NAME]\n".to_owned();
    }
    let mut table = Table::new(&[
        ("SINK", Align::Left),
        ("STATE", Align::Left),
        ("MODE", Align::Left),
        ("HANDLED", Align::Right),
        ("FAILED", Align::Right),
        ("URL", Align::Left),
    ]);
    for sink in sinks {
        let failed: u64 = sink.failed.values().sum();
        let shown = match (sink.state, sink.breaker) {
            (PluginState::Serving, Breaker::Open) => Cell::styled("waiting", style::OPEN),
            (other, _) => state(other),
        };
        table.row([
            Cell::styled(sink.name.as_str(), style::NAME),
            shown,
            printable(&sink.mode).into(),
            sink.handled.to_string().into(),
            match failed {
                0 => "0".into(),
                _ => Cell::styled(failed.to_string(), style::BAD),
            },
            printable(&sink.url).into(),
        ]);
    }
    let remark = |sink: &Sink| {
        let reason = sink.reason.as_deref()?;
        Some(format!("{}: {}\n", sink.name, printable(reason)))
    };
    let remarks: String = sinks.iter().filter_map(remark).collect();
    let gap = if remarks.is_empty() { "" } else { "\n" };
    format!("{}{gap}{remarks}", table.render())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sinks_are_a_table() {
        let sinks: Vec<Sink> = serde_json::from_value(serde_json::json!([{
            "name": "crm", "url": "https://crm.example/events", "mode": "batch",
            "subscription": "crm/sink", "state": "serving", "breaker": "open",
            "reason": "breaker open: the server can't be reached", "handled": 12,
            "failed": {"timeout": 5}
        }, {
            "name": "ledger", "url": "http://10.0.0.7", "mode": "binary",
            "subscription": "ledger/sink", "state": "paused", "breaker": "closed",
            "reason": "an operator paused it", "handled": 0, "failed": {}
        }]))
        .unwrap();
        assert_eq!(
            anstream::adapter::strip_str(&render(&sinks)).to_string(),
            "\
SINK    STATE    MODE    HANDLED  FAILED  URL
crm     waiting  batch        12       5  https://crm.example/events
ledger  paused   binary        0       0  http://10.0.0.7

crm: breaker open: the server can't be reached
ledger: an operator paused it
"
        );
    }
}
