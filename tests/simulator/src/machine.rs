//! Where the broker runs: on one node with a journal of its own, or on several that share one, of which
//! another takes over whenever the owner is gone, or is taken for gone.

use std::sync::{Arc, Mutex, PoisonError};

use usher_broker::Options;
use usher_broker::stepped::{Stepped, SteppedTables};
use usher_event::Event;
use usher_jetstream::{JetStreamJournal, JetStreamOptions};
use usher_journal::{Journal, JournalError, MemoryJournal, Replica};

use super::random::Random;
use super::servers::{Connection, ID, Servers};

/// Nodes of a router.
const NODES: usize = 3;

/// Tries to take over that may fail.
const FAULTY_TRIES: u32 = 5;

/// The source of what an owner that was overtaken publishes.
pub(crate) const OVERTAKEN: &str = "/overtaken";

/// The longest parts of records, bytes, where they have several.
const PART_MAX_BYTES: usize = 400;

pub(crate) struct Machine {
    options: Options,
    nodes: Nodes,
}

enum Nodes {
    One { journal: MemoryJournal, tables: SteppedTables },
    Several(Box<Cluster>),
}

impl Machine {
    pub(crate) fn new(options: Options, random: &mut Random) -> Self {
        let nodes = if !random.once_in(4) {
            let part_max_bytes = if random.once_in(2) { PART_MAX_BYTES } else { usize::MAX };
            Nodes::Several(Box::new(Cluster::new(part_max_bytes)))
        } else {
            Nodes::One { journal: MemoryJournal::default(), tables: SteppedTables::default() }
        };
        Self { options, nodes }
    }

    /// Starts the broker.
    pub(crate) fn start(&mut self, random: &mut Random, now_ms: u64) -> Stepped {
        self.open(random, 0, now_ms)
    }

    /// A crash and a restart, or another node that takes over.
    pub(crate) fn restart(&mut self, broker: &mut Stepped, random: &mut Random, now_ms: u64) {
        let floor = broker.floor();
        let overtaken = match &mut self.nodes {
            Nodes::One { journal, tables } => {
                crash(broker, journal, tables, random);
                None
            }
            Nodes::Several(cluster) => cluster.lose_owner(broker, random),
        };
        let before = std::mem::replace(broker, self.open(random, floor, now_ms));
        if let (Some(journal), Nodes::Several(cluster)) = (overtaken, &mut self.nodes) {
            cluster.overtaken = Some((journal, before));
        }
    }

    fn open(&mut self, random: &mut Random, floor: u64, now_ms: u64) -> Stepped {
        match &mut self.nodes {
            Nodes::One { journal, tables } => {
                let journal: Arc<dyn Journal> = Arc::new(journal.clone());
                let at = (random.next(), now_ms);
                Stepped::open(&journal, tables, &self.options, floor, at).expect("it opens")
            }
            Nodes::Several(cluster) => cluster.take_over(&self.options, random, floor, now_ms),
        }
    }

    /// Lets the next commit come to an end that nobody learns.
    pub(crate) fn cut_off_owner(&self) {
        if let Nodes::Several(cluster) = &self.nodes {
            cluster.servers.cut_off(cluster.owner);
        }
    }

    /// What goes on beside the owner.
    pub(crate) fn step(&mut self, random: &mut Random, now_ms: u64) {
        if let Nodes::Several(cluster) = &mut self.nodes {
            cluster.step(random, now_ms);
        }
    }

    /// How many faults the servers made.
    pub(crate) fn faults(&self) -> usize {
        match &self.nodes {
            Nodes::One { .. } => 0,
            Nodes::Several(cluster) => cluster.servers.faults(),
        }
    }

    pub(crate) fn check(&self) {
        if let Nodes::Several(cluster) = &self.nodes {
            cluster.servers.check();
        }
    }
}

/// A crash before or after tables were checkpointed, or while a commit was appended.
fn crash(
    broker: &Stepped,
    journal: &MemoryJournal,
    tables: &mut SteppedTables,
    random: &mut Random,
) {
    if random.once_in(5) {
        broker.compact();
    }
    match random.below(4) {
        0 => broker.checkpoint(),
        1 => {
            journal.fail_next_sync();
            broker.fail_to_commit();
        }
        _ => {}
    }
    journal.crash(0);
    tables.crash();
    if random.once_in(3) {
        *tables = SteppedTables::default();
    }
}

/// The nodes of a router, and the servers that keep its journal.
struct Cluster {
    servers: Servers,
    part_max_bytes: usize,
    nodes: [Node; NODES],
    owner: usize,
    /// The last owner, which doesn't know that it is none any more.
    overtaken: Option<(Arc<JetStreamJournal<Connection>>, Stepped)>,
}

/// A node; its files outlive it.
#[derive(Default)]
struct Node {
    journal: Option<Arc<JetStreamJournal<Connection>>>,
    replica: Arc<Mutex<Option<MemoryJournal>>>,
    tables: SteppedTables,
}

impl Node {
    fn files(&self) -> Option<MemoryJournal> {
        self.replica.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Some of what isn't synced is lost, or the disk.
    fn crash(&mut self, random: &mut Random) {
        self.journal = None;
        if random.once_in(8) {
            *self = Self::default();
        } else if let Some(replica) = self.files() {
            replica.crash(random.below(4) as u64);
            self.tables.crash();
        }
    }
}

impl Cluster {
    fn new(part_max_bytes: usize) -> Self {
        let nodes = std::array::from_fn(|_| Node::default());
        Self { servers: Servers::new(), part_max_bytes, nodes, owner: 0, overtaken: None }
    }

    /// The journal of a node, which is opened if it isn't.
    fn journal(&mut self, number: usize) -> Arc<JetStreamJournal<Connection>> {
        if let Some(journal) = &self.nodes[number].journal {
            return Arc::clone(journal);
        }
        let files = Arc::clone(&self.nodes[number].replica);
        let replica = move |of: usher_journal::ReplicaOf| {
            let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
            if files.as_ref().is_none_or(|files| files.end() < of.position) {
                *files = Some(MemoryJournal::starting_at(of.position));
            }
            let files: MemoryJournal = files.clone().expect("it was just made");
            Ok::<_, JournalError>(Arc::new(files) as Arc<dyn Replica>)
        };
        let options = JetStreamOptions::new([], &format!("node-{number}"));
        let connection = self.servers.connection(number);
        let opened = JetStreamJournal::on(connection, ID, self.part_max_bytes, options, replica);
        let journal = Arc::new(opened.expect("the replica fits the stream"));
        let stopped = Arc::downgrade(&journal);
        let stop = move || stopped.upgrade().into_iter().for_each(|journal| journal.stop());
        self.servers.on_cut(number, Box::new(stop));
        self.nodes[number].journal = Some(Arc::clone(&journal));
        journal
    }

    /// The owner crashes, or is only taken for gone; its journal is returned then.
    fn lose_owner(
        &mut self,
        broker: &Stepped,
        random: &mut Random,
    ) -> Option<Arc<JetStreamJournal<Connection>>> {
        self.servers.heal();
        let node = &mut self.nodes[self.owner];
        let journal = node.journal.take().expect("the owner has one");
        let may_go_on = journal.check().is_ok();
        if random.once_in(3) && may_go_on {
            // It goes on with its files; as a node it starts from nothing.
            *node = Node::default();
            return Some(journal);
        }
        if let Some(replica) = node.files()
            && random.once_in(2)
            && may_go_on
        {
            broker.checkpoint();
            replica.sync(replica.end().saturating_sub(1)).expect("no fault is due");
        }
        node.crash(random);
        None
    }

    /// One of the nodes claims the journal. Some fail while they do.
    fn take_over(
        &mut self,
        options: &Options,
        random: &mut Random,
        floor: u64,
        now_ms: u64,
    ) -> Stepped {
        for number in 0.. {
            let node = random.below(NODES);
            let journal = self.journal(node);
            if number < FAULTY_TRIES && random.once_in(4) {
                self.servers.cut_off(node);
            }
            let claimed: Arc<dyn Journal> = Arc::<JetStreamJournal<Connection>>::clone(&journal);
            let tables = &mut self.nodes[node].tables;
            let at = (random.next(), now_ms);
            let opened = Stepped::open(&claimed, tables, options, floor, at);
            self.servers.heal();
            match opened {
                Ok(broker) => {
                    self.owner = node;
                    return broker;
                }
                Err(reason) => {
                    assert!(number < 4 * FAULTY_TRIES, "node {node} can't take over: {reason}");
                    drop((claimed, journal));
                    self.nodes[node].crash(random);
                }
            }
        }
        unreachable!("a node takes over, or it fails")
    }

    fn step(&mut self, random: &mut Random, now_ms: u64) {
        self.servers.reseed(Random::of_step(random.next(), 0));
        if random.once_in(4)
            && let Some((journal, mut broker)) = self.overtaken.take()
        {
            let event = Event::builder(random.next().to_string(), OVERTAKEN, "x");
            // It may be refused, with a backlog.
            let _ = broker.publish(vec![event.build().expect("it is an event")], now_ms);
            if random.once_in(2) {
                self.servers.reseed(Random::of_step(random.next(), 0));
            }
            broker.persist().expect_err("it was overtaken");
            journal.check().expect_err("it knows now");
        }
        let node = random.below(NODES);
        if random.once_in(3) && node != self.owner {
            self.follow(node, random);
        }
        // What the system writes behind.
        if random.once_in(3)
            && let Some(files) = self.nodes[random.below(NODES)].files()
            && files.end() > files.start()
        {
            files.sync(files.end() - 1).expect("no fault is due");
        }
    }

    /// A node takes in what there is, gives up what the owner has given up, or crashes.
    fn follow(&mut self, node: usize, random: &mut Random) {
        if random.once_in(6) {
            return self.nodes[node].crash(random);
        }
        let journal = self.journal(node);
        if journal.catch_up().is_err() {
            // What lies between was given up.
            return self.nodes[node].crash(random);
        }
        let applied = self.nodes[node].tables.follow(&*journal).expect("it has what it needs");
        let owner = self.nodes[self.owner].files().map_or(0, |files| files.start());
        if random.once_in(2) {
            journal.trim(owner.min(applied)).expect("no fault is due");
        }
    }
}
