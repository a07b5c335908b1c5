//! Rows 53 to 64: bad files in the plugins folder.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::super::row::{Component, Plugin, Row, placed, play, refused};
use super::super::stage::{Stage, build, text};
use super::super::text::Text;
use crate::holds::Holds;
use crate::wait::{poll, wait_for};

/// Files placed in the folder at a time.
const BATCH: usize = 2_000;
/// Number of flipped bits; the runtime's own tests flip ten times as many, without a router.
const FLIPS: usize = 1_000;
/// How often a file is replaced while it is read.
const REPLACEMENTS: usize = 200;
/// Between two listings of a whole [`BATCH`], so that listing isn't most of the router's work.
const LISTING_PAUSE: Duration = Duration::from_millis(250);

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new(
            54,
            "no byte, 1 GiB, gzip, ELF",
            "refused, named",
            [
                refused(|_| Ok(Vec::new()), &["empty"]),
                placed(
                    |path, _| Ok(fs::File::create(path)?.set_len(1 << 30)?),
                    &["1073741824 bytes, the limit is 67108864"],
                ),
                refused(|_| Ok(b"\x1f\x8b\x08\0\0\0\0\0\0\0".to_vec()), &["a gzip file"]),
                refused(|_| Ok(b"\x7fELF\x02\x01\x01\0".to_vec()), &["an ELF file"]),
            ],
        ),
        Row::new(
            55,
            "core module",
            "refused, named",
            [refused(
                |_| Ok(wat::parse_str("(module (func (export \"handle\")))")?),
                &["core module"],
            )],
        ),
        Row::new(
            56,
            "import that isn't offered, or of another version",
            "named in the error",
            [
                refused(
                    |name| {
                        let text = Text {
                            imports: r#"(import "tests:other/thing@1.0.0" "f" (func))"#.into(),
                            world_imports: "import tests:other/thing@1.0.0;".into(),
                            packages: vec![
                                "package tests:other@1.0.0; interface thing { f: func(); }",
                            ],
                            ..Text::default()
                        };
                        text.build(name)
                    },
                    &["imports tests:other/thing@1.0.0, which is not offered"],
                ),
                refused(
                    |_| {
                        let text = r#"(component
                        (import "wasi:cli/environment@9.9.9" (instance
                            (export "get-arguments" (func (result (list string))))))
                        (instance $empty)
                        (export "usher:plugin/listener@0.1.0" (instance $empty)))"#;
                        Ok(wat::parse_str(text)?)
                    },
                    &["imports wasi:cli/environment@9.9.9"],
                ),
                refused(
                    |_| {
                        let text = r#"(component
                        (instance $empty)
                        (export "usher:plugin/listener@9.0.0" (instance $empty)))"#;
                        Ok(wat::parse_str(text)?)
                    },
                    &["exports usher:plugin/listener@9.0.0"],
                ),
            ],
        ),
        Row::new(
            57,
            "right export, wrong type",
            "refused",
            [refused(
                |_| {
                    let text = r#"(component
                    (core module $m (func (export "f")))
                    (core instance $i (instantiate $m))
                    (func $f (canon lift (core func $i "f")))
                    (instance $listener (export "describe" (func $f)) (export "handle" (func $f)))
                    (export "usher:plugin/listener@0.1.0" (instance $listener)))"#;
                    Ok(wat::parse_str(text)?)
                },
                &["not as the contract has it"],
            )],
        ),
        Row::new(
            59,
            "compiled code; poisoned cache",
            "refused; compiled again",
            [
                refused(
                    |_| Ok([b"\x7fELF\x02\x01\x01\0", &[0; 4096][..]].concat()),
                    &["precompiled code is not accepted"],
                ),
                play([Plugin::text(Text::default())], poisoned),
            ],
        ),
        Row::new(
            60,
            "file replaced while it is read",
            "what was hashed is what runs",
            [play([Plugin::text(Text::default())], replaced)],
        ),
        Row::new(
            61,
            "link, pipe, folder, device, same name in other case",
            "regular files only",
            [
                placed(
                    |path, name| {
                        let target = path.with_extension("target");
                        fs::copy(path.with_file_name(format!("{name}.wasm")), &target)?;
                        Ok(symlink(target, path)?)
                    },
                    &["symbolic link"],
                ),
                placed(|path, _| Ok(symlink("/dev/zero", path)?), &["symbolic link"]),
                placed(
                    |path, _| {
                        let made = Command::new("mkfifo").arg(path).status()?;
                        ensure!(made.success(), "mkfifo failed");
                        Ok(())
                    },
                    &["not a regular file"],
                ),
                placed(|path, _| Ok(fs::create_dir(path)?), &["not a regular file"]),
                play([Plugin::text(Text::default())], device),
                play([Plugin::text(Text::default())], namesakes),
            ],
        ),
        Row::new(
            62,
            "other bytes, an older version, more wishes",
            "shown by digest; grants stay",
            [play([Plugin::text(Text::default())], other_bytes)],
        ),
        Row::new(
            63,
            "reloads without end",
            "few of them load; nothing is left",
            [play([Plugin::text(Text::default())], reloads)],
        ),
    ]
}

/// Thousands of corrupt files; in an act of their own, because of the volume of logs.
pub(super) fn broken() -> Vec<Row> {
    let mut row = Row::new(
        53,
        "truncated at each byte; bits flipped",
        "refused, or harmless",
        [play([Plugin::text(Text::default())], broken_files)],
    );
    // The longest row, on a router that has just started: the neighbours' events fill the caches
    // meanwhile, with up to 30 MiB.
    row.growth_max_bytes = 64 * 1024 * 1024;
    vec![row]
}

fn broken_files(stage: &Stage, names: &[String]) -> Result<String> {
    let name = names.first().context("no plugin")?;
    let whole = Text::default().build(name)?;
    let cut: Vec<Vec<u8>> =
        (1..whole.len()).map(|size| whole.get(..size).unwrap_or_default().to_vec()).collect();
    for batch in cut.chunks(BATCH) {
        let taken = all_looked_at(stage, batch)?;
        ensure!(taken.is_empty(), "a part of it was taken: {taken:?}");
    }
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let flipped: Vec<Vec<u8>> = (0..FLIPS)
        .map(|_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let bit = usize::try_from(random % (whole.len() as u64 * 8)).unwrap_or_default();
            let mut bytes = whole.clone();
            if let Some(byte) = bytes.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
            bytes
        })
        .collect();
    let mut taken = 0;
    for batch in flipped.chunks(BATCH) {
        taken += all_looked_at(stage, batch)?.len();
    }
    stage.done(name, &Value::Null)?;
    Ok(format!("{} cut and {FLIPS} flipped; {taken} of them harmless", cut.len()))
}

/// Places files in the folder, last in name order, waits until each serves or is refused, and
/// removes them. Returns the names of those that served.
fn all_looked_at(stage: &Stage, files: &[Vec<u8>]) -> Result<Vec<String>> {
    let path = |number: usize| stage.folder.plugins().join(format!("z-broken-{number}.wasm"));
    for (number, bytes) in files.iter().enumerate() {
        let partial = path(number).with_extension("partial");
        fs::write(&partial, bytes)?;
        fs::rename(&partial, path(number))?;
    }
    let mut served = Vec::new();
    poll("every file to be looked at", LISTING_PAUSE, || {
        let all = stage.client().get_json("/plugins")?;
        let plugins = all.get("plugins").and_then(Value::as_array).context("no plugins")?;
        let broken = |plugin: &&Value| text(plugin, "/file").starts_with("z-broken-");
        served = plugins
            .iter()
            .filter(broken)
            .filter(|plugin| text(plugin, "/state") == "serving")
            .map(|plugin| text(plugin, "/name").to_owned())
            .collect();
        Ok((plugins.iter().filter(broken).count() >= files.len()).then_some(()))
    })?;
    for number in 0..files.len() {
        fs::remove_file(path(number))?;
    }
    wait_for("the files to be forgotten", || {
        Ok((stage.metric("usher_plugin_refused_files")? == Some(0)).then_some(()))
    })?;
    Ok(served)
}

fn poisoned(stage: &Stage, names: &[String]) -> Result<String> {
    let name = names.first().context("no plugin")?;
    let digest = stage.digest(name)?;
    let cache = stage.folder.data().join("cache");
    // A plugin serves with baseline code first, which is not cached.
    let entry = wait_for(&format!("an entry for {digest} in the cache"), || {
        Ok(fs::read_dir(&cache)?
            .filter_map(|entry| entry.ok())
            .find(|entry| entry.file_name().to_string_lossy().starts_with(&digest)))
    })?;
    let mut code = fs::read(entry.path())?;
    let middle = code.len() / 2;
    for byte in code.iter_mut().skip(middle).take(64) {
        *byte ^= 0xff;
    }
    fs::write(entry.path(), code)?;
    let path = stage.file(name);
    let bytes = fs::read(&path)?;
    stage.remove(name)?;
    fs::write(&path, bytes)?;
    stage.client().wait_for_plugin(name, "serving")?;
    stage.router.wait_for_log("a word on the cache", |line| {
        text(line, "/fields/message").contains("the cache entry was tampered with").then_some(())
    })?;
    stage.done(name, &Value::Null)?;
    Ok("tampered with: compiled again".to_owned())
}

/// Two versions of a plugin that differ only in an unused data segment.
fn versions(name: &str) -> Result<[Vec<u8>; 2]> {
    let first = Text::default().build(name)?;
    let fields = "(data (i32.const 2048) \"the second\")".to_owned();
    let second = Text { fields, ..Text::default() }.build(name)?;
    Ok([first, second])
}

fn replaced(stage: &Stage, names: &[String]) -> Result<String> {
    let name = names.first().context("no plugin")?;
    let path = stage.file(name);
    let versions = versions(name)?;
    for (_, version) in (0..REPLACEMENTS).zip(versions.iter().cycle()) {
        // Overwritten in place in two steps, so that a concurrent reader sees a partial file.
        let (half, _) = version.split_at(version.len() / 2);
        fs::write(&path, half)?;
        fs::write(&path, version)?;
    }
    let last = settled(stage, name, &versions, REPLACEMENTS)?;
    let log = fs::read_to_string(stage.folder.root().join("router.log"))?;
    let digests: std::collections::BTreeSet<String> = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| text(line, "/fields/plugin") == name)
        .filter(|line| text(line, "/fields/message") == "plugin serving")
        .map(|line| text(&line, "/fields/digest").to_owned())
        .collect();
    ensure!(digests.len() <= 2, "mixtures were loaded: {digests:?}");
    Ok(format!("{REPLACEMENTS} replacements, {last}"))
}

/// Waits until the newest version serves.
fn settled(stage: &Stage, name: &str, versions: &[Vec<u8>; 2], written: usize) -> Result<String> {
    let last = versions.get((written + 1) % 2).context("no such version")?;
    let path = stage.file(name);
    ensure!(&fs::read(&path)? == last, "the last version isn't the last");
    let digest = sha256(&path)?;
    wait_for("the last version to serve", || Ok((stage.digest(name)? == digest).then_some(())))?;
    stage.done(name, &Value::Null)?;
    Ok("the last one serves".to_owned())
}

/// Computed by an independent program.
fn sha256(path: &Path) -> Result<String> {
    let output = Command::new("sha256sum").arg(path).output().context("running sha256sum")?;
    let line = String::from_utf8(output.stdout)?;
    Ok(line.split_whitespace().next().context("sha256sum said nothing")?.to_owned())
}

/// A device node like `/dev/zero`, if this user may create one.
fn device(stage: &Stage, names: &[String]) -> Result<String> {
    let name = names.first().context("no plugin")?;
    let path = stage.file(name);
    let digest = stage.digest(name)?;
    let node = path.with_extension("device");
    let made = Command::new("mknod").arg(&node).args(["c", "1", "5"]).output()?;
    if !made.status.success() {
        let why = String::from_utf8_lossy(&made.stderr);
        return Ok(format!("no device was tried: {}", why.trim()));
    }
    fs::rename(&node, &path)?;
    let reason = stage.refused(name, &["not a regular file"])?;
    ensure!(stage.digest(name)? == digest, "another version serves");
    stage.done(name, &Value::Null)?;
    Ok(format!("a device is refused: {reason}"))
}

fn namesakes(stage: &Stage, names: &[String]) -> Result<String> {
    let name = names.first().context("no plugin")?;
    let path = stage.file(name);
    let digest = stage.digest(name)?;
    for other in [format!("{}.wasm", name.to_ascii_uppercase()), "linked.wasm".to_owned()] {
        let other_path = stage.folder.plugins().join(&other);
        fs::hard_link(&path, &other_path)?;
        // Of two files, the first by name wins, regardless of which was there before.
        let own = path.file_name().and_then(|name| name.to_str()).context("no file name")?;
        let last = own.max(&other);
        wait_for(&format!("{last} to be refused"), || {
            let all = stage.client().get_json("/plugins")?;
            let plugins = all.get("plugins").and_then(Value::as_array).context("no plugins")?;
            let refused = plugins.iter().find(|plugin| {
                text(plugin, "/state") == "refused" && text(plugin, "/file") == last
            });
            Ok(refused.and_then(|refused| {
                text(refused, "/reason").contains("that name is taken by").then_some(())
            }))
        })?;
        fs::remove_file(other_path)?;
        wait_for(&format!("{own} to serve again"), || {
            let plugin = stage.client().plugin(name)?;
            let serves = |plugin: &Value| {
                text(plugin, "/state") == "serving" && text(plugin, "/file") == own
            };
            Ok(plugin.as_ref().is_some_and(serves).then_some(()))
        })?;
    }
    ensure!(stage.digest(name)? == digest, "another version serves");
    stage.done(name, &Value::Null)?;
    Ok("that name is taken".to_owned())
}

fn other_bytes(stage: &Stage, names: &[String]) -> Result<String> {
    let name = names.first().context("no plugin")?;
    let path = stage.file(name);
    let before = stage.digest(name)?;
    let partial = path.with_extension("partial");
    fs::write(&partial, build(&Component::Rust, name)?)?;
    fs::rename(&partial, &path)?;
    let digest = sha256(&path)?;
    wait_for("the other version to serve", || Ok((stage.digest(name)? == digest).then_some(())))?;
    stage.router.wait_for_log("the change of digests", |line| {
        let fits = text(line, "/fields/plugin") == name.as_str()
            && text(line, "/fields/digest") == digest
            && text(line, "/fields/from").starts_with(before.get(..8).unwrap_or_default());
        fits.then_some(())
    })?;
    let found = stage.emitted(name, &json!({ "mode": "look", "key": "any" }))?;
    ensure!(text(&found, "/kind") == "denied", "it got what nobody granted: {found}");
    Ok("both digests are logged and shown; nothing more is granted".to_owned())
}

fn reloads(stage: &Stage, names: &[String]) -> Result<String> {
    let name = names.first().context("no plugin")?;
    let path = stage.file(name);
    let versions = versions(name)?;
    let process = stage.router.process();
    let descriptors = Holds::of(process)?.descriptors;
    let end = Instant::now() + Duration::from_secs(4);
    let mut written = 0;
    // About 1,000 per minute.
    for (number, version) in versions.iter().cycle().enumerate() {
        if Instant::now() > end && number % 2 == 0 {
            break;
        }
        let partial = path.with_extension("partial");
        fs::write(&partial, version)?;
        fs::rename(&partial, &path)?;
        written = number + 1;
        std::thread::sleep(Duration::from_millis(60));
    }
    settled(stage, name, &versions, written)?;
    let log = fs::read_to_string(stage.folder.root().join("router.log"))?;
    let loaded = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| text(line, "/fields/plugin") == name)
        .filter(|line| text(line, "/fields/message") == "plugin serving")
        .count();
    ensure!(loaded <= written + 1, "{loaded} loads of {written} files");
    let open = Holds::of(process)?.descriptors;
    ensure!(open <= descriptors + 8, "{open} descriptors, {descriptors} before");
    wait_for("the old versions' instances to go", || {
        let instances = stage.client().plugin(name)?;
        let instances = instances.as_ref().and_then(|plugin| plugin.pointer("/stats/instances"));
        Ok((instances.and_then(Value::as_u64) <= Some(1)).then_some(()))
    })?;
    Ok(format!("{written} files, {loaded} loads, {open} descriptors"))
}
