//! Rows 42 to 52: what a plugin requests from the host and, through it, from the network.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::super::row::Must::{Ack, Fail};
use super::super::row::{Plugin, Row, always, always_with, play};
use super::super::stage::{SECRET, Stage, text};
use super::super::text::Text;
use super::imports;

/// Grants the hostile server, with a short timeout.
const HTTP: &str = "[plugin.NAME.grants]\nhttp = [\"SERVER\"]
[plugin.NAME.limits]\nhttp_total_ms = 400\n";
const STATE: &str = "[plugin.NAME.grants]\nstate = true";
const MIB: u64 = 1024 * 1024;

/// A plugin that calls the hostile server.
fn calling() -> Plugin {
    Plugin::rust().with(HTTP)
}

/// Has a plugin call this URL, with pairs of headers; returns what it reports.
fn call(stage: &Stage, names: &[String], url: &str, headers: &Value) -> Result<Value> {
    let name = names.first().context("no plugin")?;
    stage.emitted(name, &json!({ "mode": "http", "url": url, "headers": headers }))
}

fn get(stage: &Stage, names: &[String], path: &str) -> Result<Value> {
    call(stage, names, &format!("{}{path}", stage.server.url()), &json!([]))
}

fn kind(found: &Value) -> &str {
    text(found, "/kind")
}

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new(
            42,
            "waits for ever in a host call",
            "cancelled at the deadline",
            [always_with(
                Text {
                    handle: "i64.const 3600000000000 call $subscribe call $block unreachable"
                        .into(),
                    ..imports::polling()
                },
                "[plugin.NAME.limits]\nwall_ms = 300\n",
                Fail("timeout", "did not finish within 300 ms"),
            )],
        ),
        Row::new(
            43,
            "server that drips, or is silent",
            "deadline for all of a call",
            [play([calling()], |stage, names| {
                for path in ["/drip", "/silent"] {
                    let found = get(stage, names, path)?;
                    ensure!(found.get("error").is_some(), "{path}: {found}");
                }
                Ok("an error after 400 ms".to_owned())
            })],
        ),
        Row::new(
            44,
            "body without end, gzip bomb",
            "1 MiB at most; nothing is unpacked",
            [play(
                // With enough time to reach the limit.
                [Plugin::rust().with("[plugin.NAME.grants]\nhttp = [\"SERVER\"]")],
                |stage, names| {
                    for path in ["/endless", "/endless/gzip"] {
                        let found = get(stage, names, path)?;
                        let words = text(&found, "/error");
                        ensure!(words.contains("exceeds limit: 1048576 bytes"), "{path}: {found}");
                    }
                    let found = get(stage, names, "/bomb")?;
                    let bytes = found.get("bytes").and_then(Value::as_u64);
                    ensure!(bytes.is_some_and(|bytes| bytes < MIB), "unpacked: {found}");
                    Ok(format!(
                        "cut at 1 MiB; the bomb stays packed: {} bytes",
                        bytes.unwrap_or_default()
                    ))
                },
            )],
        ),
        Row::new(
            45,
            "redirect to 169.254.169.254",
            "not followed; denied",
            [play([calling()], |stage, names| {
                let found = get(stage, names, "/redirect")?;
                ensure!(found.get("status") == Some(&json!(302)), "{found}");
                let url = "http://169.254.169.254/latest/meta-data/";
                let found = call(stage, names, url, &json!([]))?;
                ensure!(kind(&found) == "denied", "{found}");
                Ok("302 is the plugin's to read; the call is denied".to_owned())
            })],
        ),
        Row::new(
            46,
            "granted name that leads to 127.0.0.1",
            "denied; connects to what it checked",
            [play(
                [Plugin::rust().with("[plugin.NAME.grants]\nhttp = [\"LOCAL\"]")],
                |stage, names| {
                    let Some(url) = stage.local_origin() else {
                        return Ok("not tried: /etc/hosts has no name for it but localhost".into());
                    };
                    stage.server.take_requests();
                    let found = call(stage, names, &url, &json!([]))?;
                    let words = text(&found, "/error");
                    ensure!(words.contains("the loopback address that"), "{url}: {found}");
                    ensure!(stage.server.take_requests().is_empty(), "it was reached");
                    Ok(words.to_owned())
                },
            )],
        ),
        Row::new(47, "addresses in disguise", "denied", [play([calling()], disguises)]),
        Row::new(
            48,
            "absolute form, host header of its own",
            "refused",
            [play([calling()], |stage, names| {
                let headers = json!([["host", "169.254.169.254"]]);
                let found = call(stage, names, &stage.server.url(), &headers)?;
                ensure!(kind(&found) == "invalid", "{found}");
                stage.server.take_requests();
                get(stage, names, "/http://169.254.169.254/")?;
                get(stage, names, "//169.254.169.254/")?;
                let host = stage.server.url().replace("http://", "host: ");
                for head in stage.server.take_requests() {
                    let lower = head.to_ascii_lowercase();
                    let in_form = head.starts_with("GET /") && lower.contains(&host);
                    ensure!(in_form && lower.matches("host:").count() == 1, "{head}");
                }
                Ok("an invalid header; in origin form".to_owned())
            })],
        ),
        Row::new(
            49,
            "header injection, two content lengths",
            "refused",
            [play([calling()], injections)],
        ),
        Row::new(
            50,
            "secret in log, reason, event and URL",
            "redacted",
            [play(
                [Plugin::rust().with(
                    "[plugin.NAME.grants]\nsecrets = [\"KEY\"]
                [plugin.NAME.secrets]\nKEY = { env = \"VARIABLE\" }",
                )],
                secrets,
            )],
        ),
        Row::new(
            51,
            "timing by the clocks; 1 GiB of random bytes at once",
            "steps of 1 ms; 64 KiB at most",
            [
                always(
                    Text {
                        fields: CLOCK_WATCHER.into(),
                        handle: "call $watch i32.const 128".into(),
                        ..imports::clocks()
                    },
                    Ack,
                ),
                always(
                    Text {
                        handle: "i64.const 65536 i32.const 256 call $random
                            i32.const 4096 global.set $next i32.const 128"
                            .into(),
                        ..imports::random()
                    },
                    Ack,
                ),
                always(
                    Text {
                        handle: "i64.const 1073741824 i32.const 256 call $random unreachable"
                            .into(),
                        ..imports::random()
                    },
                    Fail("trap", "exceeds limit 65536"),
                ),
                always(
                    Text {
                        handle: "i64.const 65537 i32.const 256 call $random unreachable".into(),
                        ..imports::random()
                    },
                    Fail("trap", "exceeds limit 65536"),
                ),
            ],
        ),
        Row::new(
            52,
            "another plugin's state",
            "not there; denied where not granted",
            [play(
                [Plugin::rust().with(STATE), Plugin::rust().with(STATE), Plugin::rust()],
                others,
            )],
        ),
    ]
}

/// Polls both clocks until the monotonic one has advanced 20 times; traps unless both show whole
/// milliseconds and claim no finer resolution.
const CLOCK_WATCHER: &str = "(func $watch (local $left i32) (local $last i64) (local $now i64)
    call $resolution i64.const 1000000 i64.lt_u if unreachable end
    i32.const 20 local.set $left
    call $monotonic local.set $last
    loop
        i32.const 256 call $wall
        i32.const 264 i32.load i32.const 1000000 i32.rem_u if unreachable end
        call $monotonic local.tee $now
        i64.const 1000000 i64.rem_u i64.eqz i32.eqz if unreachable end
        local.get $now local.get $last i64.eq br_if 0
        local.get $now local.set $last
        local.get $left i32.const 1 i32.sub local.tee $left br_if 0
    end)";

fn disguises(stage: &Stage, names: &[String]) -> Result<String> {
    let port = stage.server.port();
    stage.server.take_requests();
    let hosts = [
        "0x7f.1",
        "127.1",
        "2130706433",
        "0177.0.0.1",
        "[::ffff:10.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "127.0.0.1.",
        "user@127.0.0.1",
    ];
    for host in hosts {
        let found = call(stage, names, &format!("http://{host}:{port}/"), &json!([]))?;
        let no_host = text(&found, "/error").contains("a plain host and port");
        ensure!(no_host || ["denied", "invalid"].contains(&kind(&found)), "{host}: {found}");
    }
    let requests = stage.server.take_requests();
    ensure!(requests.is_empty(), "the server was reached: {requests:?}");
    Ok(format!("{} denied, none connected", hosts.len()))
}

fn injections(stage: &Stage, names: &[String]) -> Result<String> {
    let url = stage.server.url();
    for (name, value) in [
        ("x-a", "1\r\nx-b: 2"),
        ("x-a", "1\n"),
        ("x-a\r\nx-b", "1"),
        ("x a", "1"),
        ("x-a", "\u{0}"),
        ("transfer-encoding", "chunked"),
        ("connection", "keep-alive"),
    ] {
        let found = call(stage, names, &url, &json!([[name, value]]))?;
        ensure!(kind(&found) == "invalid", "{name:?}: {value:?}: {found}");
    }
    stage.server.take_requests();
    // The library adds the correct length, so there are two conflicting ones.
    let found = call(stage, names, &url, &json!([["content-length", "5"]]))?;
    for head in stage.server.take_requests() {
        let lower = head.to_ascii_lowercase();
        ensure!(lower.matches("content-length:").count() <= 1, "{found}: {head}");
    }
    Ok("invalid; never two lengths".to_owned())
}

fn secrets(stage: &Stage, names: &[String]) -> Result<String> {
    let name = names.first().context("no plugin")?;
    let seen =
        stage.fails(name, &json!({ "mode": "leak", "key": "KEY" }), "reject", "[redacted]")?;
    let told = stage.done(name, &json!({ "mode": "tell", "key": "KEY" }))?;
    ensure!(text(&told, "/events/1/event/data") == "[redacted]", "in an event: {told}");
    let url = format!("http://{SECRET}.example/?key={SECRET}");
    stage.emitted(name, &json!({ "mode": "http", "url": url }))?;
    let log = fs::read_to_string(stage.folder.root().join("router.log"))?;
    let leaked = log.lines().find(|line| line.contains(SECRET));
    ensure!(leaked.is_none(), "in the log: {leaked:?}");
    for path in ["/plugins", "/dead-letters", "/metrics"] {
        ensure!(!stage.client().get(path)?.text().contains(SECRET), "in {path}");
    }
    Ok(seen)
}

fn others(stage: &Stage, names: &[String]) -> Result<String> {
    let [owner, other, stranger] = names else { anyhow::bail!("not three plugins") };
    stage.emitted(owner, &json!({ "mode": "leave", "key": "mine" }))?;
    let look = json!({ "mode": "look", "key": "mine" });
    ensure!(stage.emitted(owner, &look)? == json!(true), "its own state is gone");
    ensure!(stage.emitted(other, &look)? == json!(false), "another's state is there");
    // Neither through a bucket name crafted to escape the prefix.
    let buckets = [
        format!("{owner}/hostile"),
        format!("../{owner}/hostile"),
        format!("/{owner}/hostile"),
        format!("{owner}\u{0}\u{0}\u{7}hostile"),
        format!("\u{0}{owner}\u{0}\u{0}\u{7}hostile"),
        String::new(),
    ];
    for bucket in &buckets {
        let look = json!({ "mode": "look", "key": "mine", "bucket": bucket });
        let found = stage.emitted(other, &look)?;
        ensure!(found == json!(false) || found.get("error").is_some(), "{bucket:?}: {found}");
    }
    let denied = stage.emitted(stranger, &look)?;
    ensure!(kind(&denied) == "denied", "{denied}");
    let labels = format!("usher_plugin_denied_calls_total{{plugin=\"{stranger}\"}}");
    ensure!(stage.metric(&labels)? >= Some(1), "the denial is not counted");
    stage.router.wait_for_log("the denial", |line| {
        let fields = line.get("fields")?;
        let fits = fields.get("plugin")? == stranger.as_str() && fields.get("grant")? == "state";
        fits.then_some(())
    })?;
    Ok("each has its own; without a grant denied, counted, logged".to_owned())
}
