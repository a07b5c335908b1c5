//! The API of a standby without an owner. What it forwards is in the system tests of nodes.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures_util::StreamExt as _;
use http::Request;
use tokio::sync::watch;
use tower::ServiceExt as _;
use usher_access::TokenSecret;
use usher_broker::{Actor, Deliveries as _, EmbeddedBroker, Lifecycle as _, Options, SystemClock};
use usher_config::Flags;
use usher_event::Event;

use super::{Answer, EVENT, FOREVER, STRUCTURED, publish, request};
use crate::access::Access;
use crate::http::forward::Forwarder;
use crate::http::standby;
use crate::http::state::{Front, Node};

/// A standby that has what a broker in memory has.
struct Standby {
    router: Router,
    access: Arc<Access>,
    broker: Arc<EmbeddedBroker>,
    stop: watch::Sender<bool>,
}

impl Standby {
    async fn new() -> Self {
        Self::with(Duration::from_secs(1)).await
    }

    /// One that waits so long for an event that is wanted.
    async fn with(patience: Duration) -> Self {
        let broker = EmbeddedBroker::in_memory(Options::new("")).unwrap();
        let access = Arc::new(Access::new(&Default::default(), Arc::new(SystemClock)));
        let flags = Flags {
            data: Some("not-used".into()),
            plugins: Some(std::env::temp_dir()),
            ..Flags::default()
        };
        let config = Arc::new(usher_config::load(&flags).unwrap());
        let front = Front::new(Arc::clone(&access), None, config, 16);
        let (stop, stopped) = watch::channel(false);
        let node = Node::standby(front, Arc::clone(&broker) as _, stopped);
        let node = Node { patience, ..node };
        let secret = TokenSecret::generate().unwrap();
        let forwarder = Forwarder::new("b".to_owned(), None, None, secret, || None);
        let router = standby(node, Arc::new(forwarder));
        Self { router, access, broker, stop }
    }

    async fn publish(&self, id: &str) {
        let event = Event::builder(id, "/s", "t").build().unwrap();
        self.broker.publish(vec![event]).await.unwrap();
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(request("GET", path)).await
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        Answer::of(self.router.clone().oneshot(request).await.unwrap()).await
    }
}

#[tokio::test]
async fn without_an_owner_it_answers_reads_only() {
    let standby = Standby::new().await;
    standby.access.read(&*standby.broker).await.unwrap();
    standby.publish("1").await;
    let read = standby.get("/events").await;
    assert_eq!((read.status.as_u16(), read.header("usher-sequence")), (200, Some("1")), "{read:?}");
    assert_eq!(read.json()["events"][0]["event"]["id"], "1");
    assert_eq!(standby.get("/healthz").await.status, 200);
    assert_eq!(standby.get("/events/2").await.status, 404);
    assert_eq!(standby.get("/events?max=0").await.status, 400);
    for refused in [
        publish(STRUCTURED, EVENT),
        request("GET", "/plugins"),
        request("GET", "/readyz"),
        request("DELETE", "/tokens/ops"),
        request("GET", "/nothing"),
    ] {
        let answer = standby.send(refused).await;
        // Which methods there are the owner says.
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (503, None), "{answer:?}");
    }
    // Forwarded by another node that takes this one for the owner.
    let mut misled = request("GET", "/events");
    misled.headers_mut().insert("usher-forwarded", "local".parse().unwrap());
    let answer = standby.send(misled).await;
    assert_eq!(answer.status, 503);
    assert!(answer.json()["detail"].as_str().unwrap().contains("was taken for the owner"));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_come_is_refused() {
    let standby = Standby::new().await;
    standby.access.read(&*standby.broker).await.unwrap();
    standby.publish("1").await;
    let late = standby.get("/events?at-least=2").await;
    assert_eq!(late.status, 503, "{late:?}");
    assert!(late.header("retry-after").is_some());
    assert_eq!(standby.get("/events?at-least=x").await.status, 400);
}

#[tokio::test]
async fn what_is_wanted_is_waited_for() {
    let standby = Standby::with(FOREVER).await;
    standby.access.read(&*standby.broker).await.unwrap();
    standby.publish("1").await;
    let (there, ()) = tokio::join!(standby.get("/events/2?at-least=2"), standby.publish("2"));
    assert_eq!((there.status.as_u16(), there.header("usher-sequence")), (200, Some("2")));
}

#[tokio::test]
async fn tokens_count_as_soon_as_anything_is_read() {
    let standby = Standby::new().await;
    assert_eq!(standby.get("/events").await.status, 401, "there may be tokens");
    standby.access.read(&*standby.broker).await.unwrap();
    assert_eq!(standby.get("/events").await.status, 200);
    let (name, by) = ("ops".parse().unwrap(), Actor::local());
    let permissions =
        usher_access::Permissions { scopes: vec!["admin".parse().unwrap()], source_prefix: None };
    let elsewhere = Access::without_tokens(Arc::new(SystemClock));
    let (_, secret) =
        elsewhere.create(&*standby.broker, &by, name, permissions, None).await.unwrap();
    standby.access.read(&*standby.broker).await.unwrap();
    assert_eq!(standby.get("/events").await.status, 401);
    let mut allowed = request("GET", "/events");
    let value = format!("Bearer {}", secret.reveal()).parse().unwrap();
    allowed.headers_mut().insert("authorization", value);
    assert_eq!(standby.send(allowed).await.status, 200);
}

/// A client that follows the log goes on elsewhere.
#[tokio::test]
async fn streams_end_with_its_time_as_a_standby() {
    let standby = Standby::new().await;
    standby.access.read(&*standby.broker).await.unwrap();
    standby.publish("1").await;
    let response =
        standby.router.clone().oneshot(request("GET", "/events/stream?from=1")).await.unwrap();
    let mut body = response.into_body().into_data_stream();
    let mut came = String::new();
    while !came.contains("\"id\":\"1\"") {
        came += std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap();
    }
    standby.stop.send_replace(true);
    assert!(body.next().await.is_none());
    // Nothing is read of what is closed.
    standby.broker.close().await.unwrap();
    assert_eq!(standby.get("/events").await.status, 503);
}
