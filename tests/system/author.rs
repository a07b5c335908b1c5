//! What an author does without a router: `usher new`, `usher test`, `usher call`.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};
use usher_tests::{Finished, Folder, Running, guest, usher};

use crate::scene::{QUICK_RETRIES, Scene, delivery, event, types};

/// A fixture of the greeter.
fn fixture(folder: &Path, name: &str, who: &Value) -> Result<()> {
    let case = folder.join(name);
    fs::create_dir_all(&case)?;
    fs::write(case.join("event.json"), event("guest.arrived", name, who).to_string())?;
    Ok(())
}

fn test(fixtures: &Path, more: &[&str]) -> Result<Finished> {
    let component = guest("greeter")?;
    let (component, fixtures) = (component.to_str().unwrap(), fixtures.to_str().unwrap());
    let args = ["test", "--component", component, "--fixtures", fixtures];
    usher(&args.iter().chain(more).copied().collect::<Vec<_>>(), b"")
}

#[test]
fn fixtures_are_kept_compared_and_kept_again() -> Result<()> {
    let folder = Folder::new()?;
    let fixtures = folder.root().join("fixtures");
    for (name, who) in [("ada", json!("Ada")), ("bo", json!("Bo")), ("nobody", json!(7))] {
        fixture(&fixtures, name, &who)?;
    }
    let new = test(&fixtures, &[])?;
    assert_eq!(new.code, 1, "{new:?}");
    assert!(new.stdout.contains("3 fixtures: 0 ok, 0 failed, 3 new"), "{new:?}");
    assert!(new.stderr.contains("--update"), "{new:?}");
    assert!(!fixtures.join("ada/expect.json").exists());

    assert_eq!(test(&fixtures, &["--update"])?.code, 0);
    let expected: Value =
        serde_json::from_str(&fs::read_to_string(fixtures.join("ada/expect.json"))?)?;
    assert_eq!(expected["verdict"], "ack");
    assert_eq!(
        expected["emissions"],
        json!([{
            "type": "guest.greeted", "datacontenttype": "application/json", "data": "Hello, Ada!"
        }])
    );
    assert_eq!(test(&fixtures, &[])?.code, 0);

    let other = json!({ "emissions": [{ "type": "guest.greeted", "data": "Bye, Bo!" }] });
    fs::write(fixtures.join("bo/expect.json"), other.to_string())?;
    let junit = folder.root().join("report.xml");
    let failed = test(&fixtures, &["--junit", junit.to_str().unwrap()])?;
    assert_eq!(failed.code, 1, "{failed:?}");
    for line in ["- ", "\"data\": \"Bye, Bo!\"", "\"data\": \"Hello, Bo!\"", "1 failed"] {
        assert!(failed.stdout.contains(line), "{line:?} is not in {failed:?}");
    }
    let report = fs::read_to_string(junit)?;
    assert!(report.contains("tests=\"3\"") && report.contains("failures=\"1\""), "{report}");

    let listed = test(&fixtures, &["--json"])?.json()?;
    let outcomes: Vec<_> = listed["fixtures"].as_array().unwrap().iter().collect();
    assert_eq!(outcomes[1]["name"], "bo");
    assert_eq!(outcomes[1]["outcome"], "failed");
    assert_eq!(outcomes[1]["differences"][0]["part"], "emissions");

    assert_eq!(test(&fixtures, &["--update"])?.code, 0);
    assert_eq!(test(&fixtures, &[])?.code, 0);
    Ok(())
}

#[test]
fn what_is_wrong_with_a_fixture_is_told_with_file_and_line() -> Result<()> {
    let folder = Folder::new()?;
    let fixtures = folder.root().join("fixtures");
    let put = |name: &str, file: &str, text: &str| -> Result<()> {
        fixture(&fixtures, name, &json!("Ada"))?;
        Ok(fs::write(fixtures.join(name).join(file), text)?)
    };
    put("a", "event.json", "{\n  \"id\": 1,\n")?;
    put("b", "given.json", "{\n  \"stat\": {}\n}")?;
    put("c", "expect.json", "{\"verdict\": \"ack\",}")?;
    put("d", "given.json", r#"{"clock": "yesterday"}"#)?;
    put("e", "given.json", r#"{"http": [{"url": "nowhere", "status": 200}]}"#)?;
    put("f", "given.json", r#"{"state": {"b": {"k": {"file": "../../secret"}}}}"#)?;
    put("g", "given.json", r#"{"grants": ["sockets"]}"#)?;
    put("h", "given.json", r#"{"subscription": "No Name"}"#)?;
    put("i", "event.json", &event("guest.left", "1", &json!("Ada")).to_string())?;
    put("j", "expect.json", "[{}, {}]")?;
    put("k", "given.json", r#"{"state": {"b": {"k": {"file": "link"}}}}"#)?;
    fs::write(folder.root().join("secret"), "not for fixtures")?;
    std::os::unix::fs::symlink(folder.root().join("secret"), fixtures.join("k/link"))?;
    let tested = test(&fixtures, &["--json"])?;
    assert_eq!(tested.code, 1);
    let fixtures = tested.json()?["fixtures"].as_array().cloned().unwrap();
    for (fixture, says) in fixtures.iter().zip([
        "event.json",
        "given.json: unknown field `stat`",
        "expect.json: trailing comma at line 1",
        "RFC 3339",
        "http[0]: \"nowhere\"",
        "\"../../secret\" is not below the fixture's folder",
        "there is no capability \"sockets\": there are ",
        "No Name",
        "no subscription of greeter takes an event of type \"guest.left\"",
        "it expects something of 2 events, event.json has 1",
        "\"link\" is not below the fixture's folder",
    ]) {
        assert_eq!(fixture["outcome"], "broken", "{fixture}");
        let error = fixture["error"].as_str().unwrap();
        assert!(error.contains(says), "{error:?} does not say {says:?}");
    }
    assert_eq!(fixtures.len(), 11);
    Ok(())
}

#[test]
fn everything_given_is_what_the_guest_gets() -> Result<()> {
    let folder = Folder::new()?;
    let probe = guest("probe")?;
    let given = folder.root().join("given.json");
    fs::write(folder.root().join("blob.txt"), "from a file")?;
    fs::write(
        &given,
        json!({
            "config": { "shop": "open" },
            "state": { "probe": { "kept": { "json": [1, 2] } } },
            "blobs": [{ "content_type": "text/plain", "content": { "file": "blob.txt" }, "own": true }],
            "http": [
                { "url": "http://shop.test/a?b=c", "status": 201, "headers": [["x-a", "b"]], "body": "one" },
                { "url": "http://shop.test/a?b=c", "error": { "code": "connection-refused" } },
            ],
        })
        .to_string(),
    )?;
    let call = |what: Value| -> Result<Value> {
        let probe = probe.to_str().unwrap();
        let args = ["call", probe, "-", "--given", given.to_str().unwrap(), "--json"];
        let called = usher(&args, event("test.probe", "1", &what).to_string().as_bytes())?;
        assert_eq!(called.code, 0, "{called:?}");
        Ok(called.json()?["deliveries"][0]["did"].clone())
    };
    let data = |what: Value| Ok::<_, anyhow::Error>(call(what)?["emissions"][0]["data"].clone());
    assert_eq!(data(json!({ "try": "config", "key": "shop" }))?["ok"], "open");
    let did = call(json!({ "try": "state", "key": "kept", "set": "new" }))?;
    assert_eq!(did["emissions"][0]["data"]["ok"], "[1,2]");
    assert_eq!(did["state"], json!({ "probe": { "kept": "new" } }));
    assert_eq!(data(json!({ "try": "list-blobs" }))?["ok"].as_array().map(Vec::len), Some(1));
    let did = call(json!({ "try": "http", "url": "http://shop.test/a?b=c" }))?;
    assert_eq!(did["emissions"][0]["data"]["ok"]["status"], 201);
    assert_eq!(did["calls"][0]["url"], "http://shop.test/a?b=c");
    let other = data(json!({ "try": "http", "url": "http://shop.test/other" }))?;
    let error = other["error"].as_str().unwrap();
    assert!(error.contains("no answer was recorded or given for GET http://shop.test/other"));
    Ok(())
}

#[test]
fn a_profile_tells_where_the_time_goes() -> Result<()> {
    let folder = Folder::new()?;
    let stacks = folder.root().join("stacks");
    let greeter = guest("greeter")?;
    let (greeter, stacks) = (greeter.to_str().unwrap(), stacks.to_str().unwrap());
    let event = event("guest.arrived", "1", &json!("Ada")).to_string();
    let args = ["call", greeter, "-", "--json", "--profile", "--stacks", stacks];
    let called = usher(&args, event.as_bytes())?;
    assert_eq!(called.code, 0, "{called:?}");
    let profile = called.json()?["profile"].clone();
    let samples = profile["samples"].as_u64().unwrap();
    assert!(samples > 0 && profile["deliveries"].as_u64().unwrap() > samples, "{profile}");
    let functions = profile["functions"].as_array().unwrap();
    let handle = functions.iter().find(|one| one["name"].as_str().unwrap().contains("handle"));
    assert!(handle.is_some(), "{profile}");
    let own = functions.iter().map(|one| one["own_samples"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(own, samples, "each sample is some function's own");
    let stacks = fs::read_to_string(stacks)?;
    let folded = stacks.lines().filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
    assert_eq!(folded.sum::<u64>(), samples);
    Ok(())
}

#[test]
fn a_project_is_begun_once() -> Result<()> {
    let folder = Folder::new()?;
    let project = folder.root().join("greeter");
    let new = |more: &[&str]| {
        let args = ["new", "greeter", "--folder", project.to_str().unwrap(), "--lang"];
        usher(&args.iter().chain(more).copied().collect::<Vec<_>>(), b"")
    };
    let unknown = new(&["cobol"])?;
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("rust, python, js, ts, c"), "{unknown:?}");
    let refused = new(&["c", "--with", "http"])?;
    assert!(refused.stderr.contains("http is not in the SDK for C"), "{refused:?}");
    assert!(!project.exists());
    assert_eq!(new(&["c", "--with", "state"])?.code, 0);
    assert!(project.join("usher/usher.h").is_file());
    let again = new(&["rust"])?;
    assert!(again.stderr.contains("exists already"), "{again:?}");

    // Without tools the first step says what to do.
    let test = usher(&["test", project.to_str().unwrap()], b"")?;
    assert_eq!(test.code, 1);
    fs::write(
        project.join("plugin.toml"),
        "[build]\nsteps = [[\".venv/bin/none\"]]\ncomponent = \"x.wasm\"\nwatch = []\n",
    )?;
    let test = usher(&["test", project.to_str().unwrap()], b"")?;
    assert!(test.stderr.contains("pip install -r requirements.txt"), "{test:?}");
    let none = usher(&["test", folder.root().to_str().unwrap()], b"")?;
    assert!(none.stderr.contains("usher new"), "{none:?}");
    Ok(())
}

/// Builds are copies here: what is tested is what follows them.
#[test]
fn dev_serves_each_build_and_goes_on_after_one_that_fails() -> Result<()> {
    let folder = Folder::new()?;
    let project = folder.root().join("project");
    fs::create_dir_all(&project)?;
    let manifest = |source: &str| {
        let text = format!(
            "[build]\nsteps = [[\"cp\", \"{source}\", \"out.wasm\"]]\n\
             component = \"out.wasm\"\nwatch = [\"built\"]\n"
        );
        fs::write(project.join("plugin.toml"), text)
    };
    manifest("built")?;
    fs::create_dir_all(project.join("fixtures/ping"))?;
    fs::write(
        project.join("fixtures/ping/event.json"),
        event("test.echo", "1", &json!("ping")).to_string(),
    )?;
    let build = |name: &str| -> Result<()> {
        // As a whole, as editors and compilers do it.
        let partial = folder.root().join("partial");
        fs::copy(guest(name)?, &partial)?;
        Ok(fs::rename(partial, project.join("built"))?)
    };
    build("echo")?;
    let copy = folder.root().join("dev.log");
    let args = ["dev", project.to_str().unwrap(), "--send", "ping", "--json"];
    let mut dev = Running::start(&args, &copy)?;
    let is = |line: &Value, kind: &str| line["kind"] == kind;
    let serves = |version: &'static str| {
        move |line: &Value| (is(line, "serving") && line["version"] == version).then_some(())
    };
    dev.wait_for_line("the first version", serves("1.0.0"))?;
    let emitted = |line: &Value| (is(line, "event") && line["cause"].is_object()).then_some(());
    dev.wait_for_line("an emission", emitted)?;

    fs::remove_file(project.join("built"))?;
    let broken = |line: &Value| is(line, "broken").then(|| line["error"].clone());
    let error = dev.wait_for_line("the failed build", broken)?;
    assert!(error.as_str().unwrap().contains("`cp built out.wasm` failed"), "{error}");
    build("echo-v2")?;
    dev.wait_for_line("the second version", serves("2.0.0"))?;
    manifest("elsewhere")?;
    let elsewhere = |line: &Value| {
        let error = line["error"].as_str().unwrap_or_default();
        (is(line, "broken") && error.contains("`cp elsewhere out.wasm` failed")).then_some(())
    };
    dev.wait_for_line("the changed manifest", elsewhere)?;
    let listening = |line: &Value| is(line, "listening").then(|| line["url"].clone());
    let url = dev.wait_for_line("the address", listening)?;
    dev.terminate()?;
    assert_eq!(dev.exited()?, 0);
    let gone = usher(&["plugins", "--url", url.as_str().unwrap()], b"")?;
    assert_eq!(gone.code, 1, "its router is still there: {gone:?}");
    Ok(())
}

#[test]
fn dev_grants_what_is_asked_for_and_answers_what_a_fixture_answers() -> Result<()> {
    let folder = Folder::new()?;
    let project = folder.root().join("project");
    let case = project.join("fixtures/desk");
    fs::create_dir_all(&case)?;
    fs::copy(guest("probe")?, project.join("built"))?;
    fs::write(
        project.join("plugin.toml"),
        "[build]\nsteps = [[\"cp\", \"built\", \"out.wasm\"]]\ncomponent = \"out.wasm\"\n\
         watch = [\"built\"]\n",
    )?;
    let probe = |id: &str, what: Value| event("test.probe", id, &what);
    let events = [
        probe("1", json!({ "try": "state", "key": "kept", "set": "x" })),
        probe("2", json!({ "try": "http", "url": "http://desk.test/guests" })),
        probe("3", json!({ "try": "http", "url": "http://desk.test/guests" })),
        probe("4", json!({ "try": "http", "url": "http://desk.test/other" })),
    ];
    fs::write(case.join("event.json"), json!(events).to_string())?;
    fs::write(
        case.join("given.json"),
        json!({ "http": [{ "url": "http://desk.test/guests", "status": 201 }] }).to_string(),
    )?;
    let copy = folder.root().join("dev.log");
    let args = ["dev", project.to_str().unwrap(), "--send", "desk", "--json"];
    let dev = Running::start(&args, &copy)?;
    let answer = |line: &Value| {
        let event = &line["event"];
        (event["type"] == "test.probed").then(|| event["data"].clone())
    };
    for grant in ["state", "blobs", "http"] {
        let told = |line: &Value| {
            let text = line["text"].as_str().unwrap_or_default();
            (line["kind"] == "note" && text.starts_with(&format!("{grant}: granted here")))
                .then_some(())
        };
        dev.wait_for_line(grant, told)?;
    }
    let kept = |line: &Value| answer(line).filter(|data| data.get("ok") == Some(&Value::Null));
    dev.wait_for_line("the state", kept)?;
    let second = |line: &Value| {
        let is_its = line["cause"]["parent"] == 3;
        answer(line).filter(|_| is_its)
    };
    assert_eq!(dev.wait_for_line("an answer, again", second)?["ok"]["status"], 201);
    let other = |line: &Value| answer(line).filter(|data| data["kind"] == "denied");
    let denied = dev.wait_for_line("a denial", other)?;
    assert!(denied["error"].as_str().unwrap().contains("http to http://desk.test"), "{denied}");
    Ok(())
}

/// Components built for other hosts are served: the operator says which events they get.
#[test]
fn components_of_other_hosts_are_listeners() -> Result<()> {
    let subscription = |plugin: &str, ty: &str| {
        format!(
            "[plugin.{plugin}.subscription.all]\nfilter = {{ prefix = {{ type = \"{ty}\" }} }}\n"
        )
    };
    let tables =
        subscription("http-component", "http.") + &subscription("message-component", "message.a");
    let scene = Scene::with(
        &(QUICK_RETRIES.to_owned() + &tables),
        &["http-component", "message-component"],
    )?;
    let flow = scene.flow_of("http.structured", "e-1", &json!({}))?;
    assert_eq!(types(&flow), ["http.structured", "done.http"]);
    let flow = scene.flow_of("message.any", "e-2", &json!({ "a": 1 }))?;
    assert_eq!(types(&flow), ["message.any", "message.done"]);
    assert_eq!(flow["events"][1]["event"]["data"], json!({ "a": 1 }));
    let flow = scene.flow_of("http.404", "e-3", &json!({}))?;
    assert_eq!(delivery(&flow)["state"], "dead");

    let component = guest("http-component")?;
    let inspected = usher(&["inspect", component.to_str().unwrap()], b"")?;
    for says in ["serves HTTP", "[plugin.http-component.subscription.events]"] {
        assert!(inspected.stdout.contains(says), "{inspected:?}");
    }
    // Without a subscription it is told what is missing.
    let scene = Scene::with("", &["http-component"])?;
    let plugins = scene.usher(&["plugins"], "");
    assert!(plugins.stdout.contains("[plugin.http-component.subscription.NAME]"), "{plugins:?}");
    Ok(())
}
