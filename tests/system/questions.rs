//! What operators ask: what would change, and what became of an event.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::json;
use usher_tests::{Finished, Folder, usher, wait_for};

use crate::scene::{QUICK_RETRIES, Scene};

#[test]
fn a_flow_is_found_by_the_id_of_any_of_its_events() -> Result<()> {
    let scene = Scene::with("", &["echo"])?;
    let flow = scene.flow_of("test.echo", "first", &json!({}))?;
    let ask = |id: &str| usher(&["flow", id, "--json", "--url", scene.router.url()], b"");
    assert_eq!(ask("first")?.json()?, flow);
    let emitted = flow["events"][1]["event"]["id"].as_str().context("no second event")?;
    assert_eq!(ask(emitted)?.json()?, flow);
    // A correlationid takes precedence over an id.
    scene.client().publish(&json!({
        "specversion": "1.0", "id": "x", "source": "/tests", "type": "t", "correlationid": "first"
    }))?;
    assert_eq!(ask("first")?.json()?["flow"], 3);
    let missing = ask("nothing")?;
    assert_eq!((missing.code, missing.stdout.as_str()), (1, ""), "{missing:?}");
    assert!(missing.stderr.contains("no event with id"), "{missing:?}");
    Ok(())
}

/// Invariant 8, as operators see it.
#[test]
fn attempts_of_a_redriven_delivery_are_shown_by_round() -> Result<()> {
    let scene = Scene::with(QUICK_RETRIES, &["fail"])?;
    let receipt = scene.client().publish_new("test.fail", "poison", &json!({"mode": "retry"}))?;
    let path = format!("/events/{}/deliveries/fail/fail", receipt.sequence);
    let dead = |letter: u64| {
        wait_for("the dead letter", || {
            let told = scene.client().get_json(&path)?;
            Ok((told["dead_letter"] == letter).then_some(told))
        })
    };
    assert!(dead(1)?.get("round").is_none());
    let run = |args: &[&str]| -> Result<Finished> {
        let all: Vec<&str> = args.iter().copied().chain(["--url", scene.router.url()]).collect();
        usher(&all, b"")
    };
    assert_eq!(run(&["dead-letters", "redrive", "1"])?.code, 0);
    let told = dead(2)?;
    assert_eq!(told["round"], 2);
    let rounds = told["failures"].as_array().context("no failures")?.iter();
    let rounds: Vec<_> = rounds.map(|one| json!([one["round"], one["attempt"]])).collect();
    let expected = json!([[null, 1], [null, 2], [null, 3], [2, 1], [2, 2], [2, 3]]);
    assert_eq!(json!(rounds), expected);
    let why = run(&["why", "poison", "fail/fail"])?.stdout;
    for words in
        ["dead letter 2", "this is round 2; the 3 failed attempts before", " 1.3  ", " 2.3  "]
    {
        assert!(why.contains(words), "{words} is not in:\n{why}");
    }
    let flow = run(&["flow", "poison"])?.stdout;
    for words in ["─ attempt 3", "─ round 2, attempt 3"] {
        assert!(flow.contains(words), "{words} is not in:\n{flow}");
    }
    Ok(())
}

/// What is planned for plugins.
const PLANNED: &str = r#"
[plugin.echo.subscription.echo]
max_in_flight = 7
filter = { prefix = { type = "test.echo" } }
[plugin.fail.subscription.fail]
enabled = false
[plugin.fail.subscription.renamed]
filter = { exact = { type = "test.fail" } }
start = "earliest"
"#;

#[test]
fn check_tells_what_would_change_for_a_running_router() -> Result<()> {
    let schedule = |name: &str, cron: &str| {
        format!("[[schedule]]\nname = {name:?}\ncron = {cron:?}\nevent = {{ type = \"due\" }}\n")
    };
    let (kept, yearly) = (schedule("kept", "0 0 1 1 *"), schedule("yearly", "0 0 2 1 *"));
    let scene = Scene::with(&format!("{kept}{yearly}"), &["echo", "emit", "fail"])?;
    let planned =
        Folder::with_config("", &format!("{kept}{}{PLANNED}", schedule("yearly", "0 0 3 1 *")))?;
    planned.install_guests(&["echo", "emit", "fail"])?;
    let config = planned.config();
    let config = config.to_str().context("not UTF-8")?;
    let check = |more: &[&str]| {
        let args = ["check", "--config", config, "--url", scene.router.url()];
        usher(&args.into_iter().chain(more.iter().copied()).collect::<Vec<_>>(), b"")
    };
    let told = check(&["--json"])?;
    assert_eq!(told.code, 0, "{told:?}");
    let router = &told.json()?["router"];
    assert_eq!(router["unchanged"], 1, "{router}");
    let changes = router["changes"].as_array().context("no changes")?;
    let found: Vec<_> = changes
        .iter()
        .map(|one| json!([one["subscription"], one["change"], one["renamed"]]))
        .collect();
    let expected = json!([
        ["echo/echo", "changed", null],
        ["fail/fail", "gone", "fail/renamed"],
        ["fail/renamed", "new", "fail/fail"],
    ]);
    assert_eq!(json!(found), expected);
    let settings = changes[0]["settings"].as_array().context("no settings")?;
    let settings: Vec<_> =
        settings.iter().map(|one| json!([one["setting"], one["after"]])).collect();
    let filter = json!({ "prefix": { "type": "test.echo" } });
    assert_eq!(json!(settings), json!([["filter", filter], ["max_in_flight", 7]]));
    let schedules = &router["schedules"];
    let changed = &schedules["changes"][0];
    assert_eq!((&schedules["unchanged"], &changed["schedule"]), (&json!(1), &json!("yearly")));
    let next = changed["next"].as_str().context("no next tick")?;
    assert!(next.ends_with("-01-03T00:00:00.000Z"), "{next}");
    let human = check(&[])?;
    for words in [
        "1 new, 1 changed, 1 gone, 1 unchanged",
        "schedules: 0 new, 1 changed, 0 gone, 1 unchanged",
        "it begins with the oldest event in the log",
        "usher subscriptions remove fail/fail forgets it",
    ] {
        assert!(human.stdout.contains(words), "{words} is not in {human:?}");
    }
    // Nothing came of it, and without a router there is nothing to tell.
    assert!(scene.client().subscription("fail/renamed")?.is_none());
    let url = scene.router.url().to_owned();
    let Scene { router, .. } = scene;
    router.stop()?;
    let alone = usher(&["check", "--config", config, "--url", &url], b"")?;
    assert_eq!(alone.code, 1, "{alone:?}");
    assert!(alone.stderr.contains("no router at"), "{alone:?}");
    Ok(())
}

#[test]
fn check_needs_no_data_folder() -> Result<()> {
    let folder = Folder::new()?;
    folder.install_guests(&["echo"])?;
    fs::remove_file(folder.config())?;
    let plugins = folder.plugins();
    let plugins = plugins.to_str().context("not UTF-8")?;
    let checked = usher(&["check", "--plugins", plugins], b"")?;
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(checked.stdout.contains("echo.wasm"), "{checked:?}");
    Ok(())
}
