//! The HTTP API driven without sockets, over a broker that answers as it is told to (and, in
//! `live`, with sockets over the real one in memory).

mod access;
mod away;
mod live;
mod routes;
mod standby;
mod statuses;
mod stub;
mod tls;
mod ui;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tower::ServiceExt;
use usher_access::Permissions;
use usher_broker::{Actor, Broker};
use usher_event::Tracing;
use usher_router::Router;

use self::stub::Stub;
use super::state::{Api, Front};
use super::{Served, Tls};
use crate::access::Access;
use crate::log_lines::LogLines;
use crate::running::{Gate, Readiness, Running};
use crate::samples::Samples;
use usher_config::{self as config, Flags, LiveConfig};
use usher_plugins::{Control, PluginRecords, Registry, RollbackRequest, Sinks};

/// A router over `broker`, without plugins, open and ready.
pub(crate) fn app(broker: Arc<dyn Broker>) -> Running {
    let flags = Flags {
        data: Some("not-used".into()),
        // It has to be there; nothing looks into it.
        plugins: Some(std::env::temp_dir()),
        ..Flags::default()
    };
    let router = Arc::new(Router::new(broker.clone(), Handle::current()));
    let records = Arc::new(PluginRecords::empty(broker.clone()));
    let mut config = config::load(&flags).unwrap();
    config.http.webhook_origins = vec!["*".to_owned()];
    config.ingest = vec!["/api/events".to_owned()];
    let config = Arc::new(config);
    let (rollbacks, wanted) = mpsc::channel(1);
    tokio::spawn(grant(wanted, Arc::clone(&router)));
    let live = Arc::new(LiveConfig::new(Arc::new((*config).clone())));
    let registry = Arc::new(Registry::new(Arc::clone(&router)));
    let (sinks, _) = Sinks::new(
        Arc::clone(&router),
        Arc::clone(&registry),
        Arc::clone(&records),
        Arc::clone(&live),
    );
    let app = Running {
        sinks: Arc::new(sinks),
        control: Control::new(Arc::clone(&router), broker.clone(), records, rollbacks),
        broker,
        clock: Arc::new(usher_broker::SystemClock),
        plugins: registry,
        router,
        live,
        config,
        intake: Gate::default(),
        busy: Arc::default(),
        samples: Samples::default(),
        tracing: Tracing::default(),
        exporter: None,
        cluster: None,
        log_lines: LogLines::default(),
        readiness: Readiness::waiting("starting"),
    };
    app.intake.open();
    app.readiness.set(Ok(()));
    app
}

/// Replaces the reconciler: a paused plugin has no previous version.
async fn grant(mut wanted: mpsc::Receiver<RollbackRequest>, router: Arc<Router>) {
    while let Some(RollbackRequest { name, answer }) = wanted.recv().await {
        let is_paused = router.standings()[&name].is_paused;
        let granted = if is_paused { Err("no earlier version is kept".to_owned()) } else { Ok(()) };
        answer.send(granted).unwrap();
    }
}

/// Its API, until the sender says stop.
fn api(broker: Arc<dyn Broker>) -> (Api, watch::Sender<bool>) {
    let (stop, stopped) = watch::channel(false);
    (api_of(app(broker), stopped), stop)
}

/// The API of `app`, without tokens and certificates.
fn api_of(app: Running, stop: watch::Receiver<bool>) -> Api {
    api_with(app, None, stop)
}

/// The same, with a certificate.
fn api_with(app: Running, tls: Option<Arc<Tls>>, stop: watch::Receiver<bool>) -> Api {
    let connections = app.config.http.max_connections.unwrap_or(1_024);
    let access = Arc::new(Access::without_tokens(Arc::clone(&app.clock)));
    let front = Front::new(access, tls, Arc::clone(&app.config), connections);
    let busy = Arc::clone(front.busy());
    Api::new(Arc::new(Running { busy, ..app }), front, stop)
}

/// What serves that API.
fn served(api: &Api) -> Arc<Served> {
    Arc::new(Served::new(Arc::clone(&api.front), super::router(api.clone())))
}

/// A whole answer.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    async fn of(response: Response) -> Self {
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self { status: head.status, headers: head.headers, body }
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.headers, String::from_utf8_lossy(&self.body))
    }
}

async fn send(api: &Api, request: Request<Body>) -> Answer {
    Answer::of(super::router(api.clone()).oneshot(request).await.unwrap()).await
}

/// What every request of HTTP/1.1 has.
fn to_us() -> http::request::Builder {
    Request::builder().header(header::HOST, "localhost")
}

fn request(method: &str, path: &str) -> Request<Body> {
    to_us().method(method).uri(path).body(Body::empty()).unwrap()
}

/// `POST /events` in structured or batch mode.
fn publish(media_type: &str, body: impl Into<Body>) -> Request<Body> {
    to_us()
        .method("POST")
        .uri("/events")
        .header("content-type", media_type)
        .body(body.into())
        .unwrap()
}

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";
const EVENT: &str = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":1}}"#;

/// Creates a token; returns its secret.
async fn token(api: &Api, name: &str, scopes: &[&str]) -> String {
    let scopes = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
    let permissions = Permissions { scopes, source_prefix: None };
    let (name, by) = (name.parse().unwrap(), Actor::local());
    // The API's own broker may be one that fails.
    let created = api.access.create(&*Stub::new(), &by, name, permissions, None).await;
    created.unwrap().1.reveal().to_owned()
}

/// A body that never ends.
fn endless() -> Body {
    Body::from_stream(futures_util::stream::pending::<Result<Bytes, String>>())
}

/// Longer than any timeout of the API; with paused time it costs nothing.
const FOREVER: Duration = Duration::from_secs(3600);
