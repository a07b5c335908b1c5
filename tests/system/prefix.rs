//! A reverse proxy that serves a router under a path prefix, as nginx or Caddy would.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;

/// The proxy; ends with the test's executor.
pub(crate) struct Proxy {
    url: String,
    shared: Arc<Shared>,
}

struct Shared {
    prefix: &'static str,
    target: String,
    client: Client<HttpConnector, Body>,
    saw_cookie_elsewhere: AtomicBool,
}

impl Proxy {
    /// Serves `target` under `prefix`.
    pub(crate) async fn start(prefix: &'static str, target: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared {
            prefix,
            target: target.to_owned(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            saw_cookie_elsewhere: AtomicBool::new(false),
        });
        let app = Router::new().fallback(pass).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { url, shared })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Whether a cookie was sent outside of the prefix.
    pub(crate) fn saw_cookie_elsewhere(&self) -> bool {
        self.shared.saw_cookie_elsewhere.load(Ordering::Relaxed)
    }
}

async fn pass(State(shared): State<Arc<Shared>>, mut request: Request) -> Response {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let Some(rest) = path.strip_prefix(shared.prefix) else {
        let has_cookie = request.headers().contains_key(header::COOKIE);
        shared.saw_cookie_elsewhere.fetch_or(has_cookie, Ordering::Relaxed);
        return StatusCode::NO_CONTENT.into_response();
    };
    let Ok(uri) = format!("{}{rest}", shared.target).parse() else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    *request.uri_mut() = uri;
    match shared.client.request(request).await {
        Ok(response) => response.map(Body::new).into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
