//! The page under `/ui`. `usher-ui` makes it of what the API returns; here are its addresses, who
//! is logged in ([`session`]) and how screens stay up to date ([`live`]).
//!
//! The script of the page finds the API under `/ui/api`, which is the same API: only there and for
//! screens does the cookie count, so that no other page can use it.

mod live;
mod session;
mod source;
mod state;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use tower::ServiceExt as _;
use usher_ui::{CONTENT_SECURITY_POLICY, Page, Screen};

use self::session::{NoSession, Session};
use self::source::OwnApi;
use self::state::Ui;
use super::client::Client;
use super::connections::Connection;
use super::ingest::read;
use super::problem::ApiError;
use super::state::Api;

/// Limit on the body of a login.
const LOGIN_MAX_BYTES: usize = 16 * 1024;

/// Names who the page was made for. Scripts of other origins can't send it.
const ACTOR: HeaderName = HeaderName::from_static("usher-actor");

/// The addresses of the page, which reads from `routes`.
pub(super) fn router(api: Api, routes: Router) -> Router {
    Router::new()
        .route("/ui", get(enter))
        .route("/ui/", get(enter))
        .route("/ui/login", get(ask).post(log_in))
        .route("/ui/logout", post(log_out))
        .route("/ui/live/{screen}", get(live::follow))
        .route("/ui/api/{*path}", any(call))
        .route("/ui/{file}", get(file))
        .with_state(Ui::new(api, routes))
}

/// Leads to the first screen.
async fn enter(State(ui): State<Ui>, client: Client, uri: Uri, headers: HeaderMap) -> Response {
    // Addresses of the page are relative to its folder, whatever that is called on the outside.
    let folder = if uri.path().ends_with('/') { "" } else { "ui/" };
    let screen = match Session::of(&ui.api, &client, &uri, &headers) {
        Ok(session) => Screen::first(&session.viewer).path(),
        Err(NoSession::Missing) if is_from_elsewhere(&headers) => return html(usher_ui::again()),
        Err(_) => "login",
    };
    see_other(&format!("{folder}{screen}"))
}

/// A screen, or a file that it loads.
async fn file(
    State(ui): State<Ui>,
    client: Client,
    Path(name): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if let Some(asset) = usher_ui::asset(&name) {
        let kept = "public, max-age=31536000, immutable";
        let headers = [
            (header::CONTENT_TYPE, asset.content_type),
            (header::CACHE_CONTROL, kept),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        return (headers, asset.content).into_response();
    }
    let Some(screen) = Screen::from_path(&name) else {
        let missing = ApiError::not_found(format!("the page has no screen {name}"));
        return html(usher_ui::message(&missing.problem()));
    };
    let session = match Session::of(&ui.api, &client, &uri, &headers) {
        Ok(session) => session,
        Err(NoSession::Missing) if is_from_elsewhere(&headers) => return html(usher_ui::again()),
        Err(NoSession::Missing) => return see_other(&login_address(&name, &uri)),
        Err(NoSession::Refused(error)) => {
            let refusal = error.problem().detail;
            return html(usher_ui::login(Some(&refusal), Some(&with_query(&name, &uri))));
        }
    };
    let source = OwnApi::new(&ui.routes, &session, &client);
    let Ok(_making) = ui.making.acquire().await else {
        return ApiError::unavailable("the router is stopping").into_response();
    };
    let query = uri.query().unwrap_or_default();
    let page = usher_ui::page(&source, &session.viewer, screen, query).await;
    charged(&ui, client.connection(), page).await
}

/// Asks for a token.
async fn ask(uri: Uri) -> Response {
    let to: Login = decode(uri.query().unwrap_or_default().as_bytes());
    html(usher_ui::login(None, to.to.as_deref()))
}

/// The form of a login.
#[derive(Default, serde::Deserialize)]
struct Login {
    #[serde(default)]
    token: String,
    /// The screen to show then, with its query.
    #[serde(default)]
    to: Option<String>,
}

impl Login {
    /// Where to go. Nothing but a screen: a link could name any address.
    fn address(&self, session: &Session) -> &str {
        let asked = self.to.as_deref().filter(|to| {
            let path = to.split_once('?').map_or(*to, |(path, _)| path);
            Screen::from_path(path).is_some()
        });
        asked.unwrap_or(Screen::first(&session.viewer).path())
    }
}

/// Keeps a token in a cookie, if it is valid.
async fn log_in(
    State(ui): State<Ui>,
    client: Client,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let body = match read(&ui.api, client.connection(), &headers, body).await {
        Ok(body) if body.bytes.len() <= LOGIN_MAX_BYTES => body,
        Ok(_) => return html(usher_ui::login(Some("that is no token: it is too long"), None)),
        Err(error) => return html(usher_ui::message(&error.problem())),
    };
    let login: Login = decode(&body.bytes);
    let to = login.to.as_deref();
    match Session::with_secret(&ui.api, &client, &uri, login.token.trim()) {
        Ok(session) => {
            let mut response = see_other(login.address(&session));
            let cookie = session::cookie(&uri, &headers, login.token.trim());
            response.headers_mut().extend(cookie.map(|cookie| (header::SET_COOKIE, cookie)));
            response
        }
        Err(error) => {
            let problem = error.problem();
            let mut response = html(usher_ui::login(Some(&problem.detail), to));
            *response.status_mut() =
                StatusCode::from_u16(problem.status).unwrap_or(StatusCode::UNAUTHORIZED);
            response
        }
    }
}

/// Forgets the cookie.
async fn log_out(uri: Uri, headers: HeaderMap) -> Response {
    let mut response = see_other("login");
    let cookie = session::no_cookie(&uri, &headers);
    response.headers_mut().extend(cookie.map(|cookie| (header::SET_COOKIE, cookie)));
    response
}

/// Passes a request of the page's script to the API.
async fn call(
    State(ui): State<Ui>,
    client: Client,
    request: Request,
) -> Result<Response, ApiError> {
    let (mut head, body) = request.into_parts();
    let session = Session::of(&ui.api, &client, &head.uri, &head.headers)?;
    let made_for = head.headers.remove(ACTOR);
    check_actor(&session, &head.method, made_for.as_ref())?;
    let path_and_query = head.uri.path_and_query().map_or("/", |all| all.as_str());
    let path = path_and_query.strip_prefix("/ui/api").unwrap_or(path_and_query);
    // Nothing else goes along: a request keeps what the routes of the page made of its path.
    let mut passed = Request::new(body);
    *passed.method_mut() = head.method;
    *passed.uri_mut() =
        path.parse().map_err(|error| ApiError::invalid(format!("path: {error}")))?;
    session.sign(&mut head.headers);
    *passed.headers_mut() = head.headers;
    passed.extensions_mut().insert(client);
    let Ok(response) = ui.routes.clone().oneshot(passed).await;
    Ok(response)
}

/// A page that was made for another viewer, in another tab, does nothing in this one's name; and
/// only the page itself changes anything.
fn check_actor(
    session: &Session,
    method: &Method,
    made_for: Option<&HeaderValue>,
) -> Result<(), ApiError> {
    match made_for {
        Some(actor) if actor == session.viewer.actor.as_str() => Ok(()),
        Some(_) => Err(ApiError::conflict(format!(
            "another tab has logged in as {}: reload this one",
            session.viewer.actor
        ))),
        None if method.is_safe() => Ok(()),
        None => Err(ApiError::forbidden(
            "only the page itself uses this address; programs use the API without /ui/api",
        )),
    }
}

/// Whether a link on another site leads here: browsers keep cookies to themselves then.
fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site")
        && headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate")
}

/// A screen with its query.
fn with_query(name: &str, uri: &Uri) -> String {
    match uri.query() {
        Some(query) => format!("{name}?{query}"),
        None => name.to_owned(),
    }
}

fn login_address(name: &str, uri: &Uri) -> String {
    let query = serde_urlencoded::to_string([("to", with_query(name, uri))]).unwrap_or_default();
    format!("login?{query}")
}

/// A form; without its fields where it is none.
fn decode<T: serde::de::DeserializeOwned + Default>(form: &[u8]) -> T {
    serde_urlencoded::from_bytes(form).unwrap_or_default()
}

fn see_other(to: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(HeaderValue::try_from(to).ok().map(|to| (header::LOCATION, to)));
    response
}

fn html(page: Page) -> Response {
    let status = StatusCode::from_u16(page.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // With `no-referrer` browsers send forms with `Origin: null`, which the guard refuses.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, page.html).into_response()
}

/// A page whose memory is charged to its client until it is sent.
async fn charged(ui: &Ui, client: &Arc<Connection>, page: Page) -> Response {
    let Some(share) = ui.api.answers.take(client, page.html.len()).await else {
        return ApiError::unavailable("the router is stopping").into_response();
    };
    let (head, _) = html(Page { status: page.status, html: String::new() }).into_parts();
    let mut response = Response::from_parts(head, Body::from(share.charged(page.html)));
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response
}
