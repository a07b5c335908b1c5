//! `usher nodes`: lists the nodes of a router, and has them take deliveries or take over.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::args::{ClientArgs, NodeArgs};
use super::ui::error::CliError;
use super::ui::output::{Output, style};
use super::ui::table::{Align, Cell, Table};
use http::StatusCode;
use usher_api::{Node, NodeState, Nodes, Route, routes};
use usher_client::Error;
use usher_wording::{duration, printable};

/// How long a node that was promoted may take to own the journal: the owner ends deliveries first, for
/// `drain_ms`, which is 600,000 at most.
const TAKEOVER_MAX: Duration = Duration::from_secs(660);

/// Between two looks whether it does.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Shows the nodes.
pub(crate) fn list(args: &ClientArgs, out: &mut Output) -> Result<(), CliError> {
    let found: Nodes = args.client()?.call(routes::NODES, &[]).fetch()?;
    if args.json { out.json(&found) } else { out.text(&render(&found.nodes)) }
}

/// Requests an action on a node; `done` is the message on success.
pub(crate) fn change(
    args: &NodeArgs,
    route: Route,
    done: &str,
    out: &mut Output,
) -> Result<(), CliError> {
    let client = args.client.client()?;
    let nodes = client.call(route, &[args.name.as_str()]).unhurried().fetch()?;
    tell(args, &nodes, done, out)
}

fn tell(args: &NodeArgs, nodes: &Nodes, done: &str, out: &mut Output) -> Result<(), CliError> {
    if args.client.json {
        return out.json(nodes);
    }
    out.text(&format!("node {} {done}\n", printable(&args.name)))
}

/// Has a node take over, and waits until it does.
pub(crate) fn promote(args: &NodeArgs, out: &mut Output) -> Result<(), CliError> {
    let (client, name) = (args.client.client()?, args.name.as_str());
    let told: Nodes = client.call(routes::PROMOTE_NODE, &[name]).unhurried().fetch()?;
    let end = Instant::now() + TAKEOVER_MAX;
    let is_owner = |node: &Node| node.state == NodeState::Owner && node.name == name;
    loop {
        sleep(LOOK_EVERY);
        // Between the two owners, there is no answer.
        let answer = client.call(routes::NODES, &[]).fetch::<Nodes>();
        if let Err(Error::Refused(refusal)) = &answer
            && refusal.status == StatusCode::FORBIDDEN
        {
            // Not with a token that may operate only.
            return tell(args, &told, "is taking over", out);
        }
        if let Ok(found) = &answer
            && found.nodes.iter().any(is_owner)
        {
            return tell(args, found, "is the owner", out);
        }
        if Instant::now() >= end {
            let last = match answer {
                Ok(found) => match found.nodes.iter().find(|node| node.state == NodeState::Owner) {
                    Some(owner) => format!("the owner is {}", printable(&owner.name)),
                    None => "there is no owner".to_owned(),
                },
                Err(error) => error.to_string(),
            };
            return Err(CliError::with_hint(
                format!(
                    "{name} was told to take over, and hasn't within {} s: {last}",
                    TAKEOVER_MAX.as_secs()
                ),
                "look at the logs of both nodes",
            ));
        }
    }
}

fn render(nodes: &[Node]) -> String {
    if nodes.is_empty() {
        return "one node: the journal is in its data folder\n".to_owned();
    }
    let mut table = Table::new(&[
        ("NODE", Align::Left),
        ("STATE", Align::Left),
        ("POSITION", Align::Right),
        ("BEHIND", Align::Right),
        ("HEARD", Align::Right),
        ("RUNNING", Align::Right),
        ("HANDLED", Align::Right),
        ("GIVEN UP", Align::Right),
        ("VERSION", Align::Left),
        ("URL", Align::Left),
    ]);
    for node in nodes {
        let is_owner = node.state == NodeState::Owner;
        let of_others = |text: String| if is_owner { "-".to_owned() } else { text };
        let state = match node.state {
            NodeState::Owner => Cell::styled("owner", style::NAME),
            NodeState::Standby => "standby".into(),
            NodeState::Drained => Cell::styled("drained", style::OPEN),
            NodeState::Silent => Cell::styled("silent", style::BAD),
        };
        table.row([
            Cell::styled(printable(&node.name), style::NAME),
            state,
            node.position.to_string().into(),
            node.behind.to_string().into(),
            of_others(duration(node.heard_ms.saturating_mul(1_000))).into(),
            of_others(node.running.to_string()).into(),
            of_others(node.handled.to_string()).into(),
            of_others(node.given_up.to_string()).into(),
            printable(&node.version).into(),
            printable(node.url.as_deref().unwrap_or("-")).into(),
        ]);
    }
    let mut text = table.render();
    for node in nodes {
        for plugin in &node.plugins {
            if let Some(problem) = &plugin.problem {
                let (name, digest) = (printable(&node.name), plugin.digest.short());
                let problem = printable(problem);
                text.push_str(&format!("{name} can't run {} {digest}: {problem}\n", plugin.name));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_a_table() {
        let digest = "ab".repeat(32);
        let nodes: Vec<Node> = serde_json::from_value(serde_json::json!([
            {
                "name": "a", "state": "owner", "version": "0.1.0", "url": "http://10.0.0.1:7171",
                "epoch": 4, "position": 812, "behind": 0, "heard_ms": 0, "running": 0, "handled": 0,
                "given_up": 0, "plugins": [{ "name": "printer", "digest": digest }]
            },
            {
                "name": "b", "state": "standby", "version": "0.1.0", "position": 810, "behind": 2,
                "heard_ms": 120, "running": 3, "handled": 90, "given_up": 1,
                "plugins": [{ "name": "printer", "digest": digest, "problem": "other settings" }]
            }
        ]))
        .unwrap();
        assert_eq!(
            anstream::adapter::strip_str(&render(&nodes)).to_string(),
            "\
NODE  STATE    POSITION  BEHIND   HEARD  RUNNING  HANDLED  GIVEN UP  VERSION  URL
a     owner         812       0       -        -        -         -  0.1.0    http://10.0.0.1:7171
b     standby       810       2  120 ms        3       90         1  0.1.0    -
b can't run printer abababababab: other settings
"
        );
        assert!(render(&[]).starts_with("one node"));
    }
}
