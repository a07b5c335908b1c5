//! A model of the servers that keep a journal's stream: requests and answers are lost or arrive late, readers
//! miss messages, and a node is cut off. Who the owner is, nodes are told by the [machine](super::machine):
//! what owners tell each other is not in it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::BytesMut;
use futures_util::stream;
use usher_jetstream::{Arrival, Content, Extent, Failure, Message, Owner, Refusal, Stored};
use usher_journal::{JournalId, Record};

use super::random::Random;

/// The journal's id; a journal in memory has the same.
pub(crate) const ID: JournalId = [0; 16];

/// Late requests that are kept.
const LATE_MAX: usize = 8;

/// The servers of all nodes.
#[derive(Clone)]
pub(crate) struct Servers(Arc<Mutex<State>>);

/// The servers as one node reaches them.
pub(crate) struct Connection {
    servers: Servers,
    node: usize,
}

type Stop = Box<dyn Fn() + Send>;

struct State {
    random: Random,
    /// The sequence of the first message, and those from it on.
    first: u64,
    messages: Vec<Message>,
    /// Requests that arrive later: a message, and the sequence that it is to follow.
    late: Vec<(Message, u64)>,
    /// The node that is cut off.
    cut_off: Option<usize>,
    /// Stops the wait of a node that is cut off.
    stops: BTreeMap<usize, Stop>,
    served: Served,
    /// The epoch of the last claim.
    epoch: u64,
    /// The record that is under way.
    frame: BytesMut,
    /// The position of the next record.
    next: u64,
}

/// Counts of what the servers did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Served {
    /// Requests or answers that were lost, or late.
    pub(crate) faults: usize,
    /// Requests that were late, and done all the same.
    pub(crate) done_late: usize,
    /// Purges.
    pub(crate) purges: usize,
}

/// What becomes of a request to append.
enum Fate {
    Done,
    Lost,
    AnswerLost,
    Late,
}

impl Servers {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            random: Random::of_step(0, 0),
            first: 1,
            messages: Vec::new(),
            late: Vec::new(),
            cut_off: None,
            stops: BTreeMap::new(),
            served: Served::default(),
            epoch: 0,
            frame: BytesMut::new(),
            next: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic while it is held")
    }

    /// Goes on with other random numbers.
    pub(crate) fn reseed(&self, random: Random) {
        self.state().random = random;
    }

    pub(crate) fn connection(&self, node: usize) -> Connection {
        Connection { servers: self.clone(), node }
    }

    /// How a node that is cut off stops to wait.
    pub(crate) fn on_cut(&self, node: usize, stop: Stop) {
        self.state().stops.insert(node, stop);
    }

    /// Cuts a node off: it gets no answer, and what it asks for may be done all the same.
    pub(crate) fn cut_off(&self, node: usize) {
        self.state().cut_off = Some(node);
    }

    pub(crate) fn heal(&self) {
        self.state().cut_off = None;
    }

    pub(crate) fn served(&self) -> Served {
        self.state().served
    }
}

impl State {
    fn last(&self) -> u64 {
        self.first + self.messages.len() as u64 - 1
    }

    fn is_cut_off(&self, node: usize) -> bool {
        self.cut_off == Some(node)
    }

    /// Whether an answer doesn't come.
    fn loses(&mut self, node: usize) -> bool {
        let is_lost = self.is_cut_off(node) || self.random.once_in(25);
        self.served.faults += usize::from(is_lost);
        is_lost
    }

    fn fate(&mut self, node: usize) -> Fate {
        let fates = if self.is_cut_off(node) { 3 } else { 40 };
        let fate = match self.random.below(fates) {
            0 => Fate::Lost,
            1 => Fate::AnswerLost,
            2 => Fate::Late,
            _ => return Fate::Done,
        };
        self.served.faults += 1;
        fate
    }

    fn append(&mut self, message: &Message, last: u64) -> Result<u64, Refusal> {
        if self.last() != last {
            return Err(Refusal::Conflict);
        }
        self.check(message);
        self.messages.push(message.clone());
        Ok(self.last())
    }

    /// Records are in the epoch of the last claim, and their positions are dense.
    fn check(&mut self, message: &Message) {
        match &message.content {
            Content::Claim { epoch, .. } => {
                assert!(*epoch > self.epoch, "epoch {epoch} is claimed after {}", self.epoch);
                self.epoch = *epoch;
            }
            Content::Part { number, of, frame } => {
                if *number == 1 {
                    self.frame.clear();
                }
                self.frame.extend_from_slice(frame);
                if number == of {
                    let record = Record::from_frame(&self.frame.split().freeze(), &ID);
                    let record = record.expect("a record is whole");
                    assert_eq!((record.epoch, record.position), (self.epoch, self.next), "fenced");
                    self.next += 1;
                }
            }
        }
    }

    fn delay(&mut self, message: &Message, last: u64) {
        if self.late.len() < LATE_MAX {
            self.late.push((message.clone(), last));
        }
    }

    /// Some of what is late arrives.
    fn deliver_late(&mut self) {
        while !self.late.is_empty() && self.random.once_in(3) {
            let (message, last) = self.late.swap_remove(self.random.below(self.late.len()));
            // It is refused if something else stands there.
            self.served.done_late += usize::from(self.append(&message, last).is_ok());
        }
    }

    fn at(&self, sequence: u64) -> Option<&Message> {
        let offset = sequence.checked_sub(self.first)?;
        self.messages.get(offset as usize)
    }
}

fn lost<T>() -> Result<T, Failure> {
    Err(Failure::Passing("no answer".to_owned()))
}

impl usher_jetstream::Servers for Connection {
    type Arrivals = stream::Iter<std::vec::IntoIter<Arrival>>;

    async fn publish(&self, message: &Message, last: u64) -> Result<u64, Refusal> {
        let mut state = self.servers.state();
        state.deliver_late();
        match state.fate(self.node) {
            Fate::Done => return state.append(message, last),
            Fate::Lost => {}
            // The answer, which may be that it was refused, is lost.
            Fate::AnswerLost => drop(state.append(message, last)),
            Fate::Late => state.delay(message, last),
        }
        Err(Refusal::Unknown("no answer".to_owned()))
    }

    async fn message(&self, sequence: u64) -> Result<Option<Stored>, Failure> {
        let mut state = self.servers.state();
        if state.loses(self.node) {
            return lost();
        }
        Ok(state.at(sequence).cloned().map(Some))
    }

    async fn extent(&self) -> Result<Extent, Failure> {
        let mut state = self.servers.state();
        if state.loses(self.node) {
            return lost();
        }
        Ok(Extent { id: Some(ID), first: state.first, last: state.last() })
    }

    /// Those that there are; it ends, as when the connection is lost.
    async fn messages(&self, from: u64) -> Result<Self::Arrivals, Failure> {
        let mut state = self.servers.state();
        if state.loses(self.node) {
            return lost();
        }
        let from = from.max(state.first);
        let mut arrivals: Vec<Arrival> = (from..=state.last())
            .map(|sequence| Arrival {
                sequence,
                is_first: sequence == from,
                stored: state.at(sequence).cloned(),
            })
            .collect();
        if state.random.once_in(4) {
            let kept = state.random.below(arrivals.len() + 1);
            arrivals.truncate(kept);
        }
        if state.random.once_in(4) && arrivals.len() > 1 {
            let missing = state.random.below(arrivals.len());
            arrivals.remove(missing);
        }
        Ok(stream::iter(arrivals))
    }

    async fn purge(&self, before: u64) -> Result<(), Failure> {
        let mut state = self.servers.state();
        let is_lost = state.loses(self.node);
        if is_lost && state.random.once_in(2) {
            return lost();
        }
        state.served.purges += 1;
        let count = before.saturating_sub(state.first).min(state.messages.len() as u64);
        state.messages.drain(..count as usize);
        state.first += count;
        if is_lost { lost() } else { Ok(()) }
    }

    async fn tell(&self, _: &Owner) {}

    async fn is_owner_heard(&self, _: u64) -> bool {
        false
    }

    async fn pause(&self) {
        let state = self.servers.state();
        if state.is_cut_off(self.node)
            && let Some(stop) = state.stops.get(&self.node)
        {
            stop();
        }
    }
}
