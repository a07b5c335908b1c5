//! Rows 28 to 34: events and effects.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::super::row::Must::{Ack, Fail};
use super::super::row::{Plugin, Row, Trial, play};
use super::super::stage::{Stage, delivery};

const STATE: &str = "[plugin.NAME.grants]\nstate = true";
const STATE_AND_BLOBS: &str = "[plugin.NAME.grants]\nstate = true\nblobs = true";

pub(super) fn rows() -> Vec<Row> {
    let emission = |emission: Value| {
        let mut data = json!({ "mode": "emit" });
        if let (Some(data), Some(emission)) = (data.as_object_mut(), emission.as_object()) {
            data.extend(emission.clone());
        }
        data
    };
    let extension = |name: &str| emission(json!({ "extensions": [[name, "text", "x"]] }));
    let timestamp = |text: &str| emission(json!({ "extensions": [["at", "timestamp", text]] }));
    let bad = |data: Value, says: &'static str| (data, Fail("emission", says));
    let good = |data: Value| (data, Ack);
    vec![
        Row::new(
            28,
            "id, source, type: empty, 1 MiB, controls",
            "typed error, nothing stored",
            [
                play([Plugin::rust()], published),
                Trial::Events(
                    Plugin::rust(),
                    vec![
                        bad(emission(json!({ "type": "" })), "type"),
                        bad(emission(json!({ "type": "a\u{1b}b" })), "type"),
                        (emission(json!({ "type": "t".repeat(200_000) })), Fail("limit", "type")),
                    ],
                ),
            ],
        ),
        Row::new(
            29,
            "extensions: reserved, twice, upper case, long",
            "typed error",
            [Trial::Events(
                Plugin::rust(),
                vec![
                    bad(extension("id"), "id"),
                    bad(extension("data"), "data"),
                    bad(extension("Upper"), "Upper"),
                    bad(extension("a23456789012345678901"), "20"),
                    bad(
                        emission(json!({ "extensions": [["a", "text", "1"], ["a", "text", "2"]] })),
                        "twice",
                    ),
                ],
            )],
        ),
        Row::new(
            30,
            "emission in another's name, or the host's",
            "denied",
            [Trial::Events(
                Plugin::rust(),
                vec![
                    bad(
                        emission(json!({ "extensions": [["source", "text", "/plugins/echo"]] })),
                        "source",
                    ),
                    bad(extension("causationid"), "causationid"),
                    bad(emission(json!({ "type": "dev.usher.delivery.dead" })), "dev.usher."),
                ],
            )],
        ),
        Row::new(
            31,
            "NaN, -0, year 9999, negative years",
            "accepted, or a typed error",
            [Trial::Events(
                Plugin::rust(),
                vec![
                    bad(timestamp("NaN"), "at"),
                    bad(timestamp("-0001-01-01T00:00:00Z"), "at"),
                    bad(timestamp("10000-01-01T00:00:00Z"), "at"),
                    good(timestamp("9999-12-31T23:59:59Z")),
                    good(timestamp("0000-01-01T00:00:00-00:00")),
                ],
            )],
        ),
        Row::new(
            32,
            "trap after 5 emissions, state and a blob",
            "none of it is visible",
            [play([Plugin::rust().with(STATE_AND_BLOBS)], nothing_is_left)],
        ),
        Row::new(
            33,
            "ok, although the host said quota exceeded",
            "the quota's error wins",
            [Trial::Events(
                Plugin::rust().with(STATE),
                vec![(json!({ "mode": "overrun" }), Fail("limit", "65536"))],
            )],
        ),
        Row::new(
            34,
            "use of an instance that trapped",
            "the instance is gone",
            [play([Plugin::rust()], |stage, names| {
                let name = names.first().context("no plugin")?;
                let flow = stage.flow(name, &json!({ "mode": "again" }))?;
                let failures = delivery(&flow)?.get("failures").and_then(Value::as_array);
                ensure!(failures.is_some_and(|all| all.len() == 1), "not one trap: {flow}");
                let left = flow.pointer("/events/1/event/data");
                ensure!(left == Some(&json!(0)), "something was left: {flow}");
                Ok("the second attempt found nothing of the first".to_owned())
            })],
        ),
    ]
}

/// Values a producer may not send, for each of the three attributes.
fn published(stage: &Stage, _: &[String]) -> Result<String> {
    let long = "x".repeat(1024 * 1024);
    let mut refused = 0;
    for attribute in ["id", "source", "type"] {
        for value in ["", long.as_str(), "a\u{1b}b", "a\u{0}"] {
            let mut event = json!({
                "specversion": "1.0", "id": "bad-1", "source": "/bad", "type": "hostile.bad",
            });
            if let Some(event) = event.as_object_mut() {
                event.insert(attribute.to_owned(), json!(value));
            }
            let body = serde_json::to_vec(&event)?;
            let client = stage.client();
            let answer = client.post_as("/events", "application/cloudevents+json", &body)?;
            let start: String = value.chars().take(8).collect();
            ensure!(
                [400, 413].contains(&answer.status) && answer.text().contains(attribute),
                "{attribute} {start:?}: {} {}",
                answer.status,
                answer.text()
            );
            refused += 1;
        }
    }
    ensure!(stage.client().events_of_type("hostile.bad")?.is_empty(), "something was stored");
    Ok(format!("{refused} events refused"))
}

fn nothing_is_left(stage: &Stage, names: &[String]) -> Result<String> {
    let name = names.first().context("no plugin")?;
    let seen =
        stage.fails(name, &json!({ "mode": "half" }), "trap", "trapped after 5 emissions")?;
    let there = stage.emitted(name, &json!({ "mode": "look", "key": "half" }))?;
    ensure!(there == json!(false), "state was left: {there}");
    let blobs = stage.client().get_json("/blobs")?;
    ensure!(!blobs.to_string().contains(name), "a blob was left: {blobs}");
    Ok(seen)
}
