//! Rows 35 to 41: excessive use of permitted operations.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::super::row::Must::Fail;
use super::super::row::{Plugin, Row, Trial, always, play};
use super::super::stage::{Stage, text, ty};
use super::super::text::Text;
use super::imports::stores;
use super::short_cpu;
use crate::wait::wait_for;

/// Maximum hops of a flow, according to the catalogue.
const HOPS_MAX: u64 = 16;
/// Default limit on a plugin's pending timers.
const SHARE: u64 = 10_000;
/// Timers per delivery, and number of deliveries: ten times the limit, which is enough to reach the
/// steady state.
const TIMERS: u64 = 1_000;
const DELIVERIES: u64 = 100;
/// Hops at which the flow doubles. Doubling at all 16 would create a quarter of a million events
/// with the same result, and take a minute.
const DOUBLINGS: u32 = 10;
const STATE: &str = "[plugin.NAME.grants]\nstate = true";

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new(
            35,
            "10^6 emissions in one call",
            "error at 100",
            [
                Trial::Events(
                    Plugin::rust(),
                    vec![(
                        json!({ "mode": "emit", "count": 101 }),
                        Fail("limit", "101 emissions, the limit is 100"),
                    )],
                ),
                always(
                    Text {
                        pages: 1_250,
                        handle: format!(
                            "{} i32.const 128",
                            stores(&[(136, 4096), (140, 1_000_000)])
                        ),
                        ..Text::default()
                    },
                    Fail("limit", "fuel"),
                ),
            ],
        ),
        Row::new(
            36,
            "cycle of two plugins that doubles",
            "hop limit 16, dead letters",
            [
                play([Plugin::rust(), Plugin::rust()], cycle),
                play([Plugin::rust(), Plugin::rust()], doubling),
            ],
        ),
        Row::new(
            37,
            "event of 10 MB",
            "error",
            [
                Trial::Events(
                    Plugin::rust(),
                    vec![
                        (
                            json!({ "mode": "emit", "data_bytes": 300_000 }),
                            Fail("limit", "at most 262144 bytes"),
                        ),
                        (
                            json!({ "mode": "emit", "data_bytes": 10_000_000 }),
                            Fail("limit", "fuel"),
                        ),
                    ],
                ),
                play([], |stage, _| {
                    let event = json!({
                        "specversion": "1.0", "id": "large", "source": "/bad", "type": "hostile.large",
                        "data": "x".repeat(10_000_000),
                    });
                    let body = serde_json::to_vec(&event)?;
                    let client = stage.client();
                    let answer =
                        client.post_as("/events", "application/cloudevents+json", &body)?;
                    ensure!(answer.status == 413, "{} {}", answer.status, answer.text());
                    Ok("413 to a producer".to_owned())
                }),
            ],
        ),
        Row::new(
            38,
            "flood of the log; forged lines and colours",
            "cut at 64 KiB, escaped",
            [play([Plugin::rust()], log)],
        ),
        Row::new(
            39,
            "10^6 tiny keys; values that fill the state",
            "quota by keys and by bytes",
            [
                Trial::Events(
                    Plugin::rust().with(STATE).with("[plugin.NAME.limits]\nstate_keys = 100\n"),
                    vec![(
                        json!({ "mode": "fill", "keys": 1_000, "bytes": 1 }),
                        Fail("limit", "state has 100 keys"),
                    )],
                ),
                Trial::Events(
                    Plugin::rust().with(STATE).with("[plugin.NAME.limits]\nstate_bytes = 100000\n"),
                    vec![(
                        json!({ "mode": "fill", "keys": 100, "bytes": 10_000 }),
                        Fail("limit", "the limit is 100000"),
                    )],
                ),
                Trial::Events(
                    Plugin::rust().with(STATE).with(short_cpu()),
                    vec![(
                        json!({ "mode": "fill", "keys": 1_000_000, "bytes": 1 }),
                        Fail("timeout", ""),
                    )],
                ),
            ],
        ),
        Row::new(
            40,
            "100,000 timers",
            "quota by delivery and by plugin",
            [
                Trial::Events(
                    Plugin::rust(),
                    vec![(
                        json!({ "mode": "emit", "count": 101, "delay_ms": 3_600_000 }),
                        Fail("limit", "101 emissions, the limit is 100"),
                    )],
                ),
                play(
                    [
                        Plugin::rust().with("[plugin.NAME.limits]\nemissions = 1000\n"),
                        Plugin::rust(),
                    ],
                    timers,
                ),
            ],
        ),
        Row::new(
            41,
            "metric labels without end",
            "no label comes from outside",
            [play([Plugin::rust()], labels)],
        ),
    ]
}

/// A emits two events for B, B two for A, and so on: more branches than a single response lists.
/// Each must be counted once, where it ends.
fn doubling(stage: &Stage, names: &[String]) -> Result<String> {
    let [a, b] = names else { anyhow::bail!("not two plugins") };
    let data = json!({ "mode": "split", "into": ty(b), "doublings": DOUBLINGS });
    stage.publish_many(a, 1, &data)?;
    let branches = 1 << DOUBLINGS;
    // After an even number of hops, A handles the event.
    let series = |what: &str, name: &str| {
        stage.metric(&format!("usher_subscription_{what}{{subscription=\"{name}/all\"}}"))
    };
    wait_for("every branch to end", || {
        Ok((series("dead_letters", a)? >= Some(branches)).then_some(()))
    })?;
    let mut acked = 0;
    for name in [a, b] {
        acked += series("acked_deliveries_total", name)?.unwrap_or_default();
    }
    let dead = (series("dead_letters", a)?, series("dead_letters", b)?);
    ensure!(dead == (Some(branches), Some(0)), "{dead:?} dead letters");
    // Doubles at each hop up to the limit of doublings, then stays constant until the last.
    let done = branches - 1 + branches * (HOPS_MAX - u64::from(DOUBLINGS));
    ensure!(acked == done, "{acked} deliveries done, not {done}");
    Ok(format!("{branches} branches dead at hop {HOPS_MAX}"))
}

/// The same with 64 branches, checking every detail of the flow.
fn cycle(stage: &Stage, names: &[String]) -> Result<String> {
    let [a, b] = names else { anyhow::bail!("not two plugins") };
    let flow = stage.flow(a, &json!({ "mode": "split", "into": ty(b), "doublings": 6 }))?;
    let events = flow.pointer("/events").and_then(Value::as_array).context("no events")?;
    let depth = events.iter().filter_map(|event| event.get("depth")?.as_u64()).max();
    let dead: Vec<&Value> = events
        .iter()
        .filter_map(|event| event.pointer("/deliveries")?.as_array())
        .flatten()
        .filter(|delivery| text(delivery, "/state") == "dead")
        .collect();
    ensure!(dead.len() == 64, "{} dead letters, not 64", dead.len());
    let by_hops =
        |letter: &&Value| text(letter, "/failures/0/reason").contains(&HOPS_MAX.to_string());
    ensure!(dead.iter().all(by_hops), "not for the hop limit: {dead:?}");
    // The report of a dead letter is one hop further than its event.
    ensure!(depth <= Some(HOPS_MAX + 1), "{depth:?} hops");
    Ok(format!("{} events, 64 branches dead at hop {HOPS_MAX}", events.len()))
}

/// 100,000 timers of one plugin: it gets as many as the limit, and another plugin can still set its
/// own.
fn timers(stage: &Stage, names: &[String]) -> Result<String> {
    let [greedy, modest] = names else { anyhow::bail!("not two plugins") };
    let timers = json!({ "mode": "emit", "count": TIMERS, "delay_ms": 3_600_000 });
    stage.publish_many(greedy, DELIVERIES, &timers)?;
    let subscription = format!("subscription=\"{greedy}/all\"");
    let metric = |name: &str| stage.metric(&format!("usher_subscription_{name}{{{subscription}}}"));
    let done = SHARE / TIMERS;
    wait_for("all to be settled", || {
        let dead = metric("dead_letters")?.unwrap_or_default();
        Ok((dead + done >= DELIVERIES).then_some(()))
    })?;
    let (acked, delayed) = (metric("acked_deliveries_total")?, metric("delayed_emissions")?);
    ensure!(acked == Some(done) && delayed == Some(SHARE), "{acked:?} done, {delayed:?} timers");
    let letters = stage.client().get_json(&format!("/dead-letters?subscription={greedy}/all"))?;
    let letters = letters.pointer("/dead_letters").and_then(Value::as_array);
    let reason = letters.and_then(|all| all.first()).map(|letter| text(letter, "/reason"));
    let reason = reason.context("no dead letter")?;
    let says = format!("the limit is {SHARE}");
    ensure!(reason.contains(&says) && reason.contains("delayed_emissions"), "{reason}");
    stage.done(modest, &json!({ "mode": "emit", "delay_ms": 1 }))?;
    Ok(format!("{SHARE} of {} set; {reason}", DELIVERIES * TIMERS))
}

fn log(stage: &Stage, names: &[String]) -> Result<String> {
    let name = names.first().context("no plugin")?;
    let lines = ["\u{1b}[31mred", "first\r\n{\"level\":\"ERROR\",\"forged\":true}"];
    stage.emitted(name, &json!({ "mode": "log", "lines": lines, "bytes": 1_000_000 }))?;
    stage.router.wait_for_log("the cut", |line| {
        let mine = text(line, "/fields/plugin") == name;
        (mine && text(line, "/fields/message").starts_with("log cut")).then_some(())
    })?;
    let log = std::fs::read_to_string(stage.folder.root().join("router.log"))?;
    ensure!(!log.contains('\u{1b}') && !log.contains('\r'), "a control character went through");
    ensure!(!log.lines().any(|line| line.starts_with("{\"level\":\"ERROR\",\"forged")), "forged");
    let written: usize = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| text(line, "/fields/plugin") == name)
        .map(|line| text(&line, "/fields/message").len())
        .sum();
    ensure!(written < 66 * 1024, "{written} bytes went into the log");
    Ok(format!("{} KiB in the log", written / 1024))
}

fn labels(stage: &Stage, names: &[String]) -> Result<String> {
    let name = names.first().context("no plugin")?;
    let ask = |number: usize| {
        let data = json!({ "mode": "emit", "type": format!("hostile.cardinality-{number}") });
        stage.done(name, &data)?;
        stage.client().get(&format!("/cardinality-{number}"))?;
        stage.client().request(&format!("CARDINALITY{number}"), "/events", &[], b"")
    };
    ask(0)?;
    // The request for the metrics has labels of its own from the second time on.
    label_sets(stage)?;
    let before = label_sets(stage)?;
    for number in 1..20 {
        ask(number)?;
    }
    let after = label_sets(stage)?;
    ensure!(before == after, "new labels: {:?}", after.difference(&before).collect::<Vec<_>>());
    Ok(format!("{} sets of labels, as before", after.len()))
}

/// Label sets without series names: some series exist only while they have a value.
fn label_sets(stage: &Stage) -> Result<BTreeSet<String>> {
    let text = stage.client().get("/metrics")?.text();
    let series = text.lines().filter(|line| !line.starts_with('#'));
    let labels = series.filter_map(|line| Some(line.split_once('{')?.1.rsplit_once('}')?.0));
    Ok(labels.map(str::to_owned).collect())
}
