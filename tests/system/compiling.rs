//! Plugins are compiled apart, within bounds of time and memory.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use usher_tests::{Folder, guest, usher, wait_for};

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
    text.push_str("))");
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
    // How it goes on depends on how busy the machine is.
    let time = checked("wall_ms = 300")?;
    let words = time.as_str().unwrap_or_default();
    assert!(words.starts_with("large.wasm: compiling it takes longer than 300 ms"), "{time}");
    Ok(())
}

#[test]
fn a_component_that_is_too_large_to_compile_harms_nobody() -> Result<()> {
    let scene = Scene::with("[compiler]\nmemory_bytes = 67108864\n", &["echo"])?;
    fs::write(scene.folder.plugins().join("large.wasm"), large(20_000)?)?;
    let client = scene.client();
    let refused = wait_for("large.wasm to be refused", || {
        let found = client.get_json("/plugins")?;
        let mut plugins = found["plugins"].as_array().into_iter().flatten();
        Ok(plugins.find(|plugin| plugin["file"] == "large.wasm").cloned())
    })?;
    let reason = refused["reason"].as_str().context("no reason")?;
    assert!(reason.contains("compiling it takes more than 67108864 bytes"), "{reason}");
    assert!(!reason.contains("tried again"), "{reason}");
    let flow = scene.flow_of("test.echo", "1", &json!({}))?;
    assert_eq!(types(&flow), ["test.echo", "test.echoed"]);
    // What comes after it is compiled as ever.
    scene.folder.install(&guest("hop")?, "hop.wasm")?;
    client.wait_for_plugin("hop", "serving")?;
    Ok(())
}

#[test]
fn the_process_that_compiles_says_how_it_ended() -> Result<()> {
    let component = fs::read(guest("echo")?)?;
    let args = [Path::new("compile-component"), Path::new("268435456")];
    let compiled = usher(&args, &component)?;
    assert_eq!(compiled.code, 0, "{}", compiled.stderr);
    let invalid = usher(&args, b"\0asm\x0d\0\x01\0\xff")?;
    assert_eq!(invalid.code, 65, "{invalid:?}");
    assert!(!invalid.stderr.is_empty());
    Ok(())
}
