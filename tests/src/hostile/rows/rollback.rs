//! Row 64: a new version that fails its first deliveries.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::super::row::{Plugin, Row, play};
use super::super::stage::{Stage, text, ty};
use super::super::text::Text;
use crate::wait::wait_for;

/// Events published while the new version serves.
const EVENTS: usize = 10;

pub(super) fn rows() -> Vec<Row> {
    vec![Row::new(
        64,
        "new version that traps on its first 5 events",
        "rolled back by itself",
        [play([Plugin::text(Text::default())], rolled_back)],
    )]
}

fn rolled_back(stage: &Stage, names: &[String]) -> Result<String> {
    let name = names.first().context("no plugin")?;
    let path = stage.file(name);
    let good = stage.digest(name)?;
    let bad = Text { handle: "unreachable".into(), ..Text::default() }.build(name)?;
    let partial = path.with_extension("partial");
    fs::write(&partial, bad)?;
    fs::rename(&partial, &path)?;
    wait_for("the new version to serve", || Ok((stage.digest(name)? != good).then_some(())))?;
    let mut sequences = Vec::new();
    for number in 0..EVENTS {
        let id = format!("{name}-rollback-{number}");
        sequences.push(stage.client().publish_new(&ty(name), &id, &Value::Null)?.sequence);
    }
    wait_for("the version before to serve again", || {
        Ok((stage.digest(name)? == good).then_some(()))
    })?;
    for sequence in sequences {
        let flow = stage.client().settled_flow(sequence)?;
        let state = flow.pointer("/events/0/deliveries/0/state");
        ensure!(state == Some(&json!("done")), "not run again on the version before: {flow}");
    }
    stage.router.wait_for_log("a word on the rollback", |line| {
        let mine = text(line, "/fields/plugin") == name;
        (mine && text(line, "/fields/outcome") == "rolled_back").then_some(())
    })?;
    Ok("the version before serves, and handled what the new one failed".to_owned())
}
