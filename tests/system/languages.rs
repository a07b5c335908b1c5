//! Plugins in other languages, built by `cargo xtask languages` with the tools that their templates
//! pin.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use usher_tests::stand_ins::Gateway;
use usher_tests::{Finished, Folder, Router, target_dir, usher, wait_for};

use crate::scene::{QUICK_RETRIES, Scene, delivery, event, types};

const LANGUAGES: [&str; 5] = ["rust", "python", "js", "ts", "c"];
const WITH_QUIRKS: [&str; 3] = ["python", "js", "c"];

fn project(name: &str) -> PathBuf {
    target_dir().join("languages").join(name)
}

fn component(name: &str) -> PathBuf {
    match name {
        "rust" => project(name).join("target/wasm32-wasip2/release/rust.wasm"),
        _ => project(name).join(format!("{name}.wasm")),
    }
}

/// A router that serves one project's component, with this configuration.
fn serving(name: &str, config: &str) -> Result<Scene> {
    let folder = Folder::with_config("", config)?;
    folder.install(&component(name), &format!("{name}.wasm"))?;
    let router = Router::start(&folder)?;
    router.client().wait_for_plugin(name, "serving")?;
    Ok(Scene { router, folder })
}

/// One delivery of a quirk, outside a router.
fn called(language: &str, quirk: &str) -> Result<Value> {
    let component = component(&format!("quirks-{language}"));
    let event = event(quirk, "1", &json!(null)).to_string();
    let called: Finished =
        usher(&["call", component.to_str().unwrap(), "-", "--json"], event.as_bytes())?;
    assert_eq!(called.code, 0, "{called:?}");
    Ok(called.json()?["deliveries"][0]["did"].clone())
}

#[test]
#[ignore = "needs the languages' tools: cargo xtask test"]
fn a_template_is_served_as_its_readme_says() -> Result<()> {
    for language in LANGUAGES {
        let config = fs::read_to_string(project(language).join("usher.toml"))?;
        let scene = serving(language, &config)?;
        for visit in 1..=2 {
            let args = ["--type", "guest.arrived", "--source", "/door", "--subject", "Ada"];
            scene.usher(&[&["publish"], &args[..]].concat(), "");
            let sequence = 2 * visit - 1;
            let flow = scene.client().settled_flow(sequence)?;
            assert_eq!(types(&flow), ["guest.arrived", "guest.greeted"], "{language}");
            let greeting = &flow["events"][1]["event"]["data"];
            assert_eq!(*greeting, json!({ "text": "Hello, Ada!", "visit": visit }), "{language}");
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs the languages' tools: cargo xtask test"]
fn verdicts_bytes_and_attributes_are_the_same_in_each() -> Result<()> {
    for language in WITH_QUIRKS {
        let retry = called(language, "quirk.retry")?;
        assert_eq!(
            (&retry["class"], &retry["reason"], &retry["after_ms"]),
            (&json!("retry"), &json!("later"), &json!(500)),
            "{language}"
        );
        let reject = called(language, "quirk.reject")?;
        assert_eq!((&reject["class"], &reject["reason"]), (&json!("reject"), &json!("never")));
        let bytes = called(language, "quirk.bytes")?;
        assert_eq!(
            bytes["emissions"],
            json!([{
                "type": "bytes",
                "datacontenttype": "application/octet-stream",
                "extensions": { "number": "7", "text": "é", "yes": "true" },
                "content": { "base64": "/wA=" },
            }]),
            "{language}: {bytes:#}"
        );
    }
    Ok(())
}

#[test]
#[ignore = "needs the languages' tools: cargo xtask test"]
fn what_breaks_is_told_in_the_authors_words() -> Result<()> {
    for (language, quirk, says, frame) in [
        ("python", "quirk.throw", "ValueError: 1 ", "in broken (app.py:"),
        ("python", "quirk.exit", "RuntimeError: sys.exit(3) was called", ""),
        ("python", "quirk.setting", "the setting 'missing' is missing", ""),
        ("js", "quirk.throw", "TypeError: 1 ", "in broken (plugin.js:"),
        ("js", "quirk.promise", "handle returned a promise, which needs StarlingMonkey", ""),
        ("js", "quirk.setting", "the setting missing is missing", ""),
        ("c", "quirk.throw", "the guest aborted (unreachable)", ""),
    ] {
        let did = called(language, quirk)?;
        let reason = did["reason"].as_str().unwrap_or_default();
        assert_eq!(did["verdict"], "retry", "{language} {quirk}");
        assert!(reason.contains(says), "{language} {quirk}: {reason:?} does not say {says:?}");
        assert!(reason.contains(frame), "{language} {quirk}: {reason:?} has no {frame:?}");
    }
    Ok(())
}

/// Each instance and delivery has random numbers of its own, also where the engine's were fixed when
/// the component was built.
#[test]
#[ignore = "needs the languages' tools: cargo xtask test"]
fn random_numbers_and_time_are_fresh() -> Result<()> {
    for language in ["python", "js"] {
        let name = format!("quirks-{language}");
        let scene = serving(&name, &format!("[plugin.{name}]\nisolation = \"fresh\"\n"))?;
        let mut drawn = Vec::new();
        for number in 0..3 {
            let flow = scene.flow_of("quirk.draw", &format!("e-{number}"), &json!(null))?;
            let data = flow["events"][1]["event"]["data"].clone();
            assert!(data["time"].as_f64().unwrap() > 1_700_000_000.0, "{language}: {data}");
            drawn.push(data);
        }
        let random = |data: &Value| data["random"].as_f64().unwrap();
        assert!(
            random(&drawn[0]) != random(&drawn[1]) && random(&drawn[1]) != random(&drawn[2]),
            "{language}: {drawn:?}"
        );
        // What a module draws when it is imported was drawn when the component was built.
        assert_eq!(drawn[0]["frozen"], drawn[1]["frozen"], "{language}");
    }
    Ok(())
}

#[test]
#[ignore = "needs the languages' tools: cargo xtask test"]
fn a_failure_in_production_is_a_fixture_that_fails_the_same() -> Result<()> {
    for language in WITH_QUIRKS {
        let name = format!("quirks-{language}");
        let grants = format!(
            "[retry]\nmax_attempts = 1\n[plugin.{name}.grants]\nstate = true\n[plugin.{name}.config]\n"
        );
        let scene = serving(&name, &grants)?;
        scene.client().publish_new("quirk.throw", "e-1", &json!(null))?;
        wait_for("the dead letter", || {
            let found = scene.client().get_json("/dead-letters")?;
            Ok(found["dead_letters"][0]["id"].as_u64())
        })?;
        let fixtures = scene.folder.root().join("fixtures");
        let case = fixtures.join("captured");
        scene.usher(&["dead-letters", "capture", "1", case.to_str().unwrap()], "");
        let component = component(&name);
        let (component, fixtures) = (component.to_str().unwrap(), fixtures.to_str().unwrap());
        let test = ["test", "--component", component, "--fixtures", fixtures];
        for _ in 0..2 {
            let tested = usher(&test, b"")?;
            assert_eq!(tested.code, 0, "{language}: {tested:?}");
        }
        let call = || -> Result<Value> {
            let args = ["call", component, case.to_str().unwrap(), "--json"];
            Ok(usher(&args, b"")?.json()?["deliveries"][0]["did"].clone())
        };
        assert_eq!(call()?, call()?, "{language}");
    }
    Ok(())
}

#[test]
#[ignore = "needs the languages' tools: cargo xtask test"]
fn servers_are_asked_where_granted() -> Result<()> {
    let gateway = Gateway::start(Duration::ZERO)?;
    for name in ["quirks-python", "quirks-fetch"] {
        let grants =
            format!("{QUICK_RETRIES}[plugin.{name}.grants]\nhttp = [\"{}\"]\n", gateway.url());
        let scene = serving(name, &grants)?;
        let charge = |url: &str| {
            json!({
                "method": "POST", "url": url,
                "json": { "order": format!("{name}-1"), "amount_cents": 100, "currency": "EUR", "card": "tok_ok" },
            })
        };
        let url = format!("{}/charges", gateway.url());
        let flow = scene.flow_of("quirk.http", "e-1", &charge(&url))?;
        let answered = &flow["events"][1]["event"]["data"];
        assert_eq!(answered["status"], 201, "{name}: {flow:#}");
        assert!(answered["type"].as_str().unwrap().starts_with("application/json"), "{answered}");
        assert!(answered["body"].as_str().unwrap().starts_with('{'), "{answered}");

        let nowhere = json!({ "method": "GET", "url": format!("{}/nowhere", gateway.url()) });
        let flow = scene.flow_of("quirk.http", "e-2", &nowhere)?;
        let refused = delivery(&flow);
        assert_eq!(refused["state"], "dead", "{name}: {flow:#}");
        let reason = refused["failures"][0]["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("answered 404"), "{name}: {refused:#}");

        let flow = scene.flow_of("quirk.http", "e-3", &charge("http://elsewhere.test/"))?;
        let denied = delivery(&flow);
        assert_eq!(denied["state"], "dead", "{name}: {denied:#}");
        let reason = denied["failures"][0]["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("is not granted"), "{name}: {denied:#}");
    }
    Ok(())
}
