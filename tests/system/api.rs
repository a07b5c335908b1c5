//! The HTTP API apart from publishing: its responses and status codes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use usher_api::StreamQuery;
use usher_tests::{EventStream, Folder, PATIENCE, Router, guest, percent_encoded, wait_for};

use crate::scene::{QUICK_RETRIES, Scene, event};

const STRUCTURED: &str = "application/cloudevents+json";

#[test]
fn the_log_is_read_by_page_type_and_filter() -> Result<()> {
    let scene = Scene::empty()?;
    let batch: Vec<Value> = (0..10)
        .map(|n| event(if n % 2 == 0 { "even.x" } else { "odd.x" }, &n.to_string(), &json!(n)))
        .collect();
    scene.client().publish_batch(&batch)?;
    let sequences = |path: &str| -> Result<(Vec<u64>, u64)> {
        let page = scene.client().get_json(path)?;
        let events = page["events"].as_array().unwrap();
        let found = events.iter().map(|stored| stored["sequence"].as_u64().unwrap()).collect();
        Ok((found, page["next"].as_u64().unwrap()))
    };
    assert_eq!(sequences("/events")?, ((1..=10).collect(), 11));
    assert_eq!(sequences("/events?from=3&max=2")?, (vec![3, 4], 5));
    assert_eq!(sequences("/events?type=odd.")?.0, [2, 4, 6, 8, 10]);
    let filter = "%7B%22suffix%22%3A%7B%22type%22%3A%22ven.x%22%7D%7D";
    assert_eq!(sequences(&format!("/events?filter={filter}&max=2"))?.0, [1, 3]);

    let one = scene.client().get_json("/events/4")?;
    assert_eq!(one["event"], batch[3]);
    assert_eq!((&one["sequence"], &one["flow"], &one["depth"]), (&json!(4), &json!(4), &json!(0)));
    assert!(one["cause"].is_null());
    let recorded = one["recorded"].as_str().unwrap();
    assert!(recorded.len() == 24 && recorded.ends_with('Z'), "{recorded}");
    Ok(())
}

#[test]
fn what_is_not_there_or_not_understood_is_a_problem() -> Result<()> {
    let scene = Scene::empty()?;
    let no_blob = format!("/blobs/{}", "0".repeat(64));
    let table = [
        ("GET", "/nothing", 404),
        ("GET", "/events/1", 404),
        ("GET", "/events/x", 400),
        ("GET", "/events?max=0", 400),
        ("GET", "/events?max=1001", 400),
        ("GET", "/events?filter=%7B%22exact%22%3A%7B%22type%22%3A%22%22%7D%7D", 400),
        ("GET", "/events?typ=x", 400),
        ("GET", "/flows/1", 404),
        ("GET", "/flows/no-such-order", 404),
        ("GET", "/dead-letters/1", 404),
        ("POST", "/dead-letters/1/redrive", 404),
        ("POST", "/dead-letters/1/discard", 404),
        ("GET", no_blob.as_str(), 404),
        ("GET", "/blobs/xyz", 400),
        ("DELETE", "/events", 405),
        ("POST", "/plugins", 405),
    ];
    for (method, path, status) in table {
        let answer = scene.client().request(method, path, &[], b"")?;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
        assert_eq!(answer.json()?["status"], status, "{path}");
    }
    let foreign = [("host", &b"evil.example"[..])];
    assert_eq!(scene.client().request("GET", "/events", &foreign, b"")?.status, 421);
    let page = [("origin", &b"https://evil.example"[..])];
    assert_eq!(scene.client().request("GET", "/events", &page, b"")?.status, 403);
    Ok(())
}

#[test]
fn a_stream_follows_the_log_and_resumes() -> Result<()> {
    let scene = Scene::empty()?;
    scene.client().publish(&event("a.x", "1", &json!(1)))?;
    let from_1 = StreamQuery { from: Some(1), ..Default::default() };
    let typed = StreamQuery { type_prefix: Some("b.".to_owned()), ..from_1.clone() };
    let mut all = EventStream::open(scene.client(), &from_1, None)?;
    let mut some = EventStream::open(scene.client(), &typed, None)?;
    let mut live = EventStream::open(scene.client(), &StreamQuery::default(), None)?;
    assert_eq!(all.read()?.stored["event"]["id"], "1");
    scene.client().publish_batch(&[event("b.x", "2", &json!(2)), event("a.x", "3", &json!(3))])?;
    let ids = |streamed: &[usher_tests::Streamed]| -> Vec<String> {
        streamed.iter().map(|streamed| streamed.id.clone()).collect()
    };
    assert_eq!(ids(&all.take(2)?), ["2", "3"]);
    assert_eq!(ids(&some.take(1)?), ["2"]);
    assert_eq!(ids(&live.take(2)?), ["2", "3"]);

    let mut resumed = EventStream::open(scene.client(), &from_1, Some("2"))?;
    let next = resumed.read()?;
    assert_eq!(next.id, "3");
    assert_eq!(next.stored, scene.client().get_json("/events/3")?);
    Ok(())
}

#[test]
fn flows_are_found_by_any_event_and_by_correlation() -> Result<()> {
    let scene = Scene::with("", &["echo"])?;
    let mut first = event("test.echo", "1", &json!({}));
    first["correlationid"] = json!("order-77");
    let receipt = scene.client().publish(&first)?;
    let flow = scene.client().settled_flow(receipt.sequence)?;
    let second = &flow["events"][1];
    assert_eq!(second["event"]["correlationid"], "order-77");
    assert_eq!(second["event"]["causationid"], "1");
    assert_eq!(second["event"]["source"], "/plugins/echo");
    assert_eq!(second["cause"]["parent"], receipt.sequence);
    assert_eq!(second["depth"], 1);
    for id in [second["sequence"].to_string(), "order-77".to_owned()] {
        assert_eq!(scene.client().get_json(&format!("/flows/{id}"))?, flow);
    }
    Ok(())
}

#[test]
fn dead_letters_are_listed_shown_redriven_and_discarded() -> Result<()> {
    let scene = Scene::with(QUICK_RETRIES, &["trap"])?;
    let flow = scene.flow_of("test.trap", "1", &json!({}))?;
    let listed = scene.client().get_json("/dead-letters")?;
    let dead = &listed["dead_letters"][0];
    assert_eq!((&dead["plugin"], &dead["class"]), (&json!("trap"), &json!("trap")));
    assert_eq!(dead["attempt_count"], 3);
    assert_eq!(dead["event"]["event"]["id"], "1");
    let id = dead["id"].as_u64().unwrap();
    assert_eq!(flow["events"][0]["deliveries"][0]["dead_letter"], id);

    let shown = scene.client().get_json(&format!("/dead-letters/{id}"))?;
    let attempts = shown["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 3);
    let digest = scene.client().plugin("trap")?.unwrap()["digest"].clone();
    assert!(attempts.iter().all(|attempt| attempt["digest"] == digest), "{shown}");

    // Redriven, it fails again and becomes a new dead letter.
    let path = format!("/dead-letters/{id}/redrive");
    assert_eq!(scene.client().post(&path)?.json()?, json!({ "id": id }));
    assert_eq!(scene.client().post(&path)?.status, 404);
    let next = wait_for("the next dead letter", || {
        let listed = scene.client().get_json(&format!("/dead-letters?after={id}"))?;
        Ok(listed["dead_letters"][0]["id"].as_u64())
    })?;
    let path = format!("/dead-letters/{next}/discard");
    assert_eq!(scene.client().post(&path)?.status, 200);
    assert_eq!(scene.client().get_json("/dead-letters")?["dead_letters"], json!([]));
    let audit = scene.client().get_json("/audit")?;
    let done = |number: usize| {
        let record = &audit["records"][number];
        (record["action"].clone(), record["dead_letter"]["id"].clone())
    };
    assert_eq!(done(0), (json!("redrive"), json!(id)));
    assert_eq!(done(1), (json!("discard"), json!(next)));
    Ok(())
}

#[test]
fn health_metrics_and_the_description_are_served() -> Result<()> {
    let scene = Scene::with("", &["echo"])?;
    scene.flow_of("test.echo", "1", &json!({}))?;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(scene.client().get(path)?.status, 200);
    }
    let metrics = scene.client().get("/metrics")?.text();
    for name in ["usher_http_requests_total", "plugin=\"echo\"", "# EOF"] {
        assert!(metrics.contains(name), "{name} is not in:\n{metrics}");
    }
    let description = scene.client().get_json("/openapi.json")?;
    assert!(description["openapi"].as_str().unwrap().starts_with("3."));
    assert!(description["paths"]["/events"]["post"].is_object());
    Ok(())
}

#[test]
fn clients_that_dawdle_are_cut_off() -> Result<()> {
    let scene = Scene::with("[http]\nheader_timeout_ms = 200\nbody_timeout_ms = 200\n", &[])?;
    let address = scene.router.url().trim_start_matches("http://").to_owned();
    let head = "POST /events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                content-type: application/cloudevents+json\r\ncontent-length: 100\r\n\r\n{";
    for (what, sent, wanted) in
        [("a header", "GET /events HTT", ""), ("a body", head, "HTTP/1.1 408")]
    {
        let mut socket = TcpStream::connect(&address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.write_all(sent.as_bytes())?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        assert!(answer.starts_with(wanted), "{what} that never ends: {answer:?}");
    }
    Ok(())
}

#[test]
fn a_stream_with_a_filter_waits_for_what_it_wants() -> Result<()> {
    let scene = Scene::empty()?;
    let publish = |ty: &str, id: u64| scene.client().publish_new(ty, &id.to_string(), &json!({}));
    for filter in [
        json!({ "exact": { "type": "wanted" } }),
        json!({ "suffix": { "type": "nted" } }),
        json!({ "all": [{ "prefix": { "type": "want" } }, { "suffix": { "type": "ed" } }] }),
    ] {
        let id = |n: u64| 100_000 + n + 1_000 * filter.to_string().len() as u64;
        let query = StreamQuery { filter: Some(filter.to_string()), ..StreamQuery::default() };
        let mut stream = EventStream::open(scene.client(), &query, None)?;
        // A client that is cut off before its first event knows where to go on.
        let path = format!("/events/stream?filter={}", percent_encoded(&filter.to_string()));
        let begun = first_frame(&scene, &path)?;
        publish("wanted", id(900))?;
        let mut resumed = EventStream::open(scene.client(), &query, Some(&begun))?;
        resumed.read()?;
        stream.read()?;
        // Each once it has nothing left to read.
        for n in 0..3 {
            publish("other", id(10 * n))?;
            let sequence = publish("wanted", id(10 * n + 1))?.sequence;
            assert_eq!(stream.read()?.stored["sequence"], sequence, "{filter}");
            publish("wanted.not", id(10 * n + 2))?;
        }
    }
    Ok(())
}

/// The `id` that a stream begins with.
fn first_frame(scene: &Scene, path: &str) -> Result<String> {
    let address = scene.router.url().trim_start_matches("http://");
    let mut socket = TcpStream::connect(address)?;
    write!(socket, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
    let lines = BufReader::new(socket).lines().map_while(Result::ok);
    let id = lines.into_iter().find_map(|line| line.strip_prefix("id: ").map(str::to_owned));
    id.context("no id")
}

#[test]
fn more_than_there_is_room_for_is_answered_with_429() -> Result<()> {
    const STREAMS_MAX: usize = 48;
    // Three quarters of these.
    let scene = Scene::with("[http]\nmax_connections = 64\n", &[])?;
    let mut open = Vec::with_capacity(STREAMS_MAX);
    for _ in 0..STREAMS_MAX {
        open.push(EventStream::open(scene.client(), &StreamQuery::default(), None)?);
    }
    let refused = scene.client().get("/events/stream")?;
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    let seconds: u64 = refused.header("retry-after").unwrap().parse()?;
    assert!(seconds >= 1);

    // Producers are unaffected, and a stream that ends frees its slot.
    scene.client().publish_new("t", "1", &json!({}))?;
    open.pop();
    wait_for("room for another", || {
        Ok(EventStream::open(scene.client(), &StreamQuery::default(), None).ok().map(drop))
    })
}

#[test]
fn producers_that_are_too_fast_are_told_when_to_come_back() -> Result<()> {
    const PRODUCERS: u64 = 16;
    const EVENTS_EACH_MAX: u64 = 400;
    let scene = Scene::with("[broker]\nintake_max_bytes = 1048576\n", &[])?;
    let noise = "x".repeat(200_000);
    let accepted = AtomicU64::new(0);
    let refused = OnceLock::new();
    // Sooner or later, more requests than there is room for wait for the disk at once.
    let produce = &|producer: u64| -> Result<()> {
        for n in 0..EVENTS_EACH_MAX {
            if refused.get().is_some() {
                break;
            }
            let body = event("t", &format!("{producer}-{n}"), &json!(noise)).to_string();
            let answer = scene.client().post_as("/events", STRUCTURED, body.as_bytes())?;
            match answer.status {
                202 => drop(accepted.fetch_add(1, Ordering::SeqCst)),
                429 => drop(refused.set(answer)),
                status => anyhow::bail!("{status} {}", answer.text()),
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let producers: Vec<_> =
            (0..PRODUCERS).map(|producer| scope.spawn(move || produce(producer))).collect();
        producers.into_iter().try_for_each(|producer| producer.join().unwrap())
    })?;
    let refused = refused.get().context("the router took everything at once")?;
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    let seconds: u64 = refused.header("retry-after").unwrap().parse()?;
    assert!(seconds >= 1);

    // Refused events are not in the log, and there is room again.
    let last = scene.client().get_json("/events?max=1")?["last"].as_u64();
    assert_eq!(last, Some(accepted.into_inner()));
    scene.client().publish_new("t", "next", &json!({}))?;
    Ok(())
}

#[test]
fn a_router_is_ready_once_every_plugin_was_looked_at() -> Result<()> {
    // Each of these keeps the router busy for a while before it is refused. A slow machine may miss
    // that time, so each round has more of them.
    for copies in [4, 16, 64] {
        let folder = Folder::new()?;
        for copy in 0..copies {
            folder.install(&guest("describe-loop")?, &format!("loop-{copy}.wasm"))?;
        }
        let router = Router::start_unready(&folder)?;
        let early = router.client().get("/readyz")?;
        if early.status == 200 {
            continue;
        }
        assert_eq!(early.status, 503, "{}", early.text());
        assert!(early.text().contains("the plugins are being loaded"), "{}", early.text());
        assert!(early.header("retry-after").is_some());
        // It is alive and already accepts events.
        assert_eq!(router.client().get("/healthz")?.status, 200);
        router.client().publish_new("t", "1", &json!({}))?;
        wait_for("the router to be ready", || {
            Ok((router.client().get("/readyz")?.status == 200).then_some(()))
        })?;
        let plugins = router.client().get_json("/plugins")?;
        let refused = plugins["plugins"].as_array().unwrap().iter();
        assert_eq!(refused.filter(|plugin| plugin["state"] == "refused").count(), copies);
        return Ok(());
    }
    anyhow::bail!("the router was ready each time before it could be asked")
}
