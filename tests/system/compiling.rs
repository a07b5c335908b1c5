//! Plugins are compiled in a separate process, bounded in time and memory.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use usher_tests::{Folder, Router, guest, usher, wait_for};

use crate::scene::{Scene, types};

/// A valid component that takes long, and much memory, to compile: so many functions.
fn large(functions: usize) -> Result<Vec<u8>> {
    let mut text = "(component (core module".to_owned();
    for number in 0..functions {
        text.push_str("(func (param i64) (result i64) local.get 0");
        for step in 0..100 {
            write!(text, " i64.const {} i64.add local.get 0 i64.mul", number * 100 + step)?;
        }
        text.push(')');
    }
    // A component without a listener export is refused before it is compiled.
    text.push_str(") (instance $none) (export \"usher:plugin/listener@0.1.0\" (instance $none)))");
    Ok(wat::parse_str(&text)?)
}

/// What `usher check` says of a folder with a large component, given these bounds.
fn checked(bounds: &str) -> Result<Value> {
    let folder = Folder::with_config("", &format!("[compiler]\n{bounds}\n"))?;
    fs::write(folder.plugins().join("large.wasm"), large(20_000)?)?;
    let args = [Path::new("check"), Path::new("--json"), Path::new("--config"), &folder.config()];
    let finished = usher(&args, b"")?;
    let report: Value =
        serde_json::from_str(&finished.stdout).with_context(|| format!("{finished:?}"))?;
    Ok(report["plugins"][0]["reason"].clone())
}

#[test]
fn what_takes_too_much_memory_or_time_to_compile_is_refused() -> Result<()> {
    let memory = checked("memory_bytes = 67108864")?;
    assert_eq!(
        memory,
        "large.wasm: compiling it takes more than 67108864 bytes of memory: make it smaller, or \
         raise memory_bytes in [compiler] in usher.toml"
    );
    let time = checked("cpu_ms = 300")?;
    assert_eq!(
        time,
        "large.wasm: compiling it takes more than 300 ms of processor time: make it smaller, or raise \
         cpu_ms in [compiler] in usher.toml"
    );
    Ok(())
}

#[test]
fn a_component_that_is_too_large_to_compile_harms_nobody() -> Result<()> {
    let scene = Scene::with("[compiler]\nmemory_bytes = 67108864\n", &["echo"])?;
    fs::write(scene.folder.plugins().join("large.wasm"), large(20_000)?)?;
    let client = scene.client();
    let loading = || -> Result<Option<Vec<Value>>> {
        Ok(client.get_json("/plugins")?["loading"].as_array().cloned())
    };
    let found = wait_for("large.wasm to be loaded", || {
        Ok(loading()?.into_iter().flatten().find(|one| one["file"] == "large.wasm"))
    })?;
    assert!(found["digest"].is_string() && found["since"].is_string(), "{found}");
    let refused = wait_for("large.wasm to be refused", || {
        let found = client.get_json("/plugins")?;
        let mut plugins = found["plugins"].as_array().into_iter().flatten();
        Ok(plugins.find(|plugin| plugin["file"] == "large.wasm").cloned())
    })?;
    let reason = refused["reason"].as_str().context("no reason")?;
    assert!(reason.contains("compiling it takes more than 67108864 bytes"), "{reason}");
    assert!(!reason.contains("tried again"), "{reason}");
    wait_for("nothing to be loaded", || {
        Ok(loading()?.is_some_and(|some| some.is_empty()).then_some(()))
    })?;
    let flow = scene.flow_of("test.echo", "1", &json!({}))?;
    assert_eq!(types(&flow), ["test.echo", "test.echoed"]);
    // Later plugins are compiled as usual.
    scene.folder.install(&guest("hop")?, "hop.wasm")?;
    client.wait_for_plugin("hop", "serving")?;
    Ok(())
}

#[test]
fn readiness_waits_for_no_plugin_that_takes_long_to_compile() -> Result<()> {
    let folder = Folder::with_config("", "[compiler]\nmemory_bytes = 67108864\n")?;
    fs::write(folder.plugins().join("a-large.wasm"), large(20_000)?)?;
    folder.install_guests(&["echo"])?;
    let router = Router::start(&folder)?;
    router.client().wait_for_plugin("echo", "serving")?;
    let when = |what: &str| {
        router.wait_for_log(what, |line| {
            let is_it = line["fields"]["message"] == what;
            is_it.then(|| line["timestamp"].as_str().map(str::to_owned))
        })
    };
    let (ready, refused) = (when("ready")?, when("plugin refused")?);
    assert!(ready < refused, "ready at {ready:?}, {refused:?} was waited for");
    router.stop()
}

#[test]
fn a_refusal_that_cost_much_is_remembered_until_the_bounds_change() -> Result<()> {
    let folder = Folder::with_config("", "[compiler]\nmemory_bytes = 67108864\n")?;
    fs::write(folder.plugins().join("large.wasm"), large(20_000)?)?;
    folder.install_guests(&["echo"])?;
    let reason = |router: &Router| {
        wait_for("large.wasm to be refused", || {
            let found = router.client().get_json("/plugins")?;
            let mut plugins = found["plugins"].as_array().into_iter().flatten();
            let refused = plugins.find(|plugin| plugin["file"] == "large.wasm");
            Ok(refused.and_then(|plugin| plugin["reason"].as_str()).map(str::to_owned))
        })
    };
    let first = Router::start(&folder)?;
    let refused = reason(&first)?;
    first.stop()?;
    // The next start repeats the remembered reason verbatim.
    let remembered = fs::read_to_string(folder.data().join("plugins/.refused.json"))?;
    fs::write(
        folder.data().join("plugins/.refused.json"),
        remembered.replace("of memory", "of memory, as is remembered"),
    )?;
    let second = Router::start(&folder)?;
    assert_eq!(reason(&second)?, refused.replace("of memory", "of memory, as is remembered"));
    second.client().wait_for_plugin("echo", "serving")?;
    second.stop()?;
    folder.configure("", "[compiler]\nmemory_bytes = 67108865\n")?;
    let third = Router::start(&folder)?;
    assert_eq!(reason(&third)?, refused.replace("67108864", "67108865"));
    third.stop()
}

#[test]
fn the_process_that_compiles_says_how_it_ended() -> Result<()> {
    let component = fs::read(guest("echo")?)?;
    let args = ["compile-component", "268435456", "baseline"];
    let compiled = usher(&args, &component)?;
    assert_eq!(compiled.code, 0, "{}", compiled.stderr);
    let invalid = usher(&args, b"\0asm\x0d\0\x01\0\xff")?;
    assert_eq!(invalid.code, 65, "{invalid:?}");
    assert!(!invalid.stderr.is_empty());
    Ok(())
}

#[test]
fn a_plugin_serves_before_its_code_is_optimised() -> Result<()> {
    let scene = Scene::with("", &["echo"])?;
    let flow = scene.flow_of("test.echo", "1", &json!({}))?;
    assert_eq!(types(&flow), ["test.echo", "test.echoed"]);
    let optimised = |line: &Value| {
        let is_it = line["fields"]["message"] == "plugin serving with optimised code";
        is_it.then(|| line["fields"]["plugin"].clone())
    };
    assert_eq!(scene.router.wait_for_log("optimised code", optimised)?, "echo");
    let flow = scene.flow_of("test.echo", "2", &json!({}))?;
    assert_eq!(types(&flow), ["test.echo", "test.echoed"]);
    let (data, echo) = (scene.folder.root().join("data"), guest("echo")?);
    let args = ["compile", "--json", "--data", data.to_str().unwrap(), echo.to_str().unwrap()];
    assert_eq!(usher(&args, b"")?.json()?["was_there"], true, "the next start finds it");
    Ok(())
}
