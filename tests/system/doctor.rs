//! `usher doctor`: what is wrong is found, and said with what to do.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use usher_tests::{Finished, Folder, Router, usher};

use crate::recorder::Server;
use crate::scene::QUICK_RETRIES;

fn doctor(folder: &Folder, url: &str) -> Result<Finished> {
    let config = folder.config();
    let config = config.to_str().context("the path is no text")?;
    usher(&["doctor", "--json", "--config", config, "--url", url], b"")
}

/// The verdicts on one thing, with what was found.
fn of(told: &Value, about: &str) -> Vec<(String, String)> {
    let findings = told["findings"].as_array().cloned().unwrap_or_default();
    let own = findings.iter().filter(|finding| finding["about"] == about);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    own.map(|finding| (text(&finding["verdict"]), text(&finding["found"]))).collect()
}

#[test]
fn a_healthy_router_is_good() -> Result<()> {
    let collector = Server::start()?;
    let tracing = format!("[tracing]\nendpoint = \"{}\"\n", collector.url);
    let folder = Folder::with_config("", &format!("{QUICK_RETRIES}{tracing}"))?;
    folder.install_guests(&["fail"])?;
    let router = Router::start(&folder)?;
    router.client().wait_for_plugin("fail", "serving")?;
    let told = doctor(&folder, router.url())?;
    assert_eq!(told.code, 0, "{told:?}");
    let told = told.json()?;
    for about in ["configuration", "data folder", "access", "plugins", "tracing", "router", "clock"]
    {
        let found = of(&told, about);
        assert!(found.iter().all(|(verdict, _)| verdict == "good"), "{about}: {found:?}");
        assert!(!found.is_empty(), "{about}: {told}");
    }
    // What a running router knows.
    let receipt = router.client().publish_new("test.fail", "1", &json!({ "mode": "reject" }))?;
    router.client().settled_flow(receipt.sequence)?;
    assert_eq!(router.client().post("/plugins/fail/pause")?.status, 200);
    drop(collector);
    let told = doctor(&folder, router.url())?;
    assert_eq!(told.code, 0, "a warning is nothing bad: {told:?}");
    let told = told.json()?;
    assert_eq!(of(&told, "tracing")[0].0, "warning", "{told}");
    let found = of(&told, "router");
    let warned = |words: &str| {
        found.iter().any(|(verdict, found)| verdict == "warning" && found.contains(words))
    };
    assert!(warned("1 dead letter") && warned("paused: fail"), "{found:?}");
    Ok(())
}

#[test]
fn what_is_wrong_is_bad() -> Result<()> {
    let folder = Folder::new()?;
    fs::write(folder.plugins().join("broken.wasm"), b"no component")?;
    let text = fs::read_to_string(folder.config())?;
    let everywhere = text.replace("127.0.0.1:0", "0.0.0.0:7443");
    fs::write(folder.config(), format!("tls = \"off\"\n{everywhere}"))?;
    let told = doctor(&folder, "http://127.0.0.1:1")?;
    assert_eq!(told.code, 1, "{told:?}");
    let told = told.json()?;
    assert_eq!(told["ok"], false);
    for (about, words) in
        [("access", "there are no tokens"), ("plugins", "broken.wasm"), ("router", "127.0.0.1:1")]
    {
        let found = of(&told, about);
        let is_bad =
            |(verdict, found): &(String, String)| verdict == "bad" && found.contains(words);
        assert!(found.iter().any(is_bad), "{about}: {found:?}");
    }
    fs::write(folder.config(), "nonsense = 1\n")?;
    let told = doctor(&folder, "http://127.0.0.1:1")?;
    assert_eq!(told.code, 1);
    assert_eq!(of(&told.json()?, "configuration")[0].0, "bad");
    Ok(())
}
