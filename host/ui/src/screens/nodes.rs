//! The machines that the router runs on.

use maud::{Markup, html};
use usher_api::{Node, NodeState, Nodes, Problem, routes};
use usher_wording::duration;

use crate::html::{cell, table};
use crate::source::{Source, fetch};

pub(crate) async fn show(source: &impl Source) -> Result<Markup, Problem> {
    let found: Nodes = fetch(source, routes::NODES, &[], &()).await?;
    let rows: Vec<_> = found.nodes.iter().map(row).collect();
    let heads = [
        "Name", "State", "Position", "Behind", "Heard", "Running", "Handled", "Given up", "Version",
    ];
    Ok(html! {
        h1 { "Nodes" }
        (table(&heads, &rows, "There is one: the journal is in its data folder."))
        @for node in &found.nodes {
            @for plugin in &node.plugins {
                @if let Some(problem) = &plugin.problem {
                    p.open { (node.name) " can't run " (plugin.name.as_str()) ": " (cell(problem)) }
                }
            }
        }
    })
}

fn row(node: &Node) -> Markup {
    let is_owner = node.state == NodeState::Owner;
    html! {
        tr {
            td.strong { (cell(&node.name)) }
            td.open[matches!(node.state, NodeState::Drained | NodeState::Silent)] {
                (node.state.as_str())
            }
            td.number { (node.position) }
            td.number { (node.behind) }
            @if is_owner {
                td {} td {} td {} td {}
            } @else {
                td.number { (duration(node.heard_ms.saturating_mul(1_000))) }
                td.number { (node.running) }
                td.number { (node.handled) }
                td.number { (node.given_up) }
            }
            td { (cell(&node.version)) }
        }
    }
}
