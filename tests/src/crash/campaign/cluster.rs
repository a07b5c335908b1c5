//! Several nodes of one router on real NATS servers, of which some are killed, stopped and started again
//! under load. Deliveries run on all nodes.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::{PRODUCERS, Scenario, Stage, Summary, WHOLE_ROUNDS, tell};
use crate::artefacts::target_dir;
use crate::crash::load::Answers;
use crate::crash::power::{Disk, clear_leftovers, missing_for_power};
use crate::crash::process::{Process, wait_for};
use crate::crash::seed::Choices;
use crate::crash::world::{Parts, World};
use crate::http::Client;
use crate::nats::NatsServer;
use crate::stand_ins::Relay;

const NODES: usize = 3;
const SERVERS: usize = 3;
/// The stream's name.
const STREAM: &str = "usher";
/// The exit code of an owner that was overtaken.
const EXIT_OVERTAKEN: i32 = 3;
/// How long something is away that comes back by itself.
const AWAY_MAX_MS: u64 = 2_500;

/// What happens to nodes and servers while events are published.
#[derive(Clone, Copy, Debug)]
enum Fault {
    KillOwner,
    KillStandby,
    /// The server that leads the stream.
    KillLeader,
    KillOwnerAndLeader,
    KillServers,
    KillNodes,
    /// Of the disks of all servers; of none where that can't be done.
    CutPower,
    /// Until another has taken over; then it goes on as if nothing had been.
    StopOwner,
    StopStandby,
    /// The path from the owner to all servers, until another has taken over.
    CutOwner,
    CutStandby,
    /// The path from the owner to the stream's leader.
    CutLeader,
    /// By an operator.
    Promote,
    Terminate,
}

impl Fault {
    const ALL: [Self; 14] = [
        Self::KillOwner,
        Self::KillStandby,
        Self::KillLeader,
        Self::KillOwnerAndLeader,
        Self::KillServers,
        Self::KillNodes,
        Self::CutPower,
        Self::StopOwner,
        Self::StopStandby,
        Self::CutOwner,
        Self::CutStandby,
        Self::CutLeader,
        Self::Promote,
        Self::Terminate,
    ];

    fn choose(choices: &mut Choices) -> Self {
        let number = usize::try_from(choices.below(Self::ALL.len() as u64)).unwrap_or_default();
        Self::ALL.get(number).copied().unwrap_or(Self::KillOwner)
    }

    fn describe(self) -> &'static str {
        match self {
            Self::KillOwner => "the owner is killed",
            Self::KillStandby => "a standby is killed",
            Self::KillLeader => "the stream's leader is killed",
            Self::KillOwnerAndLeader => "the owner and the stream's leader are killed",
            Self::KillServers => "all servers are killed",
            Self::KillNodes => "all nodes are killed",
            Self::CutPower => "the power of all servers' disks is cut",
            Self::StopOwner => "the owner is stopped, and goes on once overtaken",
            Self::StopStandby => "a standby is stopped for a while",
            Self::CutOwner => "the owner is cut off until it is overtaken",
            Self::CutStandby => "a standby is cut off for a while",
            Self::CutLeader => "the owner is cut off from the stream's leader",
            Self::Promote => "another node is promoted",
            Self::Terminate => "the owner is stopped in order",
        }
    }
}

/// Runs these rounds with `binary`, by default the one under test, and reports each round through `say`.
///
/// # Errors
/// A check failed or couldn't be made; the error names the round.
pub fn run_cluster(
    seed: u64,
    (binary, server): (Option<&Path>, &Path),
    rounds: impl IntoIterator<Item = u32>,
    mut say: impl FnMut(&str),
) -> Result<Summary> {
    clear_leftovers(&target_dir().join("crash"))?;
    let parts = Parts::gather(binary)?;
    let mut summary = Summary::default();
    let run = || -> Result<()> {
        let mut cluster = Cluster::start(&parts, server, seed)?;
        for round in rounds {
            cluster
                .round(round, &mut summary, &mut say)
                .with_context(|| format!("round {round}"))?;
        }
        cluster.leave(&mut summary)
    };
    run().with_context(|| format!("what it was about lies in {}", parts.root().display()))?;
    parts.remove()?;
    Ok(summary)
}

/// A node that runs.
struct Node {
    process: Process,
    client: Client,
}

struct Cluster<'p> {
    // Fields drop in order: the nodes before their servers.
    nodes: Vec<Node>,
    /// The paths from each node to each server.
    paths: Vec<Vec<Relay>>,
    servers: Vec<NatsServer>,
    /// Those of the servers; none where their power can't be cut.
    disks: Vec<Disk>,
    stage: Stage<'p>,
    _store: TempDir,
}

impl<'p> Cluster<'p> {
    fn start(parts: &'p Parts, server: &Path, seed: u64) -> Result<Self> {
        let store = tempfile::tempdir_in(parts.root())?;
        let mut disks = Vec::new();
        if missing_for_power().is_none() {
            for number in 0..SERVERS {
                let mount = NatsServer::store(store.path(), number);
                fs::create_dir_all(&mount)?;
                let image = store.path().join(format!("disk-{number}.img"));
                disks.push(Disk::image(image, &mount)?);
            }
        }
        let settings = "sync_interval: always";
        let servers = NatsServer::cluster(server, store.path(), settings, SERVERS)?;
        let paths = (0..NODES).map(|_| {
            servers.iter().map(|server| Relay::start(server.address().to_owned())).collect()
        });
        let paths = paths.collect::<Result<Vec<Vec<_>>>>()?;
        let tables = |node: usize| {
            let paths = paths.get(node).into_iter().flatten();
            let urls: Vec<_> = paths.map(|path| format!("nats://{}", path.address())).collect();
            let journal = NatsServer::journal(&urls, &format!("n{node}"), node);
            format!("{journal}takeover_after_ms = 1000\n")
        };
        let world = World::of_nodes(parts, NODES, tables, |_| Ok(None))?;
        let mut cluster = Self {
            nodes: Vec::new(),
            paths,
            servers,
            disks,
            stage: Stage::with(world, parts, seed),
            _store: store,
        };
        for number in 0..NODES {
            let node = cluster.spawn(number)?;
            cluster.nodes.push(node);
        }
        Ok(cluster)
    }

    fn spawn(&self, number: usize) -> Result<Node> {
        let process = self.stage.world.spawn_node(number)?;
        let client = process.listening()?;
        Ok(Node { process, client })
    }

    fn node(&mut self, number: usize) -> Result<&mut Node> {
        self.nodes.get_mut(number).context("no such node")
    }

    /// The number of the node that is the router, once one is.
    fn owner(&self) -> Result<usize> {
        wait_for("a node to be ready", || {
            Ok(self.nodes.iter().position(|node| node.client.is_ready()))
        })
        .with_context(|| self.tails())
    }

    fn tails(&self) -> String {
        let tails = self.nodes.iter().map(|node| node.process.tail(12));
        tails.collect::<Vec<_>>().join("\n---\n")
    }

    /// The number of the server that leads the stream.
    fn leader(&self) -> Result<usize> {
        wait_for("a leader of the stream", || {
            Ok(self.servers.iter().position(|server| server.leads(STREAM)))
        })
    }

    fn round(
        &mut self,
        round: u32,
        summary: &mut Summary,
        say: &mut impl FnMut(&str),
    ) -> Result<()> {
        let start = Instant::now();
        let mut scenario = Scenario::of(self.stage.seed, round);
        let fault = Fault::choose(&mut scenario.choices);
        let shown = fault.describe();
        let (acknowledged, checked) = self.play(&mut scenario, fault).context(shown)?;
        self.stage.rounds += 1;
        if self.stage.rounds.is_multiple_of(WHOLE_ROUNDS) {
            let owner = self.owner()?;
            let client = self.node(owner)?.client.clone();
            self.stage.check_whole(&client)?;
        }
        summary.faults += 1;
        say(&summary.add(round, shown, &scenario, (acknowledged, checked), start));
        Ok(())
    }

    /// Plays a round to the end; returns the number of events acknowledged without being sent again, and
    /// the number checked.
    fn play(&mut self, scenario: &mut Scenario, fault: Fault) -> Result<(usize, usize)> {
        let mut problems = Vec::new();
        let answers = Answers::default();
        let requests: usize = scenario.producers.iter().map(Vec::len).sum();
        let before = usize::try_from(scenario.choices.below(requests as u64)).unwrap_or_default();
        let clients: Vec<_> = self.nodes.iter().map(|node| node.client.clone()).collect();
        // In some rounds a payment is under way when it happens.
        self.stage.world.gateway.hold();
        thread::scope(|scope| -> Result<()> {
            for (number, requests) in scenario.producers.iter().enumerate() {
                let (answers, clients) = (&answers, &clients);
                scope.spawn(move || answers.produce_at_any(clients, number, requests));
            }
            answers.wait_for(before, PRODUCERS);
            let caused = self.cause(fault, &mut scenario.choices, &mut problems);
            // Also on error: the producers wait for what follows.
            self.stage.world.gateway.release();
            caused
        })?;
        let answers = answers.into_answers();
        for answer in &answers {
            problems.extend(self.stage.model.acknowledge(&answer.receipt));
        }
        let mut owner = self.revive(&mut problems)?;
        let new = loop {
            let Node { process, client } = self.nodes.get(owner).context("no such node")?;
            let error = match self.stage.settled(process, client, scenario, &mut problems) {
                Ok(new) => break new,
                Err(error) => error,
            };
            // On a busy machine another may have taken the owner for gone.
            let now = self.revive(&mut problems)?;
            if std::mem::replace(&mut owner, now) == now {
                return Err(error);
            }
        };
        let client = self.node(owner)?.client.clone();
        let checked = self.stage.compare(&client, scenario, &new, &mut problems)?;
        problems.extend(self.nodes.iter().filter_map(|node| node.process.panic()));
        tell(&problems).with_context(|| self.tails())?;
        Ok((answers.len(), checked))
    }

    fn cause(
        &mut self,
        fault: Fault,
        choices: &mut Choices,
        problems: &mut Vec<String>,
    ) -> Result<()> {
        let away = Duration::from_millis(choices.below(AWAY_MAX_MS));
        let owner = self.owner()?;
        let other = (owner + 1 + usize::try_from(choices.below(2))?) % NODES;
        match fault {
            Fault::KillOwner => self.kill(owner),
            Fault::KillStandby => self.kill(other),
            Fault::KillNodes => (0..NODES).try_for_each(|number| self.kill(number)),
            Fault::KillLeader => self.kill_leader(away),
            Fault::KillOwnerAndLeader => {
                self.kill(owner)?;
                self.kill_leader(away)
            }
            Fault::KillServers | Fault::CutPower => {
                if matches!(fault, Fault::CutPower) {
                    // No call is in flight, so everything acknowledged must be there.
                    self.servers.iter().try_for_each(NatsServer::freeze)?;
                    self.disks.iter().try_for_each(Disk::cut)?;
                }
                self.servers.iter_mut().try_for_each(NatsServer::kill)?;
                if matches!(fault, Fault::CutPower) {
                    self.disks.iter_mut().try_for_each(Disk::restore)?;
                }
                thread::sleep(away);
                self.servers.iter_mut().try_for_each(NatsServer::start_again)
            }
            Fault::StopOwner => {
                self.node(owner)?.process.freeze()?;
                self.until_overtaken(owner)?;
                self.node(owner)?.process.thaw()?;
                self.overtaken(owner, problems)
            }
            Fault::CutOwner => {
                self.paths_of(owner).for_each(Relay::cut);
                self.until_overtaken(owner)?;
                self.paths_of(owner).for_each(Relay::mend);
                self.overtaken(owner, problems)
            }
            Fault::CutStandby => {
                self.paths_of(other).for_each(Relay::cut);
                thread::sleep(away);
                self.paths_of(other).for_each(Relay::mend);
                Ok(())
            }
            Fault::CutLeader => {
                let leader = self.leader()?;
                let path = self.paths_of(owner).nth(leader).context("no such path")?;
                path.cut();
                thread::sleep(away);
                path.mend();
                Ok(())
            }
            Fault::StopStandby => {
                self.node(other)?.process.freeze()?;
                thread::sleep(away);
                self.node(other)?.process.thaw()
            }
            Fault::Promote => {
                // It may not have been heard yet, or be gone by then: nothing changes then.
                let _ = self.node(owner)?.client.post(&format!("/nodes/n{other}/promote"));
                Ok(())
            }
            Fault::Terminate => {
                self.node(owner)?.process.terminate()?;
                let status = self.node(owner)?.process.exited()?;
                if !status.success() {
                    problems.push(format!("an owner that was stopped ended with {status}"));
                }
                Ok(())
            }
        }
    }

    fn paths_of(&self, node: usize) -> impl Iterator<Item = &Relay> {
        self.paths.get(node).into_iter().flatten()
    }

    /// Waits until another node is the router. What is asked of the one before isn't answered meanwhile.
    fn until_overtaken(&self, owner: usize) -> Result<()> {
        wait_for("another to take over", || {
            let is_ready =
                |(number, node): (usize, &Node)| number != owner && node.client.is_ready();
            Ok(self.nodes.iter().enumerate().any(is_ready).then_some(()))
        })
        .with_context(|| self.tails())
    }

    /// Waits until an owner that was overtaken has found out and ended.
    fn overtaken(&mut self, owner: usize, problems: &mut Vec<String>) -> Result<()> {
        let status = self.node(owner)?.process.exited()?;
        if status.code() != Some(EXIT_OVERTAKEN) {
            problems.push(format!("an owner that was overtaken ended with {status}"));
        }
        Ok(())
    }

    fn kill(&mut self, number: usize) -> Result<()> {
        self.node(number)?.process.kill().map(drop)
    }

    fn kill_leader(&mut self, away: Duration) -> Result<()> {
        let leader = self.leader()?;
        let server = self.servers.get_mut(leader).context("no such server")?;
        server.kill()?;
        thread::sleep(away);
        server.start_again()
    }

    /// Starts nodes that have ended until all agree on one that is the router; returns its number.
    fn revive(&mut self, problems: &mut Vec<String>) -> Result<usize> {
        let agreed = wait_for("all nodes to agree on an owner", || {
            self.start_ended(problems)?;
            Ok(self.agreed())
        });
        agreed.with_context(|| self.tails())
    }

    /// The number of the node that is the router, if the others say so, too.
    fn agreed(&self) -> Option<usize> {
        let answers = self.nodes.iter().map(|node| node.client.get("/plugins").ok());
        let owners: Option<Vec<_>> = answers
            .map(|answer| {
                let answer = answer.filter(|answer| answer.status == 200)?;
                Some(answer.header("usher-owner").map(str::to_owned))
            })
            .collect();
        let owners = owners?;
        let owner = owners.iter().position(Option::is_none)?;
        let name = Some(format!("n{owner}"));
        let is_agreed = |(number, told): (usize, &Option<String>)| number == owner || *told == name;
        owners.iter().enumerate().all(is_agreed).then_some(owner)
    }

    /// Starts nodes that have ended.
    fn start_ended(&mut self, problems: &mut Vec<String>) -> Result<()> {
        for number in 0..NODES {
            let node = self.node(number)?;
            let Some(status) = node.process.ended()? else { continue };
            let is_expected = status.success()
                || status.code().is_none()
                || status.code() == Some(EXIT_OVERTAKEN);
            if !is_expected {
                problems.push(format!("node {number} ended with {status}:\n{}", self.tails()));
            }
            let node = self.spawn(number)?;
            *self.node(number)? = node;
        }
        Ok(())
    }

    /// Checks the whole log and stops all nodes in an orderly way, the owner last.
    fn leave(mut self, summary: &mut Summary) -> Result<()> {
        let owner = self.owner()?;
        let client = self.node(owner)?.client.clone();
        self.stage.check_whole(&client).context("at the end")?;
        let mut nodes = std::mem::take(&mut self.nodes);
        let last = nodes.len().saturating_sub(1);
        nodes.swap(owner, last);
        for mut node in nodes {
            node.process.terminate()?;
            let status = node.process.exited()?;
            let tail = || node.process.tail(20);
            anyhow::ensure!(status.success(), "the last stop: {status}\n{}", tail());
        }
        self.stage.count_repeated(summary);
        Ok(())
    }
}
