//! The other nodes of the demo's router, and the NATS servers that keep its journal.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;
use usher_tests::{Client, Folder, NatsServer, Router, TICKET_PLUGINS, TicketConfig, wait_for};

use crate::style::{FAINT, PLAIN, TITLE, announce};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// The stream's name.
const STREAM: &str = "usher";

/// Nodes but the last, and the servers. Fields drop in order: the nodes first.
pub(super) struct Others {
    /// The first is the owner, until it is lost.
    nodes: Vec<Router>,
    folders: Vec<Folder>,
    servers: Vec<NatsServer>,
}

impl Others {
    pub(super) fn start(program: &Path, root: &Path, config: &TicketConfig) -> Result<Self> {
        announce("starting three NATS servers and the first two nodes");
        let (servers, mut others) = (root.join("servers"), Vec::new());
        std::fs::create_dir_all(&servers)?;
        let servers = NatsServer::cluster(program, &servers, "sync_interval: always", NAMES.len())?;
        let mut this = Self { nodes: Vec::new(), folders: Vec::new(), servers };
        for rank in 0..NAMES.len() - 1 {
            let folder = Folder::kept_in(root, "node-")?;
            folder.configure("", &format!("{}{}", this.tables(rank), config.tables()))?;
            folder.install_plugins(&TICKET_PLUGINS)?;
            let node = Router::start_unready(&folder)?;
            if rank == 0 {
                wait_for("the owner to be ready", || Ok(node.client().is_ready().then_some(())))?;
            }
            others.push((node, folder));
        }
        (this.nodes, this.folders) = others.into_iter().unzip();
        Ok(this)
    }

    /// The configuration of the last node's journal.
    pub(super) fn last(&self) -> String {
        self.tables(NAMES.len() - 1)
    }

    fn tables(&self, rank: usize) -> String {
        let urls: Vec<_> = self.servers.iter().map(NatsServer::url).collect();
        NatsServer::journal(&urls, NAMES.get(rank).copied().unwrap_or_default(), rank)
    }

    /// Waits until the owner has heard all nodes.
    pub(super) fn until_followed(&self, client: &Client) -> Result<()> {
        wait_for("all nodes to be heard", || {
            let nodes = client.get_json("/nodes").unwrap_or_default();
            let count = nodes.pointer("/nodes").and_then(Value::as_array).map_or(0, Vec::len);
            Ok((count == NAMES.len()).then_some(()))
        })?;
        for (server, name) in self.servers.iter().zip(["NATS servers", "", ""]) {
            anstream::println!("{FAINT}{name:<16}{PLAIN} {}", server.url());
        }
        for (node, name) in self.nodes.iter().zip(["nodes", ""]) {
            anstream::println!("{FAINT}{name:<16}{PLAIN} {}", node.url());
        }
        Ok(())
    }

    /// Kills the owner and the server that leads the stream once the story is under way.
    pub(super) fn lose(&mut self, client: &Client) -> Result<()> {
        wait_for("the first payment", || {
            let paid = client.events_of_type("ticket.payment.confirmed")?;
            Ok((!paid.is_empty()).then_some(()))
        })?;
        let leader = wait_for("a leader of the stream", || {
            Ok(self.servers.iter().position(|server| server.leads(STREAM)))
        })?;
        self.servers.get_mut(leader).context("no such server")?.kill()?;
        self.nodes.remove(0).kill()?;
        anstream::println!("\n{TITLE}the owner, a, and the stream's leader are killed{PLAIN}");
        let owner = wait_for("another node to take over", || {
            let answer = client.get("/readyz")?;
            if answer.status == 200 {
                return Ok(Some("c".to_owned()));
            }
            let plugins = client.get("/plugins")?;
            let owner = plugins.header("usher-owner").filter(|owner| *owner != "a");
            Ok(owner.filter(|_| plugins.status == 200).map(str::to_owned))
        })?;
        anstream::println!("{TITLE}{owner} has taken over{PLAIN}");
        Ok(())
    }

    pub(super) fn stop(self) -> Result<()> {
        self.nodes.into_iter().try_for_each(Router::stop)
    }
}
