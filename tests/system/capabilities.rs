//! Capabilities, denied and granted, tried by the probe guest.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::Result;
use serde_json::{Value, json};
use usher_tests::stand_ins::Gateway;
use usher_tests::{Folder, Router, usher_binary};

use crate::scene::{QUICK_RETRIES, Scene};

impl Scene {
    /// The probe's result.
    fn probe(&self, id: &str, what: &Value) -> Result<Value> {
        let flow = self.flow_of("test.probe", id, what)?;
        let probed = &flow["events"][1]["event"]["data"];
        assert!(probed.is_object(), "{what}: {flow}");
        Ok(probed.clone())
    }
}

/// Invariant 10, as an operator sees it.
#[test]
fn nothing_is_granted_unless_the_operator_says_so() -> Result<()> {
    let gateway = Gateway::start(std::time::Duration::ZERO)?;
    let scene = Scene::with(QUICK_RETRIES, &["probe"])?;
    let url = format!("{}/charges", gateway.url());
    for (what, grant) in [
        (json!({ "try": "http", "url": url }), gateway.url()),
        (json!({ "try": "http", "url": "https://x.example/" }), "https://x.example".to_owned()),
        (json!({ "try": "config", "key": "k" }), "[plugin.probe.config]".to_owned()),
        // wasi:keyvalue's own error has no text, so this one can't name the plugin.
        (json!({ "try": "state", "key": "k" }), "state = true".to_owned()),
        (json!({ "try": "put-blob", "content": "x" }), "blobs".to_owned()),
        (json!({ "try": "list-blobs" }), "blobs".to_owned()),
    ] {
        let probed = scene.probe(&what.to_string(), &what)?;
        assert_eq!(probed["kind"], "denied", "{what}: {probed}");
        let error = probed["error"].as_str().unwrap();
        assert!(error.contains(&grant), "{what}: {error:?} does not name {grant}");
    }
    assert!(gateway.charges().is_empty());
    let plugin = scene.client().plugin("probe")?.unwrap();
    let capabilities = plugin["capabilities"].as_array().unwrap();
    assert!(capabilities.iter().all(|capability| capability["granted"] == false), "{plugin}");
    assert!(plugin["stats"]["denied"].as_u64() >= Some(4), "denials are not counted: {plugin}");
    Ok(())
}

#[test]
fn the_machine_is_out_of_reach() -> Result<()> {
    let scene = Scene::with(QUICK_RETRIES, &["probe"])?;
    let env = scene.probe("env", &json!({ "try": "env" }))?;
    assert_eq!(env["ok"]["env"], json!([]));
    let secret = scene.folder.root().join("secret");
    fs::write(&secret, "secret")?;
    for what in [
        json!({ "try": "file", "path": secret }),
        json!({ "try": "connect", "address": scene.router.url().trim_start_matches("http://") }),
    ] {
        let probed = scene.probe(&what.to_string(), &what)?;
        assert!(probed["error"].is_string(), "{what}: {probed}");
    }
    Ok(())
}

#[test]
fn what_is_granted_works() -> Result<()> {
    let gateway = Gateway::start(std::time::Duration::ZERO)?;
    let folder = Folder::new()?;
    let secret = folder.root().join("password");
    fs::write(&secret, "from-the-file")?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
    folder.configure(
        "",
        &format!(
            r#"
[plugin.probe.grants]
http = ["{}"]
state = true
blobs = true
secrets = ["TOKEN", "PASSWORD"]
[plugin.probe.config]
greeting = "hello"
[plugin.probe.secrets]
TOKEN = {{ env = "USHER_TEST_TOKEN" }}
PASSWORD = {{ file = {secret:?} }}
"#,
            gateway.url()
        ),
    )?;
    folder.install_guests(&["probe"])?;
    let token = [("USHER_TEST_TOKEN", "from-the-environment")];
    let router = Router::start_with(&usher_binary()?, &folder, &token)?;
    router.client().wait_for_plugin("probe", "serving")?;
    let scene = Scene { router, folder };

    let url = format!("{}/charges", gateway.url());
    let got = scene.probe("http", &json!({ "try": "http", "url": url }))?;
    assert_eq!(got["ok"]["status"], 200, "{got}");
    assert_eq!(got["ok"]["body"], r#"{"charges":[]}"#);
    let got = scene.probe("config", &json!({ "try": "config", "key": "greeting" }))?;
    assert_eq!(got, json!({ "ok": "hello" }));
    let got = scene.probe("no-key", &json!({ "try": "config", "key": "other" }))?;
    assert_eq!(got, json!({ "ok": null }));
    // The guest gets the secrets; the events it emits contain none of them.
    for key in ["TOKEN", "PASSWORD"] {
        let got = scene.probe(key, &json!({ "try": "config", "key": key }))?;
        assert_eq!(got, json!({ "ok": "[redacted]" }));
    }

    let set = json!({ "try": "state", "key": "k", "set": "v" });
    assert_eq!(scene.probe("state-1", &set)?, json!({ "ok": null }));
    assert_eq!(scene.probe("state-2", &set)?, json!({ "ok": "v" }));
    assert_eq!(scene.probe("keys", &json!({ "try": "keys" }))?, json!({ "ok": ["k"] }));

    let put = scene.probe("put", &json!({ "try": "put-blob", "content": "content" }))?;
    let digest = put["ok"].as_str().unwrap();
    let get = json!({ "try": "get-blob", "digest": digest });
    assert_eq!(scene.probe("get", &get)?, json!({ "ok": "content" }));
    let blob = scene.client().get(&format!("/blobs/{digest}"))?;
    assert_eq!((blob.status, blob.text().as_str()), (200, "content"));
    let listed = scene.client().get_json("/blobs")?;
    assert_eq!(listed["blobs"][0]["plugin"], "probe");
    let fetched = scene.folder.root().join("fetched");
    let file = fetched.to_str().unwrap();
    let args = ["blobs", "get", digest, "--output", file, "--url", scene.router.url()];
    assert_eq!(usher_tests::usher(&args, b"")?.code, 0);
    assert_eq!(fs::read(&fetched)?, b"content");
    let listed = usher_tests::usher(&["blobs", "list", "--url", scene.router.url()], b"")?;
    assert!(listed.stdout.contains(&digest[..12]), "{listed:?}");
    let gone = scene.probe("delete", &json!({ "try": "delete-blob", "digest": digest }))?;
    assert_eq!(gone, json!({ "ok": null }));
    assert_eq!(scene.client().get(&format!("/blobs/{digest}"))?.status, 404);
    Ok(())
}

#[test]
fn what_a_plugin_logs_is_attributed_and_harmless() -> Result<()> {
    let scene = Scene::with(QUICK_RETRIES, &["probe"])?;
    let line = "hello \u{1b}[31m\r\nforged line";
    scene.probe("log", &json!({ "try": "log", "line": line }))?;
    for stream in ["stdout", "stderr"] {
        scene.router.wait_for_log(&format!("{stream} of the probe"), |line| {
            let fields = &line["fields"];
            let mine = fields["plugin"] == "probe" && fields["stream"] == stream;
            let text = fields["message"].as_str()?;
            (mine && text.contains("hello") && !text.contains('\u{1b}')).then_some(())
        })?;
    }
    scene.router.wait_for_log("the probe's log line", |line| {
        let fields = &line["fields"];
        let attributed = fields["plugin"] == "probe"
            && fields["sequence"] == 1
            && fields["attempt"] == 1
            && fields["subscription"] == "probe/probe";
        (attributed && fields["message"].as_str()?.contains("hello")).then_some(())
    })
}

#[test]
fn memory_and_stack_end_where_they_should() -> Result<()> {
    let scene = Scene::with(QUICK_RETRIES, &["probe"])?;
    for what in
        [json!({ "try": "allocate", "bytes": 512 * 1024 * 1024 }), json!({ "try": "recurse" })]
    {
        let flow = scene.flow_of("test.probe", &what.to_string(), &what)?;
        let delivery = &flow["events"][0]["deliveries"][0];
        assert_eq!(delivery["state"], "dead", "{what}: {delivery}");
        let class = delivery["failures"][0]["class"].as_str().unwrap();
        assert!(class == "trap" || class == "limit", "{what}: {delivery}");
    }
    let alive = scene.probe("alive", &json!({ "try": "allocate", "bytes": 1024 }))?;
    assert_eq!(alive, json!({ "ok": 1024 }));
    Ok(())
}
