//! Spans: what a collector gets, and what the router does without one.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;
use serde_json::{Value, json};
use usher_tests::{Folder, Router, usher_binary, wait_for};

use crate::recorder::{Server, text};
use crate::scene::{QUICK_RETRIES, Scene, event};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PRODUCER: &str = "b7ad6b7169203331";

/// A span as the collector gets it.
#[derive(Clone, Debug)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    name: String,
    kind: SpanKind,
    is_error: bool,
    attributes: BTreeMap<String, String>,
    began_ns: u64,
    ended_ns: u64,
}

impl Span {
    fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map(String::as_str).unwrap_or_default()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The spans of a request to the collector.
fn decode(body: &[u8]) -> Result<Vec<Span>> {
    let request = ExportTraceServiceRequest::decode(body)?;
    let mut spans = Vec::new();
    for resource in request.resource_spans {
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            let value = |value: Option<Any>| match value {
                Some(Any::StringValue(text)) => text,
                Some(Any::IntValue(number)) => number.to_string(),
                other => format!("{other:?}"),
            };
            let attributes = span.attributes.into_iter();
            let attributes =
                attributes.map(|one| (one.key, value(one.value.and_then(|value| value.value))));
            spans.push(Span {
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                name: span.name,
                kind: SpanKind::try_from(span.kind)?,
                is_error: span.status.is_some_and(|status| status.code() == StatusCode::Error),
                attributes: attributes.collect(),
                began_ns: span.start_time_unix_nano,
                ended_ns: span.end_time_unix_nano,
            });
        }
    }
    Ok(spans)
}

/// All spans that a collector has, once there are this many.
fn spans(collector: &Server, count: usize) -> Result<Vec<Span>> {
    wait_for("the spans", || {
        let requests = collector.requests(0)?;
        let spans = requests.iter().map(|(_, body)| decode(body)).collect::<Result<Vec<_>>>()?;
        let spans = spans.concat();
        Ok((spans.len() >= count).then_some(spans))
    })
}

fn one<'a>(spans: &'a [Span], what: &str, is_it: impl Fn(&Span) -> bool) -> Result<&'a Span> {
    let found: Vec<&Span> = spans.iter().filter(|span| is_it(span)).collect();
    match found[..] {
        [only] => Ok(only),
        _ => anyhow::bail!("{} spans are {what}: {spans:#?}", found.len()),
    }
}

fn publish(router: &Router, event: &Value, traceparent: Option<&str>) -> Result<u64> {
    let body = event.to_string();
    let mut headers = vec![("content-type", &b"application/cloudevents+json"[..])];
    headers.extend(traceparent.map(|traceparent| ("traceparent", traceparent.as_bytes())));
    let answer = router.client().request("POST", "/events", &headers, body.as_bytes())?;
    answer.json()?["events"][0]["sequence"].as_u64().context("not accepted")
}

fn tracing(collector: &Server, more: &str) -> String {
    format!("[tracing]\nendpoint = \"{}\"\n{more}", collector.url)
}

#[test]
fn a_flow_is_one_trace_from_its_producer_on() -> Result<()> {
    let (collector, crm) = (Server::start()?, Server::start()?);
    crm.reply(503, &[], text("busy"));
    let tables = format!(
        "{QUICK_RETRIES}[sink.crm]\nurl = \"{}/events?key=s3cret\"\n\
         filter = {{ exact = {{ type = \"test.recovered\" }} }}\n{}\
         headers = {{ x-own = \"1\" }}\nservice_name = \"tickets\"\n",
        crm.url,
        tracing(&collector, ""),
    );
    let scene = Scene::with(&tables, &["fail"])?;
    let failing = event("test.fail", "1", &json!({ "mode": "until", "attempts": 2 }));
    let from = format!("00-{TRACE}-{PRODUCER}-01");
    let sequence = publish(&scene.router, &failing, Some(&from))?;
    scene.client().settled_flow(sequence)?;

    // Request and commit; two attempts and their commits, the emission; two requests to the sink
    // with their attempts and commits.
    let spans = spans(&collector, 2 + 2 * 2 + 1 + 2 * 3)?;
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
    assert!(spans.iter().all(|span| span.began_ns <= span.ended_ns), "{spans:#?}");
    let request = one(&spans, "the request", |span| span.name == "POST /events")?;
    assert_eq!((request.parent.as_str(), request.kind), (PRODUCER, SpanKind::Server));
    assert_eq!(request.attribute("cloudevents.event_type"), "test.fail");
    assert_eq!(request.attribute("http.response.status_code"), "202");
    one(&spans, "its commit", |span| span.name == "commit" && span.parent == request.id)?;

    let attempt = |plugin: &str, number: &str| {
        one(&spans, "the attempt", |span| {
            span.attribute("usher.plugin") == plugin && span.attribute("usher.attempt") == number
        })
    };
    let (first, second) = (attempt("fail", "1")?, attempt("fail", "2")?);
    assert_eq!((first.name.as_str(), first.kind), ("process fail/fail", SpanKind::Consumer));
    assert!(first.is_error && first.attribute("error.type") == "retry", "{first:?}");
    assert!(!second.is_error && second.attribute("usher.verdict") == "ack", "{second:?}");
    // What published the event is the request: its span is what the event carries.
    assert_eq!((&first.parent, &second.parent), (&request.id, &request.id));
    for attempt in [first, second] {
        one(&spans, "its commit", |span| span.name == "commit" && span.parent == attempt.id)?;
    }
    let emission = one(&spans, "the emission", |span| span.name == "emit")?;
    assert_eq!((&emission.parent, emission.kind), (&second.id, SpanKind::Producer));
    assert_eq!(emission.attribute("cloudevents.event_type"), "test.recovered");

    for (number, status) in [("1", "503"), ("2", "204")] {
        let attempt = attempt("crm", number)?;
        assert_eq!(attempt.parent, emission.id, "it is delivered what was emitted");
        let call = one(&spans, "the call", |span| {
            span.kind == SpanKind::Client && span.parent == attempt.id
        })?;
        assert_eq!(call.attribute("http.response.status_code"), status);
        assert_eq!(call.is_error, status == "503");
        assert_eq!(call.attribute("url.full"), format!("{}/events", crm.url), "without its query");
        let seen = crm.requests(2)?;
        let number: usize = number.parse()?;
        let told = seen[number - 1].0["traceparent"].to_str()?;
        assert_eq!(told, format!("00-{TRACE}-{}-01", call.id), "the server joins the trace");
    }

    let (headers, body) = collector.requests(1)?.remove(0);
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(headers["x-own"], "1");
    let resource = ExportTraceServiceRequest::decode(body)?.resource_spans.remove(0).resource;
    let named = format!("{resource:?}");
    assert!(named.contains("service.name") && named.contains("tickets"), "{named}");

    // The log has the trace, too.
    let line = scene.router.wait_for_log("the failure", |line| {
        let fields = &line["fields"];
        (fields["message"] == "delivery failed").then(|| fields["trace_id"].clone())
    })?;
    assert_eq!(line, TRACE);
    Ok(())
}

#[test]
fn trace_context_of_the_event_or_of_the_request_goes_on() -> Result<()> {
    let (collector, crm) = (Server::start()?, Server::start()?);
    let sink =
        format!("[sink.crm]\nurl = \"{}/\"\nfilter = {{ exact = {{ type = \"t\" }} }}\n", crm.url);
    let scene = Scene::with(&format!("{sink}{}", tracing(&collector, "")), &[])?;
    let send = |id: &str, own: Option<&str>, headers: &[(&str, &str)]| {
        let mut event = event("t", id, &json!({}));
        if let Some(own) = own {
            event["traceparent"] = json!(own);
            event["tracestate"] = json!("own=1");
        }
        let all = [&[("content-type", "application/cloudevents+json")][..], headers].concat();
        let all: Vec<_> = all.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        let answer =
            scene.client().request("POST", "/events", &all, event.to_string().as_bytes())?;
        anyhow::ensure!(answer.status == 202, "{answer:?}");
        Ok(())
    };
    let (other, later) = ("11".repeat(16), "22".repeat(16));
    let own = format!("00-{TRACE}-{PRODUCER}-01");
    let request = format!("00-{other}-{PRODUCER}-01");
    // What is not known of the flags is not passed on.
    let unknown = format!("00-{later}-{PRODUCER}-ff");
    send("own", Some(&own), &[("traceparent", "nonsense"), ("tracestate", "bad=1")])?;
    send("request", None, &[("traceparent", &request), ("tracestate", "good=1")])?;
    send("flags", None, &[("traceparent", &unknown)])?;
    send("none", None, &[("tracestate", "stray=1")])?;
    let (long, two) = (format!("a={}", "x".repeat(4_095)), "33".repeat(16));
    let request_of = |trace: &str| format!("00-{trace}-{PRODUCER}-01");
    send("long", None, &[("traceparent", &request_of(&two)), ("tracestate", &long)])?;
    let four = "44".repeat(16);
    let list =
        [("traceparent", &*request_of(&four)), ("tracestate", "a=1,\tb=2"), ("tracestate", "c=3")];
    send("list", None, &list)?;
    let twice = [("traceparent", &*request_of(&four)), ("traceparent", &*request_of(&two))];
    send("twice", None, &twice)?;
    send("broken", Some("éé"), &[])?;

    let spans = spans(&collector, 8 * 5)?;
    for (id, trace, state) in [
        ("own", Some(TRACE), Some("own=1")),
        ("request", Some(other.as_str()), Some("good=1")),
        ("flags", Some(later.as_str()), None),
        ("none", None, None),
        ("long", Some(two.as_str()), None),
        ("list", Some(four.as_str()), Some("a=1, b=2,c=3")),
        ("twice", None, None),
        ("broken", None, None),
    ] {
        let is_of = |span: &Span| span.attribute("cloudevents.event_id") == id;
        let request = one(&spans, id, |span| is_of(span) && span.kind == SpanKind::Server)?;
        let attempt = one(&spans, id, |span| is_of(span) && span.kind == SpanKind::Consumer)?;
        // What is no trace context stays in the event, and its deliveries have a trace by its identity.
        assert_eq!(request.trace == attempt.trace, id != "broken", "{id}");
        assert!(trace.is_none_or(|trace| request.trace == trace), "{id}: {request:?}");
        let is_call = |span: &Span| span.kind == SpanKind::Client && span.parent == attempt.id;
        let call = one(&spans, id, is_call)?;
        let seen = crm.requests(8)?;
        let sent = seen.iter().find(|(headers, _)| headers["ce-id"] == id);
        let headers = &sent.context("not sent")?.0;
        let flags = if id == "flags" { "03" } else { "01" };
        let told = format!("00-{}-{}-{flags}", call.trace, call.id);
        assert_eq!(headers["traceparent"], told.as_str(), "{id}");
        let told = headers.get("tracestate").map(|state| state.to_str().unwrap());
        assert_eq!(told, state, "{id}");
    }
    Ok(())
}

#[test]
fn what_a_plugin_calls_joins_the_trace() -> Result<()> {
    let (collector, gateway) = (Server::start()?, Server::start()?);
    let grants =
        format!("[plugin.probe.grants]\nhttp = [\"{}\"]\nsecrets = [\"KEY\"]\n", gateway.url);
    let secrets = "[plugin.probe.secrets]\nKEY = { file = \"key\" }\n";
    let tables = format!("{}{grants}{secrets}", tracing(&collector, ""));
    let folder = Folder::with_config("", &tables)?;
    std::fs::write(folder.root().join("key"), "s3cret-key")?;
    std::fs::set_permissions(folder.root().join("key"), Permissions::from_mode(0o600))?;
    folder.install_guests(&["probe"])?;
    let router = Router::start(&folder)?;
    router.client().wait_for_plugin("probe", "serving")?;
    let scene = Scene { router, folder };
    let own = format!("00-{TRACE}-{PRODUCER}-01");
    for (id, headers) in [("1", json!([])), ("2", json!([["traceparent", own]]))] {
        let what = json!({
            "try": "http", "url": format!("{}/pay/s3cret-key?card=1", gateway.url), "headers": headers,
        });
        scene.flow_of("test.probe", id, &what)?;
    }
    let spans = spans(&collector, 2 * 6)?;
    let calls: Vec<_> = spans.iter().filter(|span| span.kind == SpanKind::Client).collect();
    assert_eq!(calls.len(), 2, "{spans:#?}");
    for call in &calls {
        let by = one(&spans, "the attempt", |span| span.id == call.parent)?;
        assert_eq!((by.name.as_str(), &by.trace), ("process probe/probe", &call.trace));
        assert_eq!(call.attribute("url.full"), format!("{}/pay/[redacted]", gateway.url));
        assert_eq!(call.attribute("server.address"), "127.0.0.1");
    }
    let seen = gateway.requests(2)?;
    let told = |number: usize| seen[number].0["traceparent"].to_str().unwrap().to_owned();
    assert!(calls.iter().any(|call| told(0) == format!("00-{}-{}-01", call.trace, call.id)));
    assert_eq!(told(1), own, "a plugin's own context stays");
    Ok(())
}

#[test]
fn who_has_no_trace_gets_one_and_it_is_all_recorded_or_not_at_all() -> Result<()> {
    let collector = Server::start()?;
    let scene = Scene::with(&tracing(&collector, "sample_ratio = 0.5\n"), &["fail"])?;
    let published = 64;
    for number in 0..published {
        let ok = event("test.fail", &number.to_string(), &json!({ "mode": "ok" }));
        let sequence = publish(&scene.router, &ok, None)?;
        scene.client().settled_flow(sequence)?;
    }
    let Scene { router, folder: _folder } = scene;
    let stored = router.client().get_json("/events?max=1000")?;
    let mut flags: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for stored in stored["events"].as_array().context("no events")? {
        let traceparent = stored["event"]["traceparent"].as_str().context("no trace")?;
        let [_, trace, _, sampled] = traceparent.split('-').collect::<Vec<_>>()[..] else {
            anyhow::bail!("{traceparent}")
        };
        flags.entry(trace.to_owned()).or_default().push(sampled.to_owned());
    }
    assert_eq!(flags.len(), published, "each flow is one trace");
    assert!(flags.values().all(|flags| flags.len() == 2 && flags[0] == flags[1]), "{flags:?}");
    let sampled = flags.values().filter(|flags| flags[0] == "01").count();
    assert!((1..published).contains(&sampled), "{sampled} of {published} by chance");
    // Stopping sends what waits.
    router.stop()?;
    let spans = spans(&collector, 5 * sampled)?;
    assert_eq!(spans.len(), 5 * sampled, "request, commit, attempt, commit, emission");
    assert!(spans.iter().all(|span| flags[&span.trace][0] == "01"));
    Ok(())
}

#[test]
fn all_attempts_at_a_tick_are_in_one_trace() -> Result<()> {
    let collector = Server::start()?;
    let schedule = "[[schedule]]\nname = \"pulse\"\ncron = \"* * * * * *\"\n\
                    event = { type = \"test.fail\", data = { mode = \"until\", attempts = 2 } }\n";
    let tables = format!("{QUICK_RETRIES}{schedule}{}", tracing(&collector, ""));
    let scene = Scene::with(&tables, &["fail"])?;
    wait_for("a tick that was handled", || {
        let recovered = scene.client().events_of_type("test.recovered")?;
        Ok((!recovered.is_empty()).then_some(()))
    })?;
    // Two attempts and their commits, and the emission.
    let spans = spans(&collector, 5)?;
    let first = spans.iter().find(|span| span.name == "emit").context("no emission")?;
    let is_attempt = |span: &&Span| span.kind == SpanKind::Consumer && span.trace == first.trace;
    let attempts: Vec<_> = spans.iter().filter(is_attempt).collect();
    assert_eq!(attempts.len(), 2, "{spans:#?}");
    assert!(attempts.iter().all(|span| span.parent.is_empty()), "{attempts:#?}");
    Ok(())
}

#[test]
fn a_collector_that_is_not_there_holds_up_nothing() -> Result<()> {
    // Taken, and closed again.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let table = format!("[tracing]\nendpoint = \"http://127.0.0.1:{port}\"\n");
    let scene = Scene::with(&table, &["fail"])?;
    scene.flow_of("test.fail", "1", &json!({ "mode": "ok" }))?;
    scene.router.wait_for_log("that the collector takes no spans", |line| {
        let message = line["fields"]["message"].as_str()?;
        message.contains("the collector takes no spans").then_some(())
    })?;
    wait_for("all of them to be counted", || {
        let metrics = scene.client().get("/metrics")?.text();
        Ok(metrics.contains("usher_spans_total{outcome=\"failed\"} 5\n").then_some(()))
    })
}

#[test]
fn the_configuration_wins_over_the_environment() -> Result<()> {
    let (collector, elsewhere) = (Server::start()?, Server::start()?);
    let table = tracing(&collector, "headers = { x-own = \"100%25+1\" }\n");
    let folder = Folder::with_config("", &table)?;
    folder.install_guests(&["fail"])?;
    let env = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-own=other,x-more=1"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", elsewhere.url.as_str()),
    ];
    let router = Router::start_with(&usher_binary()?, &folder, &env)?;
    publish(&router, &event("test.fail", "1", &json!({ "mode": "ok" })), None)?;
    spans(&collector, 2)?;
    let (headers, _) = collector.requests(1)?.remove(0);
    assert_eq!(headers["x-own"], "100%25+1", "as it is written");
    assert!(elsewhere.requests(0)?.is_empty());
    Ok(())
}

#[test]
fn tracing_is_off_unless_it_is_asked_for() -> Result<()> {
    let scene = Scene::with("", &["fail"])?;
    let flow = scene.flow_of("test.fail", "1", &json!({ "mode": "ok" }))?;
    for event in flow["events"].as_array().context("no events")? {
        assert_eq!(event["event"].get("traceparent"), None, "{event}");
    }
    assert!(!scene.client().get("/metrics")?.text().contains("usher_spans"));
    Ok(())
}
