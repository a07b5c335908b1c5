//! Each command of the command line, with output for people and with `--json`.

use std::fs;

use anyhow::Result;
use serde_json::{Value, json};
use usher_tests::{Finished, Running, guest, usher, usher_with, wait_for};

use crate::scene::{QUICK_RETRIES, Scene, event};

impl Scene {
    /// Runs a command against this router; it must succeed, with nothing on stderr.
    #[track_caller]
    pub(crate) fn usher(&self, args: &[&str], stdin: &str) -> Finished {
        let finished = self.try_usher(args, stdin);
        assert_eq!(finished.code, 0, "usher {args:?}: {finished:?}");
        assert_eq!(finished.stderr, "", "usher {args:?}");
        assert!(!finished.stdout.contains('\u{1b}'), "colours without a terminal: {finished:?}");
        finished
    }

    #[track_caller]
    pub(crate) fn try_usher(&self, args: &[&str], stdin: &str) -> Finished {
        let all: Vec<&str> = args.iter().copied().chain(["--url", self.router.url()]).collect();
        usher(&all, stdin.as_bytes()).unwrap()
    }
}

#[test]
fn publish_takes_every_form() -> Result<()> {
    let scene = Scene::empty()?;
    let file = scene.folder.root().join("events.json");
    let path = file.to_str().unwrap();
    let one = event("t", "1", &json!(1));
    let lines = format!("{}\n{}\n", event("t", "2", &json!(2)), event("t", "3", &json!(3)));
    let array = json!([event("t", "4", &json!(4)), event("t", "5", &json!(5))]);

    fs::write(&file, one.to_string())?;
    scene.usher(&["publish", path], "");
    scene.usher(&["publish", "-"], &lines);
    fs::write(&file, serde_json::to_string_pretty(&array)?)?;
    scene.usher(&["publish", path], "");
    scene.usher(&["publish", "--type", "made", "--source", "/here", "--data", r#"{"a":1}"#], "");
    let log = scene.client().get_json("/events")?;
    let ids: Vec<&str> = log["events"].as_array().unwrap()[..5]
        .iter()
        .map(|stored| stored["event"]["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["1", "2", "3", "4", "5"]);
    let made = &log["events"][5]["event"];
    assert_eq!(
        (&made["type"], &made["source"], &made["data"]),
        (&json!("made"), &json!("/here"), &json!({ "a": 1 }))
    );

    // Again, with `--json`: the same receipt as over HTTP.
    fs::write(&file, one.to_string())?;
    let again = scene.usher(&["publish", path, "--json"], "");
    assert!(again.stdout.contains("\"duplicate\""), "{again:?}");
    assert!(again.stdout.contains("true"), "{again:?}");
    Ok(())
}

#[test]
fn publish_says_what_is_wrong() -> Result<()> {
    let scene = Scene::empty()?;
    for (args, stdin, code, says) in [
        (&["publish", "/no/such/file"][..], "", 1, "/no/such/file"),
        (&["publish", "-"], "{\"id\":", 1, "line 1"),
        (&["publish", "-"], r#"{"specversion":"1.0","id":"1","source":"/s"}"#, 1, "type"),
        (&["publish"], "", 2, ""),
        (&["publish", "--type", "t"], "", 2, "--source"),
        (&["publish", "--type", "t", "--source", "/s", "--data", "{"], "", 2, "JSON"),
    ] {
        let finished = scene.try_usher(args, stdin);
        assert_eq!(finished.code, code, "{args:?}: {finished:?}");
        assert!(finished.stderr.contains(says), "{args:?} does not say {says:?}: {finished:?}");
        assert_eq!(finished.stdout, "", "{args:?}");
    }
    assert_eq!(scene.client().get_json("/events")?["last"], 0);
    Ok(())
}

#[test]
fn tail_shows_and_follows() -> Result<()> {
    let scene = Scene::empty()?;
    let events = [event("a.one", "1", &json!(1)), event("b.two", "2", &json!(2))];
    scene.client().publish_batch(&events)?;
    let all = scene.usher(&["tail"], "");
    assert!(all.stdout.contains("a.one") && all.stdout.contains("b.two"), "{all:?}");
    let some = scene.usher(&["tail", "--type", "b."], "");
    assert!(!some.stdout.contains("a.one") && some.stdout.contains("b.two"), "{some:?}");
    let json = scene.usher(&["tail", "--json"], "").json_lines()?;
    assert_eq!(json.len(), 2);
    assert_eq!(json[1], scene.client().get_json("/events/2")?);

    // Stored events come first, then new ones as they are published.
    let copy = scene.folder.root().join("tail.log");
    let args = ["tail", "--follow", "--from", "1", "--json", "--url", scene.router.url()];
    let mut follower = Running::start(&args, &copy)?;
    follower.wait_for_line("event 2", |stored| (stored["event"]["id"] == "2").then_some(()))?;
    wait_for("the stream to be open", || {
        let metrics = scene.client().get("/metrics")?.text();
        Ok(metrics.contains("usher_http_streams 1").then_some(()))
    })?;
    scene.client().publish(&event("c.three", "3", &json!(3)))?;
    follower.wait_for_line("event 3", |stored| (stored["event"]["id"] == "3").then_some(()))?;
    let all = scene.client().get_json("/events")?["events"].clone();
    // Following ends with the router, after waiting a while for it to come back.
    scene.router.stop()?;
    assert_eq!(follower.exited()?, 1);
    let followed = fs::read_to_string(&copy)?;
    let followed: Vec<Value> =
        followed.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!(followed.len(), 3, "{followed:?}");
    assert_eq!(json!(followed), all);
    Ok(())
}

#[test]
fn plugins_subscriptions_and_flows_are_shown() -> Result<()> {
    let scene = Scene::with("", &["echo"])?;
    fs::write(scene.folder.plugins().join("broken.wasm"), b"nothing")?;
    wait_for("the refusal", || {
        let all = scene.client().get_json("/plugins")?.to_string();
        Ok(all.contains("broken.wasm").then_some(()))
    })?;
    let flow = scene.flow_of("test.echo", "1", &json!({}))?;

    let plugins = scene.usher(&["plugins"], "").stdout;
    for word in ["echo", "serving", "broken.wasm", "refused"] {
        assert!(plugins.contains(word), "{word} is not in:\n{plugins}");
    }
    let json = scene.usher(&["plugins", "--json"], "").json()?;
    assert_eq!(json["plugins"].as_array().unwrap().len(), 2);

    let subscriptions = scene.usher(&["subscriptions"], "").stdout;
    assert!(subscriptions.contains("echo/"), "{subscriptions}");
    let json = scene.usher(&["subscriptions", "--json"], "").json()?;
    assert_eq!(json["subscriptions"][0]["plugin"], "echo");

    let shown = scene.usher(&["flow", "1"], "").stdout;
    for word in ["test.echo", "test.echoed", "echo"] {
        assert!(shown.contains(word), "{word} is not in:\n{shown}");
    }
    assert_eq!(scene.usher(&["flow", "1", "--json"], "").json()?, flow);
    let missing = scene.try_usher(&["flow", "99"], "");
    assert_eq!((missing.code, missing.stdout.as_str()), (1, ""), "{missing:?}");
    assert!(missing.stderr.contains("99"), "{missing:?}");
    Ok(())
}

#[test]
fn why_says_what_became_of_an_event() -> Result<()> {
    let scene = Scene::with("", &["echo"])?;
    let plugin = scene.client().wait_for_plugin("echo", "serving")?;
    let name = plugin["subscriptions"][0].as_str().unwrap();
    scene.flow_of("test.echo", "first", &json!({}))?;
    let done = scene.usher(&["why", "first", name], "").stdout;
    assert_eq!(done, format!("event 1 for {name}: done\n"));
    let emitted = scene.usher(&["why", "2", name], "").stdout;
    assert!(emitted.contains("its filter says no: type is \"test.echoed\""), "{emitted}");
    let json = scene.usher(&["why", "2", name, "--json"], "").json()?;
    assert_eq!(json, scene.client().get_json(&format!("/events/2/deliveries/{name}"))?);

    fs::remove_file(scene.folder.plugins().join("echo.wasm"))?;
    wait_for("the subscription to pause", || {
        let status = scene.client().subscription(name)?;
        Ok(status.filter(|status| status["state"] == "paused"))
    })?;
    scene.client().publish_new("test.echo", "waiting", &json!({}))?;
    let waiting = scene.usher(&["why", "waiting", name], "").stdout;
    for word in ["event 3", "pending", "nothing serves", "its file is gone", "the next to go out"] {
        assert!(waiting.contains(word), "{word} is not in:\n{waiting}");
    }
    let subscriptions = scene.usher(&["subscriptions"], "").stdout;
    assert!(subscriptions.contains("is paused: "), "{subscriptions}");
    for (event, subscription, says) in
        [("99", name, "no event 99"), ("3", "echo/none", "no subscription"), ("none", name, "none")]
    {
        let failed = scene.try_usher(&["why", event, subscription], "");
        assert_eq!((failed.code, failed.stdout.as_str()), (1, ""), "{failed:?}");
        assert!(failed.stderr.contains(says), "{failed:?}");
    }
    Ok(())
}

#[test]
fn subscriptions_that_nothing_serves_can_be_removed() -> Result<()> {
    let scene = Scene::with("", &["echo"])?;
    let plugin = scene.client().wait_for_plugin("echo", "serving")?;
    let name = plugin["subscriptions"][0].as_str().unwrap();
    let refused = scene.try_usher(&["subscriptions", "remove", name], "");
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("is being served"), "{refused:?}");

    std::fs::remove_file(scene.folder.plugins().join("echo.wasm"))?;
    wait_for("the subscription to pause", || {
        let status = scene.client().subscription(name)?;
        Ok(status.filter(|status| status["state"] == "paused"))
    })?;
    scene.client().publish_new("test.echo", "1", &json!({}))?;
    let removed = scene.usher(&["subscriptions", "remove", name], "").stdout;
    assert_eq!(removed, format!("subscription {name} removed\n"));
    assert_eq!(scene.client().subscription(name)?, None);
    let again = scene.try_usher(&["subscriptions", "remove", name], "");
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.stderr.contains("there is no subscription"), "{again:?}");

    // Its cursor is gone: the plugin starts over.
    scene.folder.install_guests(&["echo"])?;
    scene.client().wait_for_plugin("echo", "serving")?;
    let flow = scene.flow_of("test.echo", "2", &json!({}))?;
    assert_eq!(crate::scene::types(&flow), ["test.echo", "test.echoed"]);
    assert_eq!(scene.client().events_of_type("test.echoed")?.len(), 1);
    Ok(())
}

#[test]
fn dead_letters_are_looked_after() -> Result<()> {
    let scene = Scene::with(QUICK_RETRIES, &["trap"])?;
    scene.flow_of("test.trap", "1", &json!({}))?;
    let listed = scene.usher(&["dead-letters", "list"], "").stdout;
    assert!(listed.contains("trap") && listed.contains("test.trap"), "{listed}");
    let json = scene.usher(&["dead-letters", "list", "--json"], "").stdout;
    assert!(json.contains("\"attempt_count\""), "{json}");
    let id = scene.client().get_json("/dead-letters")?["dead_letters"][0]["id"].to_string();

    let shown = scene.usher(&["dead-letters", "show", &id], "").stdout;
    assert!(shown.contains("test.trap") && shown.contains("trap"), "{shown}");
    let json = scene.usher(&["dead-letters", "show", &id, "--json"], "").json()?;
    assert_eq!(json["attempts"].as_array().unwrap().len(), 3);

    // The event fails again each time, as a new dead letter.
    let next_after = |id: &str| {
        wait_for("the next dead letter", || {
            let listed = scene.client().get_json("/dead-letters")?;
            let next = &listed["dead_letters"][0]["id"];
            Ok(next.as_u64().map(|next| next.to_string()).filter(|next| next != id))
        })
    };
    let redriven = scene.usher(&["dead-letters", "redrive", &id], "").stdout;
    assert_eq!(redriven, format!("dead letter {id} redriven\n"));
    let again = next_after(&id)?;
    let redriven = scene.usher(&["dead-letters", "redrive", &again, "--json"], "").json_lines()?;
    assert_eq!(json!(redriven), json!([{ "id": again.parse::<u64>()? }]));
    let next = next_after(&again)?;
    // Edited, it becomes a new event, which fails as well.
    let event = scene.usher(&["dead-letters", "show", &next, "--event"], "").stdout;
    let mended = event.replace("{}", r#"{"mended":true}"#);
    let redrive = ["dead-letters", "redrive", &next, "--event", "-"];
    let redriven = scene.usher(&redrive, &mended).stdout;
    assert!(redriven.starts_with(&format!("dead letter {next} redriven as event ")), "{redriven}");
    let last = next_after(&next)?;
    let shown = scene.usher(&["dead-letters", "show", &last], "").stdout;
    assert!(shown.contains("redriveof") && shown.contains("mended"), "{shown}");
    // Many at once; each fails again as a new dead letter, which this redrive doesn't include.
    let all = ["dead-letters", "redrive", "--plugin", "trap", "--class", "trap", "--rate", "50"];
    let redriven = scene.usher(&all, "").stdout;
    assert_eq!(redriven, format!("dead letter {last} redriven\n1 dead letter redriven\n"));
    let next = next_after(&last)?;
    let none = scene.usher(&["dead-letters", "discard", "--class", "timeout"], "").stdout;
    assert_eq!(none, "0 dead letters discarded\n");
    let audit = scene.usher(&["audit"], "").stdout;
    assert_eq!(audit.lines().filter(|line| line.contains(" redrive")).count(), 4, "{audit}");
    scene.usher(&["dead-letters", "discard", &next, "--json"], "");
    let gone = scene.try_usher(&["dead-letters", "show", &next], "");
    assert_eq!(gone.code, 1);
    assert!(gone.stderr.contains(&next), "{gone:?}");
    Ok(())
}

/// Data that the router accepts unchanged, but that parsers of numbers, text or trees may fail on.
fn awkward() -> Vec<String> {
    let nested = format!("{}{}", "[".repeat(130), "]".repeat(130));
    let data = ["1e400", "-0", "123456789012345678901234567890", r#""\ud800""#, r#"{"a":1,"a":2}"#];
    let data = data.map(str::to_owned).into_iter().chain([nested, "9".repeat(4_000)]);
    data.enumerate()
        .map(|(number, data)| {
            format!(
                r#"{{"specversion":"1.0","id":"awkward-{number}","source":"/n","type":"test.trap","data":{data}}}"#
            )
        })
        .collect()
}

#[test]
fn no_tool_stumbles_over_what_the_router_takes() -> Result<()> {
    let scene = Scene::with("[retry]\nmax_attempts = 1\n", &["trap"])?;
    let client = scene.client();
    let awkward = awkward();
    for event in &awkward {
        let answer = client.post_as("/events", "application/cloudevents+json", event.as_bytes())?;
        assert_eq!(answer.status, 202, "{event}: {}", answer.text());
    }
    let count = awkward.len();
    let dead = |count: usize| {
        wait_for("the dead letters", || {
            let listed =
                usher(&["dead-letters", "list", "--json", "--url", scene.router.url()], b"")?;
            assert_eq!(listed.code, 0, "{listed:?}");
            Ok((listed.stdout.matches("\"awkward-").count() == count).then_some(()))
        })
    };
    dead(count)?;
    // Complete and unchanged, through every command that shows it.
    let data = |event: &str| {
        let data = event.trim_end_matches('}').rsplit_once("\"data\":").unwrap().1;
        data.chars().take(5).collect::<String>()
    };
    scene.usher(&["replay", "trap/trap", "--from", "1", "--dry-run"], "");
    let text = scene.usher(&["tail"], "").stdout;
    let json = scene.usher(&["tail", "--json"], "").stdout;
    for event in &awkward {
        assert!(json.contains(&data(event)), "{event} is not in {json}");
        assert!(text.contains(&data(event)), "{event} is not in {text}");
    }
    for sequence in 1..=count {
        let sequence = sequence.to_string();
        for args in [
            &["flow", sequence.as_str()][..],
            &["flow", &sequence, "--json"],
            &["why", &sequence, "trap/trap"],
            &["why", &sequence, "trap/trap", "--json"],
        ] {
            scene.usher(args, "");
        }
    }
    scene.usher(&["dead-letters", "list"], "");
    // And from the dead letters back into the log.
    let redriven = scene.usher(&["dead-letters", "redrive", "--plugin", "trap"], "").stdout;
    assert!(redriven.ends_with(&format!("{count} dead letters redriven\n")), "{redriven}");
    dead(count)?;
    let discarded = scene.usher(&["dead-letters", "discard", "--plugin", "trap"], "").stdout;
    assert!(discarded.ends_with(&format!("{count} dead letters discarded\n")), "{discarded}");
    Ok(())
}

#[test]
fn blobs_are_listed_and_fetched() -> Result<()> {
    let scene = Scene::with("[plugin.probe.grants]\nblobs = true\n", &["probe"])?;
    let none = scene.usher(&["blobs", "list", "--json"], "").json()?;
    assert_eq!(none, json!({ "blobs": [] }));
    let put = json!({ "try": "put-blob", "content": "content" });
    let flow = scene.flow_of("test.probe", "1", &put)?;
    let digest = flow["events"][1]["event"]["data"]["ok"].as_str().unwrap();

    let listed = scene.usher(&["blobs", "list"], "").stdout;
    assert!(listed.contains(digest) && listed.contains("probe"), "{listed}");
    let listed = scene.usher(&["blobs", "list", "--json"], "").json()?;
    assert_eq!(listed["blobs"], scene.client().get_json("/blobs")?["blobs"]);
    let blob = &listed["blobs"][0];
    assert_eq!(
        (&blob["digest"], &blob["size_bytes"], &blob["plugin"]),
        (&json!(digest), &json!(7), &json!("probe"))
    );
    assert_eq!(scene.usher(&["blobs", "get", digest], "").stdout, "content");
    let file = scene.folder.root().join("fetched");
    let path = file.to_str().unwrap();
    let fetched = scene.usher(&["blobs", "get", digest, "-o", path, "--json"], "").json()?;
    assert_eq!(fetched, json!({ "digest": digest, "size_bytes": 7, "file": path }));
    assert_eq!(fs::read_to_string(&file)?, "content");
    Ok(())
}

#[test]
fn the_environment_names_the_router_unless_a_flag_does() -> Result<()> {
    let scene = Scene::empty()?;
    scene.client().publish_new("t", "1", &json!({}))?;
    let mine = scene.router.url();
    // Nothing ever listens there.
    let nobody = "http://127.0.0.1:1";
    for (env, flag, code) in
        [(mine, None, 0), (nobody, Some(mine), 0), (nobody, None, 1), (mine, Some(nobody), 1)]
    {
        let mut args = vec!["tail", "--json"];
        args.extend(flag.iter().flat_map(|url| ["--url", url]));
        let finished = usher_with(&args, b"", &[("USHER_URL", env)])?;
        assert_eq!(finished.code, code, "USHER_URL={env} {args:?}: {finished:?}");
        if code == 0 {
            assert_eq!(finished.json_lines()?[0]["event"]["id"], "1", "{finished:?}");
        } else {
            assert!(finished.stderr.contains(nobody), "{finished:?}");
        }
    }
    Ok(())
}

#[test]
fn inspect_and_check_look_at_files() -> Result<()> {
    let scene = Scene::empty()?;
    let file = guest("echo")?;
    let file = file.to_str().unwrap();
    let human = usher(&["inspect", file], b"")?;
    assert_eq!(human.code, 0, "{human:?}");
    for word in ["echo", "usher:plugin/listener", "test.echo"] {
        assert!(human.stdout.contains(word), "{word} is not in {human:?}");
    }
    let json = usher(&["inspect", file, "--json"], b"")?.json()?;
    assert_eq!(json["name"], "echo");
    assert_eq!(json["digest"].as_str().map(str::len), Some(64));

    let (newer, same) = (guest("echo-v2")?, file);
    let newer = newer.to_str().unwrap();
    let told = usher(&["inspect", newer, "--against", same], b"")?;
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.stdout.contains("version") && told.stdout.contains(" becomes "), "{told:?}");
    let none = usher(&["inspect", file, "--against", same, "--json"], b"")?.json()?;
    assert_eq!((&none["changes"], &none["old"]), (&json!([]), &none["new"]), "{none}");

    let core = scene.folder.root().join("core.wasm");
    fs::write(&core, b"\0asm\x01\0\0\0")?;
    let refused = usher(&["inspect", core.to_str().unwrap()], b"")?;
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("core module"), "{refused:?}");

    scene.folder.install_guests(&["echo"])?;
    let config = scene.folder.config();
    let config = config.to_str().unwrap();
    let good = usher(&["check", "--config", config], b"")?;
    assert_eq!(good.code, 0, "{good:?}");
    fs::write(scene.folder.plugins().join("core.wasm"), b"\0asm\x01\0\0\0")?;
    for extra in [&[][..], &["--json"]] {
        let args: Vec<&str> = ["check", "--config", config].iter().chain(extra).copied().collect();
        let bad = usher(&args, b"")?;
        assert_ne!(bad.code, 0, "{bad:?}");
        let said = format!("{}{}", bad.stdout, bad.stderr);
        assert!(said.contains("core.wasm") && said.contains("core module"), "{bad:?}");
    }
    Ok(())
}

#[test]
fn a_router_that_is_not_there_is_named() -> Result<()> {
    // A port that was free just now, so nothing listens on it.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let url = format!("http://127.0.0.1:{port}");
    for verb in [&["plugins"][..], &["tail"], &["flow", "1"], &["dead-letters", "list"]] {
        let args: Vec<&str> = verb.iter().copied().chain(["--url", &url]).collect();
        let finished = usher(&args, b"")?;
        assert_eq!(finished.code, 1, "{finished:?}");
        assert!(finished.stderr.contains(&port.to_string()), "{finished:?}");
        assert_eq!(finished.stdout, "");
    }
    let unknown = usher(&["bury"], b"")?;
    assert_eq!(unknown.code, 2);
    Ok(())
}

#[test]
fn filters_are_tried_without_a_router() -> Result<()> {
    let big = json!({ "specversion": "1.0", "id": "1", "source": "/s", "type": "order.placed",
        "data": { "total": 100 } });
    let small = json!({ "specversion": "1.0", "id": "2", "source": "/s", "type": "order.placed",
        "data": { "total": 99.5 } });
    let lines = format!("{big}\n{small}\n");
    let filter = r#"{"data":{"/total":{"gte":100}}}"#;
    let tested = usher(&["filter", "test", filter, "-"], lines.as_bytes())?;
    assert_eq!(tested.code, 1);
    assert!(tested.stderr.contains("1 of 2 events don't match"), "{tested:?}");
    let told = "no: /total is 99.5, needs to be at least 100 (at data./total)";
    assert!(tested.stdout.contains(told), "{tested:?}");
    let tested =
        usher(&["filter", "test", "--json", "type LIKE 'order.%'", "-"], lines.as_bytes())?;
    assert_eq!((tested.code, tested.stdout.lines().count()), (0, 2), "{tested:?}");

    let explained = usher(&["filter", "explain", "--json", "subject = 'a' AND type != 'b'"], b"")?;
    let explained: Value = serde_json::from_str(&explained.stdout)?;
    assert_eq!(explained["filed_under"], json!(["subject equals a"]));
    assert_eq!(explained["reads_data"], json!(false));
    let refused = usher(&["filter", "explain", "type ="], b"")?;
    assert_eq!(refused.code, 2);
    assert!(
        refused.stderr.contains("at character 7: expected a value, found the end"),
        "{refused:?}"
    );

    let folder = tempfile::tempdir()?;
    let file = folder.path().join("pattern.json");
    fs::write(&file, r#"{"detail":{"state":["open"]},"region":["eu"]}"#)?;
    let made = usher(&["filter", "from-eventbridge", file.to_str().unwrap()], b"")?;
    assert_eq!(made.code, 1);
    let filter: Value = serde_json::from_str(&made.stdout)?;
    assert_eq!(filter, json!({ "data": { "/state": { "any": "open" } } }));
    assert!(made.stderr.contains("region: has no counterpart"), "{made:?}");

    // What it prints can be used at once.
    let saved = folder.path().join("filter.json");
    fs::write(&saved, &made.stdout)?;
    let event = json!({ "specversion": "1.0", "id": "1", "source": "/s", "type": "t",
        "data": { "state": ["shut", "open"] } });
    let from_file = format!("@{}", saved.display());
    let tested = usher(&["filter", "test", &from_file, "-"], event.to_string().as_bytes())?;
    assert_eq!(tested.code, 0, "{tested:?}");
    Ok(())
}
