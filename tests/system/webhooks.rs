//! Webhooks of the configuration: signatures, replays, and what is refused.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use usher_tests::{Answer, Folder, Router, usher};

use crate::scene::types;

const SECRET: &str = "It's a Secret to Everybody";

/// HMAC-SHA256 as hexadecimal digits.
fn hmac(text: &str) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = ring::hmac::sign(&key, text.as_bytes());
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

const TABLES: &str = r#"
[[webhook]]
path = "/hooks/github"
kind = "github"
secret = { file = "secret" }

[[webhook]]
path = "/hooks/shop"
kind = "hmac"
secrets = [{ file = "old" }, { file = "secret" }]
header = "X-Shop-Signature"
encoding = "base64"
type = { pointer = "/event" }
type_prefix = "com.shop."
id = { pointer = "/uuid" }
source = { text = "https://shop.example" }
subject = { header = "X-Shop-Order" }

[[webhook]]
path = "/hooks/alertmanager"
kind = "none"
type = { text = "io.prometheus.alert" }
id = "random"
subject = { pointer = "/groupKey" }
"#;

fn start(more: &str) -> Result<(Folder, Router)> {
    let folder = Folder::with_config("", &format!("{TABLES}{more}"))?;
    for (name, secret) in [("secret", SECRET), ("old", "replaced")] {
        let path = folder.root().join(name);
        std::fs::write(&path, format!("{secret}\n"))?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    }
    let router = Router::start(&folder)?;
    Ok((folder, router))
}

fn post(router: &Router, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer> {
    let mut all = vec![("content-type", &b"application/json"[..])];
    all.extend(headers.iter().map(|(name, value)| (*name, value.as_bytes())));
    router.client().request("POST", path, &all, body.as_bytes())
}

#[test]
fn signed_requests_become_events_once() -> Result<()> {
    let (_folder, router) = start("")?;
    let body = json!({ "ref": "refs/heads/main", "repository": { "url": "https://api.github.com/repos/a/b" } });
    let body = body.to_string();
    let signature = format!("sha256={}", hmac(&body));
    let github = |signature: &str, delivery: &str, body: &str| {
        let headers = [
            ("x-github-event", "push"),
            ("x-github-delivery", delivery),
            ("x-hub-signature-256", signature),
        ];
        post(&router, "/hooks/github", &headers, body)
    };
    let first = github(&signature, "d-1", &body)?;
    assert_eq!(first.status, 202, "{}", first.text());
    let again = github(&signature, "d-1", &body)?.json()?;
    // Its time is when it came, which is no difference of what was sent.
    assert_eq!(again["events"][0].get("differs"), None, "{again}");
    assert_eq!(
        (&again["events"][0]["duplicate"], &again["events"][0]["sequence"]),
        (&json!(true), &json!(1))
    );
    let stored = router.client().get_json("/events/1")?["event"].clone();
    assert_eq!(stored["type"], "com.github.push");
    assert_eq!(stored["source"], "https://api.github.com/repos/a/b");
    assert_eq!(stored["subject"], "refs/heads/main");
    assert_eq!(stored["data"], serde_json::from_str::<Value>(&body)?);

    // Off by one byte, re-encoded, unsigned: refused, and nothing is stored.
    let last = if signature.ends_with('0') { "1" } else { "0" };
    let off = format!("{}{last}", &signature[..signature.len() - 1]);
    let spaced = body.replace("\":", "\": ");
    for (signature, body) in [(off.as_str(), body.as_str()), (&signature, &spaced), ("", &body)] {
        let refused = github(signature, "d-2", body)?;
        assert_eq!(refused.status, 401, "{}", refused.text());
        assert!(!refused.text().contains(SECRET));
    }
    let not_json = "payload=%7B%7D";
    let refused = github(&format!("sha256={}", hmac(not_json)), "d-3", not_json)?;
    assert!(refused.status == 400 && refused.text().contains("application/json"));
    assert_eq!(router.client().get_json("/events")?["last"], 1);

    let metrics = router.client().get("/metrics")?.text();
    for (outcome, count) in [("accepted", 1), ("duplicate", 1), ("unproven", 3), ("invalid", 1)] {
        let labels = format!("{{webhook=\"/hooks/github\",outcome=\"{outcome}\"}}");
        let line = format!("usher_webhook_requests_total{labels} {count}");
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    Ok(())
}

#[test]
fn other_senders_are_described() -> Result<()> {
    let (_folder, router) = start("")?;
    let body = r#"{"event":"order.paid","uuid":"u-1","total":12345678901234567890}"#;
    let hex = hmac(body);
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect();
    let headers = [("x-shop-signature", &*STANDARD.encode(bytes)), ("x-shop-order", "o-7")];
    assert_eq!(post(&router, "/hooks/shop", &headers, body)?.status, 202);
    let alert = r#"{"groupKey":"{}:{alertname=\"Down\"}","status":"firing","alerts":[]}"#;
    for _ in 0..2 {
        assert_eq!(post(&router, "/hooks/alertmanager", &[], alert)?.status, 202);
    }
    let log = router.client().get_json("/events")?;
    assert_eq!(types(&log), ["com.shop.order.paid", "io.prometheus.alert", "io.prometheus.alert"]);
    let event = &log["events"][0]["event"];
    assert_eq!(
        (&event["id"], &event["source"], &event["subject"]),
        (&json!("u-1"), &json!("https://shop.example"), &json!("o-7"))
    );
    assert_eq!(log["events"][1]["event"]["subject"], "{}:{alertname=\"Down\"}");
    assert_eq!(log["events"][1]["event"]["source"], "/hooks/alertmanager");
    Ok(())
}

#[test]
fn an_unsigned_webhook_asks_for_a_token() -> Result<()> {
    let hashed = usher(&["tokens", "hash", "--json"], b"")?.json()?;
    let token = format!("[token.alerts]\nhash = {}\nscopes = [\"publish:io.\"]\n", hashed["hash"]);
    let (_folder, router) = start(&token)?;
    assert_eq!(post(&router, "/hooks/alertmanager", &[], "{}")?.status, 401);
    let bearer = format!("Bearer {}", hashed["secret"].as_str().unwrap());
    let headers = [("authorization", &*bearer)];
    assert_eq!(post(&router, "/hooks/alertmanager", &headers, "{}")?.status, 202);
    // One that is signed does not.
    let body = "{}";
    let signature = format!("sha256={}", hmac(body));
    let headers = [
        ("x-hub-signature-256", &*signature),
        ("x-github-event", "ping"),
        ("x-github-delivery", "1"),
    ];
    assert_eq!(post(&router, "/hooks/github", &headers, body)?.status, 202);
    Ok(())
}

#[test]
fn what_is_wrong_with_a_webhook_is_said_at_the_start() -> Result<()> {
    for (table, word) in [
        ("path = \"/x\"\n", "needs a kind"),
        ("path = \"/x\"\nkind = \"github\"\n", "the secret that signs is needed"),
        ("path = \"/x\"\nkind = \"hmac\"\nsecret = { env = \"PATH\" }\n", "needs the header"),
        ("path = \"/x\"\nkind = \"none\"\n", "needs a type"),
        ("path = \"/x\"\nkind = \"none\"\ntype = \"a\"\n", "type can't be"),
        ("path = \"/x\"\nkind = \"none\"\ntype = { pointer = \"a\" }\n", "JSON Pointer"),
        ("path = \"/x\"\nkind = \"none\"\ntype = {}\n", "says nothing"),
        ("path = \"/x\"\nkind = \"standard-webhooks\"\nsecret = { env = \"PATH\" }\n", "whsec_"),
        ("path = \"/events\"\nkind = \"none\"\n", "below a path of the API"),
    ] {
        let folder = Folder::with_config("", &format!("[[webhook]]\n{table}"))?;
        let checked = usher(&["check", "--config", folder.config().to_str().unwrap()], b"")?;
        assert!(checked.code == 2 && checked.stderr.contains(word), "{table}: {checked:?}");
    }
    Ok(())
}
