//! usher.toml: all its problems are reported at once, before anything is opened.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::json;
use usher_tests::{Folder, percent_encoded, usher};

use crate::scene::{Scene, types};

/// Invalid filters in JSON, and where the problem is. TOML can't express a duplicate key.
const WRONG_FILTERS: [(&str, &str); 9] = [
    (r#"{"exact":{"type":""}}"#, "exact.type"),
    (r#"{"exact":{"Type":"a"}}"#, "Type"),
    (r#"{"exact":{}}"#, "exact"),
    (r#"{"not":[]}"#, "not"),
    (r#"{"any":[]}"#, "any"),
    (r#"{"all":[{"suffix":{"source":1}}]}"#, "all[0]"),
    (r#"{"exact":{"type":"a"},"prefix":{"type":"a"}}"#, "one"),
    (r#"{"sql":"type ="}"#, "sql"),
    (r#"{"data":{"/total":{"gte":"7"}}}"#, "/total"),
];

#[test]
fn a_wrong_filter_is_told_in_the_same_words_everywhere() -> Result<()> {
    let scene = Scene::empty()?;
    let folder = Folder::new()?;
    let deep =
        format!("{}{}{}", r#"{"not":"#.repeat(16), r#"{"exact":{"type":"a"}}"#, "}".repeat(16));
    let wrong = WRONG_FILTERS.iter().map(|(filter, says)| ((*filter).to_owned(), *says));
    for (filter, says) in wrong.chain([(deep, "16")]) {
        let answer = scene.client().get(&format!("/events?filter={}", percent_encoded(&filter)))?;
        assert_eq!(answer.status, 400, "{filter}: {}", answer.text());
        let of_http = answer.json()?["detail"].as_str().context("no detail")?.to_owned();
        let of_cli = usher(&["tail", "--url", scene.router.url(), "--filter", &filter], b"")?;
        assert_eq!(of_cli.code, 2, "{filter}: {of_cli:?}");
        // With `=` in place of `:`, this JSON is valid TOML.
        let toml = filter.replace("\":", "\"=");
        folder.configure("", &format!("[plugin.echo.subscription.echo]\nfilter = {toml}\n"))?;
        let finished = usher(&[Path::new("check"), Path::new("--config"), &folder.config()], b"")?;
        assert_eq!(finished.code, 2, "{filter}: {finished:?}");
        let said = format!("{}{}", finished.stdout, finished.stderr);
        // The problem, without the prefix: the parameter's name over HTTP, the key in the file.
        let words = of_http.trim_start_matches("filter").trim_start_matches([':', ' ']);
        assert!(words.contains(says), "{filter}: {of_http}");
        // Each indents the lines below its first as it likes.
        for line in words.lines().map(str::trim) {
            assert!(said.contains(line), "{filter}: {line}\n{said}");
            assert!(of_cli.stderr.contains(line), "{filter}: {line}\n{of_cli:?}");
        }
    }
    Ok(())
}

#[test]
fn every_error_is_reported_at_once() -> Result<()> {
    let folder = Folder::new()?;
    let text = format!(
        r#"listen = "127.0.0.1:0"
data = {:?}
plugin = 7
"#,
        folder.data()
    );
    fs::write(folder.config(), text)?;
    let finished = usher(&[Path::new("run"), Path::new("--config"), &folder.config()], b"")?;
    assert_eq!(finished.code, 2, "{finished:?}");
    assert!(finished.stderr.contains("usher.toml"), "{finished:?}");
    assert!(finished.stderr.contains("plugin"), "{finished:?}");

    folder.configure(
        "colour = \"red\"\ndrain_ms = -1",
        r#"
[retry]
factor = 0.5
max_attempts = 0
[plugin.Echo]
instances = 4
[plugin.echo]
instances = 0
instanses = 4
[plugin.echo.grants]
http = ["not a url"]
[plugin.echo.limits]
cpu_ms = 999999999
memory_bytes = 1
[plugin.echo.subscription.echo]
filter = { exact = { type = "" } }
[plugin.echo.secrets]
KEY = { env = "USHER_NO_SUCH_VARIABLE" }
"#,
    )?;
    for verb in ["run", "check"] {
        let finished = usher(&[Path::new(verb), Path::new("--config"), &folder.config()], b"")?;
        assert_eq!(finished.code, 2, "{verb}: {finished:?}");
        let said = format!("{}{}", finished.stdout, finished.stderr);
        for word in [
            "colour",
            "drain_ms",
            "factor",
            "max_attempts",
            "Echo",
            "instances",
            "instanses",
            "not a url",
            "cpu_ms",
            "memory_bytes",
            "filter",
        ] {
            assert!(said.contains(word), "{verb} does not mention {word}:\n{said}");
        }
        let lines = said.lines().filter(|line| line.contains("usher.toml:")).count();
        assert!(lines >= 8, "{verb} names only {lines} places:\n{said}");
        assert!(!folder.data().exists(), "{verb} opened something before it knew the errors");
    }
    Ok(())
}

#[test]
fn a_file_that_is_no_toml_or_not_there_is_named() -> Result<()> {
    let folder = Folder::new()?;
    fs::write(folder.config(), "listen = = 7")?;
    let missing = folder.root().join("missing.toml");
    for file in [folder.config(), missing] {
        let finished = usher(&[Path::new("run"), Path::new("--config"), &file], b"")?;
        assert_eq!(finished.code, 2, "{finished:?}");
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(finished.stderr.contains(name), "{finished:?}");
        assert!(!folder.data().exists());
    }
    Ok(())
}

#[test]
fn the_operator_overrides_what_a_plugin_asks_for() -> Result<()> {
    let tables = r#"
[plugin.echo.subscription.echo]
filter = { prefix = { type = "other." } }
max_in_flight = 3
"#;
    let scene = Scene::with(tables, &["echo"])?;
    let status = scene.client().subscription("echo/echo")?.unwrap();
    assert_eq!(status["max_in_flight"], 3);
    assert_eq!(status["filter"], json!({ "prefix": { "type": "other." } }));
    assert_eq!(types(&scene.flow_of("test.echo", "1", &json!({}))?), ["test.echo"]);
    assert_eq!(
        types(&scene.flow_of("other.thing", "2", &json!({}))?),
        ["other.thing", "test.echoed"]
    );
    Ok(())
}

#[test]
fn a_change_of_a_plugins_tables_is_in_force_without_a_restart() -> Result<()> {
    let Scene { router, folder } = Scene::with("", &["echo"])?;
    let paused = |is_paused: bool| {
        usher_tests::wait_for("the subscription to follow", || {
            let status = router.client().subscription("echo/echo")?.context("no subscription")?;
            Ok(((status["state"] == "paused") == is_paused).then_some(status))
        })
    };
    folder.configure("", "[plugin.echo.subscription.echo]\nenabled = false\n")?;
    let status = paused(true)?;
    let why = status["paused_because"].as_str().context("no reason")?;
    assert!(why.contains("enabled = false"), "{why}");
    // A configuration with problems changes nothing, and its problems are reported.
    folder.configure("", "[plugin.echo]\nisntances = 2\n")?;
    router.wait_for_log("the problem", |line| {
        let says = line["fields"]["message"].as_str()?;
        says.contains("isntances").then_some(())
    })?;
    paused(true)?;
    folder.configure("drain_ms = 5", "")?;
    paused(false)?;
    router.wait_for_log("what takes a restart", |line| {
        let says = line["fields"]["message"].as_str()?;
        says.contains("change while the router runs").then_some(())
    })?;
    let flow = router.client().publish_new("test.echo", "1", &json!({}))?;
    assert_eq!(types(&router.client().settled_flow(flow.sequence)?).len(), 2);
    router.stop()
}
