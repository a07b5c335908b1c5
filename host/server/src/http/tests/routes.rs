//! Holds the API's routes and the handlers together: every route and status is brought about here and
//! its answer checked against the OpenAPI document; and whatever the broker says, and whether the
//! request is right, wrong or about nothing, the route names the status.

use std::collections::BTreeSet;

use axum::body::Body;
use http::Method;
use serde_json::{Value, json};
use usher_api::{Route, routes};
use usher_broker::BrokerError;
use usher_event::Digest;
use usher_router::{Installation, Quarantine, RestoredState};

use super::stub::{CONTENT, Stub, busy, full, printer};
use super::{Answer, BATCH, EVENT, STRUCTURED, api, endless, publish, request, send, to_us, token};
use crate::access::FAILURES_MAX;
use crate::http::connections::Connection;
use crate::http::state::{Api, BLOBS_MAX_BYTES};
use crate::http::{handlers, on_every_node};
use usher_config::HttpConfig;

pub(super) fn document() -> Value {
    serde_json::from_str(&usher_api::document().unwrap()).unwrap()
}

/// What `value` does that `schema`, a part of `document`, doesn't allow.
pub(super) fn violations(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let schema = json!({ "allOf": [schema], "components": document["components"] });
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    validator
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

/// A path with its parameters filled in so that there is something.
pub(super) fn there(path: &str) -> String {
    if path == "/backup" {
        return "/backup?folder=/copy".to_owned();
    }
    path.replace("{sequence}", "1")
        .replace("/flows/{id}", "/flows/1")
        .replace("{id}", "7")
        .replace("{number}", "7")
        .replace("{plugin}/{name}", "printer/tickets")
        .replace("{plugin}", "printer")
        .replace("{token}", "ops")
        .replace("{node}", "b")
        .replace("{digest}", &Digest::of(CONTENT).to_string())
}

/// A path with its parameters filled in so that there is nothing.
fn missing(path: &str) -> String {
    path.replace("{sequence}", "99")
        .replace("{id}", "99")
        .replace("{number}", "99")
        .replace("{plugin}/{name}", "printer/nothing")
        .replace("{plugin}", "nothing")
        .replace("{token}", "nothing")
        .replace("{digest}", &Digest::of(b"nothing").to_string())
}

/// A path with a parameter that can't be right.
fn wrong(path: &str) -> String {
    match path {
        "/flows/{id}" => "/flows/99999999999999999999".to_owned(),
        path if path.contains('{') => {
            let path =
                path.replace("{sequence}", "x").replace("{id}", "x").replace("{number}", "x");
            let path = path.replace("{plugin}/{name}", "No/Name").replace("{plugin}", "No");
            path.replace("{token}", "No").replace("{digest}", "x").replace("{node}", "a.b")
        }
        path => format!("{path}?nonsense=1"),
    }
}

pub(super) fn stub_api(stub: std::sync::Arc<Stub>) -> Api {
    // Without a sender a stream would end at once; nothing here reads one to its end.
    let (api, stop) = api(stub);
    std::mem::forget(stop);
    api
}

/// An API with a plugin to which the operation can be done, or can't because it was done before;
/// the broker fails from then on.
async fn with_plugin(path: &str, is_done: bool, fails: Option<BrokerError>) -> Api {
    let stub = Stub::new();
    let api = stub_api(std::sync::Arc::clone(&stub));
    let quarantine = Quarantine {
        time_ms: 1_769_860_800_000,
        digest: Digest::of(b"printer"),
        failures: 21,
        window: std::time::Duration::from_secs(60),
        class: usher_event::FailureClass::Trap,
        reason: "unreachable".to_owned(),
    };
    let held = match path.rsplit('/').next() {
        Some("pause" | "rollback") => {
            RestoredState { is_paused: is_done, ..RestoredState::default() }
        }
        Some("resume") => RestoredState { is_paused: !is_done, ..RestoredState::default() },
        _ => RestoredState {
            quarantine: (!is_done).then_some(quarantine),
            ..RestoredState::default()
        },
    };
    api.running.router.install(Installation { held, ..printer() }).await.unwrap();
    *stub.fails.lock().unwrap() = fails;
    api
}

/// The media type and the body of a request that needs one.
pub(super) fn body_of(path: &str, method: &str) -> Option<(&'static str, &'static str)> {
    match (method, path) {
        ("POST", "/events" | "/dead-letters/{id}/redrive-edited") => Some((STRUCTURED, EVENT)),
        ("POST", "/tokens") => Some(("application/json", r#"{"name":"shop","scopes":["admin"]}"#)),
        _ => None,
    }
}

/// Whether nothing but a token can be wrong with a request's address.
fn has_no_parameters(document: &Value, route: &Route) -> bool {
    let method = route.method.as_str().to_lowercase();
    let operation = &document["paths"][route.path][method];
    let parameters = operation["parameters"].as_array();
    parameters.is_none_or(Vec::is_empty) && operation["requestBody"].is_null()
}

/// Creates tokens of the scope `admin`; returns the newest one's secret.
async fn with_tokens(api: &Api, names: &[&str]) -> String {
    let mut newest = None;
    for name in names {
        newest = Some(token(api, name, &["admin"]).await);
    }
    newest.unwrap()
}

/// Sends a request whose response has this status.
async fn answer_with(route: &Route, status: u16) -> Answer {
    let (path, method) = (route.path, route.method.as_str());
    let is_publish = method == "POST" && path == "/events";
    let post = |uri: &str, media_type, body| {
        let mut request = publish(media_type, body);
        *request.uri_mut() = uri.parse().unwrap();
        request
    };
    let good_for = |uri: &str| match body_of(path, method) {
        Some((media_type, body)) => post(uri, media_type, Body::from(body)),
        None if method == "OPTIONS" => {
            let mut request = request(method, uri);
            let origin = "shop.example".parse().unwrap();
            request.headers_mut().insert("webhook-request-origin", origin);
            request
        }
        None => request(method, uri),
    };
    let good = || good_for(&there(path));
    let mut api = stub_api(Stub::new());
    let is_of_plugin = path.starts_with("/plugins/");
    if is_of_plugin {
        let fails = match status {
            429 => Some(busy()),
            500 => Some(BrokerError::Read("broken".to_owned())),
            503 => Some(BrokerError::Closed),
            _ => None,
        };
        api = with_plugin(path, status == 409, fails).await;
    }
    let media_type = body_of(path, method).map_or(STRUCTURED, |(media_type, _)| media_type);
    let mut bearer = None;
    if path == "/tokens/{token}" {
        if let 429 | 500 | 503 = status {
            let error = match status {
                429 => busy(),
                500 => BrokerError::Read("broken".to_owned()),
                _ => BrokerError::Closed,
            };
            api = stub_api(Stub::failing(error));
        }
        let names = if status == 409 { &["ops"][..] } else { &["ops", "second"] };
        bearer = Some(with_tokens(&api, names).await);
    }
    let mut request = match status {
        429 | 500 | 503 if bearer.is_some() => good(),
        409 if bearer.is_some() => good(),
        401 => {
            with_tokens(&api, &["other"]).await;
            bearer = None;
            good()
        }
        409 if path == "/tokens" => {
            post(path, media_type, r#"{"name":"shop","scopes":["read"]}"#.into())
        }
        200 if path.ends_with("dry-run") => {
            api.running.router.install(printer()).await.unwrap();
            good()
        }
        409 | 429 | 500 | 503 if is_of_plugin && method == "POST" => good(),
        200..=202 => good(),
        304 => {
            let mut request = good();
            let etag = format!("W/\"x\", \"{}\"", Digest::of(CONTENT));
            request.headers_mut().insert("if-none-match", etag.parse().unwrap());
            request
        }
        400 if is_publish => publish(BATCH, "[{}]"),
        400 if path == "/tokens" && method == "POST" => post(path, media_type, "{".into()),
        400 if method == "OPTIONS" => request(method, path),
        400 if has_no_parameters(&document(), route) => {
            request(method, &format!("{path}?access_token=x"))
        }
        400 => request(method, &wrong(path)),
        403 => {
            let mut request = good();
            request.headers_mut().insert("origin", "https://evil.example".parse().unwrap());
            request
        }
        404 => good_for(&missing(path)),
        408 => post(&there(path), media_type, endless()),
        409 if path == "/backup" => {
            api = stub_api(Stub::failing(BrokerError::Conflict("it is there".to_owned())));
            good()
        }
        409 if path.ends_with("dry-run") => good(),
        409 => {
            api.running.router.install(printer()).await.unwrap();
            good()
        }
        413 => {
            let large = vec![b' '; HttpConfig::default().max_body_bytes + 1];
            post(&there(path), media_type, large.into())
        }
        415 => post(&there(path), "text/plain", EVENT.into()),
        421 => {
            let mut request = good();
            request.headers_mut().insert("host", "evil.example".parse().unwrap());
            request
        }
        429 if path.contains("stream") => {
            api.streams.close();
            good()
        }
        429 if path == "/blobs/{digest}" => {
            // Held until the process ends.
            std::mem::forget(api.blobs.try_take(&Connection::alone(), BLOBS_MAX_BYTES));
            good()
        }
        429 => {
            api = stub_api(Stub::failing(busy()));
            if send(&api, good()).await.status != 429 {
                // It asks no broker: callers without a token are too many.
                api = stub_api(Stub::new());
                with_tokens(&api, &["other"]).await;
                for _ in 0..FAILURES_MAX {
                    assert_eq!(send(&api, good()).await.status, 401);
                }
            }
            good()
        }
        507 => {
            api = stub_api(Stub::failing(full()));
            good()
        }
        500 => {
            api = stub_api(Stub::failing(BrokerError::Read("broken".to_owned())));
            good()
        }
        503 => {
            let stub = Stub::failing(BrokerError::Poisoned("disk".to_owned()));
            stub.poisoned.send_replace(Some("disk".to_owned()));
            api = stub_api(stub);
            good()
        }
        other => panic!("the test does not know how to bring about {other}"),
    };
    if let Some(secret) = bearer {
        let value = format!("Bearer {secret}").parse().unwrap();
        request.headers_mut().insert("authorization", value);
    }
    if status == 200 && path == "/events/stream" {
        // It has no end; the head is what is checked.
        use tower::ServiceExt;
        let response = crate::http::router(api).oneshot(request).await.unwrap();
        let (head, _) = response.into_parts();
        return Answer { status: head.status, headers: head.headers, body: bytes::Bytes::new() };
    }
    send(&api, request).await
}

/// Routes that have something only of a plugin in the sandbox, which these tests don't have: the system
/// tests of `usher shadow` read them.
const SANDBOXED: [&str; 3] = [
    "/plugins/{plugin}/settings",
    "/plugins/{plugin}/component",
    "/plugins/{plugin}/recordings/{number}",
];

/// Routes that change something only where there are several nodes: the system tests of nodes do.
const OF_NODES: [&str; 3] =
    ["/nodes/{node}/drain", "/nodes/{node}/resume", "/nodes/{node}/promote"];

#[tokio::test(start_paused = true)]
async fn every_status_of_a_route_can_be_had() {
    let document = document();
    for route in routes::ALL {
        for status in route.statuses() {
            let what = format!("{} {} {status}", route.method.as_str(), route.path);
            if SANDBOXED.contains(&route.path) && matches!(status, 200 | 429 | 500 | 503) {
                continue;
            }
            if OF_NODES.contains(&route.path) && matches!(status, 200 | 404 | 500 | 503) {
                continue;
            }
            let answer = answer_with(route, status).await;
            assert_eq!(answer.status.as_u16(), status, "{what}: {answer:?}");
            let method = route.method.as_str().to_lowercase();
            let pointer =
                format!("/paths/{}/{method}/responses/{status}", route.path.replace('/', "~1"));
            let mut described = document.pointer(&pointer).unwrap();
            if let Some(reference) = described.get("$ref") {
                described = document.pointer(&reference.as_str().unwrap()[1..]).unwrap();
            }
            for name in described["headers"].as_object().into_iter().flat_map(|all| all.keys()) {
                assert!(answer.header(name).is_some(), "{what}: no header {name}");
            }
            let Some(content) = described["content"].as_object() else {
                assert!(answer.body.is_empty(), "{what}: {answer:?}");
                continue;
            };
            let sent = answer.header("content-type").unwrap_or_default();
            let essence = sent.split(';').next().unwrap();
            let media = content
                .get(essence)
                .or(content.get("*/*"))
                .unwrap_or_else(|| panic!("{what}: {sent} is not described"));
            if essence.ends_with("json") {
                let found = violations(&document, &media["schema"], &answer.json());
                assert!(found.is_empty(), "{what}: {found:#?}\n{answer:?}");
            }
        }
    }
}

/// Whatever the broker returns, and however the request is: the route names the status.
#[tokio::test]
async fn no_other_status_is_returned() {
    for route in routes::ALL {
        for error in [
            None,
            Some(busy()),
            Some(BrokerError::Read("broken".to_owned())),
            Some(BrokerError::Poisoned("disk".to_owned())),
            Some(BrokerError::Closed),
        ] {
            let (path, method) = (route.path, route.method.as_str());
            let mut requests: Vec<_> = [there(path), missing(path), wrong(path)]
                .iter()
                .map(|path| request(method, path))
                .collect();
            if let Some(good) = body_of(path, method) {
                for (media_type, body) in [good, (BATCH, "[{}]")] {
                    let mut request = publish(media_type, body);
                    *request.uri_mut() = there(path).parse().unwrap();
                    requests.push(request);
                }
            }
            for request in requests {
                let what = format!("{method} {} {error:?}", request.uri());
                let stub = error.clone().map_or_else(Stub::new, Stub::failing);
                let router = crate::http::router(stub_api(stub));
                use tower::ServiceExt;
                let status = router.oneshot(request).await.unwrap().status();
                let is_named = route.statuses().contains(&status.as_u16());
                assert!(is_named, "{what}: {status} is not named");
            }
        }
    }
}

#[test]
fn every_route_has_its_handler() {
    let on_every_node: Vec<Route> =
        on_every_node::<Api>().iter().map(|(route, _)| *route).collect();
    assert!(on_every_node.iter().all(|route| route.is_on_every_node));
    let others: Vec<Route> = handlers().iter().map(|(route, _)| *route).collect();
    assert!(!others.iter().any(|route| route.is_on_every_node));
    let handled: Vec<_> =
        on_every_node.iter().chain(&others).map(|route| (route.path, route.method)).collect();
    let routes: BTreeSet<_> = routes::ALL.iter().map(|route| (route.path, route.method)).collect();
    assert_eq!(routes, handled.iter().copied().collect());
    assert_eq!(routes.len(), handled.len());
}

#[tokio::test]
async fn methods_without_a_route_are_refused() {
    let methods = [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH];
    for route in routes::ALL {
        let on_path = routes::ALL.iter().filter(|other| other.path == route.path);
        let known: BTreeSet<_> = on_path.map(|other| other.method.as_str()).collect();
        for method in methods.iter().filter(|method| !known.contains(method.as_str())) {
            let path = route.path;
            let api = stub_api(Stub::new());
            let answer = send(&api, request(method.as_str(), &there(path))).await;
            assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
            assert_eq!(answer.json()["status"], 405);
            let allowed = answer.header("allow").unwrap_or_else(|| panic!("{method} {path}"));
            let allowed: BTreeSet<_> =
                allowed.split(',').map(str::trim).filter(|method| *method != "HEAD").collect();
            assert_eq!(allowed, known, "{path}");
        }
    }
}

/// Every query parameter the document names is taken; any other is not (see `wrong`).
#[tokio::test]
async fn described_queries_are_taken() {
    let document = document();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let parameters = operations["get"]["parameters"].as_array().into_iter().flatten();
        for parameter in parameters.filter(|parameter| parameter["in"] == "query") {
            let name = parameter["name"].as_str().unwrap();
            let value = match name {
                "filter" => "%7B%22exact%22:%7B%22type%22:%22t%22%7D%7D".to_owned(),
                "after" if path == "/blobs" => Digest::of(CONTENT).to_string(),
                "subscription" => "printer/tickets".to_owned(),
                "plugin" => "printer".to_owned(),
                "class" => "trap".to_owned(),
                "order" => "newest".to_owned(),
                "since" | "until" => "2026-01-31T12:00:00Z".to_owned(),
                _ => "1".to_owned(),
            };
            let uri = format!("{}?{name}={value}", there(path));
            let request = to_us().uri(uri).body(Body::empty()).unwrap();
            use tower::ServiceExt;
            let router = crate::http::router(stub_api(Stub::new()));
            let status = router.oneshot(request).await.unwrap().status();
            assert_eq!(status, 200, "{path} {name}");
        }
    }
}
