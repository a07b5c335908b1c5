//! A router on several nodes, as real processes.

use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;
use tempfile::TempDir;
use usher_tests::{Folder, NatsServer, Router, wait_for};

use crate::cluster::SETTINGS;

/// The nodes, and the servers that keep their journal.
pub(crate) struct Nodes {
    /// None while one is away.
    routers: Vec<Option<Router>>,
    folders: Vec<Folder>,
    owner: usize,
    _servers: Vec<NatsServer>,
    _store: TempDir,
}

impl Nodes {
    /// Starts as many servers, and as many nodes with this in their configuration and a guest; the first is
    /// the owner.
    pub(crate) fn start(
        program: &Path,
        folder: &Path,
        (servers, nodes): (usize, usize),
        config: &str,
        guest: &str,
    ) -> anyhow::Result<Self> {
        let store = tempfile::tempdir_in(folder)?;
        let servers = NatsServer::cluster(program, store.path(), SETTINGS, servers)?;
        let urls: Vec<_> = servers.iter().map(NatsServer::url).collect();
        let mut this = Self {
            routers: Vec::new(),
            folders: Vec::new(),
            owner: 0,
            _servers: servers,
            _store: store,
        };
        for number in 0..nodes {
            let journal = NatsServer::journal(&urls, &format!("n{number}"), number);
            let folder = Folder::with_config("", &format!("{journal}{config}"))?;
            folder.install_guests(&[guest])?;
            this.routers.push(Some(Router::start_unready(&folder)?));
            this.folders.push(folder);
            if number == 0 {
                this.await_owner()?.client().wait_for_plugin(guest, "serving")?;
            }
        }
        this.await_all()?;
        Ok(this)
    }

    pub(crate) fn owner(&self) -> anyhow::Result<&Router> {
        self.routers.get(self.owner).and_then(Option::as_ref).context("no owner")
    }

    /// Takes the owner away.
    pub(crate) fn take_owner(&mut self) -> anyhow::Result<Router> {
        self.routers.get_mut(self.owner).and_then(Option::take).context("no owner")
    }

    /// Waits until one of the nodes is ready.
    pub(crate) fn await_owner(&mut self) -> anyhow::Result<&Router> {
        let is_ready = |router: &Option<Router>| {
            router.as_ref().is_some_and(|router| router.client().is_ready())
        };
        self.owner = wait_for("an owner", || Ok(self.routers.iter().position(is_ready)))?;
        self.owner()
    }

    /// Starts the nodes that are away, and waits until the owner hears all.
    pub(crate) fn await_all(&mut self) -> anyhow::Result<()> {
        for (router, folder) in self.routers.iter_mut().zip(&self.folders) {
            if router.is_none() {
                *router = Some(Router::start_unready(folder)?);
            }
        }
        wait_for("the owner to hear all nodes", || {
            let list = self.owner()?.client().get_json("/nodes")?;
            let list = list.pointer("/nodes").and_then(Value::as_array).context("no list")?;
            let is_there = |node: &&Value| {
                node.get("state").and_then(Value::as_str).is_some_and(|state| state != "silent")
                    && node.get("behind").and_then(Value::as_u64) == Some(0)
            };
            Ok((list.iter().filter(is_there).count() == self.routers.len()).then_some(()))
        })
    }
}
