//! Trees compared with golden text, from flows in the JSON of the API.

use serde_json::{Value, json};

use super::*;

fn event(sequence: u64, ty: &str, ms: u64, cause: Value, deliveries: Value) -> Value {
    json!({
        "sequence": sequence, "recorded": Timestamp::from_ms(1_769_860_800_000 + ms), "flow": 17,
        "depth": 0, "cause": cause, "deliveries": deliveries,
        "event": {
            "specversion": "1.0", "id": sequence.to_string(), "source": "/s", "type": ty,
            "subject": "o-1001"
        }
    })
}

fn cause(parent: u64, subscription: &str, attempt: u32, took_us: u64) -> Value {
    json!({
        "kind": "emission", "parent": parent, "subscription": subscription, "attempt": attempt, "took_us": took_us
    })
}

fn delivery(subscription: &str, state: &str, failures: &[Value]) -> Value {
    let plugin = subscription.split('/').next();
    json!({
        "subscription": subscription, "plugin": plugin, "state": state, "failures": failures
    })
}

fn failure(attempt: u32, ms: u64, class: &str, reason: &str) -> Value {
    json!({
        "attempt": attempt, "time": Timestamp::from_ms(1_769_860_800_000 + ms), "took_us": 8_200,
        "class": class, "reason": reason, "backtrace": null, "digest": null, "counted": true
    })
}

fn flow(settled: bool, events: Value, delayed: Value) -> Flow {
    serde_json::from_value(json!({
        "flow": 17, "settled": settled, "truncated": false, "events": events, "delayed": delayed
    }))
    .unwrap()
}

#[track_caller]
fn check(flow: &Flow, golden: &str) {
    let text = anstream::adapter::strip_str(&render(flow)).to_string();
    assert_eq!(text, golden, "\n{text}");
}

#[test]
fn a_flow_with_retries_and_branches() {
    let flow = flow(
        true,
        json!([
            event(
                17,
                "ticket.purchased",
                0,
                Value::Null,
                json!([
                    delivery(
                        "payment/purchases",
                        "done",
                        &[
                            failure(1, 21, "retry", "the gateway answered 503"),
                            failure(2, 1_030, "timeout", "missed its deadline of 30 s"),
                        ]
                    ),
                    delivery("sales/tickets", "done", &[]),
                ])
            ),
            event(
                18,
                "ticket.payment.confirmed",
                2_104,
                cause(17, "payment/purchases", 3, 12_100),
                json!([
                    delivery("printer/tickets", "done", &[]),
                    delivery("sales/tickets", "done", &[]),
                ])
            ),
            event(
                19,
                "ticket.generated",
                2_200,
                cause(18, "printer/tickets", 1, 85_000),
                json!([delivery("courier/tickets", "done", &[failure(1, 2_300, "retry", "503")]),])
            ),
        ]),
        json!([]),
    );
    check(
        &flow,
        "\
flow 17  settled  3 events  2.300 s  from 2026-01-31 12:00:00.000 UTC

ticket.purchased #17                   0 ms  o-1001
├─ payment/purchases                         done at attempt 3, 12.1 ms
│  ├─ attempt 1                       21 ms  retry: the gateway answered 503 (8.2 ms)
│  ├─ attempt 2                     1.030 s  timeout: missed its deadline of 30 s (8.2 ms)
│  └─ ticket.payment.confirmed #18  2.104 s  o-1001
│     ├─ printer/tickets                     done, 85.0 ms
│     │  └─ ticket.generated #19    2.200 s  o-1001
│     │     └─ courier/tickets               done at attempt 2
│     │        └─ attempt 1         2.300 s  retry: 503 (8.2 ms)
│     └─ sales/tickets                       done
└─ sales/tickets                             done
",
    );
}

#[test]
fn deliveries_that_are_not_done() {
    let mut waiting = delivery("b/two", "waiting", &[failure(1, 5, "trap", "unreachable")]);
    waiting["due"] = json!("2026-01-31T12:00:01.005Z");
    let mut dead = delivery("c/three", "dead", &[failure(1, 6, "reject", "no such seat")]);
    dead["dead_letter"] = json!(4);
    let mut in_flight = delivery("e/five", "in_flight", &[]);
    in_flight["attempt"] = json!(1);
    let mut parked = delivery("f/six", "parked", &[]);
    parked["behind"] = json!(16);
    let flow = flow(
        false,
        json!([event(
            17,
            "t",
            0,
            Value::Null,
            json!([
                delivery("a/one", "pending", &[]),
                waiting,
                dead,
                delivery("d/four", "dead", &[]),
                in_flight,
                parked,
            ])
        )]),
        json!([{
            "due": "2026-01-31T12:01:00.000Z", "cause": cause(17, "a/one", 1, 900),
            "event": { "specversion": "1.0", "id": "x", "source": "/s", "type": "t.reminder" }
        }]),
    );
    check(
        &flow,
        "\
flow 17  under way  1 event  2 deliveries given up  6 ms  from 2026-01-31 12:00:00.000 UTC

t #17                 0 ms  o-1001
├─ a/one                    pending
│  └─ t.reminder  60.000 s  delayed until 12:01:00.000
├─ b/two                    waiting for attempt 2, due 12:00:01.005
│  └─ attempt 1       5 ms  trap: unreachable (8.2 ms)
├─ c/three                  dead letter 4
│  └─ attempt 1       6 ms  reject: no such seat (8.2 ms)
├─ d/four                   dead; its dead letter was redriven or discarded
├─ e/five                   under way, attempt 1
└─ f/six                    parked behind #16
",
    );
}

#[test]
fn what_a_removed_subscription_emitted_is_shown() {
    let mut flow = flow(
        false,
        json!([
            event(17, "t", 0, Value::Null, json!([])),
            event(18, "u", 1, cause(17, "gone/main", 1, 5), json!([])),
            event(19, "v", 2, cause(99, "far/away", 1, 5), json!([])),
        ]),
        json!([]),
    );
    flow.truncated = true;
    check(
        &flow,
        "\
flow 17  under way  3 events  2 ms  from 2026-01-31 12:00:00.000 UTC

t #17         0 ms  o-1001
└─ gone/main
   └─ u #18   1 ms  o-1001
v #19         2 ms  o-1001
… the flow has more events than are shown
",
    );
}

#[test]
fn foreign_text_is_harmless_and_cut() {
    let reason = format!("\u{1b}[2J{}", "x".repeat(500));
    let flow = flow(
        true,
        json!([event(
            17,
            "t\u{202e}",
            0,
            Value::Null,
            json!([delivery("a/one", "done", &[failure(1, 5, "retry", &reason)]),])
        )]),
        json!([]),
    );
    let text = anstream::adapter::strip_str(&render(&flow)).to_string();
    assert!(!text.contains(['\u{1b}', '\u{202e}']));
    assert!(text.contains("\\x1b[2Jxxx") && text.contains("x…"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() < 320), "{text}");
}

#[test]
fn states_have_colours() {
    let flow = flow(
        true,
        json!([event(17, "t", 0, Value::Null, json!([delivery("a/one", "done", &[])]))]),
        json!([]),
    );
    let text = render(&flow);
    assert!(text.contains("\u{1b}[32mdone\u{1b}[0m"), "{text:?}");
    assert!(text.contains("\u{1b}[1mt\u{1b}[0m"), "{text:?}");
}
