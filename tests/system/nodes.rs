//! Several nodes of one router, with their journal on a real NATS server. Without one these say so and
//! do nothing.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use rustls::crypto::ring::default_provider;
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use usher_tests::{
    Client, Folder, NatsServer, OTHER_VERSION, Router, other_version, usher, wait_for,
};

use crate::scene::event;

/// A server, and what nodes of a router on it are configured with.
struct Nodes {
    server: NatsServer,
    _store: TempDir,
}

impl Nodes {
    fn new() -> Result<Option<Self>> {
        let Some(program) = NatsServer::program() else { return Ok(None) };
        let store = tempfile::tempdir()?;
        let server = NatsServer::start(&program, store.path(), "sync_interval: always")?;
        Ok(Some(Self { server, _store: store }))
    }

    fn tables(&self, node: &str, rank: usize, more: &str) -> String {
        let journal = NatsServer::journal(&[self.server.url()], node, rank);
        format!("{journal}takeover_after_ms = 1000\n{more}")
    }

    fn folder(&self, node: &str, rank: usize, more: &str) -> Result<Folder> {
        let folder = Folder::with_config("", &self.tables(node, rank, more))?;
        folder.install_guests(&["emit"])?;
        Ok(folder)
    }
}

/// The node that becomes the owner, with its plugin serving.
fn owner(folder: &Folder) -> Result<Router> {
    // Until it owns the journal it is a standby, whose connections end with that.
    let router = Router::start_unready(folder)?;
    serves(router.client()).with_context(|| router.log_tail(30))?;
    Ok(router)
}

fn serves(client: &Client) -> Result<()> {
    wait_for("the owner to be ready", || Ok(client.is_ready().then_some(())))?;
    wait_for("the plugin to serve", || {
        let emit = client.plugin("emit").ok().flatten();
        Ok(emit.filter(|emit| emit["state"] == "serving").map(drop))
    })
}

/// A node that follows the owner.
fn standby(folder: &Folder) -> Result<Router> {
    follows(Router::start_unready(folder)?)
}

fn follows(router: Router) -> Result<Router> {
    router.wait_for_log("that it follows", |line| {
        line["fields"]["message"].as_str()?.starts_with("standby:").then_some(())
    })?;
    Ok(router)
}

/// An event that makes the plugin emit one.
fn one(id: &str) -> Value {
    event("test.emit", id, &json!({ "what": "many", "count": 1 }))
}

/// The ids of all events that were published, and how many were emitted, once all is done.
fn outcome(client: &Client) -> Result<(Vec<String>, usize)> {
    wait_for("all to be delivered", || {
        let waiting = client.get_json("/subscriptions")?;
        let waiting = waiting["subscriptions"].as_array().context("no list")?.clone();
        let is_done =
            |sub: &Value| sub["lag"] == 0 && sub["in_flight"] == 0 && sub["retrying"] == 0;
        Ok(waiting.iter().all(is_done).then_some(()))
    })?;
    let published = client.events_of_type("test.emit")?;
    let ids = published.iter().filter_map(|event| event["event"]["id"].as_str());
    let mut ids: Vec<_> = ids.map(str::to_owned).collect();
    ids.sort();
    Ok((ids, client.events_of_type("test.emitted")?.len()))
}

/// As docs/cluster.md says: each standby, then another owner, then the last. The versions differ in what they
/// call themselves only, which is what nodes compare.
#[test]
fn a_rolling_upgrade_loses_nothing() -> Result<()> {
    let Some(nodes) = Nodes::new()? else { return Ok(()) };
    let old = other_version();
    ensure!(old.is_file(), "{} is missing: run `cargo xtask test`, which builds it", old.display());
    let (a, b) = (nodes.folder("a", 0, "")?, nodes.folder("b", 1, "")?);
    let first = Router::start_unready_with(&old, &a)?;
    serves(first.client())?;
    let second = follows(Router::start_unready_with(&old, &b)?)?;
    let versions = |client: &Client| -> Result<Vec<(String, String)>> {
        let list = client.get_json("/nodes")?;
        let list = list["nodes"].as_array().context("no list")?.clone();
        let text = |node: &Value, key: &str| node[key].as_str().unwrap_or_default().to_owned();
        Ok(list.iter().map(|node| (text(node, "name"), text(node, "version"))).collect())
    };
    let expect = |client: &Client, expected: [(&str, &str); 2]| {
        let expected = expected.map(|(name, version)| (name.to_owned(), version.to_owned()));
        wait_for("these versions", || Ok((versions(client)? == expected).then_some(())))
    };
    let (before, now) = (OTHER_VERSION, env!("CARGO_PKG_VERSION"));
    first.client().publish(&one("1"))?;
    expect(first.client(), [("a", before), ("b", before)])?;

    second.stop()?;
    let second = standby(&b)?;
    first.client().publish(&one("2"))?;
    expect(first.client(), [("a", before), ("b", now)])?;

    // Asked of b: where a listens next is not known.
    let promoted = usher(&["nodes", "promote", "b", "--url", second.url()], b"")?;
    assert_eq!((promoted.code, &*promoted.stdout), (0, "node b is the owner\n"), "{promoted:?}");
    serves(second.client())?;
    second.client().publish(&one("3"))?;
    expect(second.client(), [("b", now), ("a", before)])?;

    first.stop()?;
    let first = standby(&a)?;
    first.client().publish(&one("4"))?;
    expect(second.client(), [("b", now), ("a", now)])?;
    let ids = ["1", "2", "3", "4"].map(str::to_owned).to_vec();
    assert_eq!(outcome(second.client())?, (ids, 4));

    // And back.
    first.stop()?;
    let first = follows(Router::start_unready_with(&old, &a)?)?;
    expect(second.client(), [("b", now), ("a", before)])?;
    second.stop()?;
    serves(first.client())?;
    first.client().publish(&one("5"))?;
    assert_eq!(outcome(first.client())?.1, 5);
    Ok(())
}

#[test]
fn a_standby_hands_on_and_takes_over_from_an_owner_that_is_killed() -> Result<()> {
    let Some(nodes) = Nodes::new()? else { return Ok(()) };
    let (a, b) = (nodes.folder("a", 0, "")?, nodes.folder("b", 1, "")?);
    let first = owner(&a)?;
    let second = standby(&b)?;
    // What it is asked, the owner answers.
    let body = serde_json::to_vec(&one("000"))?;
    let answer = second.client().post_as("/events", "application/cloudevents+json", &body)?;
    assert_eq!(
        (answer.status, answer.header("usher-owner")),
        (202, Some("a")),
        "{}",
        answer.text()
    );
    let readiness = second.client().get("/readyz")?;
    assert_eq!(readiness.status, 503);
    assert!(readiness.text().contains("the owner of the journal is a"), "{}", readiness.text());
    assert_eq!(second.client().get("/healthz")?.status, 200);

    // Published through both while the owner is killed; what was refused is published again.
    let (url, other) = (first.url().to_owned(), second.url().to_owned());
    let producer = thread::spawn(move || -> Result<()> {
        for number in 1..=120 {
            let event = one(&format!("{number:03}"));
            wait_for("an event to be accepted", || {
                let url = if number % 2 == 0 { &url } else { &other };
                let is_accepted = Client::new(url).publish(&event).is_ok()
                    || Client::new(&other).publish(&event).is_ok();
                Ok(is_accepted.then_some(()))
            })?;
        }
        Ok(())
    });
    wait_for("some events", || {
        Ok((first.client().events_of_type("test.emit")?.len() > 30).then_some(()))
    })?;
    first.kill()?;
    producer.join().map_err(|_| anyhow::anyhow!("the producer panicked"))??;
    serves(second.client())?;
    let (ids, emitted) = outcome(second.client())?;
    assert_eq!(ids, (0..=120).map(|number| format!("{number:03}")).collect::<Vec<_>>());
    assert_eq!(emitted, 121);

    // The killed one comes back as a standby, and takes over at once when the owner leaves.
    let first = standby(&a)?;
    second.stop()?;
    serves(first.client())?;
    assert_eq!(outcome(first.client())?, (ids, 121));
    first.stop()
}

/// A standby answers reads with what it has, says how far that goes, and waits for what is wanted; it has
/// the tokens that were made elsewhere, and keeps them as the owner.
#[test]
fn a_standby_answers_reads_by_itself() -> Result<()> {
    let Some(nodes) = Nodes::new()? else { return Ok(()) };
    let (a, b) = (nodes.folder("a", 0, "")?, nodes.folder("b", 1, "")?);
    let first = owner(&a)?;
    let second = standby(&b)?;
    let client = second.client();
    let published = client.publish(&one("000"))?.sequence;
    let there = client.get(&format!("/events?at-least={published}"))?;
    assert_eq!((there.status, there.header("usher-owner")), (200, None), "{}", there.text());
    let up_to: u64 = there.header("usher-sequence").context("no position")?.parse()?;
    assert!(up_to >= published, "{up_to}");
    assert_eq!(there.json()?["events"][0]["event"]["id"], "000");
    let one_event = client.get(&format!("/events/{published}"))?;
    assert_eq!((one_event.status, one_event.header("usher-owner")), (200, None));
    // What isn't here may be there.
    let missing = client.get("/events/1000000")?;
    assert_eq!((missing.status, missing.header("usher-owner")), (404, Some("a")));
    let late = client.get("/events?at-least=1000000")?;
    assert_eq!((late.status, late.header("usher-owner")), (503, Some("a")), "{}", late.text());
    assert!(late.text().contains("event 1000000 isn't here yet"), "{}", late.text());

    let token = usher(&["tokens", "new", "ops", "--scope", "admin", "--url", second.url()], b"")?;
    assert_eq!(token.code, 0, "{token:?}");
    let admin = client.with_token(token.stdout.trim())?;
    wait_for("the standby to ask for the token", || {
        Ok((client.get("/events")?.status == 401).then_some(()))
    })?;
    let read = admin.get("/audit")?;
    assert_eq!((read.status, read.header("usher-owner")), (200, None), "{}", read.text());
    assert!(read.text().contains("create_token"), "{}", read.text());

    first.kill()?;
    serves(&admin)?;
    let tokens = admin.get("/tokens")?;
    assert_eq!(tokens.json()?["tokens"][0]["name"], "ops", "{}", tokens.text());
    assert_eq!(client.get("/events")?.status, 401);
    second.stop()
}

/// An authority, which certifies nodes and a client.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    /// A certificate for this name, and its key, both in PEM.
    fn certify(&self, name: &str) -> Result<[String; 2]> {
        let (params, key) = (CertificateParams::new(vec![name.to_owned()])?, KeyPair::generate()?);
        Ok([params.signed_by(&key, &self.0)?.pem(), key.serialize_pem()])
    }

    /// A client that has this certificate.
    fn client(&self, [certificate, key]: &[String; 2]) -> Result<ureq::Agent> {
        let key = PrivateKey::from_pem(key.as_bytes())?;
        let own =
            ClientCert::new_with_certs(&[Certificate::from_pem(certificate.as_bytes())?], key);
        let root = Certificate::from_pem(self.0.pem().as_bytes())?;
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&[root]))
            .unversioned_rustls_crypto_provider(Arc::new(default_provider()))
            .client_cert(Some(own));
        let config = ureq::Agent::config_builder().tls_config(tls.build());
        Ok(config.http_status_as_error(false).build().into())
    }
}

/// Nodes know each other, so that a client's certificate counts whichever it asks; and where clients need
/// one, so do they.
#[test]
fn a_certificate_counts_through_a_standby() -> Result<()> {
    let Some(nodes) = Nodes::new()? else { return Ok(()) };
    let authority = Authority::new()?;
    let hashed = usher(&["tokens", "hash", "--json"], b"")?.json()?;
    let secret = hashed["secret"].as_str().context("no secret")?.to_owned();
    let tables = format!(
        "ca_file = \"ca.pem\"\n{}client_ca_file = \"ca.pem\"\nclient_certificates = \"required\"\n\
         [token.shop]\ncertificate = \"shop.internal\"\nscopes = [\"publish\"]\n\
         [token.ops]\nhash = {}\nscopes = [\"admin\"]\n",
        Folder::TLS,
        hashed["hash"]
    );
    let folder = |node, rank| -> Result<Folder> {
        let folder = nodes.folder(node, rank, &tables)?;
        let [certificate, key] = authority.certify("127.0.0.1")?;
        for (file, content) in
            [("router.pem", certificate), ("router.key", key), ("ca.pem", authority.0.pem())]
        {
            fs::write(folder.root().join(file), content)?;
        }
        let socket = format!("unix:{}", folder.root().join("usher.sock").display());
        folder.listen(&format!("listen = [{socket:?}, \"https://127.0.0.1:0\"]"))?;
        Ok(folder)
    };
    let (a, b) = (folder("a", 0)?, folder("b", 1)?);
    let first = Router::start_unready(&a)?;
    serves(&first.client().with_token(&secret)?).with_context(|| first.log_tail(30))?;
    let second = standby(&b)?;
    let url = second.listening("https://")?;
    let shop = authority.client(&authority.certify("shop.internal")?)?;
    let stranger = authority.client(&authority.certify("stranger.internal")?)?;
    let body = serde_json::to_vec(&one("1"))?;
    let publish = |client: &ureq::Agent| {
        let request = client.post(format!("{url}/events"));
        request.header("content-type", "application/cloudevents+json").send(&body)
    };
    // The owner may not have heard the standby yet.
    let published = wait_for("the owner to know the standby", || {
        Ok(Some(publish(&shop)?).filter(|answer| answer.status() != 503))
    })?;
    let owner = published.headers().get("usher-owner").and_then(|name| name.to_str().ok());
    assert_eq!((published.status().as_u16(), owner), (202, Some("a")), "{}", second.log_tail(10));
    assert_eq!(publish(&stranger)?.status(), 401);
    // What a client says of another doesn't count.
    let lying = stranger.post(format!("{url}/events")).header("usher-forwarded", "local");
    let lying = lying.header("content-type", "application/cloudevents+json").send(&body)?;
    assert_eq!(lying.status(), 503);
    assert_eq!(shop.get(format!("{url}/plugins")).call()?.status(), 403, "it may only publish");
    let published = second.client().with_token(&secret)?.events_of_type("test.emit")?;
    assert_eq!(published.len(), 1);
    second.stop()?;
    first.stop()
}

/// Two of them would take the journal from each other again and again.
#[test]
fn a_node_that_can_not_be_heard_does_not_take_over() -> Result<()> {
    let Some(program) = NatsServer::program() else { return Ok(()) };
    let store = tempfile::tempdir()?;
    let server = NatsServer::start_restricted(&program, store.path(), &["usher.owner.usher"])?;
    let journal = NatsServer::journal(&[server.url()], "a", 0);
    let login = "user = \"node\"\npassword_file = \"password\"\ntakeover_after_ms = 1000\n";
    let folder = Folder::new()?;
    fs::write(folder.root().join("password"), "secret")?;
    folder.configure("", &format!("{journal}{login}"))?;
    let router = Router::start_unready(&folder)?;
    router.wait_for_log("what is refused", |line| {
        let fields = &line["fields"];
        let is_it = fields["message"] == "the journal's servers refuse something to this node";
        (is_it && fields["reason"].as_str()?.contains("usher.owner.usher")).then_some(())
    })?;
    router.wait_for_log("that it doesn't take over", |line| {
        line["fields"]["message"].as_str()?.contains("doesn't take over").then_some(())
    })?;
    assert_eq!(router.client().get("/readyz")?.status, 503);
    assert!(!router.log_tail(50).contains("owns the journal"), "{}", router.log_tail(50));
    Ok(())
}

/// Nodes had tokens in files of their own: those of the first owner count, so that none that was revoked comes
/// back.
#[test]
fn tokens_of_an_earlier_version_move_into_the_journal_once() -> Result<()> {
    let Some(nodes) = Nodes::new()? else { return Ok(()) };
    let (a, b) = (nodes.folder("a", 0, "")?, nodes.folder("b", 1, "")?);
    let left = |folder: &Folder, name: &str| -> Result<String> {
        let hashed = usher(&["tokens", "hash", "--json"], b"")?.json()?;
        let token = json!({
            "name": name, "hash": hashed["hash"], "scopes": ["admin"], "source_prefix": null,
            "created_ms": 1, "expires_ms": null
        });
        let file = json!({ "v": 1, "tokens": [token], "last_used_ms": {} });
        fs::create_dir_all(folder.data())?;
        fs::write(folder.data().join("tokens.json"), file.to_string())?;
        Ok(hashed["secret"].as_str().context("no secret")?.to_owned())
    };
    let (first_secret, second_secret) = (left(&a, "first")?, left(&b, "second")?);
    let first = Router::start_unready(&a)?;
    wait_for("the owner to be ready", || Ok(first.client().is_ready().then_some(())))?;
    let second = standby(&b)?;
    let statuses = |client: &Client| -> Result<Vec<u16>> {
        let (first, second) =
            (client.with_token(&first_secret)?, client.with_token(&second_secret)?);
        [client, &first, &second]
            .map(|client| Ok(client.get("/events")?.status))
            .into_iter()
            .collect()
    };
    assert_eq!(statuses(first.client())?, [401, 200, 401]);
    assert_eq!(statuses(second.client())?, [401, 200, 401]);
    first.kill()?;
    wait_for("the next owner", || Ok(second.client().is_ready().then_some(())))?;
    assert_eq!(statuses(second.client())?, [401, 200, 401]);
    for folder in [&a, &b] {
        assert!(!folder.data().join("tokens.json").exists());
    }
    second.stop()
}

/// What is known of plugins goes with the journal, and a standby has the versions that may have to be rolled
/// back to.
#[test]
fn what_is_known_of_plugins_is_there_for_the_next_owner() -> Result<()> {
    let Some(nodes) = Nodes::new()? else { return Ok(()) };
    let (a, b) = (nodes.folder("a", 0, "")?, nodes.folder("b", 1, "")?);
    let first = owner(&a)?;
    let second = standby(&b)?;
    let emit = first.client().plugin("emit")?.context("no plugin")?;
    let digest = emit["digest"].as_str().context("no digest")?;
    let kept = b.data().join(format!("plugins/emit.{digest}.wasm"));
    wait_for("the standby to keep the version", || Ok(kept.exists().then_some(())))?;
    assert_eq!(second.client().post("/plugins/emit/pause")?.status, 200);
    first.kill()?;
    let client = second.client();
    wait_for("the standby to take over", || Ok(client.is_ready().then_some(())))?;
    client.wait_for_plugin("emit", "paused")?;
    let history = client.get_json("/plugins/emit/history")?;
    assert_eq!(history["history"][0]["digest"], emit["digest"], "{history}");
    assert_eq!(client.post("/plugins/emit/resume")?.status, 200);
    serves(client)?;
    second.stop()
}

/// An owner that is stopped for a while, and then goes on as if nothing had been, changes nothing.
#[test]
fn an_owner_that_was_overtaken_ends() -> Result<()> {
    let Some(nodes) = Nodes::new()? else { return Ok(()) };
    let (a, b) = (nodes.folder("a", 0, "")?, nodes.folder("b", 1, "")?);
    let mut first = owner(&a)?;
    let second = standby(&b)?;
    first.client().publish(&one("1"))?;
    let process = Pid::from_raw(i32::try_from(first.process())?).context("no process")?;
    kill_process(process, Signal::STOP)?;
    serves(second.client())?;
    second.client().publish(&one("2"))?;
    kill_process(process, Signal::CONT)?;
    // It finds out with the next that it is asked, if it hasn't.
    let late = first.client().publish(&one("3"));
    assert!(late.is_err(), "{late:?}");
    assert_eq!(first.exited()?.code(), Some(3));
    assert!(first.log_tail(50).contains("has begun"), "{}", first.log_tail(50));
    let (ids, emitted) = outcome(second.client())?;
    assert_eq!((ids, emitted), (vec!["1".to_owned(), "2".to_owned()], 2));
    second.stop()
}

/// How many deliveries a node has handled for the owner, as that says.
fn handled_by(client: &Client, node: &str) -> Result<u64> {
    let nodes = client.get_json("/nodes")?;
    let nodes = nodes["nodes"].as_array().context("no list")?;
    let node = nodes.iter().find(|found| found["name"] == node);
    Ok(node.and_then(|node| node["handled"].as_u64()).unwrap_or_default())
}

/// Publishes events that count, 20 for each key, slowly.
fn count(client: &Client, keys: std::ops::Range<u32>) -> Result<()> {
    for round in 0..20 {
        let events: Vec<_> = keys
            .clone()
            .map(|key| {
                let data = json!({ "key": key.to_string(), "by": "reading", "sleep_ms": 5 });
                event("test.count", &format!("{key}-{round}"), &data)
            })
            .collect();
        // At once, so that some wait for others.
        client.publish_batch(&events)?;
    }
    Ok(())
}

/// What was counted, by key, once all is done: each number from 1 to 20 once.
fn counted(client: &Client) -> Result<Vec<(String, Vec<u64>)>> {
    outcome(client)?;
    let mut counted = std::collections::BTreeMap::<String, Vec<u64>>::new();
    for found in client.events_of_type("test.counted")? {
        let data = &found["event"]["data"];
        let key = data["key"].as_str().context("no key")?.to_owned();
        counted.entry(key).or_default().push(data["value"].as_u64().context("no value")?);
    }
    counted.values_mut().for_each(|values| values.sort_unstable());
    Ok(counted.into_iter().collect())
}

/// Deliveries that take long are handled by all nodes, with the state of the journal; what a node had under
/// way when it died is handled by the owner.
#[test]
fn standbys_handle_deliveries_for_the_owner() -> Result<()> {
    let Some(nodes) = Nodes::new()? else { return Ok(()) };
    let grants = "[plugin.state]\ninstances = 4\n[plugin.state.grants]\nstate = true\n";
    let (a, b) = (nodes.folder("a", 0, grants)?, nodes.folder("b", 1, grants)?);
    // The other node gets the component from the owner.
    a.install_guests(&["state"])?;
    let first = owner(&a)?;
    first.client().wait_for_plugin("state", "serving")?;
    let second = standby(&b)?;
    let all = |keys: std::ops::Range<u32>| {
        let mut all: Vec<_> = keys.map(|key| (key.to_string(), (1..=20).collect())).collect();
        all.sort();
        all
    };
    // The owner has the other node get ready once it knows that it is worthwhile.
    count(first.client(), 0..2)?;
    wait_for("the other node to have the plugin", || {
        let nodes = first.client().get_json("/nodes")?;
        Ok((nodes["nodes"][1]["plugins"][0]["name"] == "state").then_some(()))
    })?;
    count(first.client(), 2..10)?;
    assert_eq!(counted(first.client())?, all(0..10));
    let before = handled_by(first.client(), "b")?;
    assert!(before > 0, "{}\n{}", first.client().get_json("/nodes")?, second.log_tail(20));

    // Drained, it handles nothing more.
    let drained = usher(&["nodes", "drain", "b", "--url", first.url()], b"")?;
    assert_eq!(drained.code, 0, "{}", drained.stderr);
    let before = handled_by(first.client(), "b")?;
    count(first.client(), 10..12)?;
    assert_eq!(counted(first.client())?, all(0..12));
    assert_eq!(handled_by(first.client(), "b")?, before);
    let resumed = usher(&["nodes", "resume", "b", "--url", second.url()], b"")?;
    assert_eq!(resumed.code, 0, "{}", resumed.stderr);

    // Killed with deliveries under way.
    let client = Client::new(first.url());
    let producer = thread::spawn(move || count(&client, 12..24));
    wait_for("the other node to handle deliveries", || {
        Ok((handled_by(first.client(), "b")? > before + 10).then_some(()))
    })?;
    second.kill()?;
    producer.join().map_err(|_| anyhow::anyhow!("the producer panicked"))??;
    assert_eq!(counted(first.client())?, all(0..24));
    first.stop()
}

/// A node whose settings for a plugin are others doesn't run it, and says so; its configuration is read again
/// as an owner's is.
#[test]
fn a_standby_with_other_settings_runs_nothing_until_they_are_the_same() -> Result<()> {
    let Some(nodes) = Nodes::new()? else { return Ok(()) };
    let tables = |emissions: u32| {
        format!(
            "[plugin.state]\ninstances = 4\n[plugin.state.grants]\nstate = true\n\
             [plugin.state.limits]\nemissions = {emissions}\n"
        )
    };
    let (a, b) = (nodes.folder("a", 0, &tables(7))?, nodes.folder("b", 1, &tables(8))?);
    a.install_guests(&["state"])?;
    let first = owner(&a)?;
    first.client().wait_for_plugin("state", "serving")?;
    let second = standby(&b)?;
    let problem = |what: &str, fits: &dyn Fn(Option<&str>) -> bool| {
        let mut keys = 0..;
        wait_for(what, || {
            // Only a plugin with slow deliveries is wanted elsewhere.
            let key = keys.next().unwrap_or_default();
            count(first.client(), key..key + 1)?;
            let nodes = first.client().get_json("/nodes")?;
            let plugins = &nodes["nodes"][1]["plugins"];
            let is_there = plugins.as_array().is_some_and(|plugins| !plugins.is_empty());
            Ok((is_there && fits(plugins[0]["problem"].as_str())).then_some(()))
        })
    };
    problem("the node to say that it has other settings", &|problem| {
        problem.is_some_and(|problem| problem.contains("has other settings"))
    })?;
    b.configure("", &nodes.tables("b", 1, &tables(7)))?;
    second.wait_for_log("that it is read again", |line| {
        (line["fields"]["message"] == "configuration read again").then_some(())
    })?;
    problem("the node to have the plugin", &|problem| problem.is_none())?;
    first.stop()?;
    second.stop()
}

/// An operator has another node take over; the owner goes on as a standby, in the same process.
#[test]
fn an_operator_has_another_node_take_over() -> Result<()> {
    let Some(nodes) = Nodes::new()? else { return Ok(()) };
    let (a, b, c) =
        (nodes.folder("a", 0, "")?, nodes.folder("b", 1, "")?, nodes.folder("c", 2, "")?);
    let first = owner(&a)?;
    let (second, third) = (standby(&b)?, standby(&c)?);
    first.client().publish(&one("1"))?;
    wait_for("both to be heard", || {
        let nodes = first.client().get_json("/nodes")?;
        let heard = nodes["nodes"].as_array().context("no list")?.len();
        Ok((heard == 3).then_some(()))
    })?;
    for (args, says) in [
        (["nodes", "promote", "a"], "owns the journal"),
        (["nodes", "drain", "a"], "owns the journal"),
        (["nodes", "promote", "x"], "no node x was heard"),
    ] {
        let refused = usher(&[&args[..], &["--url", first.url()]].concat(), b"")?;
        assert_ne!(refused.code, 0, "{args:?}");
        assert!(refused.stderr.contains(says), "{args:?}: {}", refused.stderr);
    }
    // Names of an owner and of a standby that there are already.
    for name in ["a", "b"] {
        let folder = nodes.folder(name, 3, "")?;
        let mut namesake = Router::start_unready(&folder)?;
        assert_eq!(namesake.exited()?.code(), Some(1));
        let says = format!("another node named {name} is at http://");
        assert!(namesake.log_tail(5).contains(&says), "{}", namesake.log_tail(5));
    }
    // Asked of a standby, and against the rank.
    let promoted = usher(&["nodes", "promote", "c", "--url", second.url()], b"")?;
    assert_eq!(promoted.code, 0, "{}", promoted.stderr);
    assert_eq!(promoted.stdout, "node c is the owner\n");
    serves(third.client())?;
    first.wait_for_log("that it follows", |line| {
        let message = line["fields"]["message"].as_str()?;
        (message.starts_with("standby:") && line["fields"]["owner"] == "c").then_some(())
    })?;
    third.client().publish(&one("2"))?;
    assert_eq!(outcome(second.client())?, (vec!["1".to_owned(), "2".to_owned()], 2));
    let audit = third.client().get_json("/audit")?.to_string();
    assert!(audit.contains(r#""action":"promote_node""#) && audit.contains(r#""node":"c""#));
    // The first in rank again.
    third.stop()?;
    wait_for("the first to take over", || {
        let answer = second.client().get("/plugins")?;
        Ok((answer.header("usher-owner") == Some("a")).then_some(()))
    })?;
    second.stop()?;
    first.stop()
}

/// Blobs that one owner has written are there for the next, whose folder never had them.
#[test]
fn blobs_and_state_are_there_for_the_next_owner() -> Result<()> {
    let Some(nodes) = Nodes::new()? else { return Ok(()) };
    let grants = "[plugin.probe.grants]\nblobs = true\n";
    let (a, b) = (nodes.folder("a", 0, grants)?, nodes.folder("b", 1, grants)?);
    for folder in [&a, &b] {
        folder.install_guests(&["probe"])?;
    }
    let first = owner(&a)?;
    first.client().wait_for_plugin("probe", "serving")?;
    let put = json!({ "try": "put-blob", "content": "kept" });
    let receipt = first.client().publish_new("test.probe", "1", &put)?;
    let flow = first.client().settled_flow(receipt.sequence)?;
    let second = standby(&b)?;
    let blobs = first.client().get_json("/blobs")?;
    let digest =
        blobs["blobs"][0]["digest"].as_str().with_context(|| format!("{flow}"))?.to_owned();
    let path = format!("/blobs/{digest}");
    // Which the owner answers until the standby has come so far.
    let read = wait_for("the standby to answer", || {
        Ok(Some(second.client().get(&path)?).filter(|read| read.header("usher-owner").is_none()))
    })?;
    assert_eq!((read.status, read.text().as_str()), (200, "kept"));
    first.kill()?;
    serves(second.client())?;
    let read = second.client().get(&path)?;
    assert_eq!((read.status, read.text().as_str()), (200, "kept"));
    second.stop()
}

/// While the servers are away nothing is acknowledged; then it goes on by itself.
#[test]
fn servers_that_are_away_are_waited_for() -> Result<()> {
    let Some(mut nodes) = Nodes::new()? else { return Ok(()) };
    let folder = nodes.folder("a", 0, "")?;
    let router = owner(&folder)?;
    router.client().publish(&one("1"))?;
    nodes.server.kill()?;
    let (url, path) = (router.url().to_owned(), PathBuf::from("/events"));
    let waiting = thread::spawn(move || -> Result<u16> {
        let body = serde_json::to_vec(&one("2"))?;
        let path = path.display().to_string();
        Ok(Client::new(&url).post_as(&path, "application/cloudevents+json", &body)?.status)
    });
    router.wait_for_log("that it can't be written", |line| {
        line["fields"]["message"].as_str()?.contains("can't be written").then_some(())
    })?;
    assert!(!waiting.is_finished());
    let body = serde_json::to_vec(&one("3"))?;
    let refused = router.client().post_as("/events", "application/cloudevents+json", &body)?;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("2")));
    let states = router.client().get_json("/states")?;
    assert!(states["states"][0]["name"] == "journal_away", "{states}");
    assert_eq!(router.client().get("/subscriptions")?.status, 503);
    let metrics = router.client().get("/metrics")?;
    let line =
        metrics.text().lines().find(|line| line.contains("journal_away\"")).map(str::to_owned);
    assert!(
        metrics.status == 200 && line.as_ref().is_some_and(|line| line.ends_with(" 1")),
        "{line:?}"
    );
    nodes.server.start_again()?;
    let status = waiting.join().map_err(|_| anyhow::anyhow!("the producer panicked"))??;
    assert_eq!(status, 202);
    let (ids, emitted) = outcome(router.client())?;
    assert_eq!((ids, emitted), (vec!["1".to_owned(), "2".to_owned()], 2));
    router.stop()
}

/// A router moves onto JetStream and back, with all that it has.
#[test]
fn a_router_moves_to_jetstream_and_back() -> Result<()> {
    let Some(nodes) = Nodes::new()? else { return Ok(()) };
    let grants = "[plugin.probe.grants]\nblobs = true\n";
    let folder = Folder::with_config("", grants)?;
    folder.install_guests(&["emit", "probe"])?;
    let router = owner(&folder)?;
    router.client().wait_for_plugin("probe", "serving")?;
    router.client().publish(&one("1"))?;
    let put = json!({ "try": "put-blob", "content": "kept" });
    let receipt = router.client().publish_new("test.probe", "p", &put)?;
    router.client().settled_flow(receipt.sequence)?;
    let blobs = router.client().get_json("/blobs")?;
    let blob = format!("/blobs/{}", blobs["blobs"][0]["digest"].as_str().context("no blob")?);
    router.stop()?;

    let config = folder.config().display().to_string();
    let copy = |from: &str, to: &str| -> Result<Value> {
        let copied = usher(&["journal", "copy", from, to, "--config", &config, "--json"], b"")?;
        ensure!(copied.code == 0, "{}", copied.stderr);
        copied.json()
    };
    let refused = copy("embedded", "jetstream").unwrap_err();
    assert!(refused.to_string().contains("has no [journal]"), "{refused}");
    folder.configure("", &nodes.tables("a", 0, grants))?;
    let elsewhere = nodes.folder("e", 2, "stream = \"missing\"\n")?;
    for (engines, words) in [
        (["embedded", "jetstream"], "no journal in"),
        (["jetstream", "embedded"], "it isn't there"),
    ] {
        let config = elsewhere.config().display().to_string();
        let copied = usher(&["journal", "copy", engines[0], engines[1], "--config", &config], b"")?;
        assert!(copied.code == 1 && copied.stderr.contains(words), "{copied:?}");
    }
    let copied = copy("embedded", "jetstream")?;
    assert_eq!((&copied["known"], &copied["blobs"]), (&json!(0), &json!(1)), "{copied}");
    // Once more finds all of it there.
    let again = copy("embedded", "jetstream")?;
    assert_eq!(again["known"], copied["records"], "{again}");

    let first = owner(&folder)?;
    let other = nodes.folder("b", 1, grants)?;
    let second = standby(&other)?;
    first.client().publish(&one("2"))?;
    first.stop()?;
    serves(second.client())?;
    assert_eq!(outcome(second.client())?, (vec!["1".to_owned(), "2".to_owned()], 2));
    assert_eq!(second.client().get(&blob)?.text(), "kept");
    second.client().publish(&one("3"))?;
    assert_eq!(outcome(second.client())?.1, 3);
    second.kill()?;
    let refused = copy("embedded", "jetstream").unwrap_err();
    assert!(refused.to_string().contains("has begun to write to it"), "{refused}");

    copy("jetstream", "embedded")?;
    folder.configure("", grants)?;
    let router = owner(&folder)?;
    assert_eq!(outcome(router.client())?.0, ["1", "2", "3"]);
    assert_eq!(router.client().get(&blob)?.text(), "kept");
    router.stop()?;
    // It has gone on by itself: it is no node of the others any more.
    folder.configure("", &nodes.tables("a", 0, grants))?;
    let mut refused = Router::start_unready(&folder)?;
    assert_eq!(refused.exited()?.code(), Some(1));
    let log = refused.log_tail(20);
    assert!(log.contains("went on elsewhere") || log.contains("this node has seen"), "{log}");
    Ok(())
}
