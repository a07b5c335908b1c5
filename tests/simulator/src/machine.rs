//! Where the broker runs: on one node with a journal of its own, or on several that share one, of which
//! another takes over whenever the owner is gone, or is taken for gone.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use usher_broker::Options;
use usher_broker::stepped::{Stepped, SteppedTables};
use usher_event::Event;
use usher_jetstream::{JetStreamJournal, JetStreamOptions, ReplicaFiles};
use usher_journal::{Journal, JournalError, MemoryJournal, Replica, ReplicaOf};

use super::random::Random;
use super::servers::{Connection, ID, Served, Servers};

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

    /// Cuts the owner off, so that the outcome of its next commit is unknown; false where there is one node.
    pub(crate) fn cut_off_owner(&self) -> bool {
        let Nodes::Several(cluster) = &self.nodes else { return false };
        cluster.servers.cut_off(cluster.owner);
        true
    }

    /// What goes on beside the owner.
    pub(crate) fn step(&mut self, random: &mut Random, now_ms: u64) {
        if let Nodes::Several(cluster) = &mut self.nodes {
            cluster.step(random, now_ms);
        }
    }

    /// What happened between several nodes.
    pub(crate) fn happened(&self) -> Happened {
        match &self.nodes {
            Nodes::One { .. } => Happened::default(),
            Nodes::Several(cluster) => {
                Happened { served: cluster.servers.served(), ..cluster.happened }
            }
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

/// Counts of what happened between several nodes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Happened {
    /// Owners that were replaced.
    pub(crate) takeovers: usize,
    /// Those that went on all the same, and found out.
    pub(crate) overtaken: usize,
    /// What the servers did.
    pub(crate) served: Served,
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { takeovers, overtaken, served: Served { faults, done_late, purges } } = self;
        write!(
            f,
            "{takeovers} takeovers, {overtaken} of them from owners that went on, {faults} requests and \
             answers lost or late, {done_late} of them done late, {purges} purges"
        )
    }
}

impl Happened {
    pub(crate) fn and(&self, other: &Self) -> Self {
        let (one, two) = (self.served, other.served);
        Self {
            takeovers: self.takeovers + other.takeovers,
            overtaken: self.overtaken + other.overtaken,
            served: Served {
                faults: one.faults + two.faults,
                done_late: one.done_late + two.done_late,
                purges: one.purges + two.purges,
            },
        }
    }

    pub(crate) fn is_everything(&self) -> bool {
        let Served { faults, done_late, purges } = self.served;
        [self.takeovers, self.overtaken, faults, done_late, purges].iter().all(|count| *count > 0)
    }
}

/// The nodes of a router, and the servers that keep its journal.
struct Cluster {
    servers: Servers,
    part_max_bytes: usize,
    nodes: [Node; NODES],
    owner: usize,
    happened: Happened,
    /// The last owner, which doesn't know that it is none any more.
    overtaken: Option<(Arc<JetStreamJournal<Connection>>, Stepped)>,
}

/// A node; its files outlive it.
#[derive(Default)]
struct Node {
    journal: Option<Arc<JetStreamJournal<Connection>>>,
    files: Files,
    tables: SteppedTables,
}

/// The replica of a node, in memory.
#[derive(Clone, Default)]
struct Files(Arc<Mutex<Option<MemoryJournal>>>);

impl Files {
    fn replica(&self) -> Option<MemoryJournal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ReplicaFiles for Files {
    fn open(&self) -> Result<Option<Arc<dyn Replica>>, JournalError> {
        Ok(self.replica().map(|replica| Arc::new(replica) as _))
    }

    fn begin(&self, of: ReplicaOf) -> Result<Arc<dyn Replica>, JournalError> {
        let replica = MemoryJournal::starting_at(of.position);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(replica.clone());
        Ok(Arc::new(replica))
    }
}

impl Node {
    /// Some of what isn't synced is lost, or the disk.
    fn crash(&mut self, random: &mut Random) {
        self.journal = None;
        if random.once_in(8) {
            *self = Self::default();
        } else if let Some(replica) = self.files.replica() {
            replica.crash(random.below(4) as u64);
            self.tables.crash();
        }
    }
}

impl Cluster {
    fn new(part_max_bytes: usize) -> Self {
        let nodes = std::array::from_fn(|_| Node::default());
        Self {
            servers: Servers::new(),
            part_max_bytes,
            nodes,
            owner: 0,
            happened: Happened::default(),
            overtaken: None,
        }
    }

    /// The journal of a node, which is opened if it isn't.
    fn journal(&mut self, number: usize) -> Arc<JetStreamJournal<Connection>> {
        if let Some(journal) = &self.nodes[number].journal {
            return Arc::clone(journal);
        }
        let files = self.nodes[number].files.clone();
        let options = JetStreamOptions::new([], &format!("node-{number}"));
        let connection = self.servers.connection(number);
        let opened = JetStreamJournal::on(connection, ID, self.part_max_bytes, options, files);
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
        if let Some(replica) = node.files.replica()
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
            let is_cut_off = number < FAULTY_TRIES && random.once_in(4);
            if is_cut_off {
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
                    self.happened.takeovers += 1;
                    return broker;
                }
                Err(reason) => {
                    // Or fenced by a late claim.
                    assert!(is_cut_off || reason.contains("has begun"), "{node}: {reason}");
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
            self.happened.overtaken += 1;
        }
        let node = random.below(NODES);
        if random.once_in(3) && node != self.owner {
            self.follow(node, random);
        }
        // What the system writes behind.
        if random.once_in(3)
            && let Some(replica) = self.nodes[random.below(NODES)].files.replica()
            && replica.end() > replica.start()
        {
            replica.sync(replica.end() - 1).expect("no fault is due");
        }
    }

    /// A node takes in what there is, gives up what the owner has given up, or crashes.
    fn follow(&mut self, node: usize, random: &mut Random) {
        if random.once_in(6) {
            return self.nodes[node].crash(random);
        }
        let journal = self.journal(node);
        if let Err(error) = journal.catch_up() {
            let reason = error.to_string();
            assert!(reason.contains("was given up while this node was away"), "{reason}");
            return self.nodes[node].crash(random);
        }
        let applied = self.nodes[node].tables.follow(&*journal).expect("it has what it needs");
        let owner = self.nodes[self.owner].files.replica().map_or(0, |replica| replica.start());
        if random.once_in(2) {
            journal.trim(owner.min(applied)).expect("no fault is due");
        }
    }
}
