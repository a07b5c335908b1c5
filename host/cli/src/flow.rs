//! `usher flow`: an event and everything it caused.

use super::args::FlowArgs;
use super::ids::{is_sequence, sequence_of};
use super::tree;
use super::ui::error::CliError;
use super::ui::output::Output;
use usher_api::{Flow, routes};
use usher_client::Client;

/// Shows one flow.
pub(crate) fn run(args: &FlowArgs, out: &mut Output) -> Result<(), CliError> {
    let client = args.client.client()?;
    let flow = find(&client, &args.id)?;
    if args.client.json { out.json(&flow) } else { out.text(&tree::render(&flow)) }
}

/// Looks up a flow: digits are a sequence; anything else is a `correlationid`, or failing that the
/// id of one of its events.
fn find(client: &Client, id: &str) -> Result<Flow, CliError> {
    let flow = |id: &str| client.call(routes::FLOW, &[id]);
    if is_sequence(id) {
        return Ok(flow(id).fetch()?);
    }
    match flow(id).find()? {
        Some(found) => Ok(found),
        None => Ok(flow(&sequence_of(client, id)?.to_string()).fetch()?),
    }
}
