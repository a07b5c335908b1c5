//! The nodes of a router whose journal is on JetStream, as the owner has them.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use usher_api::{self as api, NodePlugin, NodeState, PluginState};
use usher_broker::{Broker, NodeChange, StateVersion};
use usher_executors::{NodeStatus, Nodes};
use usher_jetstream::{Inbox, JetStreamJournal, LinkError};
use usher_journal::Journal as _;
use usher_plugins::PluginRecords;

/// Why a node isn't changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    /// It was never heard.
    #[error("no node {0} was heard; see `usher nodes`")]
    Unknown(String),
    /// It is not in the state for that.
    #[error("{0}")]
    Conflict(String),
    /// It doesn't answer.
    #[error("node {node} doesn't do it: {reason}")]
    Unanswered { node: String, reason: String },
}

/// The owner, and the nodes that it hears.
pub(crate) struct Cluster {
    journal: Arc<JetStreamJournal>,
    nodes: Arc<Nodes>,
    /// Turns true when this node is to leave the journal to another.
    is_leaving: watch::Sender<bool>,
    /// When this node has become the owner.
    since: Instant,
}

/// Within which time each node that is there has told something.
const HEARD_WITHIN: Duration = Duration::from_secs(2);

/// How often it is looked whether one was heard.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Cluster {
    /// Of the owner of `journal`. What nodes are asked aside runs on `executor`.
    pub(crate) fn new(
        journal: Arc<JetStreamJournal>,
        broker: &dyn Broker,
        executor: Handle,
    ) -> Arc<Self> {
        let (state, end) = (broker.state(), Arc::clone(&journal));
        let committed = move || {
            // In this order: what has a version is in the journal already.
            let version = state.version();
            StateVersion { epoch: end.epoch(), version, position: end.end() }
        };
        let link = Arc::new(journal.link());
        let nodes = Nodes::new(link, broker.blobs(), executor, committed);
        let (is_leaving, since) = (watch::Sender::new(false), Instant::now());
        Arc::new(Self { journal, nodes, is_leaving, since })
    }

    /// The journal that they share.
    pub(crate) fn journal(&self) -> &Arc<JetStreamJournal> {
        &self.journal
    }

    /// The other nodes.
    pub(crate) fn nodes(&self) -> &Arc<Nodes> {
        &self.nodes
    }

    /// All nodes: this one with the plugins that serve, then the others.
    pub(crate) fn status(&self, plugins: &[api::Plugin]) -> Vec<api::Node> {
        let end = self.journal.end();
        let serving = plugins.iter().filter(|plugin| plugin.state == PluginState::Serving);
        let serving = serving.filter_map(|plugin| {
            Some(NodePlugin { name: plugin.name.clone()?, digest: plugin.digest?, problem: None })
        });
        let owner = api::Node {
            name: self.journal.node().to_owned(),
            state: NodeState::Owner,
            version: usher_executors::VERSION.to_owned(),
            url: self.journal.url().map(str::to_owned),
            epoch: Some(self.journal.epoch()),
            position: end,
            behind: 0,
            heard_ms: 0,
            running: 0,
            handled: 0,
            given_up: 0,
            plugins: serving.collect(),
        };
        let others = self.nodes.status().into_iter().map(|node| project(node, end));
        std::iter::once(owner).chain(others).collect()
    }

    /// Whether a change can be made. Right after a takeover nodes may not have been heard yet.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub(crate) async fn check(&self, name: &str, change: NodeChange) -> Result<(), NodeError> {
        loop {
            match self.check_now(name, change) {
                Err(NodeError::Unknown(_)) if self.since.elapsed() < HEARD_WITHIN => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                checked => return checked,
            }
        }
    }

    fn check_now(&self, name: &str, change: NodeChange) -> Result<(), NodeError> {
        if name == self.journal.node() {
            let what = match change {
                NodeChange::Promote => format!("{name} owns the journal"),
                NodeChange::Drain | NodeChange::Resume => format!(
                    "{name} owns the journal; have another node take over first: usher nodes promote NODE"
                ),
            };
            return Err(NodeError::Conflict(what));
        }
        let nodes = self.nodes.status();
        let node = nodes.iter().find(|node| node.report.node == name);
        let node = node.ok_or_else(|| NodeError::Unknown(name.to_owned()))?;
        if !node.is_there {
            let heard_s = node.heard.as_secs();
            let what = format!("{name} was heard {heard_s} s ago, and not since");
            return Err(NodeError::Conflict(what));
        }
        Ok(())
    }

    /// Makes a change that was checked.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub(crate) async fn change(&self, name: &str, change: NodeChange) -> Result<(), NodeError> {
        let is_drained = match change {
            NodeChange::Drain => true,
            NodeChange::Resume => false,
            NodeChange::Promote => {
                self.journal.leave_to(name);
                self.is_leaving.send_replace(true);
                return Ok(());
            }
        };
        let drained = self.nodes.drain(name, is_drained).await;
        drained.map_err(|reason| NodeError::Unanswered { node: name.to_owned(), reason })
    }

    /// Waits until this node is to leave the journal to another.
    pub(crate) async fn until_leaving(&self) {
        let mut is_leaving = self.is_leaving.subscribe();
        // The sender is this one's.
        let _ = is_leaving.wait_for(|is_leaving| *is_leaving).await;
    }

    /// Hears what nodes tell, and hands out components. Never returns.
    pub(crate) async fn run(&self, records: Arc<PluginRecords>) -> Infallible {
        match tokio::try_join!(self.hear(), self.answer(records)) {
            Ok((never, _)) => match never {},
            Err(error) => {
                tracing::error!(%error, "other nodes can't be heard: plugins run on this one only");
                pending().await
            }
        }
    }

    async fn hear(&self) -> Result<Infallible, LinkError> {
        let mut told = self.journal.link().told().await?;
        loop {
            self.nodes.heard(&next(&mut told).await.asked);
        }
    }

    async fn answer(&self, records: Arc<PluginRecords>) -> Result<Infallible, LinkError> {
        let mut questions = self.journal.link().questions().await?;
        loop {
            let question = next(&mut questions).await;
            let (records, asked) = (Arc::clone(&records), question.asked.clone());
            // One after the other: nodes wait for parts of components, and for nothing else.
            let answer = spawn_blocking(move || {
                Nodes::answer(&asked, |plugin, digest| records.kept(plugin, digest))
            });
            if let Ok(answer) = answer.await {
                // Who hears nothing asks again.
                let _ = question.answer(answer).await;
            }
        }
    }
}

fn project(node: NodeStatus, end: u64) -> api::Node {
    let NodeStatus { report, heard, is_there, running, handled, given_up } = node;
    let state = match (is_there, report.is_drained) {
        (false, _) => NodeState::Silent,
        (true, true) => NodeState::Drained,
        (true, false) => NodeState::Standby,
    };
    let plugins = report.plugins.into_iter().map(|there| NodePlugin {
        name: there.plugin,
        digest: there.digest,
        problem: there.problem,
    });
    api::Node {
        name: report.node,
        state,
        version: report.version,
        url: report.introduction.url,
        epoch: None,
        position: report.position,
        behind: end.saturating_sub(report.position),
        heard_ms: usher_event::millis(heard),
        running,
        handled,
        given_up,
        plugins: plugins.collect(),
    }
}

/// The next message. The connection is closed for good only when the journal is.
async fn next(inbox: &mut Inbox) -> usher_jetstream::Question {
    match inbox.next().await {
        Some(message) => message,
        None => pending().await,
    }
}
