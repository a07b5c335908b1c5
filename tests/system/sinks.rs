//! Sinks: what a server gets, and what becomes of what it returns.

use anyhow::Result;
use serde_json::{Value, json};
use usher_tests::{Folder, Router, wait_for};

use crate::recorder::{ReplyBody, Server, text};
use crate::scene::{QUICK_RETRIES, event, types};

/// A router with a sink to this server.
fn start(server: &Server, more: &str) -> Result<(Folder, Router)> {
    let sink = format!("[sink.crm]\nurl = \"{}/events?key=s3cret\"\n{more}", server.url);
    let folder = Folder::with_config("", &format!("{QUICK_RETRIES}{sink}"))?;
    for (name, secret) in [("token", "t0ken"), ("key", "whsec_c2VjcmV0")] {
        let file = folder.root().join(name);
        std::fs::write(&file, secret)?;
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    }
    let router = Router::start(&folder)?;
    wait_for("the sink to serve", || {
        let sinks = router.client().get_json("/sinks")?;
        Ok((sinks["sinks"][0]["state"] == "serving").then_some(()))
    })?;
    Ok((folder, router))
}

fn publish(router: &Router, id: &str) -> Result<u64> {
    Ok(router.client().publish(&event("ticket.purchased", id, &json!({ "n": id })))?.sequence)
}

#[test]
fn a_server_gets_events_as_configured() -> Result<()> {
    let server = Server::start()?;
    let more = "mode = \"binary\"\nfilter = { prefix = { type = \"ticket.\" } }\n\
                secret = { file = \"key\" }\n[sink.crm.headers]\nX-Own = \"1\"\n\
                Authorization = { file = \"token\", prefix = \"Bearer \" }\n";
    let (_folder, router) = start(&server, more)?;
    router.client().publish(&event("other", "0", &json!({})))?;
    let sequence = publish(&router, "1")?;
    let (headers, body) = server.requests(1)?.remove(0);
    let field = |name: &str| headers[name].to_str().unwrap().to_owned();
    assert_eq!((field("ce-id"), field("ce-type")), ("1".into(), "ticket.purchased".into()));
    assert_eq!(field("authorization"), "Bearer t0ken");
    assert_eq!(field("x-own"), "1");
    assert_eq!(field("webhook-id"), field("idempotency-key"));
    assert!(field("webhook-signature").starts_with("v1,"));
    assert_eq!(serde_json::from_slice::<Value>(&body)?, json!({ "n": "1" }));
    let flow = router.client().settled_flow(sequence)?;
    assert_eq!(flow["events"][0]["deliveries"][0]["state"], "done");
    assert_eq!(server.requests(1)?.len(), 1, "the filter held the other back");
    // Neither the query nor a header is shown anywhere.
    let shown = router.client().get("/sinks")?.text();
    assert!(shown.contains("/events") && !shown.contains("s3cret"), "{shown}");
    let log = router.log_tail(1_000);
    assert!(!log.contains("s3cret") && !log.contains("t0ken"));
    Ok(())
}

#[test]
fn failures_are_retried_or_given_up_as_the_status_says() -> Result<()> {
    let server = Server::start()?;
    let (_folder, router) = start(&server, "mode = \"structured\"\ntimeout_ms = 200\n")?;
    server.reply(503, &[("retry-after", "1")], text("later"));
    server.reply(200, &[], ReplyBody::Silence);
    let first = publish(&router, "1")?;
    let flow = router.client().settled_flow(first)?;
    let attempts = flow["events"][0]["deliveries"][0]["failures"].as_array().unwrap().clone();
    assert_eq!(attempts.len(), 2, "{attempts:?}");
    assert!(attempts[0]["reason"].as_str().unwrap().contains("503 Service Unavailable: later"));
    assert_eq!(attempts[1]["class"], "timeout");
    let keys: Vec<_> =
        server.requests(3)?.iter().map(|(headers, _)| headers["idempotency-key"].clone()).collect();
    assert!(keys.iter().all(|key| *key == keys[0]), "each attempt has the same key");

    for (status, fields, body, reason) in [
        (400, vec![], text("no such field"), "400 Bad Request: no such field"),
        (
            302,
            vec![("location", "http://elsewhere.example/")],
            text(""),
            "redirects are not followed",
        ),
        (422, vec![], ReplyBody::Endless, "422 Unprocessable"),
    ] {
        let before = router.client().get_json("/dead-letters")?["last"].as_u64().unwrap();
        server.reply(status, &fields, body);
        publish(&router, &format!("bad-{status}"))?;
        let dead = wait_for("the dead letter", || {
            let dead = router.client().get_json(&format!("/dead-letters?after={before}"))?;
            Ok(dead["dead_letters"][0]["reason"].as_str().map(str::to_owned))
        })?;
        assert!(dead.contains(reason), "{dead}");
    }
    server.reply(200, &[], ReplyBody::Endless);
    let last = publish(&router, "large")?;
    assert_eq!(router.client().settled_flow(last)?["events"][0]["deliveries"][0]["state"], "done");
    Ok(())
}

#[test]
fn a_reply_is_an_emission_and_committed_with_the_acknowledgement() -> Result<()> {
    let server = Server::start()?;
    let (folder, router) = start(&server, "filter = { prefix = { type = \"ticket.\" } }\n")?;
    let reply = r#"{"specversion":"1.0","id":"x","source":"/crm","type":"contact.added","subject":"s","data":{"ok":true}}"#;
    server.reply(200, &[("content-type", "application/cloudevents+json")], text(reply));
    let first = publish(&router, "1")?;
    let flow = router.client().settled_flow(first)?;
    assert_eq!(types(&flow), ["ticket.purchased", "contact.added"]);
    let emitted = &flow["events"][1];
    assert_eq!(emitted["event"]["source"], "/plugins/crm");
    assert_eq!(emitted["cause"]["subscription"], "crm/sink");
    assert_eq!(emitted["event"]["data"], json!({ "ok": true }));
    router.kill()?;
    let router = Router::start(&folder)?;
    assert_eq!(types(&router.client().settled_flow(first)?), ["ticket.purchased", "contact.added"]);
    Ok(())
}

#[test]
fn a_server_that_is_gone_pauses_its_sink() -> Result<()> {
    let server = Server::start()?;
    let (folder, router) = start(&server, "")?;
    server.reply(410, &[], text(""));
    let sequence = publish(&router, "1")?;
    let paused = |router: &Router| {
        wait_for("the sink to be paused", || {
            let sink = router.client().get_json("/sinks")?["sinks"][0].clone();
            Ok((sink["state"] == "paused").then(|| sink["reason"].as_str().unwrap().to_owned()))
        })
    };
    assert!(paused(&router)?.contains("410"));
    let audit = router.client().get_json("/audit")?;
    let last = audit["records"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["actor"], &last["action"]), (&json!("usher"), &json!("pause")));
    // It stays so, and nothing is lost.
    router.kill()?;
    let router = Router::start(&folder)?;
    paused(&router)?;
    let before = server.requests(1)?.len();
    let resumed = router.client().request("POST", "/plugins/crm/resume", &[], b"")?;
    assert_eq!(resumed.status, 200, "{}", resumed.text());
    let flow = router.client().settled_flow(sequence)?;
    assert_eq!(flow["events"][0]["deliveries"][0]["state"], "done");
    assert!(server.requests(before + 1)?.len() > before);
    Ok(())
}

#[test]
fn batches_gather_while_a_request_is_under_way() -> Result<()> {
    let server = Server::start()?;
    let (_folder, router) = start(&server, "mode = \"batch\"\nmax_in_flight = 64\n")?;
    let events: Vec<Value> =
        (0..300).map(|n| event("ticket.purchased", &n.to_string(), &json!({}))).collect();
    router.client().publish_batch(&events)?;
    wait_for("all to be delivered", || {
        let subscription = router.client().get_json("/subscriptions")?["subscriptions"][0].clone();
        Ok((subscription["acked"] == 300).then_some(()))
    })?;
    let requests = server.requests(1)?;
    let mut sizes = Vec::new();
    for (headers, body) in &requests {
        assert_eq!(headers["content-type"], "application/cloudevents-batch+json");
        sizes.push(serde_json::from_slice::<Vec<Value>>(body)?.len());
    }
    assert_eq!(sizes.iter().sum::<usize>(), 300);
    assert!(sizes.iter().any(|size| *size > 1), "{sizes:?}");
    Ok(())
}

#[test]
fn sinks_change_with_the_configuration() -> Result<()> {
    let (one, other) = (Server::start()?, Server::start()?);
    let (folder, router) = start(&one, "")?;
    publish(&router, "1")?;
    one.requests(1)?;
    let sink = |url: &str, more: &str| format!("[sink.crm]\nurl = \"{url}/\"\n{more}");
    folder.configure("", &sink(&other.url, ""))?;
    wait_for("the other server to be delivered to", || {
        publish(&router, &format!("{:?}", std::time::Instant::now()))?;
        Ok((!other.requests(0)?.is_empty()).then_some(()))
    })?;
    folder.configure("", &sink(&other.url, "enabled = false\n"))?;
    let reason = wait_for("the sink to be switched off", || {
        let subscription = router.client().get_json("/subscriptions")?["subscriptions"][0].clone();
        Ok(subscription["paused_because"].as_str().map(str::to_owned))
    })?;
    assert!(reason.contains("enabled = false"), "{reason}");
    Ok(())
}

#[test]
fn addresses_are_checked_as_those_of_plugins() -> Result<()> {
    let tables = format!("{QUICK_RETRIES}[sink.crm]\nurl = \"http://localtest.invalid/\"\n");
    let folder = Folder::with_config("", &tables)?;
    let router = Router::start(&folder)?;
    publish(&router, "1")?;
    let reason = wait_for("the dead letter", || {
        let dead = router.client().get_json("/dead-letters")?;
        Ok(dead["dead_letters"][0]["reason"].as_str().map(str::to_owned))
    })?;
    assert!(reason.contains("can't be reached"), "{reason}");
    Ok(())
}
