//! CloudEvents over HTTP, valid and invalid, in all three modes.

use anyhow::Result;
use serde_json::{Value, json};
use usher_tests::{Answer, Client};

use crate::scene::{Scene, event};

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

/// The event as the log has it, after it was accepted.
fn stored(client: &Client, answer: &Answer) -> Result<Value> {
    assert_eq!(answer.status, 202, "{}", answer.text());
    let sequence = answer.json()?["events"][0]["sequence"].as_u64().unwrap();
    Ok(client.get_json(&format!("/events/{sequence}"))?["event"].clone())
}

/// A refusal: problem+json (RFC 9457) that states what is wrong with which attribute.
#[track_caller]
fn check_refusal(answer: &Answer, status: u16, attribute: &str, what: &str) {
    assert_eq!(answer.status, status, "{what}: {}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
    let problem = answer.json().unwrap();
    assert_eq!(problem["status"], status, "{what}: {problem}");
    assert!(problem["title"].is_string(), "{what}: {problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(!detail.is_empty(), "{what}: {problem}");
    if !attribute.is_empty() {
        assert_eq!(problem["attribute"], attribute, "{what}: {problem}");
    }
}

#[test]
fn structured_events_come_back_as_they_were() -> Result<()> {
    let scene = Scene::empty()?;
    let full = json!({
        "specversion": "1.0",
        "id": "A-1",
        "source": "https://shop.example/box-office?x=1#y",
        "type": "com.example.Bought",
        "subject": "o-1 ü 😀",
        "time": "2026-05-02T18:04:05.123456789+02:00",
        "datacontenttype": "application/vnd.example+json; charset=utf-8",
        "dataschema": "https://shop.example/schema/1",
        "comexampleextension": "text",
        "count": -7,
        "urgent": true,
        "data": { "a": [1, 2.5, null, "x"], "b": {} },
    });
    let minimal = json!({ "specversion": "1.0", "id": "1", "source": "/s", "type": "t" });
    let bytes = json!({
        "specversion": "1.0", "id": "2", "source": "/s", "type": "t",
        "datacontenttype": "application/octet-stream", "data_base64": "AP/+",
    });
    let text = json!({
        "specversion": "1.0", "id": "3", "source": "/s", "type": "t",
        "datacontenttype": "text/plain", "data": "hello",
    });
    for given in [full, minimal, bytes, text] {
        let answer = scene.client().post_as("/events", STRUCTURED, given.to_string().as_bytes())?;
        assert_eq!(stored(scene.client(), &answer)?, given);
    }
    let nulls = json!({
        "specversion": "1.0", "id": "4", "source": "/s", "type": "t", "subject": null, "x": null,
    });
    let answer = scene.client().post_as("/events", STRUCTURED, nulls.to_string().as_bytes())?;
    let kept = stored(scene.client(), &answer)?;
    assert!(kept.get("subject").is_none() && kept.get("x").is_none(), "{kept}");
    Ok(())
}

#[test]
fn binary_events_come_back_as_they_were() -> Result<()> {
    let scene = Scene::empty()?;
    let headers: [(&str, &[u8]); 8] = [
        ("CE-SpecVersion", b"1.0"),
        ("ce-id", b"b-1"),
        ("ce-source", b"/binary"),
        ("Ce-Type", b"test.binary"),
        ("ce-subject", b"Euro%20%E2%82%AC%20%F0%9F%98%80"),
        ("ce-note", "raw \u{fc}".as_bytes()),
        ("ce-quoted", b"\"a \\\"b\\\"\""),
        ("content-type", b"application/json"),
    ];
    let answer = scene.client().request("POST", "/events", &headers, br#"{"n":1}"#)?;
    let kept = stored(scene.client(), &answer)?;
    let wanted = json!({
        "specversion": "1.0", "id": "b-1", "source": "/binary", "type": "test.binary",
        "subject": "Euro € 😀", "note": "raw ü", "quoted": "a \"b\"",
        "datacontenttype": "application/json", "data": { "n": 1 },
    });
    assert_eq!(kept, wanted);
    Ok(())
}

#[test]
fn batches_are_taken_whole_or_not_at_all() -> Result<()> {
    let scene = Scene::empty()?;
    let batch: Vec<Value> = (0..10).map(|n| event("t", &n.to_string(), &json!(n))).collect();
    let receipts = scene.client().publish_batch(&batch)?;
    let sequences: Vec<u64> = receipts.iter().map(|receipt| receipt.sequence).collect();
    assert!(sequences.windows(2).all(|pair| pair[0] < pair[1]), "{sequences:?}");
    assert!(scene.client().publish_batch(&[])?.is_empty());

    let mut bad = batch;
    bad.iter_mut().for_each(|event| event["source"] = json!("/another"));
    bad[6].as_object_mut().unwrap().remove("type");
    let body = serde_json::to_vec(&bad)?;
    let answer = scene.client().post_as("/events", BATCH, &body)?;
    check_refusal(&answer, 400, "type", "a bad member");
    assert_eq!(answer.json()?["member"], 6);
    let log = scene.client().get_json("/events?max=1000")?;
    assert_eq!(log["events"].as_array().unwrap().len(), 10, "part of a bad batch is in the log");
    Ok(())
}

#[test]
fn the_same_source_and_id_again_is_a_duplicate() -> Result<()> {
    let scene = Scene::empty()?;
    let first = scene.client().publish(&event("t", "1", &json!(1)))?;
    assert!(!first.duplicate);
    let again = scene.client().publish(&event("other.type", "1", &json!(2)))?;
    assert_eq!((again.duplicate, again.sequence), (true, first.sequence));
    let mut elsewhere = event("t", "1", &json!(1));
    elsewhere["source"] = json!("/elsewhere");
    assert!(!scene.client().publish(&elsewhere)?.duplicate);
    let twins = [event("t", "2", &json!(1)), event("t", "2", &json!(1))];
    let twins = scene.client().publish_batch(&twins)?;
    assert_eq!((twins[0].duplicate, twins[1].duplicate), (false, true));
    assert_eq!(twins[0].sequence, twins[1].sequence);
    Ok(())
}

#[test]
fn bad_structured_events_are_refused_by_attribute_and_rule() -> Result<()> {
    let scene = Scene::empty()?;
    let good = event("t", "1", &json!({}));
    let with = |key: &str, value: Value| {
        let mut event = good.clone();
        event[key] = value;
        event
    };
    let without = |key: &str| {
        let mut event = good.clone();
        event.as_object_mut().unwrap().remove(key);
        event
    };
    let table = [
        ("specversion", without("specversion")),
        ("specversion", with("specversion", json!("0.3"))),
        ("id", without("id")),
        ("id", with("id", json!(""))),
        ("id", with("id", json!(7))),
        ("id", with("id", Value::Null)),
        ("source", without("source")),
        ("source", with("source", json!("not a uri"))),
        ("source", with("source", json!("/plugins/payment"))),
        ("type", with("type", json!(""))),
        ("subject", with("subject", json!(""))),
        ("time", with("time", json!("yesterday"))),
        ("time", with("time", json!("2026-02-30T00:00:00Z"))),
        ("dataschema", with("dataschema", json!("relative"))),
        (
            "datacontenttype",
            json!({
                "specversion": "1.0", "id": "1", "source": "/s", "type": "t",
                "datacontenttype": "nonsense", "data": "text",
            }),
        ),
        ("Upper", with("Upper", json!("x"))),
        ("with_underscore", with("with_underscore", json!("x"))),
        ("fraction", with("fraction", json!(1.5))),
        ("large", with("large", json!(2_147_483_648_u64))),
        ("list", with("list", json!([1]))),
        ("control", with("control", json!("a\u{1}b"))),
    ];
    for (attribute, event) in table {
        let answer = scene.client().post_as("/events", STRUCTURED, event.to_string().as_bytes())?;
        check_refusal(&answer, 400, attribute, &event.to_string());
    }
    for body in ["", "{", "[]", "7", "{\"id\":\"\u{0}\"}"] {
        let answer = scene.client().post_as("/events", STRUCTURED, body.as_bytes())?;
        check_refusal(&answer, 400, "", body);
    }
    let mut both = good.clone();
    both["data_base64"] = json!("AA==");
    let answer = scene.client().post_as("/events", STRUCTURED, both.to_string().as_bytes())?;
    check_refusal(&answer, 400, "", "data and data_base64 together");
    let bad_base64 = json!({
        "specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data_base64": "%%%",
    });
    let answer =
        scene.client().post_as("/events", STRUCTURED, bad_base64.to_string().as_bytes())?;
    check_refusal(&answer, 400, "data_base64", "bad base64");

    assert_eq!(scene.client().get_json("/events")?["last"], 0, "something bad was stored");
    Ok(())
}

#[test]
fn bad_binary_events_are_refused() -> Result<()> {
    type Headers<'a> = &'a [(&'a str, &'a [u8])];
    let scene = Scene::empty()?;
    let table: [(&str, Headers); 6] = [
        ("id", &[("ce-specversion", b"1.0"), ("ce-source", b"/s"), ("ce-type", b"t")]),
        ("specversion", &[("ce-id", b"1"), ("ce-source", b"/s"), ("ce-type", b"t")]),
        (
            "type",
            &[("ce-specversion", b"1.0"), ("ce-id", b"1"), ("ce-source", b"/s"), ("ce-type", b"")],
        ),
        (
            "note",
            &[
                ("ce-specversion", b"1.0"),
                ("ce-id", b"1"),
                ("ce-source", b"/s"),
                ("ce-type", b"t"),
                ("ce-note", b"\xff\xfe"),
            ],
        ),
        (
            "note",
            &[
                ("ce-specversion", b"1.0"),
                ("ce-id", b"1"),
                ("ce-source", b"/s"),
                ("ce-type", b"t"),
                ("ce-note", b"%FF%FE"),
            ],
        ),
        (
            "id",
            &[
                ("ce-specversion", b"1.0"),
                ("ce-id", b"1"),
                ("ce-id", b"2"),
                ("ce-source", b"/s"),
                ("ce-type", b"t"),
            ],
        ),
    ];
    for (attribute, headers) in table {
        let answer = scene.client().request("POST", "/events", headers, b"x")?;
        check_refusal(&answer, 400, attribute, &format!("{headers:?}"));
    }
    assert_eq!(scene.client().get_json("/events")?["last"], 0, "something bad was stored");
    Ok(())
}

#[test]
fn what_is_no_cloudevent_or_too_large_is_refused() -> Result<()> {
    let scene = Scene::with("[http]\nmax_body_bytes = 1048576\n", &[])?;
    let good = event("t", "1", &json!({})).to_string();
    for content_type in ["application/json", "text/plain", "application/cloudevents+avro"] {
        let answer = scene.client().post_as("/events", content_type, good.as_bytes())?;
        check_refusal(&answer, 415, "", content_type);
    }
    let large = event("t", "1", &json!("x".repeat(300 * 1024))).to_string();
    let answer = scene.client().post_as("/events", STRUCTURED, large.as_bytes())?;
    check_refusal(&answer, 413, "", "an event of 300 KiB");
    let answer = scene.client().post_as("/events", STRUCTURED, &vec![b' '; 1024 * 1024 + 1])?;
    check_refusal(&answer, 413, "", "a body of more than 1 MiB");
    let many: Vec<Value> = (0..1_001).map(|n| event("t", &n.to_string(), &json!(n))).collect();
    let answer = scene.client().post_as("/events", BATCH, &serde_json::to_vec(&many)?)?;
    check_refusal(&answer, 413, "", "a batch of 1,001");
    assert_eq!(scene.client().get_json("/events")?["last"], 0, "something bad was stored");
    Ok(())
}
