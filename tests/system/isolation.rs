//! Plugins that misbehave, next to plugins that don't.

use anyhow::Result;
use serde_json::{Value, json};
use usher_tests::usher;

use crate::scene::{QUICK_RETRIES, Scene, delivery, event, types};

#[test]
fn spinning_and_trapping_plugins_hurt_nobody_else() -> Result<()> {
    let tables = format!("{QUICK_RETRIES}[plugin.spin.limits]\ncpu_ms = 50\n");
    let scene = Scene::with(&tables, &["spin", "trap", "echo"])?;
    let bad: Vec<Value> = (0..4)
        .flat_map(|n| {
            ["test.spin", "test.trap"].map(|ty| event(ty, &format!("{ty}-{n}"), &json!({})))
        })
        .collect();
    let good: Vec<Value> =
        (0..300).map(|n| event("test.echo", &n.to_string(), &json!({ "n": n }))).collect();
    let bad = scene.client().publish_batch(&bad)?;
    let good = scene.client().publish_batch(&good)?;

    for receipt in good {
        let flow = scene.client().settled_flow(receipt.sequence)?;
        assert_eq!(types(&flow), ["test.echo", "test.echoed"]);
        assert_eq!(delivery(&flow)["failures"], json!([]));
    }
    for receipt in bad {
        let flow = scene.client().settled_flow(receipt.sequence)?;
        let types = types(&flow);
        assert_eq!((types.len(), types[1]), (2, "dev.usher.delivery.dead"), "{flow}");
        let delivery = delivery(&flow);
        assert_eq!(delivery["state"], "dead", "{delivery}");
        let failures = delivery["failures"].as_array().unwrap();
        assert_eq!(failures.len(), 3, "{delivery}");
        let (class, function) = match delivery["plugin"].as_str() {
            Some("spin") => ("timeout", "listener@0.1.0#handle"),
            _ => ("trap", "fall_into_the_trap"),
        };
        for failure in failures {
            assert_eq!(failure["class"], class, "{failure}");
            assert!(!failure["reason"].as_str().unwrap().is_empty());
            let backtrace = failure["backtrace"].as_str().unwrap_or_default();
            assert!(backtrace.contains(function), "{failure}");
        }
    }
    assert_eq!(scene.client().get("/healthz")?.status, 200);
    let trap = scene.client().plugin("trap")?.unwrap();
    assert_eq!(trap["state"], "serving");
    assert_eq!(trap["stats"]["failed"]["trap"], 12, "{trap}");
    Ok(())
}

#[test]
fn failures_that_pass_are_tried_again_and_others_are_not() -> Result<()> {
    let scene = Scene::with(QUICK_RETRIES, &["fail"])?;
    for (data, state, attempts, class) in [
        (json!({ "mode": "retry" }), "dead", 3, "retry"),
        (json!({ "mode": "retry", "after_ms": 30 }), "dead", 3, "retry"),
        (json!({ "mode": "reject" }), "dead", 1, "reject"),
        (json!({ "mode": "until", "attempts": 3 }), "done", 2, "retry"),
        (json!({ "mode": "ok" }), "done", 0, ""),
    ] {
        let flow = scene.flow_of("test.fail", &data.to_string(), &data)?;
        let delivery = delivery(&flow);
        assert_eq!(delivery["state"], state, "{data}: {flow}");
        let failures = delivery["failures"].as_array().unwrap();
        assert_eq!(failures.len(), attempts, "{data}: {delivery}");
        for (failure, attempt) in failures.iter().zip(1..) {
            assert_eq!(failure["class"], class, "{data}");
            assert_eq!(failure["attempt"], attempt, "{data}");
            let reason = failure["reason"].as_str().unwrap();
            assert_eq!(reason, format!("asked to fail on attempt {attempt}"), "{data}");
        }
    }
    Ok(())
}

/// Invariant 4, for emissions.
#[test]
fn bad_emissions_fail_the_delivery_and_none_becomes_visible() -> Result<()> {
    let scene = Scene::with(QUICK_RETRIES, &["emit"])?;
    let name = "a".repeat(21);
    for (data, says) in [
        (json!({ "what": "many", "count": 101 }), "100"),
        (json!({ "what": "large", "bytes": 300 * 1024 }), ""),
        (json!({ "what": "attribute", "name": "Upper", "value": "x" }), "Upper"),
        (json!({ "what": "attribute", "name": name, "value": "x" }), "20"),
        (json!({ "what": "attribute", "name": "id", "value": "x" }), "id"),
        (json!({ "what": "attribute", "name": "source", "value": "/plugins/other" }), "source"),
        (json!({ "what": "attribute", "name": "correlationid", "value": "x" }), "correlationid"),
        (json!({ "what": "attribute", "name": "causationid", "value": "x" }), "causationid"),
        (json!({ "what": "type", "value": "" }), "type"),
        (json!({ "what": "type", "value": "dev.usher.delivery.dead" }), "dev.usher."),
        (json!({ "what": "good-then-bad" }), "Not-A-Name"),
    ] {
        let flow = scene.flow_of("test.emit", &data.to_string(), &data)?;
        assert_eq!(types(&flow), ["test.emit", "dev.usher.delivery.dead"], "{data}");
        let delivery = delivery(&flow);
        assert_eq!(delivery["state"], "dead", "{data}: {delivery}");
        let failure = &delivery["failures"][0];
        let class = failure["class"].as_str().unwrap();
        assert!(class == "emission" || class == "limit", "{data}: {failure}");
        let reason = failure["reason"].as_str().unwrap();
        assert!(reason.contains(says), "{data}: {reason:?} does not mention {says:?}");
    }
    assert!(scene.client().events_of_type("test.emitted")?.is_empty());

    let flow = scene.flow_of("test.emit", "100", &json!({ "what": "many", "count": 100 }))?;
    assert_eq!(types(&flow).len(), 101);
    Ok(())
}

#[test]
fn a_cycle_ends_at_the_hop_limit() -> Result<()> {
    let scene = Scene::with(QUICK_RETRIES, &["emit"])?;
    let flow = scene.flow_of("test.emit", "1", &json!({ "what": "cycle" }))?;
    let events = flow["events"].as_array().unwrap();
    assert_eq!(events.len(), 18, "the first event, 16 hops, and the report of the dead letter");
    assert_eq!(events[17]["event"]["source"], "/usher");
    let last = &events[16]["deliveries"][0];
    assert_eq!(last["state"], "dead", "{last}");
    assert!(last["failures"][0]["reason"].as_str().unwrap().contains("16"), "{last}");
    Ok(())
}

#[test]
fn two_plugins_that_go_in_circles_are_shown_their_cycle() -> Result<()> {
    let subscriptions = r#"
[plugin.emit.subscription.emit]
filter = { exact = { type = "test.echoed" } }
[plugin.echo.subscription.echo]
filter = { exact = { type = "test.emit" } }
"#;
    let scene = Scene::with(&format!("{QUICK_RETRIES}{subscriptions}"), &["emit", "echo"])?;
    let flow = scene.flow_of("test.emit", "1", &json!({ "what": "cycle" }))?;
    let cycle = " in a cycle: test.emit →(echo/echo)→ test.echoed →(emit/emit)→ test.emit, 8 times";
    let last = &flow["events"][16]["deliveries"][0];
    assert!(last["failures"][0]["reason"].as_str().unwrap().ends_with(cycle), "{last}");
    // The reason is in every view that operators and plugins have.
    let report = &flow["events"][17]["event"];
    assert!(report["data"]["reason"].as_str().unwrap().ends_with(cycle), "{report}");
    for args in [["dead-letters", "show", "1"].as_slice(), &["flow", "1"]] {
        let all: Vec<&str> = args.iter().copied().chain(["--url", scene.router.url()]).collect();
        let shown = usher(&all, b"")?;
        assert!(shown.stdout.contains(cycle), "{args:?}: {shown:?}");
    }
    Ok(())
}

#[test]
fn a_delayed_emission_waits_and_then_comes() -> Result<()> {
    let scene = Scene::with(QUICK_RETRIES, &["emit"])?;
    let far = json!({ "what": "delayed", "delay_ms": 3_600_000 });
    let receipt = scene.client().publish_new("test.emit", "far", &far)?;
    let path = format!("/flows/{}", receipt.sequence);
    let waiting = usher_tests::wait_for("the emission to wait", || {
        let flow = scene.client().get_json(&path)?;
        Ok((flow["delayed"].as_array().map(Vec::len) == Some(1)).then_some(flow))
    })?;
    assert_eq!(waiting["settled"], false);
    assert_eq!(types(&waiting), ["test.emit"]);
    assert_eq!(waiting["delayed"][0]["event"]["type"], "test.emitted");

    let near = json!({ "what": "delayed", "delay_ms": 200 });
    let flow = scene.flow_of("test.emit", "near", &near)?;
    assert_eq!(types(&flow), ["test.emit", "test.emitted"]);
    Ok(())
}

#[test]
fn state_counts_right_however_many_count_at_once() -> Result<()> {
    const EVENTS: u64 = 200;
    let tables = "[plugin.state.grants]\nstate = true\n[plugin.state]\ninstances = 8\n";
    let scene = Scene::with(tables, &["state"])?;
    for by in ["increment", "reading"] {
        let batch: Vec<Value> = (0..EVENTS)
            .map(|n| event("test.count", &format!("{by}-{n}"), &json!({ "key": by, "by": by })))
            .collect();
        scene.client().publish_batch(&batch)?;
        usher_tests::wait_for("every event to be counted", || {
            let counted = scene.client().events_of_type("test.counted")?;
            let mut values: Vec<u64> = counted
                .iter()
                .filter(|stored| stored["event"]["data"]["key"] == by)
                .filter_map(|stored| stored["event"]["data"]["value"].as_u64())
                .collect();
            values.sort_unstable();
            let whole = values.len() as u64 >= EVENTS;
            if whole {
                assert_eq!(values, (1..=EVENTS).collect::<Vec<_>>(), "by {by}");
            }
            Ok(whole.then_some(()))
        })?;
    }
    Ok(())
}

/// Invariant 4, for state.
#[test]
fn a_failed_delivery_leaves_no_state() -> Result<()> {
    let tables = format!("{QUICK_RETRIES}[plugin.state.grants]\nstate = true\n");
    let scene = Scene::with(&tables, &["state"])?;
    let failed = scene.flow_of("test.count", "1", &json!({ "key": "k", "fail": true }))?;
    assert_eq!(delivery(&failed)["state"], "dead");
    let counted = scene.flow_of("test.count", "2", &json!({ "key": "k" }))?;
    assert_eq!(counted["events"][1]["event"]["data"], json!({ "key": "k", "value": 1 }));
    Ok(())
}
