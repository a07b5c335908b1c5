//! The owner's view of the other nodes: what they tell, and which of them gets a delivery.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle as Tasks;
use tokio::time::Instant;
use usher_access::TokenHash;
use usher_broker::StateVersion;
use usher_event::{BlobStore, Delivery, Digest, Outcome, PluginName};
use usher_jetstream::{LinkError, is_name};

use crate::link::Asks;
use crate::report::{EVERY, PluginThere, Report, SILENT_AFTER};
use crate::wire::{Answered, Asked, Handle, PluginVersion, Refused, decode, encode};

/// Maximum nodes beside the owner.
pub const NODES_MAX: usize = 64;

/// A node that couldn't handle a delivery of a plugin gets none of it for so long.
const REST: Duration = Duration::from_secs(1);

/// A node that was asked to prepare a plugin is asked again after this, if it says nothing of it.
const PREPARE_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Bytes of a component handed out at once, at most.
const PART_MAX_BYTES: u64 = 256 * 1_024;

/// A plugin whose deliveries a node could have had is wanted there for so long.
const WANTED_FOR: Duration = Duration::from_secs(60);

/// Versions of a plugin that were wanted within this are all in use.
const LAST_WITHIN: Duration = Duration::from_secs(2);

/// How long a short answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an outcome may take beyond the plugin's own deadlines.
const OUTCOME_MARGIN: Duration = Duration::from_secs(5);

/// Bytes of a delivery besides its event.
const HANDLE_MAX_BYTES: usize = 1_024;

/// A delivery that a node leaves out of so many reports in turn is lost.
const REPORTS_WITHOUT_MAX: u32 = 2;

/// How often it is looked whether a node that was asked still tells something.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The other nodes, as their owner knows them.
pub struct Nodes {
    link: Arc<dyn Asks>,
    /// What the owner has committed by now.
    committed: Box<dyn Fn() -> StateVersion + Send + Sync>,
    blobs: Arc<dyn BlobStore>,
    /// Runs questions whose answers aren't needed.
    tasks: Tasks,
    /// Counts deliveries that were handed over.
    next: AtomicU64,
    known: Mutex<BTreeMap<String, Node>>,
}

struct Node {
    report: Report,
    heard: Instant,
    running: u64,
    handled: u64,
    given_up: u64,
    plugins: BTreeMap<PluginVersion, Share>,
}

/// A node's share of a plugin's deliveries.
#[derive(Default)]
struct Share {
    running: u64,
    /// It gets none until then.
    rests_until: Option<Instant>,
    /// When it was asked to have it ready.
    asked: Option<Instant>,
    /// When it would have got some.
    wanted: Option<Instant>,
}

/// A node, as the owner knows it.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// What it told last.
    pub report: Report,
    /// How long ago that was.
    pub heard: Duration,
    /// Whether it is taken to be there.
    pub is_there: bool,
    /// Deliveries that it handles for this owner now.
    pub running: u64,
    /// Deliveries that it has handled for this owner.
    pub handled: u64,
    /// Deliveries that this owner gave to it and handled itself in the end.
    pub given_up: u64,
}

/// Why a node's outcome can't be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error("{0}")]
    Link(#[from] LinkError),
    #[error("{0}")]
    Refused(#[from] Refused),
    #[error("it fell silent")]
    Silent,
    #[error("it doesn't know of it: the question or the answer was lost")]
    Lost,
    #[error("{0}")]
    Unreadable(String),
}

/// A delivery that a node handles. Dropping it ends its share.
pub(crate) struct Handover {
    nodes: Arc<Nodes>,
    pub(crate) node: String,
    version: PluginVersion,
}

impl Drop for Handover {
    fn drop(&mut self) {
        self.nodes.with(&self.node, |node| {
            node.running = node.running.saturating_sub(1);
            let share = node.plugins.entry(self.version.clone()).or_default();
            share.running = share.running.saturating_sub(1);
        });
    }
}

impl Nodes {
    /// None yet. `committed` is asked with each delivery; `tasks` runs what is asked aside.
    pub fn new(
        link: Arc<dyn Asks>,
        blobs: Arc<dyn BlobStore>,
        tasks: Tasks,
        committed: impl Fn() -> StateVersion + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (committed, known) = (Box::new(committed), Mutex::default());
        Arc::new(Self { link, committed, blobs, tasks, next: AtomicU64::new(0), known })
    }

    /// Takes in what a node tells.
    pub fn heard(&self, told: &[u8]) {
        let Some(report) = Report::read(told) else { return };
        if report.node == self.link.node() || !is_name(&report.node) {
            return;
        }
        let heard = Instant::now();
        let mut known = self.known();
        if let Some(node) = known.get_mut(&report.node) {
            // Versions that it has no more, and that it isn't asked for.
            node.plugins.retain(|version, share| {
                let is_wanted = share.wanted.is_some_and(|wanted| wanted + WANTED_FOR > heard);
                share.running > 0 || is_wanted || report.knows(version)
            });
            (node.report, node.heard) = (report, heard);
            return;
        }
        if known.len() >= NODES_MAX {
            known.retain(|_, node| node.is_there(heard));
        }
        if known.len() < NODES_MAX {
            tracing::info!(node = report.node, "a node follows");
            let (running, handled, given_up, plugins) = (0, 0, 0, BTreeMap::new());
            let node = Node { heard, running, handled, given_up, plugins, report };
            known.insert(node.report.node.clone(), node);
        }
    }

    /// All nodes that were heard, by name.
    pub fn status(&self) -> Vec<NodeStatus> {
        let now = Instant::now();
        let status = |node: &Node| {
            let mut report = node.report.clone();
            report.plugins.retain(|there| node.wants(there, now));
            NodeStatus {
                report,
                heard: now.saturating_duration_since(node.heard),
                is_there: node.is_there(now),
                running: node.running,
                handled: node.handled,
                given_up: node.given_up,
            }
        };
        self.known().values().map(status).collect()
    }

    /// Whether this is the hash of a node's secret. Also of one that is silent, as all are while NATS is away:
    /// a secret stays its process's own until the next one tells another hash.
    pub fn authenticates(&self, secret: &TokenHash) -> bool {
        let is_its = |node: &Node| node.report.introduction.secret_hash.as_ref() == Some(secret);
        self.known().values().any(is_its)
    }

    /// Has a node take no deliveries, or take them again.
    ///
    /// # Errors
    /// It isn't there, or doesn't answer.
    pub async fn drain(&self, node: &str, is_drained: bool) -> Result<(), String> {
        let answer = self.ask(node, &Asked::Drain(is_drained), ANSWER_TIMEOUT).await;
        match answer.map_err(|error| error.to_string())? {
            Answered::Done => {
                self.with(node, |node| node.report.is_drained = is_drained);
                Ok(())
            }
            Answered::Refused(refused) => Err(refused.to_string()),
            _ => Err("it answered something else".to_owned()),
        }
    }

    /// Whether a delivery fits into a message.
    pub(crate) fn fits(&self, delivery: &Delivery) -> bool {
        delivery.event.encoded().len() + HANDLE_MAX_BYTES <= self.link.message_max_bytes()
    }

    /// How many nodes have this version ready. Asks the others to prepare it.
    pub(crate) fn ready(self: &Arc<Self>, version: &PluginVersion) -> usize {
        let now = Instant::now();
        let mut ready = 0;
        for (name, node) in &mut *self.known() {
            if !node.is_there(now) || node.report.is_drained {
                continue;
            }
            let share = node.plugins.entry(version.clone()).or_default();
            share.wanted = Some(now);
            if node.report.has(version) {
                ready += 1;
            } else if !node.report.knows(version)
                && share.asked.is_none_or(|asked| asked + PREPARE_AGAIN_AFTER < now)
            {
                share.asked = Some(now);
                self.prepare(name.clone(), version.clone());
            }
        }
        ready
    }

    fn prepare(self: &Arc<Self>, node: String, version: PluginVersion) {
        let this = Arc::clone(self);
        self.tasks.spawn(async move {
            let asked = Asked::Prepare { version, from: this.link.node().to_owned() };
            if let Err(error) = this.ask(&node, &asked, ANSWER_TIMEOUT).await {
                tracing::debug!(node, %error, "a node doesn't prepare a plugin");
            }
        });
    }

    /// The node that gets the next delivery of a plugin: the one with the least of them, if it has fewer
    /// than `max`.
    pub(crate) fn choose(self: &Arc<Self>, version: &PluginVersion, max: u64) -> Option<Handover> {
        let now = Instant::now();
        let mut known = self.known();
        let running = |node: &Node| node.plugins.get(version).map_or(0, |share| share.running);
        let rests = |node: &Node| {
            let until = node.plugins.get(version).and_then(|share| share.rests_until);
            until.is_some_and(|until| until > now)
        };
        let candidates = known
            .iter_mut()
            .filter(|(_, node)| node.is_there(now) && node.report.has(version) && !rests(node));
        let (name, node) = candidates.min_by_key(|(_, node)| running(node))?;
        if running(node) >= max {
            return None;
        }
        node.running += 1;
        node.plugins.entry(version.clone()).or_default().running += 1;
        Some(Handover { nodes: Arc::clone(self), node: name.clone(), version: version.clone() })
    }

    /// Has a node handle a delivery; gives it up once it falls silent.
    pub(crate) async fn handle(
        &self,
        handover: &Handover,
        delivery: &Delivery,
        deadline: Duration,
    ) -> Result<Outcome, Unanswered> {
        let committed = (self.committed)();
        // Of the owner before, too, a node may still have some.
        let number = (committed.epoch << 40) + self.next.fetch_add(1, Ordering::Relaxed);
        let handle = Handle::new(handover.version.clone(), number, committed, delivery);
        let asked = Asked::Handle(Box::new(handle));
        let answer = tokio::select! {
            // It may wait there for the one before it.
            answer = self.ask(&handover.node, &asked, deadline * 2 + OUTCOME_MARGIN) => answer,
            error = self.until_lost(&handover.node, number) => Err(error),
        };
        let outcome = match answer {
            Ok(Answered::Outcome { outcome, staged }) => self.stage(*outcome, staged).await,
            Ok(Answered::Refused(refused)) => Err(refused.into()),
            Ok(_) => Err(Unanswered::Unreadable("it answered something else".to_owned())),
            Err(error) => Err(error),
        };
        self.with(&handover.node, |node| match &outcome {
            Ok(_) => node.handled += 1,
            Err(error) => {
                node.given_up += 1;
                // What is too large is that of any node.
                let is_nodes = !matches!(error, Unanswered::Link(LinkError::TooLarge { .. }));
                let share = node.plugins.entry(handover.version.clone()).or_default();
                share.rests_until = is_nodes.then(|| Instant::now() + REST);
            }
        });
        outcome
    }

    /// Stages the content of blobs that a node handed back, as if they had been put here.
    async fn stage(&self, mut outcome: Outcome, staged: Vec<Bytes>) -> Result<Outcome, Unanswered> {
        if staged.is_empty() {
            return Ok(outcome);
        }
        let blobs = Arc::clone(&self.blobs);
        let staging = tokio::task::spawn_blocking(move || {
            staged.iter().map(|content| blobs.write(content)).collect::<Result<Vec<_>, _>>()
        });
        let failed = |error: String| Unanswered::Refused(Refused::Failed(error));
        let staged = staging.await.map_err(|error| failed(error.to_string()))?;
        outcome.effects.staged = staged.map_err(|error| failed(error.to_string()))?;
        Ok(outcome)
    }

    /// Waits until nothing has been heard of a node for a while, or it no longer has a delivery.
    async fn until_lost(&self, name: &str, number: u64) -> Unanswered {
        // What it told before it can have had the question says nothing.
        let (mut known_of, mut without) = (Instant::now() + EVERY, 0);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let known = self.known();
            let now = Instant::now();
            let Some(node) = known.get(name).filter(|node| node.is_there(now)) else {
                return Unanswered::Silent;
            };
            if node.heard <= known_of {
                continue;
            }
            known_of = node.heard;
            without = if node.report.running.contains(&number) { 0 } else { without + 1 };
            // An answer comes before what is told without the delivery, and may still wait to be read.
            if without == REPORTS_WITHOUT_MAX {
                return Unanswered::Lost;
            }
        }
    }

    async fn ask(
        &self,
        node: &str,
        asked: &Asked,
        timeout: Duration,
    ) -> Result<Answered, Unanswered> {
        let asked = encode(asked).map_err(Unanswered::Unreadable)?;
        let answer = self.link.ask(node, asked, timeout).await?;
        decode(&answer).map_err(Unanswered::Unreadable)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Node>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with(&self, node: &str, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.known().get_mut(node) {
            change(node);
        }
    }

    /// Answers a question of another node: for a component, which is in the file that `component` finds.
    /// Blocks on the disk.
    pub fn answer(
        question: &[u8],
        component: impl FnOnce(&PluginName, Digest) -> Option<PathBuf>,
    ) -> Bytes {
        let answered = match decode(question) {
            Ok(Asked::Component { plugin, digest, offset, max_bytes }) => {
                let part = component(&plugin, digest).map(|file| part(&file, offset, max_bytes));
                match part.unwrap_or_else(|| Err(ErrorKind::NotFound.into())) {
                    Ok((total_bytes, part)) => Answered::Part { total_bytes, part },
                    Err(error) => Answered::Refused(Refused::Failed(error.to_string())),
                }
            }
            Ok(_) => Answered::Refused(Refused::Failed("it owns the journal".to_owned())),
            Err(reason) => Answered::Refused(Refused::Failed(reason)),
        };
        encode(&answered).unwrap_or_default()
    }
}

/// How many bytes a file has, and some of them.
fn part(file: &Path, offset: u64, max_bytes: u64) -> io::Result<(u64, Bytes)> {
    let mut file = File::open(file)?;
    let total_bytes = file.metadata()?.len();
    file.seek(SeekFrom::Start(offset))?;
    let mut part = Vec::new();
    file.take(max_bytes.min(PART_MAX_BYTES)).read_to_end(&mut part)?;
    Ok((total_bytes, part.into()))
}

impl Node {
    /// Whether a plugin is ready there, or its problem is one that matters now.
    fn wants(&self, there: &PluginThere, now: Instant) -> bool {
        // Of two versions on trial both are wanted; of settings that were taken back, the later.
        let of_plugin = self.plugins.iter().filter(|(version, _)| version.plugin == there.plugin);
        let last = of_plugin.filter_map(|(_, share)| share.wanted).max();
        let of_version = |(version, share): (&PluginVersion, &Share)| {
            let wanted = share.wanted.filter(|wanted| *wanted + WANTED_FOR > now);
            version.is(there) && wanted.is_some_and(|wanted| Some(wanted + LAST_WITHIN) > last)
        };
        there.problem.is_none() || self.plugins.iter().any(of_version)
    }

    fn is_there(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard) < SILENT_AFTER
    }
}

impl std::fmt::Debug for Nodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nodes").field("node", &self.link.node()).finish_non_exhaustive()
    }
}
