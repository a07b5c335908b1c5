//! `usher replay`: for real, and as a dry run.

use anyhow::Result;
use serde_json::{Value, json};
use usher_tests::wait_for;

use crate::scene::Scene;

const STATE: &str = "[plugin.state.grants]\nstate = true\n";

/// Ids and values of what was counted.
fn counted(scene: &Scene) -> Result<Vec<(String, u64)>> {
    let events = scene.client().events_of_type("test.counted")?;
    let one = |stored: &Value| {
        let event = &stored["event"];
        (event["id"].as_str().unwrap().to_owned(), event["data"]["value"].as_u64().unwrap())
    };
    Ok(events.iter().map(one).collect())
}

#[test]
fn a_replay_does_again_what_a_dry_run_only_shows() -> Result<()> {
    let scene = Scene::with(STATE, &["state"])?;
    scene.flow_of("test.count", "1", &Value::Null)?;
    let first = counted(&scene)?;
    assert_eq!(first, [("1/state/count/0".to_owned(), 1)]);

    let range = ["replay", "state/count", "--from", "1", "--to", "2"];
    let shown = scene.usher(&[&range[..], &["--dry-run"]].concat(), "").stdout;
    assert!(shown.contains("#1 test.count ack"), "{shown}");
    assert!(shown.contains("emits test.counted"), "{shown}");
    assert!(shown.contains("sets counts/count, "), "{shown}");
    assert!(shown.ends_with("1 event, 0 of them would fail; nothing was kept\n"), "{shown}");
    assert_eq!(counted(&scene)?, first, "nothing was kept");

    let told = scene.usher(&range, "").stdout;
    assert_eq!(told, "1 event replayed to state/count\n");
    let both = wait_for("the replayed event's emission", || {
        let counted = counted(&scene)?;
        Ok((counted.len() == 2).then_some(counted))
    })?;
    assert_eq!(both[1], ("1/state/count/0/replay/1".to_owned(), 2), "a new event");

    let audited = scene.usher(&["audit"], "").stdout;
    assert!(audited.contains("replay") && audited.contains("1 of 1-1"), "{audited}");
    let missing = scene.try_usher(&["replay", "state/nothing", "--all"], "");
    assert_eq!((missing.code, missing.stdout.as_str()), (1, ""), "{missing:?}");
    assert!(missing.stderr.contains("state/nothing"), "{missing:?}");
    Ok(())
}

#[test]
fn a_dry_run_reaches_nobody() -> Result<()> {
    let origin = "http://127.0.0.1:9";
    let grants = format!("[plugin.probe.grants]\nhttp = [\"{origin}\"]\n");
    let scene = Scene::with(&grants, &["probe"])?;
    scene.flow_of("test.probe", "1", &json!({ "try": "http", "url": origin }))?;
    let range = ["replay", "probe/probe", "--from", "1", "--to", "2", "--dry-run", "--json"];
    let shown = scene.usher(&range, "").json()?;
    let answer = &shown["emissions"][0]["event"]["data"];
    assert!(answer["error"].as_str().unwrap().contains("dry run"), "{shown}");
    assert_eq!(shown["verdict"], "ack", "{shown}");
    Ok(())
}
