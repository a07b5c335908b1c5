//! `usher dead-letters try`: a dead letter's last attempt, run again in another component.

use usher_cli::ui::{CliError, Output};
use usher_cli::{Captured, TryArgs, captured};
use usher_fixtures::{Fixture, play};

use super::call::{called, render};
use super::stage::Workbench;

/// Runs `usher dead-letters try`.
pub(crate) fn run(args: &TryArgs, out: &mut Output) -> Result<(), CliError> {
    let Captured { event, given, became, version } = captured(args.id, &args.client)?;
    let fixture = Fixture::of(format!("dead letter {}", args.id), event, given);
    let bench = Workbench::new()?;
    let loaded = bench.load(&args.component)?;
    let played = bench.executor.block_on(play(&loaded, &fixture));
    let reports = played.map_err(|error| CliError::new(error.to_string()))?;
    if args.client.json {
        return out.json(&called(&loaded, &reports));
    }
    let (class, reason) = (became.class.unwrap_or_default(), became.reason.unwrap_or_default());
    let old = usher_wording::printable(&version);
    let new = usher_wording::printable(&loaded.description().version);
    let reason = usher_wording::printable(&reason);
    let mut text = format!("then, version {old}: {class}: {reason}\nnow, version {new}: ");
    reports.iter().for_each(|report| text.push_str(&render(report, true)));
    out.text(&text)
}
