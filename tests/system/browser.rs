//! A real browser: Chromium, without a window, driven by the W3C's WebDriver protocol: JSON over HTTP.
//! The client is of our own because those on crates.io bring two dozen crates, most of them in older
//! versions than the build has.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use usher_tests::{Client, wait_for};

/// Attempts to start the driver.
const STARTS_MAX: usize = 10;

/// What an element is called in JSON (WebDriver, section 12).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window, and the program that drives it.
pub(crate) struct Browser {
    driver: Client,
    /// The path of the session.
    session: String,
    _process: Driver,
}

/// The driver's process group, the browser among it; killed when dropped.
struct Driver(Child);

impl Driver {
    /// A driver and its port. With port 0 it takes a free one of IPv4, and gives up if the same is
    /// in use in IPv6.
    fn start() -> Result<(Self, String)> {
        for _ in 0..STARTS_MAX {
            let mut command = Command::new("chromedriver");
            command.arg("--port=0").stdin(Stdio::null()).stderr(Stdio::null());
            let mut child = command.stdout(Stdio::piped()).process_group(0).spawn().context(
                "chromedriver can't be started: `cargo xtask test` installs it where it may",
            )?;
            let stdout = child.stdout.take().context("the driver has no stdout")?;
            let driver = Self(child);
            for line in BufReader::new(stdout).lines() {
                if let Some((_, port)) = line?.split_once("successfully on port ") {
                    return Ok((driver, port.trim_end_matches('.').to_owned()));
                }
            }
        }
        bail!("chromedriver names no port")
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

impl Browser {
    /// A browser as a user has it who never was here before.
    pub(crate) fn open() -> Result<Self> {
        let (process, port) = Driver::start()?;
        let arguments = [
            "--headless=new",
            // Tests may run as root, in containers with little shared memory.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--window-size=1300,900",
        ];
        let wanted = json!({
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
            "unhandledPromptBehavior": "ignore",
        });
        let driver = Client::new(format!("http://127.0.0.1:{port}"));
        let wanted = json!({ "capabilities": { "alwaysMatch": wanted } });
        let begun = command(&driver, "POST", "/session", &wanted)?;
        let session = begun["sessionId"].as_str().context("there is no session")?;
        Ok(Self { driver, session: format!("/session/{session}"), _process: process })
    }

    fn get(&self, path: &str) -> Result<Value> {
        command(&self.driver, "GET", &format!("{}{path}", self.session), &Value::Null)
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        command(&self.driver, "POST", &format!("{}{path}", self.session), body)
    }

    pub(crate) fn goto(&self, url: &str) -> Result<()> {
        self.post("/url", &json!({ "url": url })).map(drop)
    }

    pub(crate) fn address(&self) -> Result<String> {
        self.get("/url").map(text)
    }

    pub(crate) fn title(&self) -> Result<String> {
        self.get("/title").map(text)
    }

    pub(crate) fn source(&self) -> Result<String> {
        self.get("/source").map(text)
    }

    pub(crate) fn resize(&self, width: u32, height: u32) -> Result<()> {
        self.post("/window/rect", &json!({ "width": width, "height": height })).map(drop)
    }

    pub(crate) fn window(&self) -> Result<String> {
        self.get("/window").map(text)
    }

    /// Opens a tab, and returns its window.
    pub(crate) fn new_tab(&self) -> Result<String> {
        let opened = self.post("/window/new", &json!({ "type": "tab" }))?;
        Ok(text(opened["handle"].clone()))
    }

    pub(crate) fn switch_to(&self, window: &str) -> Result<()> {
        self.post("/window", &json!({ "handle": window })).map(drop)
    }

    /// Waits for an element.
    fn element(&self, using: &str, value: &str) -> Result<String> {
        let wanted = json!({ "using": using, "value": value });
        wait_for(value, || {
            let found = self.post("/element", &wanted).ok();
            Ok(found.and_then(|found| Some(found[ELEMENT].as_str()?.to_owned())))
        })
    }

    /// Waits for an element.
    pub(crate) fn find(&self, css: &str) -> Result<()> {
        self.element("css selector", css).map(drop)
    }

    /// The text of an element that there is.
    pub(crate) fn text(&self, css: &str) -> Result<String> {
        let element = self.element("css selector", css)?;
        self.get(&format!("/element/{element}/text")).map(text)
    }

    pub(crate) fn count(&self, css: &str) -> Result<usize> {
        let found = self.post("/elements", &json!({ "using": "css selector", "value": css }))?;
        Ok(found.as_array().context("no list of elements")?.len())
    }

    pub(crate) fn click(&self, css: &str) -> Result<()> {
        let element = self.element("css selector", css)?;
        self.post(&format!("/element/{element}/click"), &json!({})).map(drop)
    }

    /// Clicks on a button by its words.
    pub(crate) fn press(&self, words: &str) -> Result<()> {
        let button = self.element("xpath", &format!("//button[normalize-space()={words:?}]"))?;
        self.post(&format!("/element/{button}/click"), &json!({})).map(drop)
    }

    /// Presses keys while an element has the focus.
    pub(crate) fn send_keys(&self, css: &str, keys: &str) -> Result<()> {
        let element = self.element("css selector", css)?;
        self.post(&format!("/element/{element}/value"), &json!({ "text": keys })).map(drop)
    }

    /// Types into a field, in the place of what is there.
    pub(crate) fn fill(&self, css: &str, text: &str) -> Result<()> {
        let element = self.element("css selector", css)?;
        self.post(&format!("/element/{element}/clear"), &json!({}))?;
        self.send_keys(css, text)
    }

    /// Waits until the text of an element contains this.
    pub(crate) fn see(&self, css: &str, expected: &str) -> Result<()> {
        let mut last = String::new();
        let seen = wait_for(expected, || {
            // Elements are replaced while they are looked at.
            last = self.text(css).unwrap_or_default();
            Ok(last.contains(expected).then_some(()))
        });
        seen.with_context(|| format!("{css} says {last:?}"))
    }

    /// Says yes to a question, and returns it.
    pub(crate) fn agree(&self) -> Result<String> {
        let question = wait_for("a question", || Ok(self.get("/alert/text").ok().map(text)))?;
        self.post("/alert/accept", &json!({}))?;
        Ok(question)
    }

    pub(crate) fn run(&self, script: &str) -> Result<Value> {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Runs a script that calls its last argument with the result.
    pub(crate) fn run_async(&self, script: &str) -> Result<Value> {
        self.post("/execute/async", &json!({ "script": script, "args": [] }))
    }

    /// Checks that the browser has nothing to complain of: no errors of scripts, nothing that the
    /// content security policy forbids.
    pub(crate) fn complains_not(&self) -> Result<()> {
        // An addition of Chromium to the protocol.
        let log = self.post("/se/log", &json!({ "type": "browser" }))?;
        let severe = |entry: &&Value| entry["level"] == "SEVERE";
        let entries = log.as_array().context("the log is no list")?;
        let found: Vec<_> = entries.iter().filter(severe).collect();
        ensure!(found.is_empty(), "{found:#?}");
        Ok(())
    }
}

/// Has the driver do something; returns the value of its response.
fn command(driver: &Client, method: &str, path: &str, body: &Value) -> Result<Value> {
    let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body)? };
    let headers: [(&str, &[u8]); 1] = [("content-type", b"application/json")];
    let response = driver.request(method, path, &headers, &body)?;
    let value = response.json()?["value"].take();
    ensure!(response.status == 200, "{method} {path}: {}: {}", value["error"], value["message"]);
    Ok(value)
}

fn text(value: Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
