//! The HTTP API: producers publish here, people and programs look at the router through it.
//!
//! [`serve()`] runs it on a listener, with a limit on everything a client could use up: connections,
//! header and body bytes, the time each of them takes, open streams, and the memory of all bodies and
//! of all answers. Who holds any of it and makes no progress loses it to those who do ([`clients`]).
//! [`router`] is the API without the sockets, for tests. The shapes of the answers are in
//! [`shapes`], the document that describes it all is `openapi.json`.

mod answers;
mod arrival;
mod audit;
mod backup;
mod blobs;
mod body;
mod budget;
mod clients;
mod dead_letters;
mod events;
mod flows;
mod guard;
mod ingest;
mod log;
mod params;
mod plugins;
mod problem;
mod replay;
mod schedules;
mod serve;
mod socket;
mod state;
mod status;
mod stream;
mod subscriptions;

pub(crate) mod shapes;

#[cfg(test)]
pub(crate) mod tests;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, post};
use http::Uri;

use problem::ApiError;
pub(crate) use serve::{EXTRA_CONNECTIONS, serve};
use state::Api;

/// Every path of the API with its methods; `openapi.json` has the same ones.
fn routes() -> Vec<(&'static str, MethodRouter<Api>)> {
    vec![
        ("/events", get(events::list).post(ingest::publish)),
        ("/events/{sequence}", get(events::one)),
        ("/events/{sequence}/deliveries/{plugin}/{name}", get(events::delivery)),
        ("/events/stream", get(stream::follow)),
        ("/flows/{id}", get(flows::one)),
        ("/plugins", get(plugins::list)),
        ("/plugins/{plugin}/pause", post(plugins::pause)),
        ("/plugins/{plugin}/resume", post(plugins::resume)),
        ("/plugins/{plugin}/release", post(plugins::release)),
        ("/plugins/{plugin}/rollback", post(plugins::rollback)),
        ("/plugins/{plugin}/history", get(plugins::history)),
        ("/subscriptions", get(subscriptions::list)),
        ("/subscriptions/{plugin}/{name}", delete(subscriptions::remove)),
        ("/subscriptions/{plugin}/{name}/replay", post(replay::replay)),
        ("/subscriptions/{plugin}/{name}/dry-run", post(replay::dry_run)),
        ("/schedules", get(schedules::list)),
        ("/dead-letters", get(dead_letters::list)),
        ("/dead-letters/{id}", get(dead_letters::one)),
        ("/dead-letters/{id}/redrive", post(dead_letters::redrive)),
        ("/dead-letters/{id}/redrive-edited", post(dead_letters::redrive_edited)),
        ("/dead-letters/{id}/discard", post(dead_letters::discard)),
        ("/audit", get(audit::list)),
        ("/blobs", get(blobs::list)),
        ("/blobs/{digest}", get(blobs::one)),
        ("/backup", post(backup::make)),
        ("/states", get(status::states)),
        ("/healthz", get(status::healthz)),
        ("/readyz", get(status::readyz)),
        ("/metrics", get(status::metrics)),
        ("/openapi.json", get(status::openapi)),
    ]
}

/// The API, ready to be served.
fn router(api: Api) -> Router {
    let counted = |router: Router<Api>, (path, methods): (&'static str, MethodRouter<Api>)| {
        router.route(path, methods.layer(from_fn_with_state((api.clone(), path), count)))
    };
    routes()
        .into_iter()
        .fold(Router::new(), counted)
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(from_fn_with_state(api.clone(), guard::admit))
        .layer(from_fn(arrival::track))
        .with_state(api)
}

/// Counts requests by route, method and status; a request that fits no route is not counted, so
/// that clients can't make up labels.
async fn count(
    State((api, path)): State<(Api, &'static str)>,
    request: Request,
    next: Next,
) -> Response {
    let method = request.method().clone();
    let began = std::time::Instant::now();
    let response = next.run(request).await;
    api.metrics.request(path, &method, response.status(), began.elapsed());
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
