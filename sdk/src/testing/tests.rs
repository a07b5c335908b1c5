use std::time::Duration;

use super::*;
use crate::prelude::*;
use crate::{blobs, config, http, log, state};

/// Uses each capability once, then returns the verdict named in the payload.
struct Everything;

impl Listener for Everything {
    fn describe() -> Description {
        Description::new("everything", "1.0.0", "Touches every capability")
    }

    fn handle(delivery: Delivery) -> Result<Vec<Emission>, Failure> {
        let verdict: String = delivery.event.json()?;
        log::info!("attempt {}", delivery.attempt);
        let bucket = state::bucket("counts")?;
        let count = bucket.increment("calls", 1)?;
        let digest = blobs::put(verdict.as_bytes(), "text/plain")?;
        let url = format!("{}/{count}", config::require("base")?);
        let answer = http::get(url).timeout(Duration::from_secs(1)).send()?.success()?;
        match verdict.as_str() {
            "fail" => Err(Failure::retry("asked to")),
            _ => Ok(vec![Emission::new("done").subject(digest).data(answer.body, "text/plain")]),
        }
    }
}

#[test]
fn keeps_effects_of_deliveries_that_succeed() {
    let host = TestHost::new()
        .config("base", "http://base.test")
        .answer(Response::new(200).with_body("hello"));
    let emitted = host.deliver::<Everything>(event("go", "ok")).unwrap();
    assert_eq!(emitted[0].data.as_deref(), Some(b"hello".as_slice()));
    assert_eq!(host.state("counts", "calls").as_deref(), Some(b"1".as_slice()));
    assert_eq!(host.requests()[0].url, "http://base.test/1");
    assert_eq!(host.logs(), [(Level::Info, "attempt 1".to_owned())]);
    let digest = emitted[0].subject.clone().unwrap();
    assert_eq!(host.blob(&digest).unwrap().content, b"ok");
    assert_eq!(digest, "2689367b205c16ce32ed4200942b8b8b1e262dfc70d9bc9fbc77c49699a4f1df");
}

#[test]
fn drops_effects_of_deliveries_that_fail() {
    let host = TestHost::new().config("base", "http://base.test").answer(Response::new(200));
    let digest = host.put_blob(b"before", "text/plain");
    assert_eq!(host.deliver::<Everything>(event("go", "fail")), Err(Failure::retry("asked to")));
    assert_eq!(host.state("counts", "calls"), None);
    assert_eq!(memory::with(|memory| memory.stored.blobs.len()), 1);
    assert!(host.blob(&digest).is_some());
}

#[test]
fn denials_and_dead_services_ask_for_another_attempt() {
    for capability in [Capability::State, Capability::Blobs, Capability::Config, Capability::Http] {
        let host = TestHost::new().config("base", "http://base.test").deny(capability);
        let failure = host.deliver::<Everything>(event("go", "ok")).unwrap_err();
        assert_eq!(failure, Failure::retry(format!("{} is not granted", capability.name())));
    }
    let host = TestHost::new().config("base", "http://base.test");
    let failure = host.deliver::<Everything>(event("go", "ok")).unwrap_err();
    assert!(failure.is_retry() && failure.reason().contains("connection refused"), "{failure}");
}

#[test]
fn secrets_are_read_by_name_and_never_listed() {
    let host = || TestHost::new().config("desk", "7").secret("key", "hunter2");
    let granted = host();
    assert_eq!(config::get("key"), Ok(Some("hunter2".to_owned())));
    assert_eq!(config::all(), Ok(vec![("desk".to_owned(), "7".to_owned())]));
    drop(granted);

    let without_secrets = host().deny(Capability::Secrets);
    assert_eq!(config::get("key"), Ok(None));
    assert!(matches!(config::require("key"), Err(Error::Denied(_))));
    assert_eq!(config::get("desk"), Ok(Some("7".to_owned())));
    drop(without_secrets);

    let _without_settings = host().deny(Capability::Config);
    assert_eq!(config::require("key"), Ok("hunter2".to_owned()));
    assert!(matches!(config::get("desk"), Err(Error::Denied(_))));
}

/// Writes state, then sets an attribute reserved for the host.
struct Presumptuous;

impl Listener for Presumptuous {
    fn describe() -> Description {
        Description::new("presumptuous", "1.0.0", "Emits what no host takes")
    }

    fn handle(_: Delivery) -> Result<Vec<Emission>, Failure> {
        state::bucket("b")?.set("k", b"v")?;
        Ok(vec![Emission::new("t").extension("id", "mine")])
    }
}

#[test]
fn an_emission_that_breaks_a_rule_has_the_delivery_rejected() {
    let host = TestHost::new();
    let failure = host.deliver::<Presumptuous>(event("go", "")).unwrap_err();
    let rule = "attribute \"id\" is CloudEvents' own and can't be an extension";
    assert_eq!(failure, Failure::reject(format!("emission 0 (\"t\"): {rule}")));
    assert_eq!(host.state("b", "k"), None);
}

#[test]
fn a_scripted_error_reaches_the_listener() {
    let host = TestHost::new()
        .config("base", "http://base.test")
        .answer_error(Error::TimedOut("GET took longer than 1000 ms".into()));
    let failure = host.deliver::<Everything>(event("go", "ok")).unwrap_err();
    assert_eq!(failure, Failure::retry("GET took longer than 1000 ms"));
}

#[test]
fn keys_come_in_pages_and_in_order() {
    let _host = TestHost::new();
    let bucket = state::bucket("many").unwrap();
    for number in 0..250 {
        bucket.set_json(&format!("{number:03}"), &number).unwrap();
    }
    let keys = bucket.keys().unwrap();
    assert_eq!(keys.len(), 250);
    assert!(keys.is_sorted());
    assert_eq!(bucket.get_json::<i32>("007"), Ok(Some(7)));
    bucket.delete("007").unwrap();
    assert_eq!(bucket.exists("007"), Ok(false));
    assert!(matches!(bucket.set("big", &vec![0; 64 * 1024 + 1]), Err(Error::Limit(_))));
    bucket.set("text", b"x").unwrap();
    assert!(matches!(bucket.increment("text", 1), Err(Error::Invalid(_))));
}

#[test]
fn without_a_host_capabilities_are_denied() {
    assert!(matches!(config::get("x"), Err(Error::Denied(_))));
    assert!(matches!(state::bucket(""), Err(Error::Denied(_))));
}
