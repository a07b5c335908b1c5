//! A new version of a plugin beside the one that serves, on events of the log.

use anyhow::Result;
use serde_json::{Value, json};
use usher_tests::{Finished, Running, guest};

use crate::scene::Scene;

impl Scene {
    pub(crate) fn shadow(&self, plugin: &str, new: &str, options: &[&str]) -> Result<Finished> {
        let new = guest(new)?;
        let arguments = ["shadow", plugin, new.to_str().unwrap()];
        Ok(self.try_usher(&[&arguments, options].concat(), ""))
    }

    fn last_sequence(&self) -> Result<Value> {
        Ok(self.client().get_json("/events?max=1")?["last"].clone())
    }
}

#[test]
fn versions_are_compared_on_the_newest_events_and_nothing_is_kept() -> Result<()> {
    let scene = Scene::with("", &["echo"])?;
    for number in 0..5 {
        scene.flow_of("test.echo", &format!("e-{number}"), &json!({ "n": number }))?;
        scene.flow_of("test.other", &format!("o-{number}"), &json!({}))?;
    }
    let before = scene.last_sequence()?;
    let compared = scene.shadow("echo", "echo-v2", &["--last", "3", "--json"])?;
    assert_eq!(compared.code, 1, "{compared:?}");
    let told = compared.json()?;
    assert_eq!(told["different"], 3);
    let events = told["events"].as_array().unwrap();
    let order: Vec<_> =
        events.iter().map(|one| &one["new"]["did"]["emissions"][0]["data"]).collect();
    assert_eq!(order, [2, 3, 4].map(|n| json!({ "n": n, "v": 2 })).iter().collect::<Vec<_>>());
    assert_eq!(events[0]["differences"][0]["part"], "emissions");
    assert!(events[0]["differences"][0]["diff"].as_str().unwrap().contains("+ "), "{told:#}");
    assert_eq!(told["old"]["verdicts"], json!({ "ack": 3 }));

    let shown = scene.shadow("echo", "echo-v2", &[])?;
    let words = shown.stdout;
    for part in ["test.echo for echo", "+       \"v\": 2", "5 events of echo", "5 differ"] {
        assert!(words.contains(part), "{part} is not in {words}");
    }

    scene.flow_of("test.echo", "list", &json!([]))?;
    let told = scene.shadow("echo", "echo-v2", &["--last", "1", "--json"])?.json()?;
    let parts: Vec<_> = told["events"][0]["differences"].as_array().unwrap().iter().collect();
    let parts: Vec<_> = parts.iter().map(|one| one["part"].as_str().unwrap()).collect();
    assert_eq!(parts, ["verdict", "reason", "emissions"]);
    let before = before.as_u64().unwrap() + 2;

    let same = scene.shadow("echo", "echo", &["--json"])?;
    assert_eq!((same.code, &same.json()?["different"]), (0, &json!(0)), "{same:?}");
    assert_eq!(scene.last_sequence()?, json!(before));
    Ok(())
}

#[test]
fn each_event_meets_the_state_of_now() -> Result<()> {
    let scene = Scene::with("[plugin.state.grants]\nstate = true\n", &["state"])?;
    for number in 0..3 {
        scene.flow_of("test.count", &format!("c-{number}"), &json!({}))?;
    }
    let state = scene.client().get_json("/plugins/state/state")?;
    let compared = scene.shadow("state", "state", &["--json"])?;
    let told = compared.json()?;
    assert_eq!((compared.code, told["events"].as_array().unwrap().len()), (0, 3), "{compared:?}");
    for one in told["events"].as_array().unwrap() {
        assert_eq!(one["new"]["did"]["emissions"][0]["data"]["value"], 4, "{one:#}");
    }
    assert_eq!(scene.client().get_json("/plugins/state/state")?, state);
    Ok(())
}

#[test]
fn versions_are_compared_on_events_as_they_come() -> Result<()> {
    let scene = Scene::with("", &["echo"])?;
    scene.flow_of("test.echo", "before", &json!({}))?;
    let new = guest("echo-v2")?;
    let start = |name: &str, options: &[&str]| {
        let fixed = ["shadow", "echo", new.to_str().unwrap(), "--live", "--json"];
        let args = [&fixed, options, &["--url", scene.router.url()]].concat();
        Running::start(&args, &scene.folder.root().join(name))
    };
    let follows = |line: &Value| line["from"].is_u64().then_some(());
    let mut enough = start("enough", &["--events", "2"])?;
    let mut stopped = start("stopped", &[])?;
    enough.wait_for_line("its begin", follows)?;
    stopped.wait_for_line("its begin", follows)?;
    for number in 0..2 {
        scene.flow_of("test.other", &format!("o-{number}"), &json!({}))?;
        scene.flow_of("test.echo", &format!("e-{number}"), &json!({ "n": number }))?;
    }
    let second =
        |line: &Value| (line["old"]["did"]["emissions"][0]["data"]["n"] == 1).then_some(());
    let summary = |line: &Value| (line["compared"] == 2).then(|| line["different"].clone());
    enough.wait_for_line("the second event", second)?;
    assert_eq!(enough.wait_for_line("the summary", summary)?, 2);
    assert_eq!(enough.exited()?, 1);
    stopped.wait_for_line("the second event", second)?;
    stopped.terminate()?;
    assert_eq!(stopped.wait_for_line("the summary", summary)?, 2);
    assert_eq!(stopped.exited()?, 1);
    Ok(())
}

#[test]
fn what_can_not_be_compared_is_said() -> Result<()> {
    let scene = Scene::with("", &["echo"])?;
    for (plugin, new, words) in [
        ("echo", "echo-v2", "no subscription of echo takes any of the newest"),
        ("echo", "emit", "is the plugin emit, not echo"),
        ("nobody", "echo", "plugin nobody doesn't serve"),
    ] {
        let refused = scene.shadow(plugin, new, &[])?;
        let said = &refused.stderr;
        assert!(refused.code == 1 && said.contains(words), "{plugin}, {new}: {refused:?}");
    }
    Ok(())
}
