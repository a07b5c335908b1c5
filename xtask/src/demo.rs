//! `cargo xtask demo`: twelve purchases, four plugins, one durable broker; nothing is mocked.
//!
//! The router is a debug build, which compiles in a third of the time, with a fresh data folder; the
//! payment gateway and the mail API are HTTP servers on loopback. The output comes from `usher flow`;
//! results are verified against the router's API and the servers' own records. With `--cluster` the router
//! has three nodes on three NATS servers, and loses one of each.

mod nodes;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use serde_json::Value;
use usher_tests::stand_ins::{Gateway, Mail};
use usher_tests::{
    Client, Ending, Folder, Purchase, Router, Run, TICKET_PLUGINS, TicketConfig, check_flow,
    check_world, purchases, target_dir, wait_for_interrupt,
};

use crate::cargo::{build_router, run as run_command};
use crate::style::{BAD, FAINT, GOOD, PLAIN, TITLE, announce};
use crate::{guests, nats};
use nodes::Others;

const ENDINGS: [(Ending, &str); 3] = [
    (Ending::Delivered, "delivered"),
    (Ending::Declined, "declined"),
    (Ending::Abandoned, "dead letter"),
];

/// Command-line options of `cargo xtask demo`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Keep the router running until Ctrl-C, and show what to try next.
    #[arg(long)]
    keep: bool,
    /// Skip the deliberate delays: the slow gateway and the pauses between attempts.
    #[arg(long)]
    fast: bool,
    /// Run three nodes on three NATS servers, and kill the owner and the stream's leader on the way.
    /// `nats-server` comes from PyPI, or from `NATS_SERVER`.
    #[arg(long)]
    cluster: bool,
}

/// Everything that runs during the demo. Fields drop in order: the router first.
struct Scene {
    /// The one that is asked: with several nodes, the last of them.
    router: Router,
    others: Option<Others>,
    gateway: Gateway,
    mail: Mail,
    folder: Folder,
    usher: PathBuf,
}

/// Runs the demo and verifies the result.
pub(crate) fn run(options: &Options) -> Result<()> {
    let nats_server = match options.cluster {
        false => None,
        true => match nats::server()? {
            None => return Ok(()),
            server => server,
        },
    };
    announce("building the router");
    let usher = build_router()?;
    guests::build_plugins()?;

    let mut scene = Scene::start(options, usher, nats_server.as_deref())?;
    let problems = scene.play()?;
    if options.keep {
        scene.stay()?;
    }
    if let Some(others) = scene.others {
        others.stop()?;
    }
    scene.router.stop()?;
    if !problems.is_empty() {
        bail!("{} things are not as they should be:\n  {}", problems.len(), problems.join("\n  "));
    }
    Ok(())
}

impl Scene {
    fn start(options: &Options, usher: PathBuf, nats_server: Option<&Path>) -> Result<Self> {
        let folder = Folder::kept_in(&target_dir().join("demo"), "run-")?;
        let (slowness, first_delay) = if options.fast { (0, 20) } else { (1_500, 400) };
        let gateway = Gateway::start(Duration::from_millis(slowness))?;
        let mail = Mail::start(&folder.root().join("mails"))?;
        let config = TicketConfig {
            gateway: gateway.url(),
            mail: mail.url(),
            first_delay: Duration::from_millis(first_delay),
        };
        let others = nats_server.map(|program| Others::start(program, folder.root(), &config));
        let others = others.transpose()?;
        let last = others.as_ref().map_or_else(String::new, Others::last);
        folder.configure("", &format!("{last}{}", config.tables()))?;
        folder.install_plugins(&TICKET_PLUGINS)?;
        announce("starting the router");
        let router = match &others {
            Some(_) => Router::start_unready(&folder)?,
            None => Router::start_with(&usher, &folder, &[])?,
        };
        if let Some(others) = &others {
            others.until_followed(router.client())?;
        }
        for plugin in TICKET_PLUGINS {
            router.client().wait_for_plugin(plugin, "serving")?;
        }
        let rows = [
            ("router", router.url().to_owned()),
            ("payment gateway", gateway.url()),
            ("mail API", mail.url()),
            ("folder", folder.root().display().to_string()),
        ];
        println!();
        for (name, value) in rows {
            anstream::println!("{FAINT}{name:<16}{PLAIN} {value}");
        }
        Ok(Self { router, others, gateway, mail, folder, usher })
    }

    /// Publishes the purchases, prints their flows and returns the problems found.
    fn play(&mut self) -> Result<Vec<String>> {
        let client = &self.router.client().clone();
        let purchases = purchases();
        let start = Instant::now();
        let published: Vec<(Purchase, u64)> = purchases
            .iter()
            .map(|purchase| Ok((purchase.clone(), client.publish(&purchase.event())?.sequence)))
            .collect::<Result<_>>()?;
        anstream::println!("\n{TITLE}{} purchases are published{PLAIN}", published.len());

        let run = match &mut self.others {
            None => Run::Smooth,
            Some(others) => {
                others.lose(client)?;
                Run::Interrupted
            }
        };

        let mut problems = Vec::new();
        for (purchase, sequence) in &published {
            let flow = client.settled_flow(*sequence)?;
            let wrong = check_flow(purchase, &flow, run)?;
            anstream::println!("\n{TITLE}{}{PLAIN}  {}", purchase.order, purchase.story);
            self.show(*sequence)?;
            for problem in &wrong {
                anstream::println!("{BAD}wrong{PLAIN} {problem}");
            }
            problems.extend(wrong);
        }
        let took = start.elapsed();
        problems.extend(check_world(&purchases, &self.gateway, &self.mail)?);
        let pdfs = self.save_pdfs(client)?;
        let expected = purchases.iter().filter(|p| p.expected.ending == Ending::Delivered).count();
        if pdfs != expected {
            problems.push(format!("{pdfs} PDFs are in the blobs instead of {expected}"));
        }
        self.report(&purchases, &problems, took);
        if self.others.is_some() {
            let mut usher = Command::new(&self.usher);
            run_command(usher.args(["nodes", "--url", self.router.url()]))?;
        }
        Ok(problems)
    }

    /// Prints a flow as an operator sees it.
    fn show(&self, sequence: u64) -> Result<()> {
        let mut usher = Command::new(&self.usher);
        run_command(usher.args(["flow", &sequence.to_string(), "--url", self.router.url()]))
    }

    /// Saves all ticket PDFs from the router's blobs; returns their number.
    fn save_pdfs(&self, client: &Client) -> Result<usize> {
        let folder = self.pdfs();
        fs::create_dir_all(&folder)?;
        let generated = client.events_of_type("ticket.generated")?;
        for stored in &generated {
            let text = |pointer: &str| stored.pointer(pointer).and_then(Value::as_str);
            let order = text("/event/subject").context("a ticket without an order")?;
            let digest = text("/event/data/pdf").context("a ticket without its PDF's digest")?;
            let pdf = client.get(&format!("/blobs/{digest}"))?;
            ensure!(pdf.status == 200 && pdf.body.starts_with(b"%PDF-"), "{order}: no PDF");
            fs::write(folder.join(format!("{order}.pdf")), pdf.body)?;
        }
        Ok(generated.len())
    }

    fn pdfs(&self) -> PathBuf {
        self.folder.root().join("pdfs")
    }

    fn report(&self, purchases: &[Purchase], problems: &[String], took: Duration) {
        let counts: Vec<String> = ENDINGS
            .iter()
            .map(|(ending, name)| {
                let count = purchases.iter().filter(|p| p.expected.ending == *ending).count();
                format!("{count} {name}")
            })
            .collect();
        println!();
        if problems.is_empty() {
            anstream::println!(
                "{GOOD}all {} flows ended as they should{PLAIN} ({}) within {:.1} s",
                purchases.len(),
                counts.join(", "),
                took.as_secs_f64(),
            );
        }
        let shown = |path: &Path| path.display().to_string();
        for (name, path) in [
            ("PDFs", self.pdfs()),
            ("mails", self.mail.folder().to_path_buf()),
            ("log", self.folder.root().join("router.log")),
        ] {
            anstream::println!("{FAINT}{name:<6}{PLAIN} {}", shown(&path));
        }
    }

    /// Keeps everything running until Ctrl-C.
    fn stay(&self) -> Result<()> {
        let url = self.router.url();
        let plugins = self.folder.plugins();
        anstream::println!(
            "\n{TITLE}the router stays up until Ctrl-C; try{PLAIN}
  curl {url}/plugins
  curl {url}/subscriptions
  curl {url}/flows/1
  curl {url}/dead-letters
  curl -X POST {url}/dead-letters/1/redrive
  curl -N '{url}/events/stream?type=ticket.'
  curl {url}/metrics
  curl {url}/events -H 'Content-Type: application/json' -H 'ce-specversion: 1.0' \\
    -H 'ce-type: ticket.purchased' -H 'ce-source: /me' -H 'ce-id: 1' -d '{example}'
  {usher} --url {url} tail --follow        {FAINT}# the same on the command line{PLAIN}
  rm {plugins}/courier.wasm                {FAINT}# its events wait until it is back{PLAIN}",
            example = EXAMPLE,
            usher = self.usher.display(),
            plugins = plugins.display(),
        );
        wait_for_interrupt()
    }
}

const EXAMPLE: &str = r#"{"order":"o-2001","concert":{"id":"c-7","title":"Winterreise","venue":"Konzerthaus","starts":"2026-06-20T19:30:00+02:00"},"seat":{"section":"Parkett","row":"A","number":1},"buyer":{"name":"Mo","email":"mo@example.com"},"price":{"amount_cents":8500,"currency":"EUR"},"card":"tok_ok"}"#;
