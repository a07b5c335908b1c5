//! All that a run has: copies of what is under test, and for each data folder the plugins, the
//! outside world, and maybe a disk of its own.

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
use crate::stand_ins::{Gateway, Mail};
use crate::ticket::config::{TICKET_PLUGINS, TicketConfig};

const GUESTS: [&str; 3] = ["echo", "echo-v2", "state"];

/// The plugins that run: the four of the ticket story, a counter and an echo.
const SERVING: [&str; 6] = ["payment", "printer", "courier", "sales", "state", "echo"];

/// What is under test, copied, so that building goes on beside a run without changing it.
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

    /// Where everything of this run lies.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn binary(&self) -> PathBuf {
        self.root.join("usher")
    }

    pub(super) fn component(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}.wasm"))
    }

    /// Compiled components, for the data folders to come.
    fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Removes everything; nothing went wrong.
    pub(super) fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.root).context("removing what the run has left")
    }
}

/// One data folder, and what is around it.
#[derive(Debug)]
pub(super) struct World {
    pub(super) folder: Folder,
    pub(super) gateway: Gateway,
    pub(super) mail: Mail,
    pub(super) disk: Option<Disk>,
    binary: PathBuf,
    /// How much of the router's log has been read for sales.
    log_read: usize,
    /// What sales said last, by concert.
    revenue_cents: BTreeMap<String, u64>,
}

impl World {
    /// A fresh one, with all plugins loaded once, so that their subscriptions are there and their
    /// compiled code lies in the cache. `make_disk` mounts something as its data folder.
    pub(super) fn new(
        parts: &Parts,
        make_disk: impl FnOnce(&Folder) -> Result<Option<Disk>>,
    ) -> Result<Self> {
        let folder = Folder::kept_in(parts.root(), "data-")?;
        let gateway = Gateway::start(Duration::from_millis(20))?;
        let mail = Mail::start(&folder.root().join("mails"))?;
        folder.configure("drain_ms = 2000", &tables(&gateway, &mail))?;
        for name in SERVING {
            folder.install(&parts.component(name), &format!("{name}.wasm"))?;
        }
        fs::create_dir_all(folder.data())?;
        let disk = make_disk(&folder)?;
        if parts.cache().exists() {
            copy_private(&parts.cache(), &folder.data().join("cache"))?;
        }
        let world = Self {
            folder,
            gateway,
            mail,
            disk,
            binary: parts.binary(),
            log_read: 0,
            revenue_cents: BTreeMap::new(),
        };
        world.warm_up(parts)?;
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

    /// Starts the router and waits for nothing.
    pub(super) fn spawn(&self) -> Result<Process> {
        Process::spawn(&self.binary, &self.folder)
    }

    /// Waits until this plugin serves.
    pub(super) fn serving(&self, client: &Client, name: &str) -> Result<()> {
        wait_for(&format!("{name} to serve"), || {
            let plugin = client.plugin(name)?;
            let state = plugin.as_ref().and_then(|plugin| plugin.get("state")?.as_str());
            Ok((state == Some("serving")).then_some(()))
        })
    }

    /// Mails that were sent, as the mail API's folder shows them.
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

    /// Where the mail API keeps the mail with this number.
    pub(super) fn mail_file(&self, number: usize) -> PathBuf {
        self.mail.folder().join(format!("m-{number}.json"))
    }

    /// What sales has said of each concert's revenue, the newest of its words: it says so whenever
    /// it adds to it, before that is committed.
    pub(super) fn revenue_cents(&mut self) -> Result<&BTreeMap<String, u64>> {
        let log = fs::read(self.folder.root().join("router.log"))?;
        let new = log.get(self.log_read..).unwrap_or_default();
        let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for line in String::from_utf8_lossy(new.get(..whole).unwrap_or_default()).lines() {
            if let Some((concert, cents)) = revenue(line) {
                self.revenue_cents.insert(concert, cents);
            }
        }
        self.log_read += whole;
        Ok(&self.revenue_cents)
    }
}

/// Concert and cents of `c-7: {"EUR": 8500} cents so far`.
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

/// Copies a flat folder of files that are only its owner's.
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
