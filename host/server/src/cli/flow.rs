//! `usher flow`: an event and everything it caused.

use super::args::FlowArgs;
use super::client::{Client, path_part};
use super::error::CliError;
use super::ids::{is_sequence, sequence_of};
use super::output::Output;
use super::tree;
use usher_api::Flow;

/// Shows one flow.
pub(super) fn run(args: &FlowArgs, out: &mut Output) -> Result<(), CliError> {
    let client = Client::new(&args.client.url);
    let flow = find(&client, &args.id)?;
    if args.client.json { out.json(&flow) } else { out.text(&tree::render(&flow)) }
}

/// Looks up a flow: digits are a sequence; anything else is a `correlationid`, or failing that the
/// id of one of its events.
fn find(client: &Client, id: &str) -> Result<Flow, CliError> {
    let path = |id: &str| format!("/flows/{}", path_part(id));
    if is_sequence(id) {
        return client.get(&path(id), &[]);
    }
    match client.find(&path(id))? {
        Some(flow) => Ok(flow),
        None => client.get(&path(&sequence_of(client, id)?.to_string()), &[]),
    }
}
