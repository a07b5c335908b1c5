//! The page under `/ui`, in a real browser. `cargo xtask test` runs these where there is one.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use usher_tests::{Folder, Router, usher_with, wait_for};

use crate::browser::Browser;
use crate::prefix::Proxy;
use crate::scene::{QUICK_RETRIES, Scene, event, new_token};

/// Every screen, with what it needs to be told.
const SCREENS: [&str; 14] = [
    "overview",
    "events",
    "event?sequence=1",
    "flow?id=1",
    "plugins",
    "plugin?name=fail",
    "subscriptions",
    "dead-letters",
    "dead-letter?id=1",
    "state?plugin=state",
    "blobs",
    "schedules",
    "audit",
    "publish",
];

/// Markup that would do something if it were taken for markup, and would be seen to.
const HOSTILE: &str = "</td><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">'\"&lt;";

/// One attempt: failures are dead letters at once.
const ONE_ATTEMPT: &str = "[retry]\nfirst_delay_ms = 10\nmax_attempts = 1\n";

fn ui(router: &Router, screen: &str) -> String {
    format!("{}/ui/{screen}", router.url())
}

/// Publishes an event that becomes a dead letter.
fn fail(scene: &Scene, id: &str) -> Result<u64> {
    let receipt = scene.client().publish_new("test.fail", id, &json!({ "mode": "reject" }))?;
    scene.client().settled_flow(receipt.sequence)?;
    Ok(receipt.sequence)
}

fn dead_letters(scene: &Scene) -> Result<Vec<Value>> {
    let found = scene.client().get_json("/dead-letters?max=1000")?;
    Ok(found["dead_letters"].as_array().context("no list")?.clone())
}

/// Logs in, and waits until it has: a click returns before its page is there.
fn log_in(browser: &Browser, router: &Router, secret: &str, name: &str) -> Result<()> {
    browser.goto(&ui(router, "login"))?;
    browser.fill("input[name=token]", secret)?;
    browser.press("Log in")?;
    browser.see(".viewer", name)
}

#[ignore = "needs a browser"]
#[test]
fn every_screen_is_shown() -> Result<()> {
    let tables = format!("{ONE_ATTEMPT}[plugin.state.grants]\nstate = true\n");
    let scene = Scene::with(&tables, &["fail", "state", "emit"])?;
    fail(&scene, "1")?;
    scene.flow_of("test.count", "2", &json!({ "key": "visitors" }))?;
    let browser = Browser::open()?;
    browser.goto(&format!("{}/ui", scene.router.url()))?;
    assert!(browser.address()?.ends_with("/ui/overview"));
    for screen in SCREENS {
        browser.goto(&ui(&scene.router, screen))?;
        assert_eq!(browser.count(".trouble")?, 0, "{screen}");
        assert!(browser.text("h1")?.len() > 3, "{screen}");
        browser.complains_not().context(screen)?;
        let current = browser.count("nav a[aria-current]")?;
        assert!(current == 1 || screen.contains('?'), "{screen}");
        // Nothing is wider than the window of a phone.
        browser.resize(400, 800)?;
        let script = "return document.documentElement.scrollWidth - window.innerWidth";
        let excess = browser.run(script)?;
        assert!(excess.as_i64().context("no width")? <= 0, "{screen}: {excess} px too wide");
        browser.resize(1300, 900)?;
    }
    browser.goto(&ui(&scene.router, "state?plugin=state"))?;
    browser.see("tbody", "visitors")?;
    // By keyboard alone: the first stop skips the navigation.
    browser.goto(&ui(&scene.router, "plugins"))?;
    browser.send_keys("body", "\u{e004}\u{e007}")?;
    assert_eq!(browser.run("return document.activeElement.id")?, "main");
    browser.goto(&ui(&scene.router, "nothing"))?;
    browser.see(".trouble", "404")?;
    Ok(())
}

#[ignore = "needs a browser"]
#[test]
fn a_flow_under_way_updates_itself() -> Result<()> {
    let scene = Scene::with(QUICK_RETRIES, &["fail"])?;
    let data = json!({ "mode": "retry", "after_ms": 3_600_000 });
    let receipt = scene.client().publish_new("test.fail", "1", &data)?;
    let browser = Browser::open()?;
    browser.goto(&ui(&scene.router, &format!("flow?id={}", receipt.sequence)))?;
    browser.see("h1", "under way")?;
    browser.see("tbody", "attempt 1")?;
    browser.find("svg.timeline rect.failed")?;
    browser.find("svg.timeline rect.due")?;
    // What is opened stays open while the rest changes.
    browser.click("details summary")?;
    let args = ["plugins", "pause", "fail", "--url", scene.router.url()];
    assert_eq!(usher_with(&args, b"", &[])?.code, 0);
    browser.goto(&ui(&scene.router, "plugin?name=fail"))?;
    browser.see("h1", "paused")?;
    browser.find("meter")?;
    browser.press("Resume")?;
    browser.see("#notice", "done")?;
    browser.see("h1", "serving")?;
    browser.press("Pause")?;
    browser.see("h1", "paused")?;
    let audit = scene.client().get_json("/audit")?;
    assert_eq!(audit["records"][2]["action"], "pause", "{audit}");
    browser.complains_not()?;
    Ok(())
}

#[ignore = "needs a browser"]
#[test]
fn live_screens_follow_the_log() -> Result<()> {
    let scene = Scene::with(ONE_ATTEMPT, &["fail"])?;
    let browser = Browser::open()?;
    browser.goto(&ui(&scene.router, "events?type=test."))?;
    browser.see("main", "Nothing was found")?;
    // What is being typed is left alone.
    browser.fill("input[name=subject]", "half a wo")?;
    scene.client().publish_new("test.fail", "1", &json!({ "mode": "ok" }))?;
    browser.see("tbody", "test.recovered")?;
    let typed = browser.run("return document.querySelector('input[name=subject]').value")?;
    assert_eq!(typed, "half a wo");
    browser.goto(&ui(&scene.router, "overview"))?;
    browser.see(".figures", "2 events")?;
    scene.client().publish_new("other", "2", &json!(1))?;
    browser.see(".figures", "3 events")?;
    browser.complains_not()?;
    Ok(())
}

#[ignore = "needs a browser"]
#[test]
fn an_event_is_published_and_its_numbers_stay() -> Result<()> {
    let scene = Scene::empty()?;
    let browser = Browser::open()?;
    browser.goto(&ui(&scene.router, "publish"))?;
    browser.fill("input[name=type]", "test.numbers")?;
    browser.fill("textarea[name=extensions]", "correlationid=order-7")?;
    browser.fill("textarea[name=data]", "{\"big\": 123456789012345678901, \"exact\": 1.10}")?;
    browser.press("Publish")?;
    browser.see("h1", "Flow 1")?;
    assert!(browser.address()?.ends_with("flow?id=1"));
    let stored = scene.client().get("/events/1")?.text();
    assert!(stored.contains("123456789012345678901") && stored.contains("1.10"), "{stored}");
    assert!(stored.contains("\"correlationid\":\"order-7\""), "{stored}");
    browser.goto(&ui(&scene.router, "event?sequence=1"))?;
    browser.see("pre.payload", "\"big\": 123456789012345678901,\n  \"exact\": 1.10")?;
    // A refusal of the API is told, and what was typed stays.
    browser.goto(&ui(&scene.router, "publish"))?;
    browser.fill("input[name=type]", "a")?;
    browser.fill("input[name=source]", "/plugins/mine")?;
    browser.press("Publish")?;
    browser.see("#notice.failed", "must not start with /plugins/")?;
    browser.fill("textarea[name=data]", "{")?;
    browser.press("Publish")?;
    browser.see("#notice.failed", "data: ")?;
    Ok(())
}

#[ignore = "needs a browser"]
#[test]
fn dead_letters_are_mended_by_mouse() -> Result<()> {
    let scene = Scene::with(ONE_ATTEMPT, &["fail"])?;
    for id in ["1", "2", "3"] {
        fail(&scene, id)?;
    }
    let browser = Browser::open()?;
    // Redriven: it fails again, as another dead letter.
    browser.goto(&ui(&scene.router, "dead-letters"))?;
    browser.see("h2 + .bulk + .scroll", "dead letter 3")?;
    browser.press("Redrive")?;
    browser.see("#notice", "done")?;
    wait_for("the dead letter", || {
        Ok(dead_letters(&scene)?.iter().any(|dead| dead["id"] == 4).then_some(()))
    })?;
    browser.goto(&ui(&scene.router, "dead-letter?id=4"))?;
    browser.see("main", "redriven once")?;
    // Edited: what is wrong is told, and then it is handled.
    let edit = "const field = document.querySelector('textarea[name=body]');\
                field.value = field.value.replace('reject', arguments[0] || 'ok');";
    browser.run("document.querySelector('textarea[name=body]').value = '{'")?;
    browser.press("Redrive this event instead")?;
    browser.see("#notice.failed", "")?;
    browser.goto(&ui(&scene.router, "dead-letter?id=4"))?;
    browser.run(edit)?;
    browser.press("Redrive this event instead")?;
    browser.see("h1", "Flow")?;
    browser.see("tbody", "test.recovered")?;
    // Discarded, after a question.
    browser.goto(&ui(&scene.router, "dead-letter?id=2"))?;
    browser.press("Discard")?;
    assert!(browser.agree()?.contains("dead letter 2"));
    wait_for("the list", || Ok((dead_letters(&scene)?.len() == 1).then_some(())))?;
    browser.see("h1", "Dead letters")?;
    browser.goto(&ui(&scene.router, "audit"))?;
    browser.see("tbody", "redrive edited")?;
    browser.goto(&ui(&scene.router, "dead-letter?id=2"))?;
    browser.see(".trouble", "404")?;
    Ok(())
}

#[ignore = "needs a browser"]
#[test]
fn ten_thousand_dead_letters_are_one_filter() -> Result<()> {
    const COUNT: usize = 10_000;
    let scene = Scene::with("[retry]\nmax_attempts = 1\n", &["fail"])?;
    let failing = |n: usize| event("test.fail", &n.to_string(), &json!({ "mode": "reject" }));
    for first in (0..COUNT).step_by(1_000) {
        let batch: Vec<_> = (first..first + 1_000).map(failing).collect();
        scene.client().publish_batch(&batch)?;
    }
    let other = json!({ "mode": "nonsense" });
    scene.client().publish_new("test.fail", "other", &other)?;
    wait_for("all of them", || {
        let overview = scene.client().get_json("/overview")?;
        Ok((overview["dead_letters"] == COUNT + 1).then_some(()))
    })?;
    let browser = Browser::open()?;
    browser.goto(&ui(&scene.router, "dead-letters?class=reject"))?;
    browser.see("h2 + .scroll tbody", "asked to fail on attempt 1")?;
    browser.click("h2 + .scroll tbody a")?;
    browser.see("main", "10000 matching dead letters")?;
    assert!(browser.count("table:last-of-type tbody tr")? <= 51);
    // It can be stopped: what is done is counted.
    browser.press("Discard all that match")?;
    assert!(browser.agree()?.contains("10000"));
    browser.see(".bulk output", "done")?;
    browser.press("Stop")?;
    browser.see("#notice", "stopped")?;
    let left = dead_letters_left(&scene)?;
    assert!(left > 1 && left <= COUNT as u64, "{left}");
    browser.press("Discard all that match")?;
    browser.agree()?;
    browser.see("#notice", "finished")?;
    assert_eq!(dead_letters_left(&scene)?, 1, "the one with another reason");
    browser.complains_not()?;
    Ok(())
}

fn dead_letters_left(scene: &Scene) -> Result<u64> {
    scene.client().get_json("/overview")?["dead_letters"].as_u64().context("no number")
}

#[ignore = "needs a browser"]
#[test]
fn a_login_shows_what_its_scopes_allow() -> Result<()> {
    let scene = Scene::with(ONE_ATTEMPT, &["fail", "state"])?;
    fail(&scene, "1")?;
    let router = &scene.router;
    let admin = new_token(router, "", "ops", &["admin"])?;
    let reader = new_token(router, &admin, "auditor", &["read:attributes"])?;
    let browser = Browser::open()?;

    // Without a token, every address asks for one and leads back.
    browser.goto(&ui(router, "plugin?name=fail"))?;
    browser.see("h1", "Usher")?;
    browser.fill("input[name=token]", "usher_wrong")?;
    browser.press("Log in")?;
    browser.see(".trouble", "no such token")?;
    browser.fill("input[name=token]", &admin)?;
    browser.press("Log in")?;
    browser.see("h1", "fail")?;
    assert!(browser.address()?.ends_with("/ui/plugin?name=fail"));
    browser.see(".viewer", "ops")?;
    assert_eq!(browser.run("return document.cookie")?, "", "scripts don't see the cookie");
    browser.find(".actions button")?;
    browser.press("Log out")?;
    browser.find("input[name=token]")?;

    // What a scope forbids is neither offered nor done.
    log_in(&browser, router, &reader, "auditor")?;
    let navigation = browser.text("nav")?;
    assert!(!navigation.contains("Publish") && !navigation.contains("State"), "{navigation}");
    browser.goto(&ui(router, "dead-letter?id=1"))?;
    browser.see("main", "reject")?;
    assert_eq!(browser.count("main button")?, 0);
    let page = browser.source()?;
    assert!(!page.contains("&quot;mode&quot;") && !page.contains("\"mode\""), "{page}");
    browser.goto(&ui(router, "state?plugin=state"))?;
    browser.see(".trouble", "403")?;
    let forced = "const done = arguments[0]; fetch('api/dead-letters/1/discard', { method: 'POST', \
                  headers: { 'usher-actor': 'auditor' } }).then((answer) => done(answer.status))";
    assert_eq!(browser.run_async(forced)?, 403);

    // Two tabs, two tokens: the first does nothing in the name of the second.
    log_in(&browser, router, &admin, "ops")?;
    browser.goto(&ui(router, "dead-letter?id=1"))?;
    browser.see(".viewer", "ops")?;
    let first = browser.window()?;
    let second = browser.new_tab()?;
    browser.switch_to(&second)?;
    let operator = new_token(router, &admin, "operator", &["operate"])?;
    log_in(&browser, router, &operator, "operator")?;
    browser.switch_to(&first)?;
    browser.press("Redrive")?;
    browser.see("#notice.failed", "logged in as operator")?;
    Ok(())
}

#[ignore = "needs a browser"]
#[test]
fn hostile_events_stay_text() -> Result<()> {
    let scene = Scene::with(ONE_ATTEMPT, &["fail"])?;
    let client = scene.client();
    let mut hostile = event("test.fail", HOSTILE, &json!({ "mode": HOSTILE }));
    for name in ["subject", "correlationid"] {
        hostile[name] = json!(HOSTILE);
    }
    hostile["dataschema"] = json!("javascript:document.title='taken'");
    client.publish_batch(&[hostile])?;
    let large = "<b>".repeat(80_000);
    client.publish_new("test.large", "2", &json!(large))?;
    let mut deep = json!(1);
    for _ in 0..60 {
        deep = json!([deep]);
    }
    client.publish_new("test.deep", "3", &deep)?;
    wait_for("the dead letter", || Ok((dead_letters(&scene)?.len() == 1).then_some(())))?;
    let browser = Browser::open()?;
    let encoded = "%3C%2Fscript%3E%3Cscript%3Edocument.title%3D%27taken%27%3C%2Fscript%3E";
    let echoed = [
        format!("events?subject={encoded}"),
        format!("plugin?name={encoded}"),
        format!("flow?id={encoded}"),
        format!("dead-letters?reason={encoded}"),
        format!("login?to={encoded}"),
        encoded.to_owned(),
    ];
    let shown = SCREENS.iter().map(|screen| (*screen).to_owned());
    let events = ["event?sequence=2", "event?sequence=3"].map(str::to_owned);
    for screen in shown.chain(events).chain(echoed) {
        browser.goto(&ui(&scene.router, &screen))?;
        browser.find("main")?;
        assert_ne!(browser.title()?, "taken", "{screen}");
        let count = browser.run("return document.querySelectorAll('main script, main img').length");
        assert_eq!(count?, 0, "{screen}");
    }
    browser.goto(&ui(&scene.router, "event?sequence=1"))?;
    browser.see("table", HOSTILE)?;
    browser.goto(&ui(&scene.router, "events?type=test.large"))?;
    browser.click("tbody a")?;
    browser.see("pre.payload", "<b><b>")?;
    Ok(())
}

#[ignore = "needs a browser"]
#[test]
fn the_page_works_behind_a_prefix() -> Result<()> {
    let folder = Folder::new()?;
    folder.install_guests(&["fail"])?;
    let router = Router::start(&folder)?;
    router.client().wait_for_plugin("fail", "serving")?;
    let secret = new_token(&router, "", "ops", &["admin"])?;
    let executor = tokio::runtime::Runtime::new()?;
    let proxy = executor.block_on(Proxy::start("/router/one", router.url()))?;
    let browser = Browser::open()?;
    browser.goto(&format!("{}/router/one/ui", proxy.url()))?;
    browser.fill("input[name=token]", &secret)?;
    browser.press("Log in")?;
    browser.see("h1", "Overview")?;
    assert!(browser.address()?.ends_with("/router/one/ui/overview"));
    browser.goto(&format!("{}/router/one/ui/plugin?name=fail", proxy.url()))?;
    browser.press("Pause")?;
    browser.see("h1", "paused")?;
    browser.complains_not()?;
    // The cookie counts below the prefix only.
    browser.goto(&format!("{}/elsewhere", proxy.url()))?;
    assert!(!proxy.saw_cookie_elsewhere());
    Ok(())
}
