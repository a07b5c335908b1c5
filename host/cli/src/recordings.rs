//! `usher plugins recordings`: the newest deliveries that can be run again elsewhere.

use super::args::PluginArgs;
use super::ui::error::CliError;
use super::ui::output::{Output, style};
use super::ui::table::{Align, Cell, Table};
use usher_api::{RecordedDelivery, Recordings, routes};
use usher_wording::{date_time, printable};

/// Lists them.
pub(crate) fn run(args: &PluginArgs, out: &mut Output) -> Result<(), CliError> {
    let client = args.client.client()?;
    let call = client.call(routes::PLUGIN_RECORDINGS, &[args.name.as_str()]);
    let found: Recordings = call.fetch()?;
    if args.client.json { out.json(&found) } else { out.text(&table(&found.recordings)) }
}

fn table(recordings: &[RecordedDelivery]) -> String {
    if recordings.is_empty() {
        return "no delivery that failed or asked other servers was recorded since the router started \
                (recording_bytes = 0 records none)\n"
            .to_owned();
    }
    let mut table = Table::new(&[
        ("NUMBER", Align::Right),
        ("TIME", Align::Left),
        ("EVENT", Align::Right),
        ("SUBSCRIPTION", Align::Left),
        ("ATTEMPT", Align::Right),
        ("VERSION", Align::Left),
        ("VERDICT", Align::Left),
        ("REASON", Align::Left),
    ]);
    for one in recordings {
        let style = if one.class.is_none() { style::GOOD } else { style::BAD };
        table.row([
            one.number.to_string().into(),
            Cell::styled(date_time(one.time), style::FAINT),
            one.sequence.to_string().into(),
            printable(one.subscription.local()).into(),
            one.attempt.to_string().into(),
            printable(&one.version).into(),
            Cell::styled(printable(&one.verdict), style),
            printable(one.reason.as_deref().unwrap_or_default()).into(),
        ]);
    }
    table.render()
}
