//! The stage of the rows: one router with their plugins and three neighbours. Checks the traces
//! each misbehaviour must leave, and no others: the dead letter and its report, the log, the
//! metrics and `usher plugins`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};

use super::neighbours::{self, NEIGHBOURS, Neighbours};
use super::row::{BadFile, Component, Must, Plugin, Row, Trial};
use crate::artefacts::{guest, usher_binary};
use crate::folder::Folder;
use crate::holds::Holds;
use crate::http::{Client, event};
use crate::router::Router;
use crate::stand_ins::Hostile;
use crate::usher::usher;
use crate::wait::wait_for;

/// Maximum attempts of a delivery.
const ATTEMPTS: usize = 2;
const RETRIES: &str = "[retry]\nfirst_delay_ms = 10\nmax_attempts = 2\n";

/// The name in the guest `hostile` that is overwritten.
const WRITTEN_OVER: &[u8] = b"row-00-a";

/// Maximum events in a batch.
const BATCH_MAX_EVENTS: usize = 1_000;

/// A secret that a row may be granted.
pub(crate) const SECRET: &str = "hunter2-and-more";
const SECRET_VARIABLE: &str = "USHER_HOSTILE_SECRET";

/// A running router. Fields drop in order.
pub(crate) struct Stage {
    pub(crate) router: Router,
    pub(crate) neighbours: Neighbours,
    pub(crate) folder: Folder,
    pub(crate) server: Hostile,
    /// Counter for unique event ids.
    next: Cell<u64>,
    /// Expected number of failures, by plugin and class.
    failed: RefCell<BTreeMap<(String, String), u64>>,
    descriptors: usize,
}

impl Stage {
    /// Starts a router with the plugins of these rows, and the load on the neighbours.
    pub(crate) fn set(rows: &[&Row]) -> Result<Self> {
        let server = Hostile::start()?;
        let mut tables = format!("{RETRIES}{}", neighbours::CONFIG);
        for (plugin, name) in plugins(rows) {
            tables.push_str(&format!(
                "[plugin.{name}.subscription.all]\nfilter = {{ exact = {{ type = \"{}\" }} }}\n",
                ty(&name)
            ));
            let config = plugin.config.replace("NAME", &name);
            tables.push_str(&config.replace("SERVER", &server.url()));
        }
        let local = local_origin(&server).unwrap_or_else(|| "http://none.invalid".to_owned());
        let tables = tables.replace("VARIABLE", SECRET_VARIABLE).replace("LOCAL", &local);
        let folder = Folder::with_config("", &tables)?;
        folder.install_guests(&NEIGHBOURS.map(|(name, ..)| name))?;
        for (plugin, name) in plugins(rows) {
            fs::write(file(&folder, &name), build(&plugin.component, &name)?)?;
        }
        let env = [(SECRET_VARIABLE, SECRET)];
        let router = Router::start_with(&usher_binary()?, &folder, &env)?;
        for name in NEIGHBOURS.iter().map(|(name, ..)| (*name).to_owned()) {
            router.client().wait_for_plugin(&name, "serving")?;
        }
        for (_, name) in plugins(rows) {
            router
                .client()
                .wait_for_plugin(&name, "serving")
                .with_context(|| router.log_tail(10))?;
        }
        let neighbours = Neighbours::start(&router)?;
        neighbours.caught_up()?;
        let descriptors = Holds::of(router.process())?.descriptors;
        Ok(Self {
            router,
            neighbours,
            folder,
            server,
            next: Cell::new(1),
            failed: RefCell::default(),
            descriptors,
        })
    }

    pub(crate) fn client(&self) -> &Client {
        self.router.client()
    }

    /// The hostile server under a name other than `localhost`, if the system has one.
    pub(crate) fn local_origin(&self) -> Option<String> {
        local_origin(&self.server)
    }

    /// Path of a plugin's file.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        file(&self.folder, name)
    }

    /// Runs one row; returns what was observed.
    pub(crate) fn try_row(&self, row: &Row) -> Result<String> {
        let mut seen: Vec<String> = Vec::new();
        for (trial, names) in row.trials.iter().zip(row.names()) {
            let name = names.first().map_or("", String::as_str);
            let what = match trial {
                Trial::Events(_, events) => self.try_events(name, events),
                Trial::File(file) => self.try_file(name, file),
                Trial::Play(_, play) => play(self, &names),
            };
            let what = what.with_context(|| format!("plugin {name}"))?;
            if !seen.contains(&what) {
                seen.push(what);
            }
        }
        self.neighbours.caught_up()?;
        Ok(seen.join("; "))
    }

    fn try_events(&self, name: &str, events: &[(Value, Must)]) -> Result<String> {
        let mut seen = String::new();
        for (data, must) in events {
            seen = match must {
                Must::Fail(class, says) => self.fails(name, data, class, says)?,
                Must::Ack => {
                    self.done(name, data)?;
                    "done".to_owned()
                }
                Must::Emit(holds) => {
                    let found = self.emitted(name, data)?;
                    ensure!(holds(&found), "{data} brought {found}");
                    let text = found.to_string();
                    format!("done: {text}")
                }
            };
        }
        Ok(seen)
    }

    /// Publishes an event for this plugin and waits until its flow is settled.
    pub(crate) fn flow(&self, name: &str, data: &Value) -> Result<Value> {
        let number = self.next.replace(self.next.get() + 1);
        let receipt = self.client().publish_new(&ty(name), &format!("{name}-{number}"), data)?;
        self.client().settled_flow(receipt.sequence)
    }

    /// Publishes `count` identical events for this plugin, without waiting.
    pub(crate) fn publish_many(&self, name: &str, count: u64, data: &Value) -> Result<()> {
        let first = self.next.replace(self.next.get() + count);
        let events: Vec<Value> = (first..first + count)
            .map(|number| event(&ty(name), &format!("{name}-{number}"), data))
            .collect();
        for batch in events.chunks(BATCH_MAX_EVENTS) {
            self.client().publish_batch(batch)?;
        }
        Ok(())
    }

    /// Publishes an event that must be handled at its first attempt; returns its flow.
    pub(crate) fn done(&self, name: &str, data: &Value) -> Result<Value> {
        let flow = self.flow(name, data)?;
        let delivery = delivery(&flow)?;
        let clean = delivery.get("failures") == Some(&json!([]));
        ensure!(clean && delivery.get("state") == Some(&json!("done")), "{data}: {delivery}");
        Ok(flow)
    }

    /// Like [`Self::done`]; returns the data of the first emission.
    pub(crate) fn emitted(&self, name: &str, data: &Value) -> Result<Value> {
        let flow = self.done(name, data)?;
        let found = flow.pointer("/events/1/event/data");
        Ok(found.with_context(|| format!("{data} brought no event: {flow}"))?.clone())
    }

    /// Publishes an event that must become a dead letter, with each attempt failing with this class
    /// and reason and without other effects. Returns the reason shown to the operator.
    pub(crate) fn fails(
        &self,
        name: &str,
        data: &Value,
        class: &str,
        says: &str,
    ) -> Result<String> {
        let flow = self.flow(name, data)?;
        let fits = |failure: &Value| {
            let reason = text(failure, "/reason");
            text(failure, "/class") == class && reason.contains(says)
        };
        let events = flow.pointer("/events").and_then(Value::as_array).context("no events")?;
        let [_, report] = events.as_slice() else {
            anyhow::bail!("{} events, where one and the report should be: {flow}", events.len())
        };
        let delayed = flow.pointer("/delayed").and_then(Value::as_array);
        ensure!(delayed.is_some_and(Vec::is_empty), "there are emissions to come: {flow}");
        let delivery = delivery(&flow)?;
        ensure!(delivery.get("state") == Some(&json!("dead")), "no dead letter: {delivery}");
        let failures = delivery.get("failures").and_then(Value::as_array);
        let failures = failures.context("no failures")?;
        ensure!(
            !failures.is_empty() && failures.iter().all(fits),
            "not {class} with {says:?}: {delivery}"
        );
        let reported = report.pointer("/event/data").context("a report without data")?;
        ensure!(
            text(report, "/event/type") == "dev.usher.delivery.dead" && fits(reported),
            "not {class} with {says:?}: {report}"
        );
        let letter = delivery.get("dead_letter").context("no dead letter")?;
        let letter = self.client().get_json(&format!("/dead-letters/{letter}"))?;
        let attempts = letter.pointer("/attempts").and_then(Value::as_array);
        ensure!(
            attempts.is_some_and(|all| all.len() == failures.len() && all.iter().all(fits)),
            "not {class} with {says:?}: {letter}"
        );

        let verdict = self.logged(name, &flow, failures.len(), class, says)?;
        let wanted = if verdict == "reject" { 1 } else { ATTEMPTS };
        ensure!(failures.len() == wanted, "{} attempts, not {wanted}", failures.len());
        self.counted(name, class, failures.len())?;
        let reason = failures.last().map(|failure| text(failure, "/reason")).unwrap_or_default();
        Ok(format!("{class}: {reason}"))
    }

    /// Finds the last attempt in the log; returns its verdict.
    fn logged(
        &self,
        name: &str,
        flow: &Value,
        attempt: usize,
        class: &str,
        says: &str,
    ) -> Result<String> {
        let sequence = flow.pointer("/flow").context("a flow without a sequence")?;
        let what = format!("the failure of {name}, attempt {attempt}");
        self.router.wait_for_log(&what, |line| {
            let fields = line.get("fields")?;
            let fits = fields.get("message")? == "delivery failed"
                && fields.get("sequence")? == sequence
                && fields.get("attempt")? == attempt
                && text(line, "/fields/subscription") == format!("{name}/all")
                && text(line, "/fields/class") == class
                && text(line, "/fields/reason").contains(says);
            fits.then(|| text(line, "/fields/verdict").to_owned())
        })
    }

    /// Adds to the expected failures of this plugin and checks the counters.
    fn counted(&self, name: &str, class: &str, more: usize) -> Result<()> {
        let key = (name.to_owned(), class.to_owned());
        let count = {
            let mut failed = self.failed.borrow_mut();
            let count = failed.entry(key).or_default();
            *count += more as u64;
            *count
        };
        let plugin = self.client().plugin(name)?.with_context(|| format!("no plugin {name}"))?;
        let shown = plugin.pointer(&format!("/stats/failed/{class}"));
        ensure!(shown == Some(&json!(count)), "not {count} failures ({class}): {plugin}");
        let labels = format!("plugin=\"{name}\",class=\"{class}\"");
        let metric = self.metric(&format!("usher_plugin_failed_deliveries_total{{{labels}}}"))?;
        ensure!(metric == Some(count), "{metric:?} failures in the metrics, not {count}");
        Ok(())
    }

    /// The value of one series.
    pub(crate) fn metric(&self, series: &str) -> Result<Option<u64>> {
        let text = self.client().get("/metrics")?.text();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        Ok(line.and_then(|value| value.trim().parse().ok()))
    }

    fn try_file(&self, name: &str, file: &BadFile) -> Result<String> {
        let path = self.file(name);
        let digest = self.digest(name)?;
        let aside = path.with_extension("aside");
        (file.make)(&aside, name)?;
        renameat_with(CWD, &aside, CWD, &path, RenameFlags::EXCHANGE)?;
        fs::remove_file(&aside)?;
        let reason = self.refused(name, file.says)?;
        let plugin = self.client().plugin(name)?.with_context(|| format!("no plugin {name}"))?;
        ensure!(text(&plugin, "/state") == "serving", "the version before is gone: {plugin}");
        ensure!(self.digest(name)? == digest, "another version serves: {plugin}");
        self.done(name, &Value::Null)?;
        self.remove(name)?;
        Ok(format!("refused: {reason}"))
    }

    /// Waits until the file of a serving plugin is refused for a reason that contains `says`, and
    /// checks that it is shown everywhere an operator may look. Returns the reason.
    pub(crate) fn refused(&self, name: &str, says: &[&str]) -> Result<String> {
        let mut last = Value::Null;
        let reason = wait_for("the file to be refused", || {
            last = self.client().plugin(name)?.unwrap_or_default();
            let reason = text(&last, "/refused/reason");
            let fits = !reason.is_empty() && says.iter().all(|word| reason.contains(word));
            Ok(fits.then(|| reason.to_owned()))
        });
        let reason = reason.with_context(|| format!("not refused with {says:?}: {last}"))?;
        let file = format!("{name}.wasm");
        self.router.wait_for_log(&format!("{file} refused"), |line| {
            let fits = text(line, "/fields/message") == "plugin refused"
                && text(line, "/fields/file") == file
                && says.iter().all(|word| text(line, "/fields/reason").contains(word));
            fits.then_some(())
        })?;
        let refused = self.metric("usher_plugin_refused_files")?;
        ensure!(refused.is_some_and(|count| count > 0), "the refusal is not counted");
        let shown = usher(&["plugins", "--url", self.router.url()], b"")?;
        // The file name is printed separately from the reason.
        let line = reason.lines().next().unwrap_or_default();
        let line = line.trim_start_matches(&file).trim_start_matches([':', ' ']);
        let told = shown.stdout.lines().any(|shown| shown.contains(line) && shown.contains(&file));
        ensure!(told, "`usher plugins` is silent on {line:?}:\n{}", shown.stdout);
        Ok(reason)
    }

    /// Digest of the serving version.
    pub(crate) fn digest(&self, name: &str) -> Result<String> {
        let plugin = self.client().plugin(name)?.with_context(|| format!("no plugin {name}"))?;
        Ok(text(&plugin, "/digest").to_owned())
    }

    /// Removes a plugin's file and waits until the plugin is removed.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let path = self.file(name);
        if fs::symlink_metadata(&path)?.is_dir() {
            fs::remove_dir_all(&path)?;
        } else {
            fs::remove_file(&path)?;
        }
        self.client().wait_for_plugin(name, "removed").map(drop)
    }

    /// Shuts down after all rows and checks that each plugin's failures are shown by `usher
    /// plugins`, nothing panicked, no descriptors leaked, and the router stops cleanly.
    pub(crate) fn strike(self) -> Result<u64> {
        let Self { router, neighbours, failed, descriptors, .. } = self;
        let shown = usher(&["plugins", "--url", router.url()], b"")?;
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for ((name, _), count) in failed.take() {
            *sums.entry(name).or_default() += count;
        }
        for (name, count) in sums {
            let row = shown.stdout.lines().find(|line| line.starts_with(&name));
            let columns = row.unwrap_or_default().split_whitespace();
            let told = columns.into_iter().any(|column| column == count.to_string());
            ensure!(told, "`usher plugins` doesn't show {count} failures of {name}: {shown:?}");
        }
        let events = neighbours.stop()?;
        // Allowance for connections of the harness.
        let slack = 16;
        let open = Holds::of(router.process())?.descriptors;
        ensure!(open <= descriptors + slack, "{open} descriptors, {descriptors} at the start");
        let log = fs::read_to_string(self.folder.root().join("router.log"))?;
        // A panic message is the only output that isn't JSON.
        let other = log.lines().find(|line| !line.starts_with('{'));
        ensure!(other.is_none(), "the host panicked: {other:?}");
        router.stop()?;
        Ok(events)
    }
}

/// Origin of a loopback server under another name that the system knows for such an address.
fn local_origin(server: &Hostile) -> Option<String> {
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let names = hosts.lines().filter_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address: IpAddr = words.next()?.parse().ok()?;
        address.is_loopback().then_some(words)
    });
    let name = names.flatten().find(|name| !name.starts_with("localhost"));
    name.map(|name| format!("http://{name}:{}", server.port()))
}

/// The event type for a plugin.
pub(crate) fn ty(name: &str) -> String {
    format!("hostile.{name}")
}

fn file(folder: &Folder, name: &str) -> PathBuf {
    folder.plugins().join(format!("{name}.wasm"))
}

/// All plugins of these rows, with their names.
fn plugins<'a>(rows: &'a [&'a Row]) -> impl Iterator<Item = (&'a Plugin, String)> {
    rows.iter().flat_map(|row| {
        let plugins = row.trials.iter().flat_map(Trial::plugins);
        plugins.zip(row.names().into_iter().flatten())
    })
}

/// The component of a plugin with this name.
pub(crate) fn build(component: &Component, name: &str) -> Result<Vec<u8>> {
    match component {
        Component::Text(text) => text.build(name),
        Component::Rust => renamed(&fs::read(guest("hostile")?)?, name),
    }
}

/// Patches another name into the guest `hostile`.
fn renamed(component: &[u8], name: &str) -> Result<Vec<u8>> {
    ensure!(name.len() == WRITTEN_OVER.len(), "{name} has another length");
    let mut bytes = component.to_vec();
    let mut found = 0;
    for place in 0..bytes.len() {
        if let Some(here) = bytes.get_mut(place..place + WRITTEN_OVER.len())
            && here == WRITTEN_OVER
        {
            here.copy_from_slice(name.as_bytes());
            found += 1;
        }
    }
    ensure!(found == 1, "the guest `hostile` has its name in {found} places");
    Ok(bytes)
}

/// The delivery of the flow's first event.
pub(crate) fn delivery(flow: &Value) -> Result<&Value> {
    flow.pointer("/events/0/deliveries/0").with_context(|| format!("no delivery: {flow}"))
}

/// The text at this JSON pointer, or an empty string.
pub(crate) fn text<'a>(value: &'a Value, place: &str) -> &'a str {
    value.pointer(place).and_then(Value::as_str).unwrap_or_default()
}
