//! The API of a standby: it answers reads of what is committed, as far as its tables have come. For all else it
//! asks the owner, and also for a read that it would refuse.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodRouter, any, get};
use http::header;
use usher_api::{Route, routes};

use super::client::Client;
use super::forward::Forwarder;
use super::problem::ApiError;
use super::state::Node;
use super::{authorized, enter, on_every_node, status};

/// The API of a standby.
pub(crate) fn standby(node: Node, forwarder: Arc<Forwarder>) -> Router {
    let others = any(hand_on).with_state(Arc::clone(&forwarder));
    // Other methods of the same path are the owner's, and so is what it says of them.
    let on = |router: Router, path: &str, handler: MethodRouter| {
        router.route(path, handler.merge(others.clone()))
    };
    let here =
        on_every_node::<Node>().into_iter().fold(Router::new(), |router, (route, handler)| {
            let state = (node.clone(), Arc::clone(&forwarder), route);
            let handler = handler.layer(from_fn_with_state(state, read)).with_state(node.clone());
            on(router, route.path, handler)
        });
    let here = on(here, routes::HEALTH.path, get(async || status::ok()));
    on(here, routes::READINESS.path, get(async move || forwarder.unready()))
        .fallback_service(others)
        .layer(from_fn_with_state(node, enter))
}

/// Reads here, or has the owner do so where that may help.
async fn read(
    State((node, forwarder, route)): State<(Node, Arc<Forwarder>, Route)>,
    client: Client,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let mut again = Request::new(Body::empty());
    again.method_mut().clone_from(request.method());
    again.uri_mut().clone_from(request.uri());
    again.headers_mut().clone_from(request.headers());
    // Reads have no body; a client may have sent one.
    for about_body in [header::CONTENT_LENGTH, header::EXPECT] {
        again.headers_mut().remove(about_body);
    }
    if client.is_forwarded() || node.log.check().is_err() {
        return forwarder.answer(again, &client).await;
    }
    let response = authorized(State((node, route)), client.clone(), request, next).await;
    // The owner may know the token, or have what isn't here yet.
    if response.status().is_client_error() || response.status().is_server_error() {
        return forwarder.answer(again, &client).await.or(Ok(response));
    }
    Ok(response)
}

async fn hand_on(
    State(forwarder): State<Arc<Forwarder>>,
    client: Client,
    request: Request,
) -> Result<Response, ApiError> {
    forwarder.answer(request, &client).await
}
