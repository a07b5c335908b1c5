//! Scheduled events, from the configuration to the plugin.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use usher_tests::{Client, Folder, Router, usher, wait_for};

const EVERY_SECOND: &str = r#"
[[schedule]]
name = "pulse"
cron = "* * * * * *"
missed = "all"
event = { type = "test.echo", data = { n = 1 } }
"#;

/// The ticks in the log by their ids, once there are so many.
fn ticks(client: &Client, at_least: usize) -> Result<Vec<Value>> {
    wait_for("enough ticks", || {
        let events = client.events_of_type("test.echo")?;
        Ok((events.len() >= at_least).then_some(events))
    })
}

/// Invariants 1 and 7, for ticks: none is lost or repeated, though the router is killed.
#[test]
fn ticks_go_on_second_by_second_when_the_router_is_killed() -> Result<()> {
    let folder = Folder::with_config("", EVERY_SECOND)?;
    folder.install_guests(&["echo"])?;
    let mut seen = 0;
    for _ in 0..3 {
        let router = Router::start(&folder)?;
        seen = ticks(router.client(), seen + 2)?.len();
        router.kill()?;
    }
    let router = Router::start(&folder)?;
    let stored = ticks(router.client(), seen + 1)?;
    let ids: Vec<&str> = stored.iter().filter_map(|one| one["event"]["id"].as_str()).collect();
    let seconds = ids.iter().map(|id| {
        let time = id.strip_prefix("pulse/").context("the id is not that of a tick")?;
        anyhow::ensure!(stored.iter().any(|one| one["event"]["time"] == time), "{id} at {time}");
        let time = &time["2026-01-31T".len().."2026-01-31T12:00:00".len()];
        let parts: Vec<u64> = time.split(':').map(str::parse).collect::<Result<_, _>>()?;
        Ok(parts[0] * 3_600 + parts[1] * 60 + parts[2])
    });
    let seconds: Vec<u64> = seconds.collect::<Result<_>>()?;
    for pair in seconds.windows(2) {
        assert_eq!((pair[0] + 1) % 86_400, pair[1], "{ids:?}");
    }
    // A tick is an event like any other. The first came before there was a subscription.
    let newest = stored.last().context("no tick")?;
    let sequence = newest["sequence"].as_u64().context("no sequence")?;
    router.client().wait_for_plugin("echo", "serving")?;
    let flow = router.client().settled_flow(sequence)?;
    assert_eq!(flow["events"][0]["event"]["source"], "/schedules/pulse");
    assert_eq!(flow["events"][0]["event"]["data"], json!({ "n": 1 }));
    assert_eq!(flow["events"][0]["deliveries"][0]["state"], "done");
    router.stop()
}

#[test]
fn people_see_schedules_and_take_them_out() -> Result<()> {
    let tables = EVERY_SECOND.replace("* * * * * *", "0 0 1 1 *").replace("\"all\"", "\"once\"");
    let folder = Folder::with_config("", &tables)?;
    let router = Router::start(&folder)?;
    let shown = usher(&["schedules", "--url", router.url()], b"")?;
    assert_eq!(shown.code, 0, "{shown:?}");
    for word in ["pulse", "0 0 1 1 *", "UTC", "once", "test.echo", "-01-01 00:00:00.000"] {
        assert!(shown.stdout.contains(word), "{word} is not in {shown:?}");
    }
    let told = usher(&["schedules", "--json", "--url", router.url()], b"")?.json()?;
    assert_eq!(told, router.client().get_json("/schedules")?);
    assert_eq!(told["schedules"][0]["emitted"], 0);
    router.stop()?;

    folder.configure("", "")?;
    let router = Router::start(&folder)?;
    assert_eq!(router.client().get_json("/schedules")?, json!({ "schedules": [] }));
    router.stop()?;
    let checked = usher(
        &[Path::new("store"), Path::new("verify"), &folder.data(), Path::new("--json")],
        b"",
    )?;
    assert_eq!(checked.code, 0, "{checked:?}");
    assert_eq!(checked.json()?["counts"]["schedules"], 0, "{checked:?}");
    Ok(())
}

#[test]
fn a_schedule_that_never_comes_is_an_error_with_its_place() -> Result<()> {
    let tables = EVERY_SECOND.replace("* * * * * *", "0 0 30 2 *");
    let folder = Folder::with_config("", &tables)?;
    let refused = usher(&[Path::new("run"), Path::new("--config"), &folder.config()], b"")?;
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("usher.toml:"), "{refused:?}");
    assert!(refused.stderr.contains("\"0 0 30 2 *\" never comes"), "{refused:?}");
    assert!(!folder.data().exists());
    Ok(())
}
