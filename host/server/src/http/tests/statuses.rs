//! What the answers say: which words, which attribute, which member, how long to wait.

use std::sync::Arc;

use axum::body::Body;
use http::StatusCode;
use serde_json::json;
use tokio::sync::watch;
use usher_broker::{BrokerError, EmbeddedBroker, Options};
use usher_event::Digest;

use super::routes::{document, violations};
use super::stub::{CONTENT, Stub, busy, full, printer};
use super::{BATCH, EVENT, STRUCTURED, api, api_of, app, publish, request, send, to_us};
use crate::http::state::INTAKE_MAX_BYTES;
use usher_config::RouterState;

#[tokio::test]
async fn all_three_modes_are_accepted() {
    let stub = Stub::new();
    let (api, _stop) = api(stub.clone());
    let again = EVENT.replace("\"1\"", "\"again\"");
    let binary = to_us()
        .method("POST")
        .uri("/events")
        .header("ce-specversion", "1.0")
        .header("ce-id", "b")
        .header("ce-source", "/s")
        .header("ce-type", "t")
        .header("content-type", "text/plain")
        .body(Body::from("plain"))
        .unwrap();
    let batch = format!("[{EVENT},{again}]");
    for (request, expected) in [
        (publish(STRUCTURED, EVENT), json!([["1", 3, false]])),
        (publish(BATCH, batch), json!([["1", 3, false], ["again", 4, true]])),
        (publish(BATCH, "[]"), json!([])),
        (binary, json!([["b", 3, false]])),
    ] {
        let answer = send(&api, request).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let events = answer.json()["events"].as_array().unwrap().clone();
        let found: Vec<_> = events
            .iter()
            .map(|event| json!([event["id"], event["sequence"], event["duplicate"]]))
            .collect();
        assert_eq!(json!(found), expected);
        assert!(events.iter().all(|event| event["source"] == "/s"));
    }
    assert_eq!(stub.published.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn bad_events_name_attribute_and_member() {
    let stub = Stub::new();
    let (api, _stop) = api(stub.clone());
    let no_type = r#"{"specversion":"1.0","id":"1","source":"/s"}"#;
    let posing = EVENT.replace("\"/s\"", "\"/plugins/printer\"");
    let usher = EVENT.replace("\"/s\"", "\"/usher\"");
    let report = EVENT.replace("\"t\"", "\"dev.usher.delivery.dead\"");
    for (request, attribute, member, word) in [
        (publish(STRUCTURED, "{"), json!(null), json!(null), "JSON"),
        (publish(STRUCTURED, no_type), json!("type"), json!(null), "required"),
        (publish(BATCH, format!("[{EVENT},{no_type}]")), json!("type"), json!(1), "required"),
        (publish(BATCH, EVENT), json!(null), json!(null), ""),
        (publish(STRUCTURED, posing.clone()), json!("source"), json!(null), "/plugins/"),
        (publish(STRUCTURED, usher.clone()), json!("source"), json!(null), "/usher"),
        (publish(BATCH, format!("[{EVENT},{report}]")), json!("type"), json!(1), "dev.usher."),
        (publish(BATCH, format!("[{EVENT},{posing}]")), json!("source"), json!(1), "/plugins/"),
    ] {
        let answer = send(&api, request).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        let problem = answer.json();
        assert_eq!((&problem["attribute"], &problem["member"]), (&attribute, &member), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(word), "{problem}");
    }
    assert!(stub.published.lock().unwrap().is_empty());
}

#[tokio::test]
async fn large_events_and_batches_are_too_large() {
    let (api, _stop) = api(Stub::new());
    let large = EVENT.replace("\"a\"", &format!("\"{}\"", "x".repeat(300 * 1024)));
    let many = format!("[{}]", vec![EVENT; 1001].join(","));
    for request in [publish(STRUCTURED, large), publish(BATCH, many)] {
        let answer = send(&api, request).await;
        assert_eq!(answer.status, 413, "{answer:?}");
    }
    let error = BrokerError::TooLarge { member: 1, size_bytes: 2, limit_bytes: 1 };
    let (api, _stop) = self::api(Stub::failing(error));
    let answer = send(&api, publish(BATCH, format!("[{EVENT},{EVENT}]"))).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["member"]), (413, &json!(1)));
}

#[tokio::test(start_paused = true)]
async fn busy_says_when_to_come_back() {
    let (api, _stop) = api(Stub::failing(busy()));
    let answer = send(&api, publish(STRUCTURED, EVENT)).await;
    assert_eq!(answer.status, 429);
    assert_eq!(answer.header("retry-after"), Some("3"));

    let (api, _stop) = self::api(Stub::new());
    let _held = api.intake.hold(INTAKE_MAX_BYTES - 10).unwrap();
    let answer = send(&api, publish(STRUCTURED, EVENT)).await;
    assert_eq!(answer.status, 429);
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn a_disk_that_is_almost_full_takes_nothing() {
    let (api, _stop) = api(Stub::failing(full()));
    let answer = send(&api, publish(STRUCTURED, EVENT)).await;
    assert_eq!(answer.status, 507);
    assert_eq!(answer.header("retry-after"), Some("10"));
    assert!(answer.json()["detail"].as_str().unwrap().contains("make room"), "{answer:?}");
}

#[tokio::test]
async fn a_closed_or_waiting_router_takes_nothing() {
    let stub = Stub::new();
    let (api, _stop) = api(stub.clone());
    api.running.intake.close();
    let answer = send(&api, publish(STRUCTURED, EVENT)).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.json()["detail"].as_str().unwrap().contains("stopping"));

    api.running.readiness.set(Err("recovering"));
    let answer = send(&api, publish(STRUCTURED, EVENT)).await;
    assert!(answer.json()["detail"].as_str().unwrap().contains("recovering"), "{answer:?}");
    let answer = send(&api, request("GET", "/readyz")).await;
    assert_eq!(answer.status, 503);
    assert!(answer.json()["detail"].as_str().unwrap().contains("recovering"));
    assert_eq!(send(&api, request("GET", "/healthz")).await.status, 200);
    assert!(stub.published.lock().unwrap().is_empty());
}

#[tokio::test]
async fn readiness_says_no_in_the_states_that_the_configuration_names() {
    let stub = Stub::new();
    for (unready_on, status) in [(RouterState::Paused, 200), (RouterState::NotServed, 503)] {
        let mut app = app(stub.clone());
        let mut config = (*app.config).clone();
        config.http.unready_on = vec![unready_on];
        app.config = Arc::new(config);
        let (_stop, stopped) = watch::channel(false);
        let api = api_of(app, stopped);
        // Nothing serves what the stub has.
        let answer = send(&api, request("GET", "/states")).await;
        let states = answer.json()["states"].clone();
        let not_served =
            states.as_array().unwrap().iter().find(|held| held["name"] == "not_served");
        assert_eq!(not_served.unwrap()["concerned"][0], "printer/tickets", "{answer:?}");
        let answer = send(&api, request("GET", "/readyz")).await;
        assert_eq!(answer.status, status, "{answer:?}");
        let is_named =
            answer.json()["detail"].as_str().is_some_and(|why| why.starts_with("not_served: "));
        assert_eq!(is_named, status == 503, "{answer:?}");
    }
}

#[tokio::test]
async fn unknown_paths_are_not_found() {
    let (api, _stop) = api(Stub::new());
    for path in ["/", "/nothing", "/events/1/2", "/dead-letters/7/bury"] {
        let answer = send(&api, request("GET", path)).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
}

#[tokio::test]
async fn pages_are_bounded_and_filtered() {
    let (api, _stop) = api(Stub::new());
    for (query, expected) in [
        ("", vec![1, 2]),
        ("?from=2", vec![2]),
        ("?max=1", vec![1]),
        ("?type=x", vec![]),
        ("?type=t&filter=%7B%22exact%22:%7B%22source%22:%22/s%22%7D%7D", vec![1, 2]),
        ("?type=t&filter=%7B%22exact%22:%7B%22source%22:%22/x%22%7D%7D", vec![]),
    ] {
        let page = send(&api, request("GET", &format!("/events{query}"))).await.json();
        let found: Vec<u64> = page["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|stored| stored["sequence"].as_u64().unwrap())
            .collect();
        assert_eq!(found, expected, "{query}");
        assert_eq!((&page["next"], &page["last"]), (&json!(3), &json!(2)));
    }
    for query in ["?max=0", "?max=1001", "?max=x", "?from=-1", "?type=", "?filter=x", "?filter=1"] {
        let answer = send(&api, request("GET", &format!("/events{query}"))).await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
    }
}

#[tokio::test]
async fn flows_are_found_by_correlation() {
    let (api, _stop) = api(Stub::new());
    let by_event = send(&api, request("GET", "/flows/2")).await;
    let by_correlation = send(&api, request("GET", "/flows/order%201")).await;
    assert_eq!(by_event.json(), by_correlation.json());
    let flow = by_event.json();
    assert_eq!((&flow["flow"], &flow["settled"]), (&json!(1), &json!(false)));
    let deliveries = &flow["events"][0]["deliveries"];
    assert_eq!(deliveries[1]["due"], "2026-01-31T12:01:00.000Z");
    assert_eq!(deliveries[2]["dead_letter"], 7);
    assert_eq!(deliveries[3].get("dead_letter"), None);
    assert_eq!(deliveries[0]["failures"][1]["backtrace"], "draw\nhandle");
}

#[tokio::test]
async fn explanations_say_what_became_of_an_event() {
    let (api, _stop) = api(Stub::new());
    for (sequence, outcome, more) in [
        (1, "pending", json!({"ahead": 7, "held_up": "total", "behind": 1})),
        (2, "in_flight", json!({"attempt": 3})),
        (3, "parked", json!({"behind": 1})),
        (4, "waiting", json!({"due": "2026-01-31T12:01:00.000Z"})),
        (5, "done", json!({"filter_from": 6})),
        (6, "dead", json!({"dead_letter": 7})),
        (7, "expired", json!({"begins": 8, "expires": true})),
        (8, "before_start", json!({"begins": 9})),
        (
            9,
            "unmatched",
            json!({"mismatch": {
                "path": "exact.type", "reason": "type is \"t\", needs to be \"other\""
            }}),
        ),
    ] {
        let path = format!("/events/{sequence}/deliveries/printer/tickets");
        let mut found = send(&api, request("GET", &path)).await.json();
        let document = document();
        let schema = json!({"$ref": "#/components/schemas/Explanation"});
        assert_eq!(violations(&document, &schema, &found), Vec::<String>::new());
        let told = found.as_object_mut().unwrap();
        let failures = told.remove("failures").unwrap();
        let round = told.remove("round");
        if !failures.as_array().unwrap().is_empty() {
            let rounds = json!([round, failures[0].get("round"), failures[1]["round"]]);
            assert_eq!(rounds, json!([2, null, 2]));
        }
        let mut expected = json!({
            "sequence": sequence, "subscription": "printer/tickets", "plugin": "printer",
            "served": "paused", "paused_because": "no file is plugin printer", "outcome": outcome
        });
        expected.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
        assert_eq!(found, expected);
    }
    api.running.router.install(printer()).await.unwrap();
    let path = "/events/1/deliveries/printer/tickets";
    let found = send(&api, request("GET", path)).await.json();
    assert_eq!((&found["served"], found.get("paused_because")), (&json!("active"), None));
    for path in ["/events/10/deliveries/printer/tickets", "/events/1/deliveries/printer/none"] {
        assert_eq!(send(&api, request("GET", path)).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn subscriptions_say_what_holds_them_up() {
    let (api, _stop) = api(Stub::new());
    let found = send(&api, request("GET", "/subscriptions")).await.json();
    let found = &found["subscriptions"][0];
    for (field, expected) in [
        ("start", json!("latest")),
        ("order", json!({"key": "subject"})),
        ("oldest_unsettled", json!({"sequence": 1, "recorded": "2026-01-31T12:00:00.000Z"})),
        ("next_retry", json!("2026-01-31T12:01:00.000Z")),
        ("delayed", json!(8)),
        ("parked", json!(6)),
        ("stalled_lanes", json!(1)),
        ("paused_because", json!("no file is plugin printer")),
    ] {
        assert_eq!(found[field], expected, "{field}");
    }
}

#[tokio::test]
async fn blobs_are_sent_as_they_were_put() {
    let (api, _stop) = api(Stub::new());
    let digest = Digest::of(CONTENT);
    let answer = send(&api, request("GET", &format!("/blobs/{digest}"))).await;
    assert_eq!(answer.body, CONTENT);
    for (name, value) in [
        ("content-type", "application/pdf"),
        ("content-length", "5"),
        ("content-disposition", "inline"),
        ("x-content-type-options", "nosniff"),
        ("etag", &format!("\"{digest}\"")),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    assert_eq!(api.blobs.free_bytes(), crate::http::state::BLOBS_MAX_BYTES - 5, "until it is gone");
    drop(answer);
    assert_eq!(api.blobs.free_bytes(), crate::http::state::BLOBS_MAX_BYTES);
}

#[tokio::test]
async fn one_dead_letter_has_attempts_and_a_list_has_none() {
    let (api, _stop) = api(Stub::new());
    let listed = send(&api, request("GET", "/dead-letters")).await.json();
    assert_eq!(listed["dead_letters"][0].get("attempts"), None);
    assert_eq!(listed["dead_letters"][0]["class"], "trap");
    let one = send(&api, request("GET", "/dead-letters/7")).await.json();
    assert_eq!(one["attempts"].as_array().unwrap().len(), 2);
    assert_eq!((&one["attempt_count"], &one["id"]), (&json!(3), &json!(7)));
    let empty = send(&api, request("GET", "/dead-letters?after=7")).await.json();
    assert_eq!(empty, json!({ "dead_letters": [], "next": null, "last": 7 }));
}

#[tokio::test]
async fn what_is_nearly_an_event_is_told_what_it_lacks() {
    let (api, _stop) = api(Stub::new());
    let batch = format!("[{EVENT}]");
    for (media_type, body, status, word) in [
        ("application/json", EVENT, 415, "application/cloudevents+json"),
        ("application/json", &batch, 415, "application/cloudevents-batch+json"),
        ("application/x-www-form-urlencoded", EVENT, 415, "application/cloudevents+json"),
        ("application/json", "{\"a\":1}", 415, "this is no CloudEvent"),
        (STRUCTURED, &batch, 400, "application/cloudevents-batch+json"),
        (BATCH, EVENT, 400, "application/cloudevents+json"),
    ] {
        let answer = send(&api, publish(media_type, body.to_owned())).await;
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert_eq!(answer.status, status, "{media_type} {body}: {detail}");
        assert!(detail.contains(word), "{media_type} {body}: {detail}");
    }
}

/// A real broker: what comes again is compared with what the log has.
#[tokio::test]
async fn duplicates_that_differ_are_told_apart() {
    let (api, _stop) = api(EmbeddedBroker::in_memory(Options::new("")).unwrap());
    let publishing = async |event: &str, traceparent: &str| {
        let mut request = publish(STRUCTURED, event.to_owned());
        request.headers_mut().insert("traceparent", traceparent.parse().unwrap());
        let answer = send(&api, request).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let event = answer.json()["events"][0].clone();
        (event["duplicate"] == true, event["differs"] == true)
    };
    let span = |n: u8| format!("00-{}-{}-01", "ab".repeat(16), format!("{n:02x}").repeat(8));
    assert_eq!(publishing(EVENT, &span(1)).await, (false, false));
    assert_eq!(publishing(EVENT, &span(2)).await, (true, false), "another span says nothing");
    assert_eq!(publishing(&EVENT.replace("\"a\":1", "\"a\":2"), &span(1)).await, (true, true));
    let metrics = send(&api, request("GET", "/metrics")).await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(text.contains("usher_events_duplicate_differing_total 1\n"), "{text}");

    // The header became the extension of an event that had none.
    let stored = send(&api, request("GET", "/events/1")).await.json();
    assert_eq!(stored["event"]["traceparent"], span(1));
    let own =
        EVENT.replace("\"id\":\"1\"", &format!("\"id\":\"2\",\"traceparent\":\"{}\"", span(9)));
    assert_eq!(publishing(&own, &span(3)).await, (false, false));
    let stored = send(&api, request("GET", "/events/2")).await.json();
    assert_eq!(stored["event"]["traceparent"], span(9));
    let odd = EVENT.replace("\"1\"", "\"3\"");
    assert_eq!(publishing(&odd, "nonsense").await, (false, false));
    let stored = send(&api, request("GET", "/events/3")).await.json();
    assert!(stored["event"].get("traceparent").is_none(), "{stored}");
}

#[tokio::test]
async fn producers_find_other_paths_and_statuses() {
    let mut app = app(Stub::new());
    let mut config = (*app.config).clone();
    config.http.publish_status = StatusCode::OK;
    app.config = Arc::new(config);
    let (_stop, stopped) = watch::channel(false);
    let api = api_of(app, stopped);
    for path in ["/events", "/events/", "/api/events"] {
        let mut request = publish(STRUCTURED, EVENT);
        *request.uri_mut() = path.parse().unwrap();
        assert_eq!(send(&api, request).await.status, 200, "{path}");
        let mut handshake = request_from("OPTIONS", path);
        handshake.headers_mut().insert("webhook-request-rate", "120".parse().unwrap());
        let answer = send(&api, handshake).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("webhook-allowed-origin"), Some("shop.example"));
        assert_eq!(answer.header("webhook-allowed-rate"), Some("*"));
        assert_eq!(answer.header("allow"), Some("POST, OPTIONS"));
    }
    assert_eq!(send(&api, request("GET", "/events/")).await.status, 405);
}

fn request_from(method: &str, path: &str) -> http::Request<Body> {
    let mut request = request(method, path);
    let origin = "shop.example".parse().unwrap();
    request.headers_mut().insert("webhook-request-origin", origin);
    request
}

#[tokio::test]
async fn only_named_origins_may_deliver() {
    let mut app = app(Stub::new());
    let mut config = (*app.config).clone();
    config.http.webhook_origins = vec!["Shop.example".to_owned()];
    config.http.webhook_rate_per_minute = Some(100);
    app.config = Arc::new(config);
    let (_stop, stopped) = watch::channel(false);
    let api = api_of(app, stopped);
    let allowed = send(&api, request_from("OPTIONS", "/events")).await;
    assert_eq!(allowed.header("webhook-allowed-rate"), Some("100"));
    let mut other = request_from("OPTIONS", "/events");
    other.headers_mut().insert("webhook-request-origin", "evil.example".parse().unwrap());
    let refused = send(&api, other).await;
    assert_eq!(
        (refused.status, refused.header("webhook-allowed-origin")),
        (StatusCode::FORBIDDEN, None)
    );
}
