//! The plugins folder: files that are added, changed, broken and removed.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use usher_tests::{guest, usher, wait_for};

use crate::scene::{Scene, types};

#[test]
fn a_plugin_comes_goes_and_comes_back() -> Result<()> {
    let scene = Scene::empty()?;
    let file = scene.folder.install(&guest("echo")?, "anything.wasm")?;
    let plugin = scene.client().wait_for_plugin("echo", "serving")?;
    assert_eq!(plugin["file"], "anything.wasm");
    let flow = scene.flow_of("test.echo", "1", &json!({}))?;
    assert_eq!(types(&flow), ["test.echo", "test.echoed"]);

    fs::remove_file(&file)?;
    scene.client().wait_for_plugin("echo", "removed")?;
    let names = plugin["subscriptions"].as_array().context("no subscriptions")?;
    let name = names[0].as_str().context("a subscription without a name")?;
    let status = wait_for("the subscription to pause", || {
        let status = scene.client().subscription(name)?;
        Ok(status.filter(|status| status["state"] == "paused"))
    })?;
    assert_eq!(status["plugin"], "echo");

    let waiting = scene.client().publish_new("test.echo", "2", &json!({}))?;
    let path = format!("/flows/{}", waiting.sequence);
    assert_eq!(scene.client().get_json(&path)?["settled"], false);

    scene.folder.install(&guest("echo")?, "anything.wasm")?;
    let flow = scene.client().settled_flow(waiting.sequence)?;
    assert_eq!(types(&flow), ["test.echo", "test.echoed"]);
    Ok(())
}

#[test]
fn a_file_that_is_still_being_written_is_loaded_once_whole() -> Result<()> {
    let scene = Scene::empty()?;
    let content = fs::read(guest("echo")?)?;
    let (first, second) = content.split_at(content.len() / 2);
    let path = scene.folder.plugins().join("echo.wasm");
    fs::write(&path, first)?;
    refusal(&scene, "echo.wasm")?;
    let mut file = fs::File::options().append(true).open(&path)?;
    std::io::Write::write_all(&mut file, second)?;
    drop(file);
    scene.client().wait_for_plugin("echo", "serving")?;
    Ok(())
}

/// Components that don't fit the contract, with a word from the reason given for each.
const COMPONENTS: [(&str, &str, &str); 3] = [
    (
        "unknown-import.wasm",
        r#"(component
            (import "example:other/thing@1.0.0" (instance (export "f" (func))))
            (instance $empty)
            (export "usher:plugin/listener@0.1.0" (instance $empty)))"#,
        "imports example:other/thing@1.0.0, which is not offered",
    ),
    (
        "import-of-another-version.wasm",
        r#"(component
            (import "wasi:cli/environment@9.9.9" (instance
                (export "get-arguments" (func (result (list string))))))
            (instance $empty)
            (export "usher:plugin/listener@0.1.0" (instance $empty)))"#,
        "imports wasi:cli/environment@9.9.9, which is not offered",
    ),
    (
        "listener-of-another-version.wasm",
        r#"(component
            (instance $empty)
            (export "usher:plugin/listener@9.0.0" (instance $empty)))"#,
        "exports usher:plugin/listener@9.0.0, expected usher:plugin/listener@0.1.0",
    ),
];

#[test]
fn files_that_are_no_plugins_change_nothing_and_say_why() -> Result<()> {
    let scene = Scene::with("", &["echo"])?;
    let component = fs::read(guest("echo")?)?;
    let table: [(&str, &[u8], &str); 6] = [
        ("empty.wasm", b"", "empty"),
        ("text.wasm", b"hello", "wasm"),
        ("gzip.wasm", b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "wasm"),
        ("core.wasm", b"\0asm\x01\0\0\0", "core module"),
        ("no-listener.wasm", b"\0asm\x0d\0\x01\0", "usher:plugin/listener"),
        ("truncated.wasm", &component[..component.len() * 2 / 3], ""),
    ];
    for (file, content, says) in table {
        let path = scene.folder.plugins().join(file);
        fs::write(&path, content)?;
        let reason = refusal(&scene, file)?;
        assert!(reason.contains(says), "{file}: {reason:?} does not mention {says:?}");
        logged(&scene, file)?;
    }
    for (name, says) in [
        ("describe-trap", "trap"),
        ("describe-loop", "describe"),
        ("describe-bad-filter", "filter"),
        ("describe-empty-name", "name"),
    ] {
        let file = format!("{name}.wasm");
        scene.folder.install(&guest(name)?, &file)?;
        let reason = refusal(&scene, &file)?;
        assert!(reason.contains(says), "{file}: {reason:?} does not mention {says:?}");
    }
    for (file, text, says) in COMPONENTS {
        fs::write(scene.folder.plugins().join(file), wat::parse_str(text)?)?;
        let reason = refusal(&scene, file)?;
        assert!(reason.contains(says), "{file}: {reason:?} does not mention {says:?}");
    }
    let flow = scene.flow_of("test.echo", "1", &json!({}))?;
    assert_eq!(types(&flow), ["test.echo", "test.echoed"]);

    let listed = usher(&["plugins", "--url", scene.router.url()], b"")?;
    assert_eq!(listed.code, 0, "{listed:?}");
    for file in ["core.wasm", "describe-loop.wasm"] {
        assert!(listed.stdout.contains(file), "`usher plugins` is silent on {file}: {listed:?}");
    }

    // A removed file is no longer reported.
    fs::remove_file(scene.folder.plugins().join("text.wasm"))?;
    wait_for("text.wasm to be forgotten", || {
        let all = scene.client().get_json("/plugins")?;
        Ok(entry(&all, "text.wasm").is_none().then_some(()))
    })
}

#[test]
fn a_broken_new_version_leaves_the_old_one_serving() -> Result<()> {
    let scene = Scene::with("", &["echo"])?;
    let path = scene.folder.plugins().join("echo.wasm");
    let before = scene.client().plugin("echo")?.context("no echo")?;
    for content in [&b"not a component"[..], b"\0asm\x0d\0\x01\0"] {
        fs::write(&path, content)?;
        let plugin = wait_for("the refusal", || {
            let plugin = scene.client().plugin("echo")?.context("echo is gone")?;
            Ok(plugin["refused"]["reason"].is_string().then_some(plugin))
        })?;
        assert_eq!(plugin["state"], "serving");
        assert_eq!(plugin["digest"], before["digest"]);
    }
    let flow = scene.flow_of("test.echo", "1", &json!({}))?;
    assert_eq!(types(&flow), ["test.echo", "test.echoed"]);

    scene.folder.install(&guest("echo-v2")?, "echo.wasm")?;
    let plugin = wait_for("the repaired version", || {
        let plugin = scene.client().plugin("echo")?.context("echo is gone")?;
        Ok((plugin["digest"] != before["digest"]).then_some(plugin))
    })?;
    assert!(plugin["refused"].is_null(), "{plugin}");
    let flow = scene.flow_of("test.echo", "2", &json!({}))?;
    assert_eq!(flow["events"][1]["event"]["data"]["v"], 2);
    Ok(())
}

#[test]
fn a_second_file_with_the_same_name_inside_is_refused() -> Result<()> {
    let scene = Scene::with("", &["echo"])?;
    scene.folder.install(&guest("echo-v2")?, "other.wasm")?;
    let reason = refusal(&scene, "other.wasm")?;
    assert!(reason.contains("echo.wasm"), "{reason:?} does not name the file that is there");
    assert_eq!(scene.client().plugin("echo")?.context("no echo")?["state"], "serving");
    Ok(())
}

/// Waits until a file is refused; returns the reason.
fn refusal(scene: &Scene, file: &str) -> Result<String> {
    wait_for(&format!("{file} to be refused"), || {
        let all = scene.client().get_json("/plugins")?;
        let reason = entry(&all, file).and_then(|found| found["reason"].as_str());
        Ok(reason.map(ToOwned::to_owned))
    })
    .with_context(|| scene.router.log_tail(20))
}

fn entry<'a>(all: &'a Value, file: &str) -> Option<&'a Value> {
    let plugins = all["plugins"].as_array()?;
    plugins.iter().find(|plugin| plugin["state"] == "refused" && is_file(&plugin["file"], file))
}

fn is_file(found: &Value, file: &str) -> bool {
    found.as_str().is_some_and(|path| Path::new(path).file_name() == Some(file.as_ref()))
}

fn logged(scene: &Scene, file: &str) -> Result<()> {
    scene.router.wait_for_log(&format!("a word on {file}"), |line| {
        let warned = line["level"] == "WARN" || line["level"] == "ERROR";
        (warned && line["fields"].to_string().contains(file)).then_some(())
    })
}
