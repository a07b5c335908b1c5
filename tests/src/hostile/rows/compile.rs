//! Row 58: small components that take much time or memory to compile.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::super::row::{Plugin, Row, play};
use super::super::stage::{Stage, text};
use super::super::text::Text;
use super::composed::{leb128, module, wrapped};
use crate::wait::wait_for;

/// Limit on loading: the catalogue's limit on compilation, plus the steps around it.
const LOAD_MAX: Duration = Duration::from_secs(40);

/// A bomb: description and generator.
type Bomb = (&'static str, fn() -> Vec<u8>);

const BOMBS: [Bomb; 4] = [
    ("10^6 functions", functions),
    ("function of 7.6 MB", function),
    ("types 10,000 deep", types),
    ("br_table of 10^6", branches),
];

pub(super) fn rows() -> Vec<Row> {
    vec![Row::new(
        58,
        "compiles for ever: functions, sizes, types, branches",
        "bounded in time and memory",
        BOMBS.map(|(what, bomb)| {
            play([Plugin::text(Text::default())], move |stage, names| {
                compiled(stage, names, what, bomb)
            })
        }),
    )]
}

fn compiled(stage: &Stage, names: &[String], what: &str, bomb: fn() -> Vec<u8>) -> Result<String> {
    let name = names.first().context("no plugin")?;
    let path = stage.file(name);
    let digest = stage.digest(name)?;
    let started = std::time::Instant::now();
    let partial = path.with_extension("partial");
    fs::write(&partial, bomb())?;
    fs::rename(&partial, &path)?;
    let reason = wait_for(&format!("{what} to be refused"), || {
        let plugin = stage.client().plugin(name)?;
        let reason = plugin.as_ref().map(|plugin| text(plugin, "/refused/reason").to_owned());
        Ok(reason.filter(|reason| !reason.is_empty()))
    })?;
    ensure!(started.elapsed() < LOAD_MAX, "{what} took {:?}", started.elapsed());
    ensure!(stage.digest(name)? == digest, "another version serves");
    stage.done(name, &Value::Null)?;
    stage.remove(name)?;
    Ok(format!("{what} after {:.1} s: {reason}", started.elapsed().as_secs_f64()))
}

/// One function more than the format allows.
fn functions() -> Vec<u8> {
    wrapped(&module(&vec![vec![0, 0x0b]; 1_000_001]))
}

/// The largest function the format allows, full of multiplications.
fn function() -> Vec<u8> {
    // One local, an i32.
    let mut body = vec![1, 1, 0x7f];
    // local.get 0, local.get 0, i32.mul, local.set 0
    let sum = [0x20, 0, 0x20, 0, 0x6c, 0x21, 0];
    for _ in 0..7_600_000 / sum.len() {
        body.extend_from_slice(&sum);
    }
    body.push(0x0b);
    wrapped(&module(&[body]))
}

/// Nested list types.
fn types() -> Vec<u8> {
    let mut component = b"\0asm\x0d\0\x01\0".to_vec();
    let count: usize = 10_000;
    let mut section = Vec::new();
    leb128(&mut section, count);
    // The first is a list of u8, each following one a list of the previous type.
    section.extend_from_slice(&[0x70, 0x7d]);
    for before in 0..count - 1 {
        section.push(0x70);
        signed_leb128(&mut section, before);
    }
    component.push(7);
    leb128(&mut component, section.len());
    component.extend_from_slice(&section);
    component
}

/// Nested blocks, and a `br_table` with a million targets into them.
fn branches() -> Vec<u8> {
    let depth: usize = 1_000;
    let mut body = vec![0];
    for _ in 0..depth {
        body.extend_from_slice(&[0x02, 0x40]);
    }
    body.extend_from_slice(&[0x41, 0, 0x0e]);
    let targets = 1_000_000;
    leb128(&mut body, targets);
    for target in 0..targets {
        leb128(&mut body, target % depth);
    }
    body.push(0);
    body.resize(body.len() + depth, 0x0b);
    body.push(0x0b);
    wrapped(&module(&[body]))
}

/// Type indexes are signed.
fn signed_leb128(bytes: &mut Vec<u8>, mut number: usize) {
    while number > 0x3f {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}
