//! `usher flow`: an event and all that it caused.

use super::args::FlowArgs;
use super::client::{Client, path_part};
use super::error::CliError;
use super::output::Output;
use super::tree;
use crate::http::shapes::Flow;

/// Shows one flow.
pub(super) fn run(args: &FlowArgs, out: &mut Output) -> Result<(), CliError> {
    let client = Client::new(&args.client.url);
    let flow: Flow = client.get(&format!("/flows/{}", path_part(&args.id)), &[])?;
    if args.client.json { out.json(&flow) } else { out.text(&tree::render(&flow)) }
}
