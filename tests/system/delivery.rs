//! What operators and producers see when a subscription falls behind: producers are told to retry
//! later, or unsettled events expire and are counted.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use usher_tests::{Client, Router, usher, wait_for};

use crate::scene::{Scene, event};

/// A router whose plugin was removed, with its subscription left behind.
fn unserved(tables: &str) -> Result<Scene> {
    let scene = Scene::with(tables, &["echo"])?;
    fs::remove_file(scene.folder.plugins().join("echo.wasm"))?;
    scene.client().wait_for_plugin("echo", "removed")?;
    Ok(scene)
}

fn echo(client: &Client) -> Result<Value> {
    client.subscription("echo/echo")?.context("no subscription echo/echo")
}

fn metric(client: &Client, name: &str) -> Result<Option<u64>> {
    let text = client.get("/metrics")?.text();
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    Ok(value)
}

#[test]
fn producers_wait_for_a_subscription_that_is_too_far_behind() -> Result<()> {
    let scene = unserved(
        "[broker]\nbacklog_max_events = 100\n\n\
         [plugin.echo.subscription.echo]\nmax_in_flight = 1\n",
    )?;
    let client = scene.client();
    for batch in 0..2 {
        let events: Vec<Value> =
            (0..60).map(|n| event("test.echo", &format!("{batch}-{n}"), &json!({}))).collect();
        client.publish_batch(&events)?;
    }
    let refused = || {
        let body = event("other", "refused", &json!({})).to_string();
        client.post_as("/events", "application/cloudevents+json", body.as_bytes())
    };
    let answer = refused()?;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("5")));
    let detail = answer.json()?["detail"].as_str().context("no detail")?.to_owned();
    for words in ["subscription echo/echo is 119 events", "the limit is 100", "remove it"] {
        assert!(detail.contains(words), "{detail}");
    }
    assert_eq!(client.get_json("/events?max=1000")?["last"], 120);
    assert_eq!(echo(client)?["holds_back"], "producers");
    let held = "usher_subscription_holds_back_producers{subscription=\"echo/echo\"}";
    assert_eq!(metric(client, held)?, Some(1));
    assert_eq!(metric(client, "usher_publishes_refused_total")?, Some(1));
    let shown = usher(&["subscriptions", "--url", scene.router.url()], b"")?;
    assert!(shown.stdout.contains("echo/echo is too far behind"), "{}", shown.stdout);

    // Once it is served again, producers are admitted without intervention.
    scene.folder.install_guests(&["echo"])?;
    client.wait_for_plugin("echo", "serving")?;
    wait_for("producers to be let in", || Ok((refused()?.status == 202).then_some(())))?;
    wait_for("the backlog to be done", || Ok((echo(client)?["acked"] == 120).then_some(())))?;
    assert_eq!(echo(client)?.get("holds_back"), None);
    Ok(())
}

/// Invariant 3: done + pending + dead + counted expiries.
#[test]
fn what_expires_is_counted_for_good() -> Result<()> {
    const EVENTS: u64 = 100;
    const MAX_BYTES: u64 = 1_048_576;
    let scene = unserved(
        "[retention]\nmax_bytes = 1048576\n\n\
         [plugin.echo.subscription.echo]\nmax_in_flight = 1\nexpires = true\n",
    )?;
    let client = scene.client();
    let data = json!({ "text": "x".repeat(20_000) });
    for n in 0..EVENTS {
        client.publish_new("test.echo", &n.to_string(), &data)?;
    }
    wait_for("the log to be short enough", || {
        let size_bytes = metric(client, "usher_log_size_bytes")?;
        Ok(size_bytes.filter(|size_bytes| *size_bytes <= MAX_BYTES))
    })?;
    let expired = echo(client)?["expired"].as_u64().context("no number")?;
    assert!(expired > EVENTS / 4, "{expired}");
    let balance = |client: &Client| -> Result<u64> {
        let echo = echo(client)?;
        let sum = ["expired", "lag", "in_flight", "retrying", "acked", "dead"];
        Ok(sum.iter().filter_map(|name| echo[name].as_u64()).sum())
    };
    assert_eq!(balance(client)?, EVENTS);
    let counted = "usher_subscription_expired_deliveries_total{subscription=\"echo/echo\"}";
    assert_eq!(metric(client, counted)?, Some(expired));
    let why = usher(&["why", "2", "echo/echo", "--url", scene.router.url()], b"")?;
    for words in ["gone, retention let it go", "expires = true"] {
        assert!(why.stdout.contains(words), "{}", why.stdout);
    }
    let Scene { router, folder } = scene;
    router.stop()?;
    let router = Router::start(&folder)?;
    assert!(echo(router.client())?["expired"].as_u64() >= Some(expired));
    assert_eq!(balance(router.client())?, EVENTS);
    Ok(())
}

#[test]
fn only_the_newest_is_delivered_and_only_its_part() -> Result<()> {
    let scene = Scene::with(
        "[plugin.echo.subscription.echo]\norder = { key = \"subject\" }\ndebounce_ms = 86400000\n\
         redact = [\"/secret\"]\n",
        &["echo"],
    )?;
    let client = scene.client();
    for n in 1..=3 {
        let mut event = event("test.echo", &n.to_string(), &json!({ "n": n, "secret": "x" }));
        event["subject"] = json!("s");
        client.publish(&event)?;
    }
    let why = |sequence: &str| -> Result<String> {
        Ok(usher(&["why", sequence, "echo/echo", "--url", scene.router.url()], b"")?.stdout)
    };
    assert!(why("3")?.contains("would take its place (debounce_ms)"), "{}", why("3")?);
    assert!(why("1")?.contains("or it was left out"), "{}", why("1")?);
    let waiting = echo(client)?;
    assert_eq!((&waiting["superseded"], &waiting["parked"]), (&json!(2), &json!(1)));
    assert_eq!(
        (&waiting["debounce_ms"], &waiting["redact"]),
        (&json!(86_400_000), &json!(["/secret"]))
    );
    let superseded = "usher_subscription_superseded_deliveries_total{subscription=\"echo/echo\"}";
    assert_eq!(metric(client, superseded)?, Some(2));

    // A crash loses nothing of what waits, and what waited is delivered.
    let Scene { router, folder } = scene;
    router.kill()?;
    let router = Router::start(&folder)?;
    let client = router.client();
    wait_for("the newest", || Ok((echo(client)?["acked"] == 1).then_some(())))?;
    let answers = client.get_json("/events?type=test.echoed")?;
    assert_eq!(answers["events"].as_array().map(Vec::len), Some(1), "{answers}");
    assert_eq!(answers["events"][0]["event"]["data"], json!({ "n": 3 }));
    let shown = usher(&["subscriptions", "--url", router.url()], b"")?;
    assert!(shown.stdout.contains("by subject"), "{}", shown.stdout);
    Ok(())
}
