//! The environment of a run: copies of the binaries under test, and for each data folder the
//! plugins, the stand-ins and optionally a disk.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::power::Disk;
use super::process::{Process, wait_for};
use crate::artefacts::{guest, plugin, target_dir, usher_binary};
use crate::folder::Folder;
use crate::http::Client;
use crate::nats::free_addresses;
use crate::stand_ins::{Gateway, Mail};
use crate::ticket::config::{TICKET_PLUGINS, TicketConfig};

const GUESTS: [&str; 3] = ["echo", "echo-v2", "state"];

/// The plugins that run: the four of the ticket story, a counter and an echo.
const SERVING: [&str; 6] = ["payment", "printer", "courier", "sales", "state", "echo"];

/// Copies of the binaries under test, so that a concurrent build doesn't affect the run.
#[derive(Debug)]
pub(super) struct Parts {
    root: PathBuf,
}

impl Parts {
    /// Copies the binary and the components.
    pub(super) fn gather(binary: Option<&Path>) -> Result<Self> {
        let root = target_dir().join("crash").join(format!("run-{}", std::process::id()));
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        fs::create_dir_all(&root)?;
        let parts = Self { root };
        let binary = binary.map_or_else(usher_binary, |binary| Ok(binary.to_path_buf()))?;
        fs::copy(&binary, parts.binary()).with_context(|| binary.display().to_string())?;
        for name in TICKET_PLUGINS {
            fs::copy(plugin(name)?, parts.component(name))?;
        }
        for name in GUESTS {
            fs::copy(guest(name)?, parts.component(name))?;
        }
        Ok(parts)
    }

    /// The folder of this run.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn binary(&self) -> PathBuf {
        self.root.join("usher")
    }

    pub(super) fn component(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}.wasm"))
    }

    /// Cache of compiled components, for new data folders.
    fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Removes the folder, after a successful run.
    pub(super) fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.root).context("removing what the run has left")
    }
}

/// One data folder and its environment.
#[derive(Debug)]
pub(super) struct World {
    pub(super) folder: Folder,
    /// Those of the router's other nodes.
    others: Vec<Folder>,
    pub(super) gateway: Gateway,
    pub(super) mail: Mail,
    pub(super) disk: Option<Disk>,
    binary: PathBuf,
    /// Length of each folder's log already scanned for revenue.
    logs_read: Vec<usize>,
    /// Highest revenue logged by sales, by concert.
    revenue_cents: BTreeMap<String, u64>,
}

impl World {
    /// Creates a world and loads all plugins once, so that their subscriptions exist and their
    /// compiled code is cached. `make_disk` mounts the data folder.
    pub(super) fn new(
        parts: &Parts,
        make_disk: impl FnOnce(&Folder) -> Result<Option<Disk>>,
    ) -> Result<Self> {
        Self::of_nodes(parts, 1, |_| String::new(), make_disk)
    }

    /// The same of a router with several nodes, each with tables of its own; the first one loads the
    /// plugins.
    pub(super) fn of_nodes(
        parts: &Parts,
        nodes: usize,
        own: impl Fn(usize) -> String,
        make_disk: impl FnOnce(&Folder) -> Result<Option<Disk>>,
    ) -> Result<Self> {
        let folder = Folder::kept_in(parts.root(), "data-")?;
        let gateway = Gateway::start(Duration::from_millis(20))?;
        let mail = Mail::start(&folder.root().join("mails"))?;
        let set_up = |number: usize, folder: &Folder| -> Result<()> {
            let tables = format!("{}{}", own(number), tables(&gateway, &mail));
            folder.configure("drain_ms = 2000", &tables)?;
            for name in SERVING {
                folder.install(&parts.component(name), &format!("{name}.wasm"))?;
            }
            Ok(())
        };
        set_up(0, &folder)?;
        let others = (1..nodes).map(|number| {
            let folder = Folder::kept_in(parts.root(), "data-")?;
            set_up(number, &folder).map(|()| folder)
        });
        let others = others.collect::<Result<Vec<_>>>()?;
        if nodes > 1 {
            // One that is promoted starts again, and clients go on.
            for (folder, address) in
                std::iter::once(&folder).chain(&others).zip(free_addresses(nodes)?)
            {
                folder.listen(&format!("listen = \"{address}\""))?;
            }
        }
        fs::create_dir_all(folder.data())?;
        let disk = make_disk(&folder)?;
        if parts.cache().exists() {
            copy_private(&parts.cache(), &folder.data().join("cache"))?;
        }
        let world = Self {
            folder,
            others,
            gateway,
            mail,
            disk,
            binary: parts.binary(),
            logs_read: vec![0; nodes],
            revenue_cents: BTreeMap::new(),
        };
        world.warm_up(parts)?;
        for folder in &world.others {
            fs::create_dir_all(folder.data())?;
            copy_private(&parts.cache(), &folder.data().join("cache"))?;
        }
        Ok(world)
    }

    fn warm_up(&self, parts: &Parts) -> Result<()> {
        let mut process = self.spawn()?;
        let client = process.ready()?;
        for name in SERVING {
            self.serving(&client, name)?;
        }
        if !parts.cache().exists() {
            let before = client.plugin("echo")?;
            for version in ["echo-v2", "echo"] {
                self.folder.install(&parts.component(version), "echo.wasm")?;
                wait_for("the other echo to serve", || {
                    let digest = |p: &Option<Value>| p.as_ref()?.get("digest").cloned();
                    let is_old = digest(&client.plugin("echo")?) == digest(&before);
                    Ok((is_old == (version == "echo")).then_some(()))
                })?;
            }
        }
        process.terminate()?;
        let status = process.exited()?;
        ensure!(status.success(), "the first stop ended with {status}:\n{}", process.tail(30));
        if !parts.cache().exists() {
            copy_private(&self.folder.data().join("cache"), &parts.cache())?;
        }
        if let Some(disk) = &self.disk {
            disk.sync()?;
        }
        Ok(())
    }

    /// Starts the router without waiting.
    pub(super) fn spawn(&self) -> Result<Process> {
        Process::spawn(&self.binary, &self.folder)
    }

    /// Starts a node without waiting; 0 is the first.
    pub(super) fn spawn_node(&self, number: usize) -> Result<Process> {
        let folder = self.folders().nth(number).context("no such node")?;
        Process::spawn(&self.binary, folder)
    }

    /// Whether the router has several nodes.
    pub(super) fn is_cluster(&self) -> bool {
        !self.others.is_empty()
    }

    fn folders(&self) -> impl Iterator<Item = &Folder> {
        std::iter::once(&self.folder).chain(&self.others)
    }

    /// Waits until this plugin serves.
    pub(super) fn serving(&self, client: &Client, name: &str) -> Result<()> {
        wait_for(&format!("{name} to serve"), || {
            let plugin = client.plugin(name)?;
            let state = plugin.as_ref().and_then(|plugin| plugin.get("state")?.as_str());
            Ok((state == Some("serving")).then_some(()))
        })
    }

    /// Sent mails, read from the mail API's folder.
    pub(super) fn mails(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let mut mails: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for number in 1.. {
            let path = self.mail_file(number);
            if !path.exists() {
                break;
            }
            let sent: Value = serde_json::from_slice(&fs::read(&path)?)?;
            let text = |name: &str| sent.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
            let (to, key) = (text("to").context("no `to`")?, text("key").context("no `key`")?);
            mails.entry(to).or_default().push(key);
        }
        Ok(mails)
    }

    /// The file of the mail with this number.
    pub(super) fn mail_file(&self, number: usize) -> PathBuf {
        self.mail.folder().join(format!("m-{number}.json"))
    }

    /// Revenue of each concert, as logged by sales, on whichever node: the highest, since it only rises.
    /// Sales logs every increase before it is committed.
    pub(super) fn revenue_cents(&mut self) -> Result<&BTreeMap<String, u64>> {
        let logs: Vec<_> = self.folders().map(|folder| folder.root().join("router.log")).collect();
        for (log, read) in logs.iter().zip(&mut self.logs_read) {
            let log = fs::read(log)?;
            let new = log.get(*read..).unwrap_or_default();
            let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            for line in String::from_utf8_lossy(new.get(..whole).unwrap_or_default()).lines() {
                if let Some((concert, cents)) = revenue(line) {
                    let highest = self.revenue_cents.entry(concert).or_default();
                    *highest = cents.max(*highest);
                }
            }
            *read += whole;
        }
        Ok(&self.revenue_cents)
    }
}

/// Parses `c-7: {"EUR": 8500} cents so far` into concert and cents.
fn revenue(line: &str) -> Option<(String, u64)> {
    if !line.contains("cents so far") {
        return None;
    }
    let line: Value = serde_json::from_str(line).ok()?;
    let message = line.pointer("/fields/message")?.as_str()?;
    let (concert, rest) = message.split_once(": {\"EUR\": ")?;
    let (cents, _) = rest.split_once('}')?;
    Some((concert.to_owned(), cents.parse().ok()?))
}

fn tables(gateway: &Gateway, mail: &Mail) -> String {
    let ticket = TicketConfig {
        gateway: gateway.url(),
        mail: mail.url(),
        first_delay: Duration::from_millis(20),
    };
    format!(
        r#"{}
[plugin.payment.subscription.purchases]
order = {{ key = "subject" }}

[plugin.echo.subscription.echo]
order = {{ key = "subject" }}

[plugin.state.grants]
state = true
[plugin.state.subscription.ordered]
filter = {{ exact = {{ type = "test.ordered" }} }}
order = {{ key = "subject" }}
"#,
        ticket.tables()
    )
}

/// Copies a flat folder with owner-only permissions.
fn copy_private(from: &Path, to: &Path) -> Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revenue_is_read_from_the_log() {
        let line =
            r#"{"fields":{"message":"c-1: {\"EUR\": 8500} cents so far"},"target":"plugin"}"#;
        assert_eq!(revenue(line), Some(("c-1".to_owned(), 8_500)));
        assert_eq!(revenue(r#"{"fields":{"message":"o-1 charged 85.00 EUR"}}"#), None);
    }
}
