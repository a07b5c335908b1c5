//! Who may use which route: every route of the document with every scope and with none.

use axum::body::Body;
use axum::extract::Request;
use http::StatusCode;
use serde_json::Value;
use tower::ServiceExt as _;
use usher_api::Scope;
use usher_broker::{Actor, Deliveries as _, EmbeddedBroker, Options};
use usher_event::Event;

use super::routes::{body_of, document, stub_api, there};
use super::stub::Stub;
use super::{Answer, request, send, to_us, token};
use crate::http::state::Api;

const SCOPES: [&str; 6] = ["publish", "publish:t", "read", "read:attributes", "operate", "admin"];

/// Each operation of the document: method, path and the scope it names.
fn operations() -> Vec<(String, String, Option<String>)> {
    let document = document();
    let mut all = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let scope = operation["security"][0]["token"][0].as_str().map(str::to_owned);
            all.push((method.to_uppercase(), path.clone(), scope));
        }
    }
    all
}

fn good(method: &str, path: &str) -> Request {
    let mut request = request(method, &there(path));
    request.headers_mut().insert("webhook-request-origin", "shop.example".parse().unwrap());
    if let Some((media_type, body)) = body_of(path, method) {
        request.headers_mut().insert("content-type", media_type.parse().unwrap());
        *request.body_mut() = Body::from(body);
    }
    request
}

fn with(mut request: Request, secret: &str) -> Request {
    let value = format!("Bearer {secret}").parse().unwrap();
    request.headers_mut().insert("authorization", value);
    request
}

/// Routes that have nothing without data.
const DATA: [&str; 8] = [
    "/blobs/{digest}",
    "/plugins/{plugin}/component",
    "/plugins/{plugin}/recordings",
    "/plugins/{plugin}/recordings/{number}",
    "/plugins/{plugin}/settings",
    "/plugins/{plugin}/state",
    "/logs",
    "/dead-letters/{id}/recording",
];

async fn status(api: &Api, request: Request) -> StatusCode {
    crate::http::router(api.clone()).oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn every_route_asks_for_its_scope() {
    let api = stub_api(Stub::new());
    let admin = token(&api, "ops", &["admin"]).await;
    let mut tokens = Vec::new();
    for (n, scope) in SCOPES.into_iter().enumerate() {
        tokens.push((scope, token(&api, &format!("t{n}"), &[scope]).await));
    }
    let (mut open, mut guarded) = (0, 0);
    for (method, path, named) in operations() {
        let Some(named) = named else {
            assert!(status(&api, good(&method, &path)).await.is_success(), "{path} is open");
            open += 1;
            continue;
        };
        guarded += 1;
        let api_of_its_own = stub_api(Stub::new());
        token(&api_of_its_own, "ops", &["admin"]).await;
        let without = send(&api_of_its_own, good(&method, &path)).await;
        assert_eq!(without.status, 401, "{method} {path}: {without:?}");
        assert_eq!(without.header("www-authenticate"), Some("Bearer realm=\"usher\""));
        for (scope, secret) in &tokens {
            let what = format!("{method} {path} with {scope}, where {named} is asked for");
            let found = status(&api, with(good(&method, &path), secret)).await;
            let is_data = DATA.contains(&&*path);
            let may = match *scope {
                "admin" => true,
                "publish:t" => named == "publish",
                "read:attributes" => named == "read" && !is_data,
                scope => named == scope,
            };
            assert_eq!(found == 403, !may, "{what}: {found}");
            assert_ne!(found, 401, "{what}");
        }
        if path == "/tokens/{token}" {
            // The walk has revoked it.
            let gone = status(&api, with(request("GET", "/plugins"), &admin)).await;
            assert_eq!(gone, 401);
        }
    }
    assert!(open >= 3 && guarded >= 30, "{open} {guarded}");
}

/// Whether a value has an event's data anywhere in it.
fn has_data(value: &Value) -> bool {
    match value {
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name == "data" || name == "data_base64" || has_data(value)),
        Value::Array(items) => items.iter().any(has_data),
        _ => false,
    }
}

#[tokio::test]
async fn who_reads_attributes_sees_no_data() {
    let api = stub_api(Stub::new());
    token(&api, "ops", &["admin"]).await;
    let all = token(&api, "all", &["read", "operate"]).await;
    let some = token(&api, "some", &["read:attributes", "operate"]).await;
    let printer = super::stub::printer();
    api.running.router.install(printer).await.unwrap();
    let mut hidden = Vec::new();
    for (method, path, scope) in operations() {
        let is_json = !["/metrics", "/events/stream"].contains(&&*path) && !DATA.contains(&&*path);
        let is_read = scope.as_deref() == Some("read") || path.ends_with("dry-run");
        if !is_json || !is_read {
            continue;
        }
        let full = send(&api, with(good(&method, &path), &all)).await;
        assert_eq!(full.status, 200, "{path}: {full:?}");
        let bare = send(&api, with(good(&method, &path), &some)).await;
        assert_eq!(bare.status, 200, "{path}: {bare:?}");
        assert!(!has_data(&bare.json()), "{path}: {bare:?}");
        if has_data(&full.json()) {
            hidden.push(path);
        }
    }
    hidden.sort();
    let expected =
        ["/dead-letters", "/dead-letters/{id}", "/events", "/events/{sequence}", "/flows/{id}"];
    assert!(expected.iter().all(|path| hidden.contains(&(*path).to_owned())), "{hidden:?}");
}

#[tokio::test]
async fn a_stream_without_data_is_one_too() {
    use http_body_util::BodyExt as _;
    let api = stub_api(Stub::new());
    token(&api, "ops", &["admin"]).await;
    let some = token(&api, "some", &["read:attributes"]).await;
    let request = with(request("GET", "/events/stream?from=1"), &some);
    let mut response = crate::http::router(api).oneshot(request).await.unwrap();
    let mut next = async || {
        let frame = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
        String::from_utf8(frame.to_vec()).unwrap()
    };
    assert_eq!(next().await, ":\nid: 0\n\n", "where it begins");
    let text = next().await;
    assert!(text.contains("\"specversion\"") && !text.contains("\"data\""), "{text}");
}

/// Which events pass a filter on data tells what that is.
#[tokio::test]
async fn what_may_not_be_read_may_not_be_filtered_by() {
    let api = stub_api(Stub::new());
    token(&api, "ops", &["admin"]).await;
    let (some, all) =
        (token(&api, "some", &["read:attributes"]).await, token(&api, "all", &["read"]).await);
    let operator = token(&api, "operator", &["operate"]).await;
    let data = "%7B%22data%22%3A%7B%22%2Fa%22%3A1%7D%7D";
    let attribute = "%7B%22exact%22%3A%7B%22type%22%3A%22t%22%7D%7D";
    let filtered = async |method: &str, path: &str, filter: &str, secret: &str| {
        let request = request(method, &format!("{path}?filter={filter}"));
        status(&api, with(request, secret)).await.as_u16()
    };
    for path in ["/events", "/events/stream"] {
        assert_eq!(filtered("GET", path, data, &some).await, 403, "{path}");
        assert_eq!(filtered("GET", path, data, &all).await, 200, "{path}");
        assert_eq!(filtered("GET", path, attribute, &some).await, 200, "{path}");
    }
    let replay = "/subscriptions/printer/tickets/replay";
    assert_eq!(filtered("POST", replay, data, &operator).await, 403);
    assert_eq!(filtered("POST", replay, attribute, &operator).await, 200);
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    use http_body_util::BodyExt as _;
    let broker = EmbeddedBroker::in_memory(Options::new("")).unwrap();
    let (api, _stop) = super::api(broker.clone());
    token(&api, "ops", &["admin"]).await;
    let some = token(&api, "some", &["read"]).await;
    let request = with(request("GET", "/events/stream?from=1"), &some);
    let mut response = crate::http::router(api.clone()).oneshot(request).await.unwrap();
    let mut next = async || {
        let frame = response.body_mut().frame().await?.unwrap().into_data().unwrap();
        Some(String::from_utf8(frame.to_vec()).unwrap())
    };
    let publish = async |id: &str| {
        let event = Event::builder(id, "/s", "t").build().unwrap();
        broker.publish(vec![event]).await.unwrap();
    };
    assert!(next().await.is_some(), "where it begins");
    publish("1").await;
    assert!(next().await.unwrap().contains("specversion"));
    api.access.revoke(&*broker, &Actor::local(), &"some".parse().unwrap()).await.unwrap();
    publish("2").await;
    assert_eq!(next().await, None);
}

#[tokio::test]
async fn what_is_published_is_bound_by_the_token() {
    let api = stub_api(Stub::new());
    token(&api, "ops", &["admin"]).await;
    let shop = token(&api, "shop", &["publish:ticket."]).await;
    let publish = async |ty: &str| -> Answer {
        let event = format!(r#"[{{"specversion":"1.0","id":"1","source":"/s","type":"{ty}"}}]"#);
        send(&api, with(super::publish(super::BATCH, event), &shop)).await
    };
    assert_eq!(publish("ticket.purchased").await.status, 202);
    let refused = publish("order.placed").await;
    assert_eq!(refused.status, 403);
    let problem = refused.json();
    assert_eq!((&problem["attribute"], &problem["member"]), (&"type".into(), &0.into()));
}

#[tokio::test]
async fn what_is_no_valid_token_is_told_apart() {
    let api = stub_api(Stub::new());
    token(&api, "ops", &["admin"]).await;
    let reader = token(&api, "reader", &["read"]).await;
    let asking = |value: &str| {
        to_us().uri("/plugins").header("authorization", value).body(Body::empty()).unwrap()
    };
    for (value, status, word) in [
        (format!("Bearer {reader}"), 200, ""),
        (format!("bearer  {reader} "), 200, ""),
        (format!("Bearer {reader}x"), 401, "no such token"),
        ("Bearer".to_owned(), 401, "only the scheme Bearer"),
        (format!("Basic {reader}"), 401, "only the scheme Bearer"),
        ("Bearer ".to_owned(), 401, "no such token"),
    ] {
        let answer = send(&api, asking(&value)).await;
        assert_eq!(answer.status, status, "{value}: {answer:?}");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(text.contains(word) && !text.contains(&reader), "{text}");
    }
    let in_query = send(&api, request("GET", &format!("/plugins?x={reader}"))).await;
    assert_eq!(in_query.status, 400);
    assert!(!format!("{in_query:?}").contains(&reader));
    let twice = to_us()
        .uri("/plugins")
        .header("authorization", format!("Bearer {reader}"))
        .header("authorization", "Bearer other")
        .body(Body::empty())
        .unwrap();
    assert_eq!(send(&api, twice).await.status, 400);
    let lacking = send(&api, with(request("POST", "/plugins/printer/pause"), &reader)).await;
    let challenge = lacking.header("www-authenticate").unwrap();
    assert!(challenge.contains("insufficient_scope") && challenge.contains("operate"));
    assert!(lacking.json()["detail"].as_str().unwrap().contains("token reader lacks"));
}

/// Those who fail too often are told to wait, and hold up none that has a token.
#[tokio::test]
async fn failures_are_limited_and_counted() {
    let api = stub_api(Stub::new());
    let admin = token(&api, "ops", &["admin"]).await;
    let mut limited = 0;
    for n in 0..1_000 {
        let answer = send(&api, with(request("GET", "/plugins"), &format!("usher_{n}"))).await;
        match answer.status.as_u16() {
            401 => assert_eq!(limited, 0),
            429 => {
                assert!(answer.header("retry-after").is_some());
                limited += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(limited, 1_000 - crate::access::FAILURES_MAX);
    let metrics = send(&api, with(request("GET", "/metrics"), &admin)).await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    for line in [
        "usher_http_auth_failures_total{reason=\"unknown\"} 20",
        "usher_http_auth_failures_total{reason=\"limited\"} 980",
    ] {
        assert!(text.lines().any(|found| found == line), "{text}");
    }
    assert!(!text.contains("usher_999"));
}

#[test]
fn each_scope_names_a_token_scope() {
    for scope in Scope::ALL {
        assert!(scope.as_str().is_none_or(|name| SCOPES.contains(&name)), "{scope:?}");
    }
}
