//! The HTTP API: for publishing, and for inspecting and operating the router.
//!
//! [`serve()`] runs it on a listener and limits everything a client can exhaust: connections,
//! header and body bytes and the time they take, open streams, and the memory of all bodies and
//! responses. A client that holds any of these without making progress is cut when others need it
//! ([`connections`]). [`router`] is the API without sockets, for tests. Routes and types are
//! `usher-api`'s.

mod answers;
mod arrival;
mod audit;
mod authorize;
mod away;
mod backup;
mod blobs;
mod body;
mod budget;
mod client;
mod connections;
mod dead_letters;
mod detached;
mod differing;
mod encoding;
mod events;
mod flows;
mod forward;
mod guard;
mod ingest;
mod ingest_span;
mod listener;
mod log;
mod logs;
mod nodes;
mod params;
mod plugin_state;
mod plugins;
mod position;
mod problem;
mod protocol;
mod replay;
mod schedules;
mod serve;
mod socket;
mod standby;
mod state;
mod status;
mod stream;
mod subscriptions;
mod tls;
mod tokens;
mod ui;
mod webhooks;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, Request, State};
use axum::handler::Handler;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{self, MethodFilter, MethodRouter};
use http::Uri;
use tokio::sync::watch;
use usher_api::{Method, Route, Scope, routes};

use client::Client;
pub(crate) use forward::Forwarder;
pub(crate) use listener::Listener;
use problem::ApiError;
pub(crate) use protocol::Served;
#[cfg(test)]
use serve::serve_stream;
pub(crate) use serve::{EXTRA_CONNECTIONS, serve};
pub(crate) use standby::standby;
use state::Api;
pub(crate) use state::{Front, Node};
pub(crate) use tls::Tls;

use crate::running::Running;

/// Routes that any node answers, with their handlers.
fn on_every_node<S: Clone + Send + Sync + 'static>() -> Vec<(Route, MethodRouter<S>)>
where
    Node: FromRef<S>,
{
    vec![
        on(routes::EVENTS, events::list),
        on(routes::EVENT, events::one),
        on(routes::STREAM, stream::follow),
        on(routes::PLUGIN_STATE, plugin_state::list),
        on(routes::DEAD_LETTERS, dead_letters::list),
        on(routes::DEAD_LETTER_REASONS, dead_letters::reasons),
        on(routes::DEAD_LETTER, dead_letters::one),
        on(routes::DEAD_LETTER_RECORDING, dead_letters::recording),
        on(routes::AUDIT, audit::list),
        on(routes::BLOBS, blobs::list),
        on(routes::BLOB, blobs::one),
    ]
}

/// Each other route of the API with its handler.
fn handlers() -> Vec<(Route, MethodRouter<Api>)> {
    vec![
        on(routes::PUBLISH, ingest::publish),
        on(routes::HANDSHAKE, ingest::agree),
        on(routes::DELIVERY, events::delivery),
        on(routes::FLOW, flows::one),
        on(routes::PLUGINS, plugins::list),
        on(routes::PAUSE, plugins::pause),
        on(routes::RESUME, plugins::resume),
        on(routes::RELEASE, plugins::release),
        on(routes::ROLLBACK, plugins::rollback),
        on(routes::HISTORY, plugins::history),
        on(routes::PLUGIN_SETTINGS, plugins::settings),
        on(routes::PLUGIN_RECORDINGS, plugins::recordings),
        on(routes::PLUGIN_RECORDING, plugins::recording),
        on(routes::PLUGIN_COMPONENT, plugins::component),
        on(routes::LOGS, logs::list),
        on(routes::SUBSCRIPTIONS, subscriptions::list),
        on(routes::UNSUBSCRIBE, subscriptions::remove),
        on(routes::REPLAY, replay::replay),
        on(routes::DRY_RUN, replay::dry_run),
        on(routes::SINKS, plugins::sinks),
        on(routes::SCHEDULES, schedules::list),
        on(routes::NODES, nodes::list),
        on(routes::DRAIN_NODE, nodes::drain),
        on(routes::RESUME_NODE, nodes::resume),
        on(routes::PROMOTE_NODE, nodes::promote),
        on(routes::REDRIVE, dead_letters::redrive),
        on(routes::REDRIVE_EDITED, dead_letters::redrive_edited),
        on(routes::DISCARD, dead_letters::discard),
        on(routes::TOKENS, tokens::list),
        on(routes::CREATE_TOKEN, tokens::create),
        on(routes::REVOKE_TOKEN, tokens::revoke),
        on(routes::BACKUP, backup::make),
        on(routes::OVERVIEW, status::overview),
        on(routes::STATES, status::states),
        on(routes::HEALTH, status::healthz),
        on(routes::READINESS, status::readyz),
        on(routes::METRICS, status::metrics),
        on(routes::OPENAPI, status::openapi),
    ]
}

/// The route of all webhooks in the metrics of requests.
const WEBHOOKS: &str = "[[webhook]]";

/// The route of the page in the metrics of requests.
const PAGE: &str = "/ui";

/// What further paths for publishing take.
const INGEST: [(Method, &str); 2] =
    [(Method::Post, routes::PUBLISH.path), (Method::Options, routes::HANDSHAKE.path)];

fn on<S, H, T>(route: Route, handler: H) -> (Route, MethodRouter<S>)
where
    S: Clone + Send + Sync + 'static,
    H: Handler<T, S>,
    T: 'static,
{
    let method = match route.method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Delete => MethodFilter::DELETE,
        Method::Options => MethodFilter::OPTIONS,
    };
    (route, routing::on(method, handler))
}

/// The API of the owner of the journal, until `stop` turns true.
pub(crate) fn owner(
    running: Arc<Running>,
    front: Arc<Front>,
    stop: watch::Receiver<bool>,
) -> Router {
    router(Api::new(running, front, stop))
}

fn router(api: Api) -> Router {
    let guarded = |router: Router<Api>,
                   (path, route, handler): (String, Route, MethodRouter<Api>)| {
        router
            .route(&path, handler.layer(from_fn_with_state((api.node.clone(), route), authorized)))
    };
    let elsewhere = |path: String| {
        let handlers = handlers().into_iter();
        let taken = handlers.filter(|(route, _)| INGEST.contains(&(route.method, route.path)));
        taken.map(move |(route, handler)| (path.clone(), route, handler))
    };
    let ingest = &api.running.config.ingest;
    let others = ingest.iter().cloned().chain(["/events/".to_owned()]).flat_map(elsewhere);
    let webhooks = api.running.config.webhooks.iter().enumerate();
    let webhooks = webhooks.fold(Router::new(), |router, (place, webhook)| {
        let receive = routing::post(webhooks::receive).with_state((api.clone(), place));
        let count = from_fn_with_state((api.node.clone(), WEBHOOKS), count_only);
        router.route(&webhook.path, receive.layer(count))
    });
    let own = handlers().into_iter().map(|(route, handler)| match route.method {
        Method::Get => (route, handler.layer(from_fn_with_state(api.clone(), away::read))),
        _ => (route, handler),
    });
    let own = own.chain(on_every_node());
    let routes = own
        .map(|(route, handler)| (route.path.to_owned(), route, handler))
        .chain(others)
        .fold(webhooks, guarded)
        .with_state(api.clone());
    // The page counts as one route. What it reads for itself doesn't pass the guard again.
    let page = ui::router(api.clone(), routes.clone().fallback(unknown_path))
        .layer(from_fn_with_state((api.node.clone(), PAGE), count_only));
    routes
        .merge(page)
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(from_fn_with_state(api.node.clone(), enter))
}

/// What every request goes through first. One layer, not one for each concern: a layer costs each
/// request a box for its future and a copy of all that is below it.
async fn enter(State(node): State<Node>, client: Client, request: Request, next: Next) -> Response {
    let (mut request, lent) = arrival::lend(request, client.connection());
    client.accept_forwarded(&mut request, |secret| {
        node.nodes.as_ref().is_some_and(|nodes| nodes.authenticates(secret))
    });
    let mut response = match guard::admit(&node, client.connection(), &request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            drop(request);
            refusal
        }
    };
    lent.settle(&mut response);
    response
}

/// Counts a request, refuses callers that may not use its route, and tells the handler who the
/// others are.
async fn authorized(
    State((node, route)): State<(Node, Route)>,
    client: Client,
    mut request: Request,
    next: Next,
) -> Response {
    let method = request.method().clone();
    let handled = async {
        if route.scope != Scope::Open {
            let (uri, headers) = (request.uri(), request.headers());
            match authorize::identify(&node, &client, route.scope, uri, headers) {
                Ok(identity) => drop(request.extensions_mut().insert(identity)),
                Err(error) => return error.into_response(),
            }
        }
        match route.is_on_every_node {
            true => position::answer(&node, request, next).await.into_response(),
            false => next.run(request).await,
        }
    };
    count(&node, route.path, &method, handled).await
}

/// Counts the requests of a path that has no scope.
async fn count_only(
    State((node, path)): State<(Node, &'static str)>,
    request: Request,
    next: Next,
) -> Response {
    count(&node, path, &request.method().clone(), next.run(request)).await
}

/// Counts requests by route, method and status. Requests that match no route are not counted, so
/// that clients can't create labels.
async fn count(
    front: &Front,
    path: &'static str,
    method: &http::Method,
    response: impl Future<Output = Response>,
) -> Response {
    let began = std::time::Instant::now();
    let response = response.await;
    front.metrics.request(path, method, response.status(), began.elapsed());
    response
}

async fn unknown_path(uri: Uri) -> ApiError {
    ApiError::not_found(format!("there is nothing at {}; see /openapi.json", uri.path()))
}

async fn unknown_method(method: http::Method, uri: Uri) -> ApiError {
    ApiError::method_not_allowed(format!(
        "{} does not take {method}; the allow header has what it takes",
        uri.path()
    ))
}
