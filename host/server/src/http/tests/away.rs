//! What is answered while the committer waits for servers that keep the journal.

use std::time::Duration;

use super::routes::stub_api;
use super::stub::Stub;
use super::{request, send};

#[tokio::test(start_paused = true)]
async fn reads_that_ask_the_committer_are_refused_and_others_are_not() {
    let stub = Stub::new();
    let api = stub_api(stub.clone());
    stub.is_away.send_replace(true);
    let refused = send(&api, request("GET", "/subscriptions")).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, Some("1")));
    for path in ["/metrics", "/states", "/plugins", "/events", "/overview", "/healthz"] {
        assert_eq!(send(&api, request("GET", path)).await.status, 200, "{path}");
    }
    let overview = send(&api, request("GET", "/ui/overview")).await;
    assert_eq!(overview.status, 200);
    assert!(String::from_utf8_lossy(&overview.body).contains("journal away"), "{overview:?}");
    // Back before it is refused.
    let back = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        stub.is_away.send_replace(false);
    };
    let (answered, ()) = tokio::join!(send(&api, request("GET", "/subscriptions")), back);
    assert_eq!(answered.status, 200);
}
