//! The page without a browser: who may see and do what, and where its cookie counts. What it looks
//! like and does in a browser is tested by `tests/system/page.rs`.

use axum::body::Body;
use axum::extract::Request;
use usher_ui::Screen;

use super::routes::stub_api;
use super::stub::Stub;
use super::{Answer, request, send, to_us, token};
use crate::access::FAILURES_MAX;
use crate::http::state::Api;

const COOKIE: &str = "usher_7171";

fn get(path: &str, secret: Option<&str>) -> Request {
    with_method("GET", path, secret)
}

fn with_method(method: &str, path: &str, secret: Option<&str>) -> Request {
    let mut request = request(method, path);
    let headers = request.headers_mut();
    headers.insert("host", "localhost:7171".parse().unwrap());
    if let Some(secret) = secret {
        headers.insert("cookie", format!("other=1; {COOKIE}={secret}").parse().unwrap());
    }
    request
}

async fn log_in(api: &Api, origin: &str, form: &str) -> Answer {
    let request = to_us()
        .method("POST")
        .uri("/ui/login")
        .header("origin", origin)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(form.to_owned()))
        .unwrap();
    send(api, request).await
}

/// What each screen needs to be told.
fn address(screen: Screen) -> String {
    let query = match screen {
        Screen::Event => "?sequence=1",
        Screen::Flow => "?id=1",
        Screen::DeadLetter => "?id=7",
        Screen::State => "?plugin=printer",
        _ => "",
    };
    format!("/ui/{}{query}", screen.path())
}

#[tokio::test]
async fn screens_are_for_those_who_may_read() {
    let api = stub_api(Stub::new());
    let all = token(&api, "all", &["admin"]).await;
    let some = token(&api, "some", &["read:attributes"]).await;
    for screen in Screen::ALL.into_iter().filter(|screen| *screen != Screen::Plugin) {
        let path = address(screen);
        let shown = send(&api, get(&path, Some(&all))).await;
        assert_eq!(shown.status, 200, "{path}: {shown:?}");
        let policy = shown.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(shown.header("cache-control"), Some("no-store"));
        let html = String::from_utf8_lossy(&shown.body).into_owned();
        assert!(!html.contains(&all) && !html.contains("style=\"") && !html.contains("<script>"));

        let bare = send(&api, get(&path, Some(&some))).await;
        let html = String::from_utf8_lossy(&bare.body).into_owned();
        assert!(!html.contains("&quot;a&quot;: 1"), "{path} shows data: {html}");
        let is_forbidden = matches!(screen, Screen::State);
        assert_eq!(bare.status == 403, is_forbidden, "{path}: {bare:?}");

        let without = send(&api, get(&path, None)).await;
        assert_eq!(without.status, 303, "{path}");
        let location = without.header("location").unwrap();
        assert!(location.starts_with("login?to="), "{location}");
    }
    assert_eq!(send(&api, get("/ui/nothing", Some(&all))).await.status, 404);
    assert_eq!(send(&api, get("/ui/page.css", None)).await.status, 200);
}

#[tokio::test]
async fn a_router_without_tokens_asks_for_none() {
    let api = stub_api(Stub::new());
    for (path, to) in [("/ui", "ui/overview"), ("/ui/", "overview")] {
        let led = send(&api, get(path, None)).await;
        assert_eq!((led.status.as_u16(), led.header("location")), (303, Some(to)));
    }
    assert_eq!(send(&api, get("/ui/overview", None)).await.status, 200);
}

#[tokio::test]
async fn a_login_keeps_the_token_in_a_cookie_for_the_page() {
    let api = stub_api(Stub::new());
    let secret = token(&api, "ops", &["admin"]).await;
    let form = format!("token={secret}&to=flow%3Fid%3D1");
    let done = log_in(&api, "http://localhost", &form).await;
    assert_eq!((done.status.as_u16(), done.header("location")), (303, Some("flow?id=1")));
    let cookie = done.header("set-cookie").unwrap();
    assert_eq!(cookie, format!("usher={secret}; HttpOnly; SameSite=Strict"));
    let done = log_in(&api, "https://localhost", &format!("token={secret}")).await;
    assert!(done.header("set-cookie").unwrap().ends_with("; Secure"));
    for elsewhere in ["//evil.example", "https://evil.example", "..%2F", "overview%2F..%2F"] {
        let form = format!("token={secret}&to={elsewhere}");
        let done = log_in(&api, "http://localhost", &form).await;
        assert_eq!(done.header("location"), Some("overview"), "{elsewhere}");
    }
    assert_eq!(log_in(&api, "https://evil.example", &form).await.status, 403);

    // Programs use no cookies, and no other page uses this one.
    assert_eq!(send(&api, get("/plugins", Some(&secret))).await.status, 401);
    assert_eq!(send(&api, get("/ui/api/plugins", Some(&secret))).await.status, 200);
    assert_eq!(send(&api, get("/ui/api/plugins", None)).await.status, 401);
    assert_eq!(send(&api, get("/ui/api/ui/overview", Some(&secret))).await.status, 404);

    let out = send(&api, with_method("POST", "/ui/logout", Some(&secret))).await;
    let cookie = out.header("set-cookie").unwrap();
    assert_eq!(cookie, "usher_7171=; Max-Age=0; HttpOnly; SameSite=Strict");
}

#[tokio::test]
async fn only_the_page_itself_changes_anything() {
    let api = stub_api(Stub::new());
    token(&api, "admin", &["admin"]).await;
    let secret = token(&api, "ops", &["operate"]).await;
    let redrive = |actor: Option<&str>| {
        let mut request = with_method("POST", "/ui/api/dead-letters/7/redrive", Some(&secret));
        if let Some(actor) = actor {
            request.headers_mut().insert("usher-actor", actor.parse().unwrap());
        }
        request
    };
    assert_eq!(send(&api, redrive(None)).await.status, 403);
    let other = send(&api, redrive(Some("someone"))).await;
    assert_eq!(other.status, 409);
    assert!(other.json()["detail"].as_str().unwrap().contains("logged in as ops"), "{other:?}");
    assert_eq!(send(&api, redrive(Some("ops"))).await.status, 200);
}

#[tokio::test]
async fn guesses_are_limited() {
    let api = stub_api(Stub::new());
    token(&api, "ops", &["admin"]).await;
    for _ in 0..FAILURES_MAX {
        let wrong = log_in(&api, "http://localhost", "token=usher_wrong").await;
        assert_eq!(wrong.status, 401);
        assert!(String::from_utf8_lossy(&wrong.body).contains("no such token"));
    }
    let limited = log_in(&api, "http://localhost", "token=usher_wrong").await;
    assert_eq!(limited.status, 429);
    // Who comes without a token is no guess.
    assert_eq!(send(&api, get("/ui/overview", None)).await.status, 303);
    assert_eq!(send(&api, get("/ui/overview", Some("usher_stale"))).await.status, 401);
}

#[tokio::test]
async fn a_link_elsewhere_leads_to_the_screen() {
    let api = stub_api(Stub::new());
    token(&api, "ops", &["admin"]).await;
    let mut request = get("/ui/flow?id=1", None);
    let headers = request.headers_mut();
    headers.insert("sec-fetch-site", "cross-site".parse().unwrap());
    headers.insert("sec-fetch-mode", "navigate".parse().unwrap());
    let again = send(&api, request).await;
    assert_eq!(again.status, 200);
    assert!(String::from_utf8_lossy(&again.body).contains("http-equiv=\"refresh\""));
}

#[tokio::test(start_paused = true)]
async fn a_live_screen_comes_when_it_changes() {
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;
    let api = stub_api(Stub::new());
    let router = crate::http::router(api.clone());
    let response = router.oneshot(get("/ui/live/schedules", None)).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    let mut next = async || {
        let frame = body.frame().await.unwrap().unwrap();
        String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
    };
    assert_eq!(next().await, "event: viewer\ndata: local\n\n");
    let screen = next().await;
    assert!(screen.starts_with("data: <h1>Schedules</h1>"), "{screen}");
    assert_eq!(next().await, ":\n\n", "it has not changed");
    assert_eq!(send(&api, get("/ui/live/nothing", None)).await.status, 404);
}
