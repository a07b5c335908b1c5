//! A delivery that fails is recorded, and fails again elsewhere in the same way.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use usher_tests::stand_ins::Gateway;
use usher_tests::{Folder, Router, guest, usher, wait_for};

use crate::scene::{QUICK_RETRIES, Scene};

const SECRET: &str = "hunter2-and-more";

/// A router whose probe is granted everything, and gives up at once.
fn scene(limits: &str) -> Result<(Scene, Gateway)> {
    let gateway = Gateway::start(Duration::ZERO)?;
    let folder = Folder::new()?;
    let secret = folder.root().join("secret");
    fs::write(&secret, SECRET)?;
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    folder.configure(
        "",
        &format!(
            r#"
[retry]
max_attempts = 1

[plugin.probe.grants]
http = ["{}", "http://127.0.0.1:1"]
state = true
blobs = true
secrets = ["KEY"]

[plugin.probe.limits]
{limits}

[plugin.probe.config]
shop = "the shop's {SECRET}"

[plugin.probe.secrets]
KEY = {{ file = "{}" }}
"#,
            gateway.url(),
            secret.display()
        ),
    )?;
    folder.install_guests(&["probe"])?;
    let router = Router::start(&folder)?;
    router.client().wait_for_plugin("probe", "serving")?;
    Ok((Scene { router, folder }, gateway))
}

impl Scene {
    /// Has the probe do these things and panic; returns the dead letter's id.
    fn panic_after(&self, id: &str, after: &[Value]) -> Result<u64> {
        self.client().publish_new("test.probe", id, &json!({ "try": "panic", "after": after }))?;
        wait_for("the dead letter", || {
            let found = self.client().get_json("/dead-letters")?;
            let all = found["dead_letters"].as_array().cloned().unwrap_or_default();
            let dead = all.iter().find(|dead| dead["event"]["event"]["id"] == id);
            Ok(dead.and_then(|dead| dead["id"].as_u64()))
        })
    }

    fn capture(&self, id: u64, to: &Path) -> usher_tests::Finished {
        self.try_usher(&["dead-letters", "capture", &id.to_string(), to.to_str().unwrap()], "")
    }
}

/// Runs `usher test` on a folder of fixtures.
fn tested(fixtures: &Path) -> Result<Value> {
    let (component, fixtures) = (guest("probe")?, fixtures.to_str().unwrap());
    let component = component.to_str().unwrap();
    let args = ["test", "--component", component, "--fixtures", fixtures, "--json"];
    usher(&args, b"")?.json()
}

#[test]
fn a_captured_failure_fails_again_byte_for_byte() -> Result<()> {
    let (scene, gateway) = scene("state_keys = 1\nrecording_bytes = 100000")?;
    let setup = [
        json!({ "try": "state", "key": "kept", "set": format!("says {SECRET}") }),
        json!({ "try": "put-blob", "content": "a blob" }),
    ];
    for (number, what) in setup.iter().enumerate() {
        scene.flow_of("test.probe", &format!("set-up-{number}"), what)?;
    }
    let blobs = scene.client().get_json("/blobs")?;
    let digest = &blobs["blobs"][0]["digest"];
    let charge = json!({
        "try": "http", "method": "POST", "url": format!("{}/charges", gateway.url()),
        "headers": [["content-type", "application/json"]],
        "body": r#"{"order":"o-1","amount_cents":100,"card":"ok"}"#,
    });
    let after = [
        json!({ "try": "all-config" }),
        json!({ "try": "state", "key": "kept" }),
        json!({ "try": "state", "key": "nothing" }),
        json!({ "try": "state", "key": "second", "set": "too many" }),
        json!({ "try": "keys" }),
        json!({ "try": "get-blob", "digest": digest }),
        json!({ "try": "list-blobs" }),
        charge.clone(),
        charge,
        json!({ "try": "http", "url": "http://127.0.0.1:1/refuses" }),
        json!({ "try": "http", "url": "http://elsewhere.test/denied" }),
        json!({ "try": "log", "line": "about to fail" }),
    ];
    let id = scene.panic_after("e-1", &after)?;
    let fixtures = scene.folder.root().join("fixtures");
    let case = fixtures.join("as-it-was");
    let captured = scene.capture(id, &case);
    assert_eq!(captured.code, 0, "{captured:?}");
    let read = |file: &str| fs::read_to_string(case.join(file));
    let expected: Value = serde_json::from_str(&read("expect.json")?)?;
    let reason = expected["reason"].as_str().unwrap();
    for part in ["[redacted]", "a blob", "not granted", "panicked at"] {
        assert!(reason.contains(part), "{part} is not in {reason}");
    }
    for file in ["event.json", "given.json", "expect.json"] {
        assert!(!read(file)?.contains(SECRET), "a secret is in {file}: {}", read(file)?);
    }

    let given: Value = serde_json::from_str(&read("given.json")?)?;
    assert_eq!(given["limits"], json!({ "state_keys": 1 }));
    for _ in 0..2 {
        let tested = tested(&fixtures)?;
        assert_eq!(tested["fixtures"][0]["outcome"], "ok", "{tested:#}");
    }
    // Two runs are the same in every respect but time.
    let component = guest("probe")?;
    let call = || -> Result<Value> {
        let called =
            usher(&["call", component.to_str().unwrap(), case.to_str().unwrap(), "--json"], b"")?;
        let mut delivery = called.json()?["deliveries"][0].clone();
        delivery["took_us"] = Value::Null;
        delivery["used"] = Value::Null;
        Ok(delivery)
    };
    let called = call()?;
    assert_eq!(call()?, called);
    assert_eq!(called["did"]["calls"].as_array().map(Vec::len), Some(4), "{called:#}");

    let tried =
        scene.usher(&["dead-letters", "try", &id.to_string(), component.to_str().unwrap()], "");
    assert!(tried.stdout.contains("panicked at"), "{tried:?}");

    // It is kept as long as the dead letter is.
    let again = scene.capture(id, &case);
    assert!(again.stderr.contains("exists already"), "{again:?}");
    scene.usher(&["dead-letters", "discard", &id.to_string()], "");
    let gone = scene.capture(id, &fixtures.join("gone"));
    assert_eq!(gone.code, 1);
    assert!(gone.stderr.contains("there is no dead letter"), "{gone:?}");
    assert!(!fixtures.join("gone").exists());
    Ok(())
}

#[test]
fn a_redrive_waits_for_the_version_that_is_asked_for() -> Result<()> {
    let (scene, _gateway) = scene("")?;
    let id = scene.panic_after("e-1", &[])?.to_string();
    let redrive =
        |more: &[&str]| scene.try_usher(&[&["dead-letters", "redrive"], more].concat(), "");
    let refused = redrive(&[&id, "--version", "9.9.9"]);
    let words = "probe serves 1.0.0, not 9.9.9: nothing was redriven";
    assert!(refused.code == 1 && refused.stderr.contains(words), "{refused:?}");
    let refused = redrive(&["--all", "--version", "1.0.0"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(scene.client().get_json(&format!("/dead-letters/{id}"))?["id"].is_u64());
    let done = redrive(&[&id, "--version", "1.0.0"]);
    assert_eq!(done.code, 0, "{done:?}");
    Ok(())
}

#[test]
fn a_recording_is_bounded_and_can_be_turned_off() -> Result<()> {
    let large = json!({ "try": "state", "key": "large", "set": "x".repeat(10_000) });
    let read = json!({ "try": "state", "key": "large" });
    for (limits, after, says) in [
        ("recording_bytes = 200", vec![], "raise recording_bytes in [plugin.probe.limits]"),
        ("recording_bytes = 5000", vec![read.clone()], "has 5001 bytes or more"),
        ("recording_bytes = 0", vec![read], "nothing was recorded of dead letter"),
    ] {
        let (scene, _gateway) = scene(limits)?;
        scene.flow_of("test.probe", "set-up", &large)?;
        let id = scene.panic_after("e-1", &after)?;
        let folder = scene.folder.root().join("captured");
        let captured = scene.capture(id, &folder);
        assert_eq!(captured.code, 1, "{captured:?}");
        assert!(captured.stderr.contains(says), "{captured:?}");
        assert!(!folder.exists());
    }
    Ok(())
}

#[test]
fn a_shadow_has_the_settings_but_no_secrets_and_says_what_was_not_answered() -> Result<()> {
    let (scene, _gateway) = scene("cpu_ms = 1000")?;
    let settings = scene.client().get_json("/plugins/probe/settings")?;
    assert_eq!(settings["given"]["config"]["shop"], "the shop's [redacted]");
    assert_eq!(settings["given"]["secrets"]["KEY"], "[secret KEY]");
    assert_eq!(settings["given"]["limits"], json!({ "cpu_ms": 1000 }));
    assert!(!settings.to_string().contains(SECRET), "{settings:#}");

    let url = "http://elsewhere.test/unknown";
    scene.client().publish_new("test.probe", "e-1", &json!({ "try": "http", "url": url }))?;
    scene.client().publish_new("test.probe", "e-2", &json!({ "try": "all-config" }))?;
    let told = scene.shadow("probe", "probe", &["--json"])?.json()?;
    assert_eq!((&told["different"], &told["unanswered"]), (&json!(0), &json!(1)), "{told:#}");
    let answers = scene.folder.root().join("answers.json");
    fs::write(
        &answers,
        json!({ "http": [{ "method": "GET", "url": url, "status": 204 }] }).to_string(),
    )?;
    let told = scene.shadow("probe", "probe", &["--json", "--given", answers.to_str().unwrap()])?;
    assert_eq!(told.json()?["unanswered"], 0);
    Ok(())
}

#[test]
fn emissions_that_break_a_rule_are_recorded_failures_too() -> Result<()> {
    let scene = Scene::with(QUICK_RETRIES, &["emit"])?;
    scene.flow_of("test.emit", "e-1", &json!({ "what": "type", "value": "" }))?;
    let case = scene.folder.root().join("fixtures/no-type");
    let captured = scene.capture(1, &case);
    assert_eq!(captured.code, 0, "{captured:?}");
    let expected: Value = serde_json::from_str(&fs::read_to_string(case.join("expect.json"))?)?;
    assert_eq!(expected["class"], "emission");
    let component = guest("emit")?;
    let args = ["test", "--component", component.to_str().unwrap(), "--fixtures"];
    let fixtures = case.parent().unwrap().to_str().unwrap();
    let tested = usher(&[&args[..], &[fixtures]].concat(), b"")?;
    assert_eq!(tested.code, 0, "{tested:?}");
    // It was run twice, and counted once.
    let plugins = scene.client().get_json("/plugins")?;
    assert_eq!(plugins["plugins"][0]["stats"]["handled"], 1, "{plugins:#}");
    Ok(())
}

#[test]
fn what_failed_once_or_asked_others_can_be_captured_without_a_dead_letter() -> Result<()> {
    let (scene, gateway) = scene("")?;
    let charge = json!({
        "try": "http", "method": "POST", "url": format!("{}/charges", gateway.url()),
        "headers": [["content-type", "application/json"]],
        "body": r#"{"order":"o-1","amount_cents":100,"card":"ok"}"#,
    });
    scene.flow_of("test.probe", "quiet", &json!({ "try": "all-config" }))?;
    let answered = scene.flow_of("test.probe", "asks", &charge)?;
    scene.panic_after("fails", &[])?;
    let list = scene.usher(&["plugins", "recordings", "probe", "--json"], "").json()?;
    let listed = list["recordings"].as_array().unwrap();
    let verdicts: Vec<_> = listed.iter().map(|one| one["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["retry", "ack"], "{list:#}");
    assert!(listed[0]["reason"].as_str().unwrap().contains("panicked at"), "{list:#}");
    assert!(listed.iter().all(|one| one.get("recording").is_none()), "{list:#}");
    let table = scene.usher(&["plugins", "recordings", "probe"], "").stdout;
    assert!(table.contains("panicked at"), "{table}");

    let fixtures = scene.folder.root().join("fixtures");
    for one in listed {
        let (number, to) = (one["number"].to_string(), fixtures.join(one["number"].to_string()));
        let capture = ["plugins", "capture", "probe", &number, to.to_str().unwrap()];
        let captured = scene.try_usher(&capture, "");
        assert_eq!(captured.code, 0, "{captured:?}");
    }
    let tested = tested(&fixtures)?;
    let outcomes: Vec<_> =
        tested["fixtures"].as_array().unwrap().iter().map(|one| &one["outcome"]).collect();
    assert_eq!(outcomes, ["ok", "ok"], "{tested:#}");
    let gone = scene.try_usher(&["plugins", "capture", "probe", "99", "nowhere"], "");
    assert!(gone.stderr.contains("plugin probe has no recording 99"), "{gone:?}");

    // A shadow gets the answers that the delivery had.
    let told = scene.shadow("probe", "probe", &["--json"])?.json()?;
    assert_eq!((&told["compared"], &told["unanswered"]), (&json!(3), &json!(0)), "{told:#}");
    let emitted = &told["events"][1]["new"]["did"]["emissions"][0]["data"];
    let flow = answered.to_string();
    let status = emitted["ok"]["status"].to_string();
    assert!(flow.contains(&format!("\"status\":{status}")), "{told:#}");
    Ok(())
}
