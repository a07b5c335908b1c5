#!/usr/bin/env bash
# axum 0.8.9, axum::extract::Path.
#
# A handler that passes its request on to another Router (tower's `oneshot`), with another URI, would
# be expected to have the other router match that URI alone. But the parameters of the first match
# stay in the request's extensions, under a private type, and the second match adds its own: a route
# with one parameter then fails with 500, "Expected 1 but got 2". Nothing outside of axum can remove
# them one by one; a new request without extensions, or with only the ones that are needed, helps.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat > "$folder/Cargo.toml" <<'TOML'
[package]
name = "passed-on"
version = "0.0.0"
edition = "2024"

[dependencies]
axum = { version = "=0.8.9", default-features = false, features = ["tokio"] }
http-body-util = "=0.1.3"
tokio = { version = "1", features = ["macros", "rt"] }
tower = { version = "=0.5.3", features = ["util"] }
TOML
cat > "$folder/src/main.rs" <<'RUST'
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request};
use axum::routing::get;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

async fn item(Path(id): Path<String>) -> String {
    format!("item {id}")
}

/// Passes `/front/{*path}` on to `inner` as `/{path}`.
fn outer(inner: Router, keeps_extensions: bool) -> Router {
    Router::new().route(
        "/front/{*path}",
        get(move |request: Request| async move {
            let uri = request.uri().path().replace("/front", "").parse().unwrap();
            let mut passed = if keeps_extensions { request } else { Request::new(Body::empty()) };
            *passed.uri_mut() = uri;
            inner.oneshot(passed).await.unwrap()
        }),
    )
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let inner = Router::new().route("/items/{id}", get(item));
    for keeps_extensions in [true, false] {
        let request = Request::get("/front/items/7").body(Body::empty()).unwrap();
        let response = outer(inner.clone(), keeps_extensions).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        println!("{keeps_extensions} {status} {}", String::from_utf8_lossy(&body));
    }
}
RUST
seen=$(CARGO_TARGET_DIR="$folder/target" cargo run --quiet --manifest-path "$folder/Cargo.toml")
printf '%s\n' "$seen"
grep -q '^true 500 Wrong number of path arguments for `Path`. Expected 1 but got 2' <<<"$seen"
grep -qx 'false 200 item 7' <<<"$seen"
