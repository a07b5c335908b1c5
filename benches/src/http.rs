//! Publishing over HTTP, one event a request, by clients that keep their connections: what access
//! and TLS cost, with `/healthz` as the ceiling; and what those who look on cost the hops.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use usher_tests::{Client, Folder, Router, percent_encoded, usher_binary, wait_for};

use crate::load::{self, Measured, Target, Wanted};

/// Events of a round of hops, and of one request that publishes them.
const HOPS: usize = 200_000;
const BATCH: usize = 1_000;

/// The screens that browsers have open.
const SCREENS: [&str; 10] = [
    "overview",
    "overview",
    "overview",
    "events",
    "events",
    "events",
    "plugins",
    "plugins",
    "subscriptions",
    "subscriptions",
];

#[derive(clap::Args)]
pub(crate) struct HttpArgs {
    /// Clients, with a connection each.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Rounds; candidates take turns in each, and ratios are medians over them.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds that each candidate has in a round.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Another build of `usher` to compare with.
    #[arg(long)]
    against: Option<PathBuf>,
    /// Event streams that are open beside the hops.
    #[arg(long, default_value_t = 1_000)]
    streams: usize,
}

struct Candidate {
    name: &'static str,
    target: Target,
    wanted: Wanted,
    /// Position of the candidate that it is compared with.
    baseline: Option<usize>,
    runs: Vec<Measured>,
}

pub(crate) fn run(args: &HttpArgs) -> anyhow::Result<()> {
    let open_folder = Folder::new()?;
    let open = Router::start(&open_folder)?;
    let places = "listen = [\"http://127.0.0.1:0\", \"https://127.0.0.1:0\"]";
    let (closed_folder, token) = Folder::closed(places, Folder::TLS)?;
    let closed = Router::start(&closed_folder)?;
    let other_folder = Folder::new()?;
    let other = args.against.as_deref();
    let other = other.map(|binary| Other::start(binary, &other_folder)).transpose()?;

    let plain = Target { address: address(open.url())?, tls: None, token: None };
    let with_token = Target {
        address: address(&closed.listening("http://")?)?,
        token: Some(token),
        ..plain.clone()
    };
    let ca = closed_folder.root().join("router.pem");
    let tls = Some(usher_tls::client_config(Some(&ca))?);
    let with_tls =
        Target { address: address(&closed.listening("https://")?)?, tls, ..with_token.clone() };
    let candidate = |name, target: &Target, wanted, baseline| Candidate {
        name,
        target: target.clone(),
        wanted,
        baseline,
        runs: Vec::new(),
    };
    let mut candidates = vec![
        candidate("GET /healthz", &plain, Wanted::Health, None),
        candidate("publish", &plain, Wanted::Publish, Some(0)),
        candidate("publish with a token", &with_token, Wanted::Publish, Some(1)),
        candidate("publish with a token and TLS", &with_tls, Wanted::Publish, Some(2)),
    ];
    if let Some(other) = &other {
        let target = Target { address: other.address, ..plain.clone() };
        candidates.push(candidate("publish, the other build", &target, Wanted::Publish, None));
        candidates.push(candidate("publish, again", &plain, Wanted::Publish, Some(4)));
    }
    for round in 0..args.rounds {
        for (turn, candidate) in candidates.iter_mut().enumerate() {
            let load = (args.clients, Duration::from_secs(args.seconds));
            let id = round * 100 + turn;
            let run = load::run(&candidate.target, candidate.wanted, load, id)
                .with_context(|| candidate.name)?;
            eprintln!("round {round}, {}: {:.0}/s", candidate.name, run.per_second);
            candidate.runs.push(run);
        }
    }
    print(&candidates)?;
    drop((open, closed, other));
    onlookers(args)
}

/// A router of another build. Only its flags and its API are relied on, as they are the oldest.
struct Other {
    process: Child,
    address: SocketAddr,
}

impl Other {
    fn start(binary: &Path, folder: &Folder) -> anyhow::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(binary);
        command.arg("run").arg("--data").arg(folder.data()).arg("--plugins").arg(folder.plugins());
        command.args(["--log", "error", "--listen", &address.to_string()]);
        let process = command.spawn().with_context(|| format!("starting {}", binary.display()))?;
        let other = Self { process, address };
        let client = Client::new(format!("http://{address}"));
        wait_for("the other build", || Ok(client.is_ready().then_some(())))?;
        Ok(other)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn print(candidates: &[Candidate]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{:32}  {:>9}  {:>9}  {:>9}  ratio", "", "each/s", "p50 µs", "p99 µs")?;
    for Candidate { name, runs, baseline, .. } in candidates {
        let rate = median(runs.iter().map(|run| run.per_second));
        let micros =
            |percent| median(runs.iter().map(|run| run.percentile(percent).as_secs_f64() * 1e6));
        write!(out, "{name:32}  {rate:>9.0}  {:>9.0}  {:>9.0}", micros(50), micros(99))?;
        if let Some(base) = baseline.and_then(|base| candidates.get(base)) {
            let ratios =
                runs.iter().zip(&base.runs).map(|(run, of)| run.per_second / of.per_second);
            write!(out, "  {:.2} × {}", median(ratios), base.name)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

pub(crate) fn address(url: &str) -> anyhow::Result<SocketAddr> {
    let place = url.split_once("://").map_or(url, |(_, place)| place);
    place.parse().with_context(|| url.to_owned())
}

/// Hops through a router alone, with the page open in browsers, and with event streams open.
fn onlookers(args: &HttpArgs) -> anyhow::Result<()> {
    let folder = Folder::new()?;
    folder.install_guests(&["hop"])?;
    let router = Router::start_with(&usher_binary()?, &folder, &[])?;
    router.client().wait_for_plugin("hop", "serving")?;
    let filter = r#"{"exact":{"type":"nothing.of.this.type"}}"#;
    let stream = format!("/events/stream?filter={}", percent_encoded(filter));
    let screens: Vec<_> = SCREENS.iter().map(|screen| format!("/ui/live/{screen}")).collect();
    let streams = vec![stream; args.streams];
    let crowds: [(&str, &[String]); 3] =
        [("alone", &[]), ("the page open in ten browsers", &screens), ("event streams", &streams)];
    let mut rates = crowds.map(|_| Vec::new());
    let mut published = 0;
    for round in 0..args.rounds {
        for ((name, paths), rates) in crowds.iter().zip(&mut rates) {
            let crowd = Crowd::gather(&router, paths).with_context(|| *name)?;
            let rate = hops(&router, &mut published)?;
            drop(crowd);
            eprintln!("round {round}, hops, {name}: {rate:.0}/s");
            rates.push(rate);
        }
    }
    let mut out = std::io::stdout().lock();
    let [alone, ..] = &rates;
    writeln!(out, "\n{:40}  {:>9}  ratio", "hops", "each/s")?;
    for ((name, paths), rates) in crowds.iter().zip(&rates) {
        let ratio = median(rates.iter().zip(alone).map(|(rate, alone)| rate / alone));
        let name = if paths.is_empty() {
            (*name).to_owned()
        } else {
            format!("{} × {name}", paths.len())
        };
        writeln!(out, "{name:40}  {:>9.0}  {ratio:.2} × alone", median(rates.iter().copied()))?;
    }
    router.stop()
}

/// Publishes events while the plugin is paused, and times how long it takes for them.
fn hops(router: &Router, published: &mut usize) -> anyhow::Result<f64> {
    let client = router.client();
    let pause = client.post("/plugins/hop/pause")?;
    ensure!(pause.status == 200, "{pause:?}");
    for _ in 0..HOPS / BATCH {
        let events: Vec<Value> = (0..BATCH)
            .map(|_| {
                *published += 1;
                json!({ "specversion": "1.0", "id": published.to_string(), "source": "/bench",
                        "type": "hop.go", "subject": "o-1",
                        "data": { "order": "o-1", "amount_cents": 8500 } })
            })
            .collect();
        client.publish_batch(&events)?;
    }
    let began = Instant::now();
    let resume = client.post("/plugins/hop/resume")?;
    ensure!(resume.status == 200, "{resume:?}");
    wait_for("the hops", || {
        let all = client.get_json("/subscriptions")?;
        let hop = all.pointer("/subscriptions/0").context("no subscription")?;
        let is_zero = |name| hop.get(name).and_then(Value::as_u64) == Some(0);
        Ok((is_zero("lag") && is_zero("in_flight")).then_some(()))
    })?;
    Ok(HOPS as f64 / began.elapsed().as_secs_f64())
}

/// Connections that read what they are sent. They end when it is dropped.
struct Crowd(Vec<TcpStream>);

impl Crowd {
    fn gather(router: &Router, paths: &[String]) -> anyhow::Result<Self> {
        let address = address(router.url())?;
        let mut open = Vec::with_capacity(paths.len());
        for path in paths {
            let mut stream = TcpStream::connect(address)?;
            write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
            let mut head = [0; 12];
            stream.read_exact(&mut head)?;
            ensure!(head.ends_with(b" 200"), "{path}: {}", String::from_utf8_lossy(&head));
            open.push(stream);
        }
        // One thread reads for all: what browsers do with it is not the router's.
        let mut readers = open.iter().map(TcpStream::try_clone).collect::<Result<Vec<_>, _>>()?;
        for reader in &readers {
            reader.set_nonblocking(true)?;
        }
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while !readers.is_empty() {
                readers.retain_mut(|reader| match reader.read(&mut buffer) {
                    Ok(bytes) => bytes > 0,
                    Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
                });
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        Ok(Self(open))
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for stream in &self.0 {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}
