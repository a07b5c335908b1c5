//! A real browser: Chromium, without a window, driven by the W3C's WebDriver protocol.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fantoccini::elements::Element;
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use http::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use usher_tests::PATIENCE;

/// Attempts to start the driver.
const STARTS_MAX: usize = 10;

const PAUSE: Duration = Duration::from_millis(25);

/// A browser with one window, and the program that drives it.
pub(crate) struct Browser {
    client: Client,
    driver: Driver,
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
    pub(crate) async fn open() -> Result<Self> {
        let (driver, port) = Driver::start()?;
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
            "acceptInsecureCerts": true,
        });
        let wanted: Capabilities = serde_json::from_value(wanted)?;
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(wanted)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await?;
        Ok(Self { client, driver })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) async fn goto(&self, url: &str) -> Result<()> {
        Ok(self.client.goto(url).await?)
    }

    pub(crate) async fn address(&self) -> Result<String> {
        Ok(self.client.current_url().await?.to_string())
    }

    /// Waits for an element.
    pub(crate) async fn find(&self, css: &str) -> Result<Element> {
        let found = self.client.wait().at_most(PATIENCE).for_element(Locator::Css(css)).await;
        found.with_context(|| format!("there is no {css}"))
    }

    pub(crate) async fn count(&self, css: &str) -> Result<usize> {
        Ok(self.client.find_all(Locator::Css(css)).await?.len())
    }

    pub(crate) async fn click(&self, css: &str) -> Result<()> {
        Ok(self.find(css).await?.click().await?)
    }

    /// Clicks on a button by its words.
    pub(crate) async fn press(&self, words: &str) -> Result<()> {
        let path = format!("//button[normalize-space()={words:?}]");
        let found = self.client.wait().at_most(PATIENCE).for_element(Locator::XPath(&path)).await;
        let button = found.with_context(|| format!("there is no button {words}"))?;
        Ok(button.click().await?)
    }

    /// Types into a field, in the place of what is there.
    pub(crate) async fn fill(&self, css: &str, text: &str) -> Result<()> {
        let field = self.find(css).await?;
        field.clear().await?;
        Ok(field.send_keys(text).await?)
    }

    /// Waits until the text of an element contains this.
    pub(crate) async fn see(&self, css: &str, text: &str) -> Result<()> {
        let mut last = String::new();
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                // Elements are replaced while they are looked at.
                if let Ok(element) = self.client.find(Locator::Css(css)).await
                    && let Ok(found) = element.text().await
                {
                    if found.contains(text) {
                        return;
                    }
                    last = found;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        if waited.await.is_err() {
            bail!("{css} does not come to say {text:?}: {last:?}");
        }
        Ok(())
    }

    /// Says yes to a question, and returns it.
    pub(crate) async fn agree(&self) -> Result<String> {
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Ok(question) = self.client.get_alert_text().await {
                    return question;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        let question = waited.await.context("no question is asked")?;
        self.client.accept_alert().await?;
        Ok(question)
    }

    pub(crate) async fn run(&self, script: &str) -> Result<Value> {
        Ok(self.client.execute(script, Vec::new()).await?)
    }

    /// Checks that the browser has nothing to complain of: no errors of scripts, nothing that the
    /// content security policy forbids.
    pub(crate) async fn complains_not(&self) -> Result<()> {
        let log: Value = self.client.issue_cmd(BrowserLog).await?;
        let severe = |entry: &&Value| entry["level"] == "SEVERE";
        let entries = log.as_array().context("the log is no list")?;
        let found: Vec<_> = entries.iter().filter(severe).collect();
        ensure!(found.is_empty(), "{found:#?}");
        Ok(())
    }

    pub(crate) async fn close(self) -> Result<()> {
        self.client.close().await?;
        drop(self.driver);
        Ok(())
    }
}

/// What the console of the browser says: an addition of Chromium to the protocol.
#[derive(Debug)]
struct BrowserLog;

impl WebDriverCompatibleCommand for BrowserLog {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> std::result::Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (Method, Option<String>) {
        (Method::POST, Some(json!({ "type": "browser" }).to_string()))
    }
}
