//! A model of the servers that keep a journal's stream: requests and answers are lost, arrive late or twice,
//! readers miss messages, and a node is cut off.

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
    faults: usize,
}

/// What becomes of a request to append.
enum Fate {
    Done,
    Lost,
    AnswerLost,
    Late,
    Repeated,
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
            faults: 0,
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

    /// How many faults there were.
    pub(crate) fn faults(&self) -> usize {
        self.state().faults
    }

    /// Records are in the epoch of the last claim before them, and their positions are dense.
    pub(crate) fn check(&self) {
        let state = self.state();
        let (mut epoch, mut frame, mut next) = (None, BytesMut::new(), None);
        for message in &state.messages {
            match &message.content {
                Content::Claim { epoch: claimed, .. } => {
                    assert!(epoch.is_none_or(|epoch| epoch < *claimed), "epochs only grow");
                    epoch = Some(*claimed);
                    frame.clear();
                }
                Content::Part { number, of, frame: part } => {
                    if *number == 1 {
                        frame.clear();
                    }
                    frame.extend_from_slice(part);
                    if number < of {
                        continue;
                    }
                    let record = Record::from_frame(&frame.split().freeze(), &ID);
                    // Parts of the first one may have been given up.
                    let Some(record) = record else {
                        assert_eq!(next, None, "a record is not whole");
                        continue;
                    };
                    assert!(epoch.is_none_or(|epoch| epoch == record.epoch), "a fenced append");
                    assert!(next.is_none_or(|next| next == record.position), "positions are dense");
                    next = Some(record.position + 1);
                }
            }
        }
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
        self.faults += usize::from(is_lost);
        is_lost
    }

    fn fate(&mut self, node: usize) -> Fate {
        let fates = if self.is_cut_off(node) { 3 } else { 40 };
        let fate = match self.random.below(fates) {
            0 => Fate::Lost,
            1 => Fate::AnswerLost,
            2 => Fate::Late,
            3 => Fate::Repeated,
            _ => return Fate::Done,
        };
        self.faults += 1;
        fate
    }

    fn append(&mut self, message: &Message, last: u64) -> Result<u64, Refusal> {
        if self.last() != last {
            return Err(Refusal::Conflict);
        }
        self.messages.push(message.clone());
        Ok(self.last())
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
            let _ = self.append(&message, last);
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
            Fate::Repeated => {
                state.delay(message, last);
                return state.append(message, last);
            }
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
            let missing = 1 + state.random.below(arrivals.len() - 1);
            arrivals.remove(missing);
        }
        Ok(stream::iter(arrivals))
    }

    async fn purge(&self, before: u64) -> Result<(), Failure> {
        let mut state = self.servers.state();
        if state.loses(self.node) {
            return lost();
        }
        let count = before.saturating_sub(state.first).min(state.messages.len() as u64);
        state.messages.drain(..count as usize);
        state.first += count;
        Ok(())
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
