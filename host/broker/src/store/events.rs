//! Events as rows: read from the journal, by sequence, forward and backward.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use usher_journal::{Journal, JournalError, Record, Records};

use super::record::{self, Events};
use super::{Found, StoreFailure, keys, lock};

/// Records looked at together where events are looked for backward.
const BACKWARD_RECORDS: u64 = 256;

/// The events of a journal up to one commit.
pub(crate) struct EventLog {
    journal: Arc<dyn Journal>,
    /// The lowest sequence that the journal has.
    first: u64,
    /// One above the highest.
    end: u64,
    /// The record that was read last: neighbours are often asked for next.
    last: Mutex<Option<Arc<Block>>>,
}

/// The events of one record.
struct Block {
    first: u64,
    events: Vec<Bytes>,
}

impl Block {
    fn read(record: &Record) -> Result<Self, StoreFailure> {
        let events = Events::of(record).and_then(Events::all);
        let events = events.ok_or_else(|| record::unreadable(record))?;
        Ok(Self { first: record.first_sequence, events })
    }

    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    fn get(&self, sequence: u64) -> Option<&Bytes> {
        self.events.get(usize::try_from(sequence.checked_sub(self.first)?).ok()?)
    }
}

impl EventLog {
    pub(crate) fn new(journal: Arc<dyn Journal>, first: u64, end: u64) -> Self {
        Self { journal, first, end, last: Mutex::default() }
    }

    /// The lowest sequence that the journal has.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// One event; `None` if there is none with this sequence.
    pub(crate) fn get(&self, sequence: u64) -> Result<Option<Bytes>, StoreFailure> {
        if sequence < self.first || sequence >= self.end {
            return Ok(None);
        }
        let block = self.block(sequence)?;
        Ok(block.and_then(|block| block.get(sequence).cloned()))
    }

    /// The last record with an event at or before this sequence.
    fn block(&self, sequence: u64) -> Result<Option<Arc<Block>>, StoreFailure> {
        let known = lock(&self.last).clone();
        if let Some(block) = known.filter(|block| block.get(sequence).is_some()) {
            return Ok(Some(block));
        }
        let near = self.journal.near(sequence)?;
        let (mut from, mut to) = (near, u64::MAX);
        let found = loop {
            let mut found = None;
            for record in read(&*self.journal, from, to)? {
                let record = match record {
                    Err(JournalError::Trimmed { .. }) => return Ok(None),
                    record => record?,
                };
                if record.first_sequence > sequence {
                    break;
                }
                if record.events > 0 {
                    let is_last = sequence < record.next_sequence();
                    found = Some(record);
                    if is_last {
                        break;
                    }
                }
            }
            match found {
                Some(record) => break record,
                // From there on are only records without events, and later ones.
                None if from > self.journal.start() => {
                    to = from;
                    from = from.saturating_sub(BACKWARD_RECORDS).max(self.journal.start());
                }
                None => return Ok(None),
            }
        };
        let block = Arc::new(Block::read(&found)?);
        *lock(&self.last) = Some(Arc::clone(&block));
        Ok(Some(block))
    }

    /// Events from one sequence up to another.
    pub(crate) fn range(&self, from: u64, to: u64) -> EventRows<'_> {
        let (front, back) = (from.max(self.first), to.min(self.end));
        EventRows { log: self, front, back, ahead: VecDeque::new(), records: None, behind: None }
    }
}

/// Reads records; what was trimmed meanwhile isn't asked for any more.
fn read(journal: &dyn Journal, from: u64, to: u64) -> Result<Records, StoreFailure> {
    let records = journal.read(from, to);
    let records = match records {
        Err(JournalError::Trimmed { start, .. }) => journal.read(start, to),
        records => records,
    };
    Ok(records?)
}

/// Events of a range, from both ends.
pub(crate) struct EventRows<'a> {
    log: &'a EventLog,
    /// The lowest sequence that may come next from the front, and one above the highest from the back.
    front: u64,
    back: u64,
    /// What was read for the front.
    ahead: VecDeque<(u64, Bytes)>,
    records: Option<Records>,
    /// What was read for the back.
    behind: Option<Arc<Block>>,
}

fn row(sequence: u64, event: Bytes) -> (Bytes, Bytes) {
    (keys::number(sequence).into(), event)
}

impl EventRows<'_> {
    fn next_forward(&mut self) -> Result<Option<(Bytes, Bytes)>, StoreFailure> {
        loop {
            if let Some((sequence, event)) = self.ahead.pop_front() {
                if sequence >= self.back {
                    self.front = self.back;
                    return Ok(None);
                }
                self.front = sequence + 1;
                return Ok(Some(row(sequence, event)));
            }
            if self.front >= self.back {
                return Ok(None);
            }
            let records = match &mut self.records {
                Some(records) => records,
                None => {
                    let near = self.log.journal.near(self.front)?;
                    self.records.insert(read(&*self.log.journal, near, u64::MAX)?)
                }
            };
            let record = match records.next() {
                None => {
                    self.front = self.back;
                    return Ok(None);
                }
                // What has left the log since the view was made is passed over.
                Some(Err(JournalError::Trimmed { start, .. })) => {
                    self.records = Some(read(&*self.log.journal, start, u64::MAX)?);
                    continue;
                }
                Some(record) => record?,
            };
            if record.next_sequence() <= self.front {
                continue;
            }
            let block = Block::read(&record)?;
            let events = (block.first..).zip(block.events);
            self.ahead.extend(events.filter(|(sequence, _)| *sequence >= self.front));
        }
    }

    fn next_backward(&mut self) -> Result<Option<(Bytes, Bytes)>, StoreFailure> {
        if self.front >= self.back {
            return Ok(None);
        }
        let wanted = self.back - 1;
        let known = self.behind.take().filter(|block| block.get(wanted).is_some());
        let block = match known {
            Some(block) => Some(block),
            None => self.log.block(wanted)?,
        };
        let Some(block) = block else {
            self.back = self.front;
            return Ok(None);
        };
        let sequence = wanted.min(block.end() - 1);
        if sequence < self.front {
            self.back = self.front;
            return Ok(None);
        }
        self.back = sequence;
        let event = block.get(sequence).cloned();
        self.behind = Some(block);
        Ok(event.map(|event| row(sequence, event)))
    }
}

impl Iterator for EventRows<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        let next = self.next_forward();
        if next.is_err() {
            self.front = self.back;
            self.ahead.clear();
        }
        next.transpose()
    }
}

impl DoubleEndedIterator for EventRows<'_> {
    fn next_back(&mut self) -> Option<Found> {
        let next = self.next_backward();
        if next.is_err() {
            self.back = self.front;
        }
        next.transpose()
    }
}
